# SPDX-License-Identifier: Apache-2.0
"""segment: whole trainings, what is measured of them, simpler answers, and lenses on classes and pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cocosets import coco
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import data
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish
from pellucid.data.targets import VOID, Mask
from pellucid.errors import UnknownNameError, UsageError
from pellucid.looking.looking import look
from pellucid.models.unet import Unet
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.tasks import summarise
from pellucid.tasks.segment import Segment, baselines, losses, metrics, model_measures, objects

QUICK = {"widths": (4, 8), "batch_size": 8, "device": "cpu", "progress": False, "precision": "fp32"}


def two_classes(n: int = 12, side: int = 32, bright: bool = True, void: bool = True) -> Dataset:
    """Squares that are brighter or darker than their ground, each image with some void pixels."""
    rng = np.random.default_rng(0)
    masks = np.zeros((n, side, side), np.uint8)
    for mask in masks:
        y, x, size = [*rng.integers(2, side // 2, 2).tolist(), int(rng.integers(8, 14))]
        mask[y : y + size, x : x + size] = 1
    high, low = (200, 60) if bright else (60, 200)
    images = np.where(masks == 1, high, low)[:, None] + rng.normal(0, 10, (n, 1, side, side))
    if void:
        masks[:, :2] = VOID
    targets = {"mask": Mask(torch.from_numpy(masks))}
    whole = Split(Pixels(images.clip(0, 255).astype(np.uint8)), targets, [f"{i}.png" for i in range(n)])
    parts = {
        "train": whole.select(range(n - 6)),
        "val": whole.select([n - 6, n - 5]),
        "test": whole.select(range(n - 4, n)),
    }
    return finish("squares", parts, (), mask_classes=("background", "square"))


def in_folder(dataset: Dataset, folder: Path) -> Path:
    """The images of a data set with their masks, as files."""
    for part, split in dataset.splits.items():
        truth = split.targets["mask"]
        assert isinstance(split.images, Pixels) and isinstance(truth, Mask)
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for name, image, mask in zip(split.names, split.images.array, truth.classes.numpy(), strict=True):
            Image.fromarray(image[0]).save(folder / part / "images" / name)
            Image.fromarray(mask).save(folder / part / "masks" / name)
    (folder / "classes.txt").write_text("background\nsquare\n")
    return folder


# -- trainings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options: dict[str, Any] = {
        **QUICK, "epochs": 15, "lr": 0.02, "dice": 1.0, "balance": "median_frequency", "batch_size": 4,
    }  # fmt: skip
    where = in_folder(two_classes(16), tmp_path_factory.mktemp("squares"))
    return pellucid.train("segment", where, "unet", tmp_path_factory.mktemp("run") / "run", **options)


def test_parts_of_the_loss_are_in_the_history(run: Run) -> None:
    for part in ("train", "val"):
        rows = [row for row in run.history if row["split"] == part]
        for row in rows:
            assert row["loss"] == pytest.approx(row["cross_entropy"] + row["dice"], rel=1e-4)
        assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_weights_of_classes_are_learnt_once_and_kept(run: Run) -> None:
    split = run.data()["train"]
    masks = split.targets["mask"].loaded()
    assert isinstance(masks, Mask)
    expected = losses.median_frequency(metrics.tally(masks.classes))
    text = json.dumps(run.info)
    assert all(f"{weight:.6f}"[:6] in text for weight in expected), "run.json keeps them"


def test_a_run_is_measured_with_its_objects_and_reported(run: Run) -> None:
    found = pellucid.evaluate(run)
    model = found["model"]
    assert found["main"] == "mean_iou" and model["mean_iou"]["value"] > 0.8
    assert model["objects_ap50"]["value"] > 0.5 and model["count_error"]["value"] < 1
    assert len(found["baselines"]) == 5
    names = " ".join(found["baselines"])
    for method in ("most common class", "each place", "trees", "Otsu", "watershed"):
        assert method in names
    [row] = found["details"]["objects"]
    assert row["class"] == "square" and row["true"] == 4
    assert [own["class"] for own in found["details"]["per_class"]] == ["background", "square"]
    page = report(run, maps=1).read_text()
    for words in ("mean IoU", "accuracy within 3 px of borders", "AP of objects", "The worst answers", "Objects"):
        assert words in page


def test_lenses_follow_a_class_or_a_pixel(run: Run) -> None:
    image = np.asarray(run.data()["test"].images.read(0, 1).transpose(1, 2, 0))
    y, x = (int(place.mean()) for place in np.nonzero(image[..., 0] > 130))
    for follow in ("square", f"square@{y},{x}", f"@{y},{x}"):
        view = look(run, "occlusion", image, follow=follow, patch=8, stride=8)
        assert np.isfinite(view["map"]).all() and view["map"].shape == (1, 32, 32)
    # what lies around a pixel decides about it, and a far corner does not
    view = look(run, "attribution", image, follow=f"square@{y},{x}", method="saliency")
    [shares] = [view[name] for name in view.numbers if view[name].shape[-2:] == (32, 32)][:1]
    rows, columns = np.mgrid[:32, :32]
    near = np.hypot(rows - y, columns - x) < 10
    strength = np.abs(shares.reshape(-1, 32, 32)[0])
    assert strength[near].mean() > 5 * strength[~near].mean()
    with pytest.raises(UnknownNameError, match="follow='circle'"):
        look(run, "occlusion", image, follow="circle")


def test_pixels_are_mapped_by_what_the_model_computes_of_them(run: Run, tmp_path: Path) -> None:
    view = look(run, "embedding", out=tmp_path, pixels=True, limit=60, split="test", method="pca")
    dataset, model = run.data(), run.model()
    truth = dataset["test"].targets["mask"].loaded()
    assert isinstance(truth, Mask) and isinstance(model, Unet)
    seen: list[Tensor] = []
    hook = model.head.register_forward_hook(lambda module, given, answer: seen.append(given[0]))
    images = np.stack([dataset["test"].images.read(i, 1) for i in range(len(truth))])
    with torch.no_grad():
        model(torch.from_numpy(images).float() / 255)
    hook.remove()
    assert len(view["name"]) == 60 and set(view["label"].tolist()) == {0, 1}
    places = dict(zip(dataset["test"].names, range(len(truth)), strict=True))
    for title, label, code in zip(view["name"].tolist(), view["label"], view["codes"], strict=True):
        name, _, at = title.rpartition("@")
        row, column = map(int, at.split(","))
        assert truth.classes[places[name], row, column] == label != VOID
        np.testing.assert_allclose(code, seen[0][places[name], :, row, column], atol=1e-4)
    assert "60 test pixels by the input of head" in view.words
    # one pixel an image: not always of the first class
    count = len(dataset["train"])
    few = look(run, "embedding", out=tmp_path / "few", pixels=True, limit=count, split="train", method="pca")
    assert len(few["name"]) == count and set(few["label"].tolist()) == {0, 1}
    with pytest.raises(UsageError, match=r"is of pixels, and takes no images"):
        look(run, "embedding", images[0].transpose(1, 2, 0), map=str(tmp_path / "embedding.npz"))


@pytest.mark.slow
def test_the_exported_network_gives_the_probabilities_of_classes(run: Run, tmp_path: Path) -> None:
    import onnxruntime

    [file] = pellucid.export(run, tmp_path, formats=["onnx"])
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 1, 37, 50), np.float32)
    with torch.no_grad():
        wanted = run.model()(torch.from_numpy(images)).softmax(1).numpy()
    [found] = session.run(None, {"images": images})
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    about = {entry.key: entry.value for entry in __import__("onnx").load(file).metadata_props}
    assert json.loads(about["classes"]) == ["background", "square"]


def test_classes_keep_the_names_and_colours_that_the_data_give_them(tmp_path: Path) -> None:
    """By a palette, and by a table of colours; the run knows them without the data."""
    names, colours = ("sea", "land", "ice"), ((0, 90, 200), (30, 150, 60), (240, 240, 250))
    rng = np.random.default_rng(0)
    for form in ("palette", "table"):
        where = tmp_path / form
        for kind in ("images", "masks"):
            (where / kind).mkdir(parents=True)
        for i in range(12):
            mask = np.kron(rng.permutation(9).reshape(3, 3) % 3, np.ones((8, 8), int)).astype(np.uint8)
            picture = Image.fromarray(mask)
            if form == "palette":
                picture = picture.convert("P")
                picture.putpalette([part for colour in colours for part in colour])
            else:
                picture = Image.fromarray(np.array(colours, np.uint8)[mask])
            picture.save(where / "masks" / f"{i}.png")
            Image.fromarray((mask * 80 + rng.integers(0, 9, mask.shape)).astype(np.uint8)).save(
                where / "images" / f"{i}.png"
            )
        lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in zip(names, colours, strict=True)]
        table = ["name,r,g,b", *lines] if form == "table" else names
        (where / ("class_dict.csv" if form == "table" else "classes.txt")).write_text("\n".join(table) + "\n")
        made = pellucid.train("segment", where, "unet", tmp_path / f"run-{form}", epochs=1, **QUICK)
        where.rename(tmp_path / f"{form}-moved")
        assert made.classes == names
        [row] = pellucid.predict(
            Run(made.path), np.zeros((10, 12), np.uint8), tmp_path / f"out-{form}", also="polygons"
        )
        with Image.open(row["file"]) as picture:
            shown = picture.getpalette()
        assert shown is not None and shown[:9] == [part for colour in colours for part in colour]
        features = json.loads(Path(row["files"]["polygons"]).read_text())["features"]
        assert all(
            tuple(one["properties"]["classification"]["color"]) == colours[names.index(one["properties"]["class"])]
            for one in features
        )


# -- sizes


def test_measures_are_of_the_images_at_their_own_size(run: Run, tmp_path: Path) -> None:
    """Trained at another size, the answers are interpolated, and what `evaluate` counts is what `predict` writes."""
    made = pellucid.train(
        "segment", run.info["data"]["what"], "unet", tmp_path / "run", size=(16, 24), epochs=2, lr=0.02, **QUICK
    )
    pellucid.evaluate(made, baselines=False)
    records, test = made.records(), made.data()["test"]
    truth = test.targets["mask"].loaded()
    assert isinstance(truth, Mask)
    rows = pellucid.predict(
        made, [test.images.read(i, 1).transpose(1, 2, 0) for i in range(len(test))], tmp_path / "out"
    )
    for i, row in enumerate(rows):
        with Image.open(row["file"]) as picture:
            mask = torch.tensor(np.asarray(picture))
        assert mask.shape == (32, 32)
        cells = metrics.confusions(mask[None], truth.classes[[i]], 2)[0]
        np.testing.assert_array_equal(records["confusion"][i], cells)
        assert records["confusion"][i].sum() == 32 * 30, "two rows are void"


def test_crops_are_neither_resized_in_training_nor_in_answers(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(tuple(images.shape[2:]))
            return torch.zeros(len(images), 2, *images.shape[2:])

    spy: Any = Spy()
    spy.description = {"size": [16, 16]}
    for fit, expected in (("crop", (20, 40)), ("resize", (16, 16))):
        task = Segment(fit=fit)
        assert task.crops == (fit == "crop") and task.keeps_size
        assert task.predict(spy, torch.zeros(1, 3, 20, 40)).classes.shape == (1, 20, 40)
        assert seen.pop() == expected


def test_probabilities_are_interpolated_and_classes_are_not() -> None:
    class Half(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = torch.zeros(len(images), 3, 2, 4)
            logits[:, 0, :, :2], logits[:, 2, :, 2:] = 20.0, 20.0
            return logits

    half: Any = Half()
    half.description = {"size": [2, 4]}
    answer = Segment().predict(half, torch.zeros(1, 1, 8, 16))
    assert answer.probabilities is not None
    assert set(answer.classes.unique().tolist()) == {0, 2}, "class 1 lies between them in number alone"
    middle = answer.probabilities[0, 0, 4]
    assert bool((middle.diff() <= 1e-6).all()) and 0.2 < float(middle[8]) < 0.5


# -- simpler answers


@pytest.mark.parametrize("bright", [True, False])
def test_thresholds_find_which_side_is_the_object(bright: bool) -> None:
    dataset, task = Segment().read(two_classes(bright=bright))
    found = task.baselines(dataset["train"], dataset["test"], None)
    values = {name: summarise(metrics.METRICS, own)["mean_iou"].value for name, own in found.items()}
    assert values["Otsu's threshold"] > 0.95 and values["watershed from Otsu's threshold"] > 0.9
    trees = next(value for name, value in values.items() if "trees" in name)
    assert trees > 0.9 and 0.3 < values["the most common class"] < 0.5


def test_the_most_common_class_is_that_of_training_pixels_without_void() -> None:
    dataset, task = Segment().read(two_classes())
    train, test = dataset["train"], dataset["test"]
    found = task.baselines(train, test, None)
    truth, known = test.targets["mask"], train.targets["mask"]
    assert isinstance(truth, Mask) and isinstance(known, Mask)
    counts = np.bincount(known.classes.numpy()[known.classes.numpy() != VOID])
    cells = metrics.confusions(torch.full_like(truth.classes, int(counts.argmax())), truth.classes, 2)
    np.testing.assert_array_equal(found["the most common class"]["confusion"], cells)
    # by place: the mode of each pixel over the training masks, whose sides divide the grid's
    voted = np.stack([(known.classes.numpy() == k).sum(0) for k in (0, 1)])
    best = np.where(voted.sum(0) > 0, voted.argmax(0), counts.argmax()).astype(np.uint8)
    cells = metrics.confusions(torch.from_numpy(np.stack([best] * 4)), truth.classes, 2)
    np.testing.assert_array_equal(found["the most common class at each place"]["confusion"], cells)


def test_simpler_answers_are_at_the_size_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed on small copies, and measured on the images themselves."""
    monkeypatch.setattr(baselines, "_SIDE", 16)
    dataset, task = Segment().read(two_classes(side=48, void=False))
    for name, records in task.baselines(dataset["train"], dataset["test"], None).items():
        assert (records["confusion"].sum((1, 2)) == 48 * 48).all(), name
        if name == "Otsu's threshold":
            assert 0.8 < summarise(metrics.METRICS, records)["mean_iou"].value < 1


