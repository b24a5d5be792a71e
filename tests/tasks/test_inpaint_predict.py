# SPDX-License-Identifier: Apache-2.0
"""inpaint of pictures that somebody hands over: masks, detection, windows, and what is known stays bit for bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid import evaluate, predict, train
from pellucid.cli import cli
from pellucid.data import open as open_data
from pellucid.data.dataset import Batch, Dataset
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.tasks.inpaint import Inpaint
from pellucid.tasks.inpaint.windows import in_windows


def few(count: int = 32, name: str = "patches") -> Dataset:
    data = open_data(name)
    return data.replace(splits={part: split.select(range(count)) for part, split in data.splits.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return train("inpaint", few(), "unet", folder / "grey", widths=(4, 8), convolution="gated", epochs=1, batch_size=16,
                 device="cpu", precision="fp32", progress=False)  # fmt: skip


def photograph(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 40, (height, width, channels))
    slope = np.linspace(20, 200, height)[:, None, None] + np.linspace(-10, 10, width)[None, :, None]
    return np.clip(slope + noise, 10, 240).astype(np.uint8)


def holed(height: int, width: int) -> NDArray[np.bool_]:
    hole = np.zeros((height, width), bool)
    hole[height // 4 : height // 2, width // 3 : width // 2] = True
    return hole


@pytest.mark.parametrize("size", [(64, 64), (37, 91), (300, 520)])
@pytest.mark.parametrize("channels", [1, 3])
def test_known_pixels_come_back_bit_for_bit_at_any_size(run: Run, size: tuple[int, int], channels: int) -> None:
    image, hole = photograph(*size, channels), holed(*size)
    (row,) = predict(run, image if channels == 3 else image[..., 0], mask=[hole])
    answer = row["picture"]
    assert answer.shape == (channels, *size)
    assert answer.dtype == np.uint8
    assert np.array_equal(answer[:, ~hole], image.transpose(2, 0, 1)[:, ~hole])
    spoilt = np.where(hole[..., None], 255 - image, image).astype(np.uint8)
    again = predict(run, spoilt if channels == 3 else spoilt[..., 0], mask=[hole])[0]["picture"]
    assert np.array_equal(again, answer), "the answer depends on what was in the hole"
    assert row["missing"] == pytest.approx(hole.mean(), abs=1e-6)


def test_command_line_fills_a_file_and_names_it(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, hole = photograph(60, 80), holed(60, 80)
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray((hole * 255).astype(np.uint8)).save(tmp_path / "m.png")
    out = tmp_path / "b.png"
    assert (
        cli.main(
            ["predict", str(run.path), str(tmp_path / "a.png"), "--mask", str(tmp_path / "m.png"), "--out", str(out)]
        )
        == 0
    )
    mended = np.asarray(Image.open(out))
    assert np.array_equal(mended[~hole], image[~hole])
    capsys.readouterr()
    assert cli.main(["predict", str(run.path), str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "does not say what is missing; give --mask MASK.png, white where a pixel is missing" in " ".join(
        said.split()
    )


@pytest.mark.parametrize(("what", "value"), [("white", 255), ("white", 252), ("black", 0), ("black", 4)])
def test_white_and_black_pixels_are_found(run: Run, what: str, value: int) -> None:
    image, hole = photograph(40, 50), holed(40, 50)
    image[hole] = value
    (row,) = predict(run, image, detect=what)
    assert row["missing"] == pytest.approx(hole.mean())
    assert np.array_equal(row["picture"][:, ~hole], image.transpose(2, 0, 1)[:, ~hole])
    assert np.abs(row["picture"][:, hole].astype(int) - value).min() > 0


def test_transparent_pixels_are_found_and_colours_below_them_are_not_blended(run: Run, tmp_path: Path) -> None:
    image, hole = photograph(40, 50), holed(40, 50)
    alpha = np.where(hole, 0, 255).astype(np.uint8)[..., None]
    Image.fromarray(np.concatenate([image, alpha], 2)).save(tmp_path / "a.png")
    (row,) = predict(run, tmp_path / "a.png", detect="alpha")
    assert np.array_equal(row["picture"][:, ~hole], image.transpose(2, 0, 1)[:, ~hole])
    (other,) = predict(run, Image.open(tmp_path / "a.png"), detect="alpha")
    (third,) = predict(run, np.concatenate([image, alpha], 2), detect="alpha")
    assert np.array_equal(other["picture"], row["picture"])
    assert np.array_equal(third["picture"], row["picture"])
    with pytest.raises(UsageError, match=r"has transparent pixels; give --detect alpha to fill them, or flatten"):
        predict(run, tmp_path / "a.png", mask=[hole])
    opaque = np.concatenate([image, np.full_like(alpha, 255)], 2)
    assert np.array_equal(
        predict(run, opaque, mask=[hole])[0]["picture"], predict(run, image, mask=[hole])[0]["picture"]
    )


def refused(run: Run, images: Any, sentence: str, **asked: Any) -> None:
    with pytest.raises(UsageError, match=sentence):
        predict(run, images, **asked)


def test_bad_masks_and_pictures_get_a_sentence(run: Run, tmp_path: Path) -> None:
    image, hole = photograph(40, 50), holed(40, 50)
    refused(
        run,
        image,
        r"^mask='array': is 50×40 px, and image_0 is 40×50 \(height × width\); give a mask of the same",
        mask=[hole.T],
    )
    refused(
        run, image, r"^mask='array': leaves nothing missing in image_0; mark at least one pixel\.$", mask=[hole & False]
    )
    refused(
        run,
        image,
        r"^mask='array': covers all of image_0; leave at least one pixel known\.$",
        mask=[hole | True],
    )
    refused(run, image, r"^mask=\[3 masks\]: for 1 pictures; give one for all, or one for each", mask=[hole] * 3)
    refused(run, image, r"^mask='none\.png': is not a file", mask=["none.png"])
    refused(run, image, r"^mask, detect: both say what is missing; give one", mask=[hole], detect="white")
    refused(run, image, r"^detect='green': is not known; choose white, black or alpha", detect="green")
    refused(run, image, r"^detect='white': leaves nothing missing in image_0", detect="white")
    refused(run, image, r"^detect='alpha': image_0 has no transparency; give --mask", detect="alpha")
    (tmp_path / "no.png").write_text("no image")
    (row,) = predict(run, tmp_path / "no.png", mask=[hole])
    assert "not an image" in row["error"]


@pytest.mark.parametrize("planes", [1, 3])
def test_known_pixels_of_sixteen_bits_come_back_bit_for_bit(run: Run, tmp_path: Path, planes: int) -> None:
    hole = holed(40, 50)
    deep = photograph(40, 50).astype(np.uint16) * 257 + np.arange(50, dtype=np.uint16)[None, :, None] % 7
    deep = deep if planes == 3 else deep[..., 0]
    cv2.imwrite(str(tmp_path / "deep.png"), deep)  # in OpenCV's order of colours, in which it is read below
    (row,) = predict(run, tmp_path / "deep.png", tmp_path / "whole", mask=[hole])
    found = cv2.imread(row["picture"], cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    assert found.shape == deep.shape
    assert np.array_equal(found[~hole], deep[~hole])
    assert (found[hole] != deep[hole]).mean() > 0.9
    assert row["range"] == [0, 65535]
    array = predict(run, deep[..., ::-1] if planes == 3 else deep, mask=[hole])[0]["picture"].transpose(1, 2, 0)
    assert np.array_equal(array.squeeze()[..., ::-1] if planes == 3 else array.squeeze(), found)


def test_several_pictures_with_a_mask_each_and_one_for_all(run: Run) -> None:
    images = [photograph(30, 40), photograph(30, 40)[::-1].copy()]
    holes = [holed(30, 40), holed(30, 40)[::-1]]
    each = predict(run, images, mask=holes)
    for row, image, hole in zip(each, images, holes, strict=True):
        assert np.array_equal(row["picture"], predict(run, image, mask=[hole])[0]["picture"])
    assert [row["name"] for row in predict(run, images, mask=holes[:1])] == ["image_0", "image_1"]


def test_masks_belong_to_their_pictures_beside_damaged_ones(run: Run, tmp_path: Path) -> None:
    images = [photograph(30, 40), photograph(30, 40)[::-1].copy()]
    holes = [holed(30, 40), holed(30, 40)[::-1]]
    for name, image in zip("ac", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png", "a.png")]
    rows = predict(run, files, mask=[holes[0], holes[0], holes[1], holes[1][:-1]])
    assert [row["name"] for row in rows] == ["a.png", "b.png", "c.png", "a.png"]
    assert ["error" in row for row in rows] == [False, True, False, True]
    assert "is 29×40 px, and a.png is 30×40" in rows[3]["error"]
    for row, image, hole in zip([rows[0], rows[2]], images, holes, strict=True):
        assert np.array_equal(row["picture"], predict(run, image, mask=[hole])[0]["picture"])


def test_windows_overlap_without_seams_and_skip_what_is_whole() -> None:
    seen: list[int] = []

    def brighter(part: torch.Tensor) -> torch.Tensor:
        assert part.shape[2:] == (16, 16)
        seen.append(len(part))
        return part[:, :1] + torch.arange(len(part)).view(-1, 1, 1, 1) % 2 * 0.2

    input = torch.zeros(1, 2, 100, 90)
    input[:, 1, 40:44, 10:80] = 1
    answer = in_windows(brighter, input, (16, 16))
    assert sum(seen) <= 2 * 12  # two rows of windows, not all hundred
    assert float(answer[:, :, 42].diff(dim=2).abs().max()) <= 0.2 / 4
    assert float(answer[:, :, 80:].abs().max()) == 0
    assert torch.equal(in_windows(lambda part: part[:, :1] + 1, input[:, :, :9, :9], (16, 16)), input[:, :1, :9, :9])
    input[:, 1] = 1
    assert torch.allclose(in_windows(lambda part: part[:, :1] + 1, input, (16, 16)), torch.ones(1, 1, 100, 90))


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_patch_of_fixed_place_in_resized_pictures(tmp_path: Path, model: str) -> None:
    options: dict[str, Any] = {"hidden": (16,)} | ({"widths": (4, 8)} if model == "lenet" else {})
    made = train("inpaint", few(16), model, tmp_path / "run", hole=(10, 14), place=(20, 16), output="patch", fill="mean",
                 size=(48, 40), epochs=1, batch_size=8, device="cpu", progress=False, **options)  # fmt: skip
    assert made.info["model"]["outputs"] == 140
    assert made.info["model"]["channels"] == 2
    assert made.size == (48, 40)
    assert evaluate(made, few(8), baselines=False)["model"]["missing"]["value"] == pytest.approx(140 / 1920, abs=1e-6)
    image = photograph(96, 80)
    hole = np.zeros((96, 80), bool)
    hole[42:58, 34:58] = True
    answer = predict(made, image, mask=[hole])[0]["picture"]
    assert np.array_equal(answer[:, ~hole], image.transpose(2, 0, 1)[:, ~hole])


def test_colour_runs_answer_in_colour_and_grey_pictures_in_grey(tmp_path: Path) -> None:
    made = train("inpaint", few(16, "patches_colour"), "unet", tmp_path / "run", widths=(4, 8), convolution="partial",
                 epochs=1, batch_size=8, device="cpu", progress=False)  # fmt: skip
    assert made.info["model"]["channels"] == 4
    hole = holed(40, 50)
    assert predict(made, photograph(40, 50), mask=[hole])[0]["picture"].shape == (3, 40, 50)
    grey = photograph(40, 50, 1)[..., 0]
    answer = predict(made, grey, mask=[hole])[0]["picture"]
    assert np.array_equal(answer[0][~hole], grey[~hole])


def test_a_critic_is_trained_saved_and_resumed_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "widths": (4, 8), "critic_widths": (4, 8), "adversarial": 0.1, "batch_size": 8, "epochs": 2, "checkpoint": 0.0,
        "device": "cpu", "precision": "fp32", "progress": False,
    }  # fmt: skip
    whole = train("inpaint", few(24), "pix2pix", tmp_path / "whole", **options)
    row = next(row for row in whole.history if row["split"] == "train")
    assert {"generator/hole", "generator/adversarial", "critic/loss", "critic/of_real", "critic/of_fake"} <= set(row)
    original, steps = Inpaint.prepare, []

    def interrupted(self: Inpaint, batch: Batch, draws: Draws, training: bool) -> Any:
        steps.extend([1] * training)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, draws, training)

    monkeypatch.setattr(Inpaint, "prepare", interrupted)
    assert train("inpaint", few(24), "pix2pix", tmp_path / "part", **options).status != "finished"
    monkeypatch.undo()
    half = Run(tmp_path / "part").model("last").state_dict()
    resumed = train("inpaint", few(24), "pix2pix", tmp_path / "part", **options)
    mine, theirs = (one.model("last").state_dict() for one in (whole, resumed))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for player in ("generator", "critic"):
        assert any(name.startswith(player) and not torch.equal(half[name], mine[name]) for name in mine), player
