# SPDX-License-Identifier: Apache-2.0
"""What `predict` writes for segmentation: each form read back by another reader, at any size, in the image's own pixels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.data.targets import Mask
from pellucid.errors import PellucidError, UnknownNameError, UsageError
from pellucid.models.unet import Unet
from pellucid.run import Run
from pellucid.tasks.segment import Segment, tiles
from pellucid.tasks.segment import segment as segment_file

SIZES = {"wide.png": (50, 131), "small.png": (17, 9), "scene.png": (64, 64)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that knows shapes from background."""
    return pellucid.train(
        "segment", "scenes", "unet", tmp_path_factory.mktemp("run") / "run", widths=(8, 16), epochs=2, limit=192,
        batch_size=16, lr=0.01, balance="median_frequency", device="cpu", progress=False, precision="fp32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        coarse = rng.integers(0, 255, (3, -(-size[0] // 8), -(-size[1] // 8)), np.uint8)
        pixels = np.kron(coarse, np.ones((1, 8, 8), np.uint8))[:, : size[0], : size[1]]
        Image.fromarray(pixels.transpose(1, 2, 0)).save(place / name)
    return place


@pytest.fixture(scope="module")
def answers(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    pellucid.predict(run, folder, out, also=("overlay", "probabilities", "rle", "polygons"))
    return out


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def expected(run: Run, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(K, H, W): the model at its own size, its probabilities brought back by torch."""
    input = torch.tensor(image.transpose(2, 0, 1)).float()[None] / 255
    with torch.no_grad():
        small = F.interpolate(input, (64, 64), mode="bilinear", antialias=True)
        shares = F.interpolate(run.model()(small).softmax(1), image.shape[:2], mode="bilinear")
    return np.asarray(shares[0].numpy())


def test_masks_have_the_size_of_their_images_and_a_palette(run: Run, folder: Path, answers: Path) -> None:
    for name in SIZES:
        image = opened(folder / name)
        with Image.open(answers / name) as picture:
            assert picture.mode == "P"
            mask, colours = np.asarray(picture), np.array(picture.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(mask, expected(run, image).argmax(0))
        assert len({tuple(row) for row in colours[:9].tolist()}) == 9 and colours[0].tolist() == [0, 0, 0]


def test_probabilities_are_those_of_the_model(run: Run, folder: Path, answers: Path) -> None:
    for name in SIZES:
        with np.load(answers / name.replace(".png", ".npz")) as file:
            assert file["classes"].tolist() == list(run.classes)
            np.testing.assert_allclose(file["probabilities"], expected(run, opened(folder / name)), atol=1e-3)


def test_the_overlay_shows_the_image_where_the_background_is(folder: Path, answers: Path) -> None:
    changed = 0
    for name in SIZES:
        image, mask = opened(folder / name), opened(answers / name)
        shown = opened(answers / name.replace(".png", ".overlay.png"))
        np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
        changed += int((shown != image).any(2)[mask > 0].sum())
    assert changed > 0


def test_run_lengths_and_polygons_are_the_mask(run: Run, answers: Path) -> None:
    for name in SIZES:
        mask = opened(answers / name)
        seen: set[int] = set()
        for row in json.loads((answers / name.replace(".png", ".rle.json")).read_text()):
            inside = run_lengths.decode(row["segmentation"]).astype(bool)
            np.testing.assert_array_equal(inside, mask == row["category_id"])
            assert row["category"] == run.classes[row["category_id"]] and row["area"] == inside.sum()
            rows, columns = np.nonzero(inside)
            assert row["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            seen.add(row["category_id"])
        assert seen == set(np.unique(mask).tolist())
        parts: dict[str, int] = {}
        content = json.loads((answers / name.replace(".png", ".geojson")).read_text())
        for feature in content["features"]:
            title = feature["properties"]["class"]
            parts[title] = parts.get(title, 0) + 1
            xs, ys = np.array(feature["geometry"]["coordinates"][0]).T
            assert xs.min() >= 0 and ys.min() >= 0 and xs.max() <= mask.shape[1] and ys.max() <= mask.shape[0]
        for title, count in parts.items():
            assert ndimage.label(mask == run.classes.index(title), np.ones((3, 3)))[1] == count


def test_rows_hold_shares_and_paths(answers: Path) -> None:
    rows = json.loads((answers / "predictions.json").read_text())
    for row in rows:
        mask = opened(Path(row["file"]))
        for index, share in enumerate(row["shares"].values()):
            assert share == pytest.approx((mask == index).mean(), abs=1e-6)
        assert all(Path(file).exists() for file in row["files"].values())


def test_objects_are_counted_and_measured(run: Run, folder: Path, tmp_path: Path) -> None:
    rows = pellucid.predict(run, folder, tmp_path, objects=("all",), touching="joined", least=1, pixel_size=0.5)
    with (tmp_path / "objects.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) > 3
    for row in rows:
        mask, image = opened(Path(row["file"])), opened(folder / row["name"])
        grey = image @ np.array([0.299, 0.587, 0.114])
        for title, count in row["objects"].items():
            parts, expected_count = ndimage.label(mask == run.classes.index(title), np.ones((3, 3)))
            own = [one for one in table if one["image"] == row["name"] and one["class"] == title]
            assert count == expected_count == len(own)
            areas = ndimage.sum_labels(parts > 0, parts, range(1, count + 1))
            assert sorted(float(one["area_px"]) for one in own) == sorted(np.atleast_1d(areas).tolist())
            assert all(float(one["area_um2"]) == pytest.approx(float(one["area_px"]) / 4) for one in own)
            for one in own:
                inside = parts[int(float(one["y"])), int(float(one["x"]))]
                if inside and (parts == inside).sum() == int(one["area_px"]):
                    assert float(one["mean_intensity"]) == pytest.approx(grey[parts == inside].mean(), abs=0.01)
    none = pellucid.predict(run, np.zeros((8, 8, 3), np.uint8), tmp_path / "none", objects=("star",), least=60)
    assert none[0]["objects"] == {"star": 0}
    assert (tmp_path / "none" / "objects.csv").read_text().startswith("image,object,class,")


def test_names_that_would_be_one_file_are_kept_apart(run: Run, tmp_path: Path) -> None:
    for name in ("a.png", "a.overlay.png"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / name)
    rows = pellucid.predict(run, tmp_path, tmp_path / "out", also="overlay")
    files = [file for row in rows for file in (row["file"], *row["files"].values())]
    assert len(set(files)) == 4 and all(Path(file).exists() for file in files)


def test_one_file_takes_one_answer(run: Run, folder: Path, tmp_path: Path) -> None:
    image = folder / "scene.png"
    pellucid.predict(run, image, tmp_path / "mask.png")
    assert opened(tmp_path / "mask.png").shape == (64, 64)
    [row] = pellucid.predict(run, folder / "wide.png", tmp_path / "row.json")
    assert "file" not in row and json.loads((tmp_path / "row.json").read_text())[0]["shares"] == row["shares"]
    with pytest.raises(UsageError, match=r"mask2\.png'\: is one file for 2 predictions; name a folder"):
        pellucid.predict(run, image, tmp_path / "mask2.png", also="rle")
    with pytest.raises(UsageError, match=r"is one file, and objects\.csv is written besides; name a folder"):
        pellucid.predict(run, image, tmp_path / "mask2.png", objects="all")
    assert not (tmp_path / "mask2.png").exists()
    [row] = pellucid.predict(run, image, also="polygons", objects="all")
    assert row["suffix"] == ".png" and json.loads(row["files"]["polygons"])["type"] == "FeatureCollection"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"also": ("svg",)}, r"also='svg'"),
        ({"objects": ("cat",)}, r"class='cat' is not known"),
        (
            {"pixel_size": 0.5},
            r"pixel_size=0\.5: is for the table of objects; name their classes with --objects, or all",
        ),
        ({"objects": "all", "pixel_size": -1.0}, r"pixel_size=-1\.0: must be above 0"),
        ({"objects": "all", "touching": "never"}, r"touching='never'"),
        ({"objects": "all", "neck": 1.5}, r"neck=1\.5: must lie between 0 and 1"),
        ({"objects": "all", "least": 0}, r"least=0: must be at least 1 px"),
    ],
)
def test_options_that_cannot_be_are_refused(run: Run, folder: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PellucidError, match=sentence) as caught:
        pellucid.predict(run, folder, **options)
    assert isinstance(caught.value, (UsageError, UnknownNameError))


# -- large images


class Mean(nn.Module):
    """Sees all of its image."""

    def forward(self, images: Tensor) -> Tensor:
        return images + images.mean((2, 3), keepdim=True)


def test_the_reach_of_a_model_is_how_far_a_change_shows() -> None:
    assert tiles.reach(nn.Conv2d(3, 2, 7, padding=3), 3) == 3
    assert tiles.reach(nn.Sequential(nn.Conv2d(1, 1, 3, padding=4, dilation=4), nn.Conv2d(1, 1, 5, padding=2)), 1) == 6
    assert tiles.reach(Mean(), 1) is None
    torch.manual_seed(0)
    model = Unet(1, 2, (64, 64), widths=(4, 6, 8), residual=False).eval()
    reach = tiles.reach(model, 1)
    assert reach is not None
    # by slopes: nothing farther has any, and something near the limit has some
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    for y, x in ((128, 128), (131, 126)):
        [slope] = torch.autograd.grad(model(image)[0, :, y, x].sum(), image)
        rows, columns = np.nonzero(slope[0, 0].numpy())
        farthest = max(y - rows.min(), rows.max() - y, x - columns.min(), columns.max() - x)
        assert reach - 8 <= farthest <= reach + 3, "a pixel lies up to 3 px from the model's grid of 4 px"


@pytest.mark.parametrize("size", [(333, 270), (129, 517)])
def test_tiles_give_what_the_whole_image_gives(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(tiles, "_AT_ONCE", 192**2)
    monkeypatch.setattr(segment_file, "_WHOLE", 64 * 64)
    torch.manual_seed(1)
    model = Unet(3, 4, (64, 64), widths=(4, 8, 8), residual=False, batch_norm=True).eval()
    calls: list[tuple[int, ...]] = []
    model.register_forward_hook(lambda module, inputs, output: calls.append(tuple(output.shape[2:])))
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        whole = model(images).softmax(1)
        calls.clear()
        found = Segment(fit="crop").predict(model, images)
    assert len(calls) > 3 and max(map(max, calls[-3:])) < max(size), "it went through in tiles"
    assert isinstance(found, Mask) and found.probabilities is not None
    torch.testing.assert_close(found.probabilities, whole, atol=1e-4, rtol=0)


def test_tiles_of_a_model_that_sees_everything_are_blended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_BLENDED", 32)
    ramp = torch.linspace(0, 1, 120).expand(1, 1, 70, 120)
    found = tiles.in_tiles(Mean(), ramp, None)
    steps = found[0, 0].diff(dim=1)
    assert found.shape == ramp.shape and float(steps.max()) < 3 / 120, "no seam"