# -- objects of the data


def test_objects_are_measured_where_the_data_know_them() -> None:
    """Outlines are objects even where they touch; a set without a background has none."""
    dataset = data.open("scenes").replace(mask_classes=("ground", *data.open("scenes").classes))
    answer = Mask(torch.zeros(1, 64, 64, dtype=torch.uint8), torch.zeros(1, 9, 64, 64))
    without = model_measures.measured(
        lambda images: answer, dataset["test"], dataset.mask_classes, 3, torch.device("cpu")
    )
    assert not without.measures and not without.pictures


def test_touching_outlines_are_two_objects(tmp_path: Path) -> None:
    def outline(left: int) -> dict[str, Any]:
        corners = [left, 10, left + 16, 10, left + 16, 26, left, 26]
        return {"category_id": 3, "segmentation": [corners], "bbox": [left, 10, 16, 16], "area": 256, "iscrowd": 0}

    dataset, _ = Segment().read(data.open(coco(tmp_path, [[outline(8), outline(24)]] * 4)))
    test = dataset["test"]
    truth = test.targets["mask"].loaded()
    assert isinstance(truth, Mask)
    assert objects.parted(truth.classes[0].numpy() == 1, np.zeros(0), "joined").max() == 1, "they touch"

    def perfect(images: Tensor) -> Mask:
        shares = F.one_hot(truth.classes.long(), len(dataset.classes)).movedim(3, 1).float()
        return Mask(truth.classes, shares)

    found = model_measures.measured(perfect, test, dataset.classes, 3, torch.device("cpu"))
    [row] = found.details["objects"]
    assert (row["class"], row["true"], row["found"]) == ("cell", 2, 1), "no neck: a bar of two squares"
    assert found.measures["count_error"].value == 1
