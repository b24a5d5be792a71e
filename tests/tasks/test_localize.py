# SPDX-License-Identifier: Apache-2.0
"""localize: the truth, the losses and the measures against values worked out another way; answers in an image's own pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, generalized_box_iou_loss

from pellucid import _boxes, data
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.inference import predict
from pellucid.lenses import Evaluation
from pellucid.lenses.confusion import Confusion
from pellucid.looking.looking import look
from pellucid.tasks import summarise
from pellucid.tasks.localize import Localize, baselines, losses, metrics
from pellucid.tasks.localize.objects import Located, largest
from pellucid.training.training import train


def boxes_of(rng: np.random.Generator, n: int, side: float = 40.0) -> Tensor:
    """(n, 4) boxes inside images of this side."""
    ends = np.sort(rng.uniform(0, side, (n, 2, 2)), 1)  # (n, start and end, x and y)
    return torch.from_numpy(ends.reshape(n, 4).astype(np.float32))


def located(present: list[bool], index: list[int], corners: Tensor, classes: int = 3) -> Located:
    """Answers that are sure."""
    shares = torch.eye(classes)[index]
    return Located(torch.tensor(present).float(), torch.tensor(index), corners, shares)


# -- which object counts


def test_the_largest_box_that_counts_is_the_truth() -> None:
    """By brute force over random images, with ignored boxes, boxes partly outside, and images without any."""
    rng = np.random.default_rng(0)
    corners, labels, ignored, expected = [], [], [], []
    for _ in range(60):
        n = int(rng.integers(0, 5))
        own = boxes_of(rng, n, 60.0) - 10  # images of 40 px: some boxes leave them
        kinds, crowd = torch.from_numpy(rng.integers(0, 4, n)), torch.from_numpy(rng.random(n) < 0.3)
        best: tuple[float, int, list[float]] | None = None
        for (x0, y0, x1, y1), kind, skip in zip(own.tolist(), kinds.tolist(), crowd.tolist(), strict=True):
            cut = [max(0.0, x0), max(0.0, y0), min(40.0, x1), min(30.0, y1)]
            area = max(0.0, cut[2] - cut[0]) * (cut[3] - cut[1]) if cut[3] > cut[1] else 0.0
            if not skip and area > 0 and (best is None or area > best[0]):
                best = area, kind, cut
        corners.append(own), labels.append(kinds), ignored.append(crowd), expected.append(best)
    truth = largest(Boxes(corners, labels, None, ignored), (30, 40))
    for i, best in enumerate(expected):
        assert bool(truth.present[i]) == (best is not None)
        if best is not None:
            assert int(truth.index[i]) == best[1]
            assert truth.corners[i].tolist() == pytest.approx(best[2])
    assert not truth.present.all() and truth.present.any()


def small(boxes: list[list[list[float]]], ignored: list[list[bool]] | None = None, classes: int = 2) -> Dataset:
    """Images of 16×16 px with these boxes, the same in each split; the k-th box of an image is of class k."""
    n = len(boxes)
    rng = np.random.default_rng(3)
    target = Boxes(
        [torch.tensor(own, dtype=torch.float32).reshape(-1, 4) for own in boxes],
        [torch.arange(len(own)) % classes for own in boxes],
        None,
        None if ignored is None else [torch.tensor(own, dtype=torch.bool) for own in ignored],
    )
    splits = {
        part: Split(
            Pixels(rng.integers(0, 255, (n, 3, 16, 16), np.uint8)), {"boxes": target}, [f"{part}{i}" for i in range(n)]
        )
        for part in ("train", "val", "test")
    }
    return finish("small", splits, ("cat", "dog")[:classes])


def test_what_is_chosen_and_left_out_is_said() -> None:
    one, two = [[1.0, 1, 9, 9]], [[1.0, 1, 9, 9], [2.0, 2, 5, 5]]
    read, _ = Localize().read(small([one, two, two, []], [[True], [False, False], [False, True], []]))
    assert read.notes[-2:] == (
        "Left out, as all of their objects are crowds or difficult ones: 3 images.",
        "Images with several objects: 3; the largest object of each counts.",
    )
    assert [len(split) for split in read.splits.values()] == [3, 3, 3]
    assert list(read["test"].names) == ["test1", "test2", "test3"]


def test_data_without_boxes_or_objects_are_refused() -> None:
    with pytest.raises(DataError, match=r"^data='digits': has no boxes, which localize needs; give annotated images"):
        Localize().read(data.open("digits"))
    with pytest.raises(DataError, match=r"^data='small': no training image has an object; give images with boxes"):
        Localize().read(small([[], []]))


def test_truth_moves_with_a_mirrored_image() -> None:
    """A flip exchanges the distances of the box to the left and the right border, and its pixels stay its pixels."""
    scenes = data.open("scenes")["test"].select(range(16))
    targets = {"boxes": scenes.targets["boxes"]}
    batch = Batch(torch.from_numpy(scenes.images.array), targets, torch.arange(16))  # type: ignore[attr-defined]
    plain, before = Localize().prepare(batch, Draws.step(0, 0, slice(0, 16), 16), True)
    moved, after = Localize(augment=Augment(flip=True)).prepare(batch, Draws.step(0, 0, slice(0, 16), 16), True)
    mirrored = (moved == plain.flip(3)).flatten(1).all(1)
    assert 0 < int(mirrored.sum()) < 16
    expected = before.corners[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([64, 0, 64, 0])
    torch.testing.assert_close(after.corners, torch.where(mirrored[:, None], expected, before.corners))


# -- losses


def test_iou_and_giou_are_those_of_torchvision() -> None:
    rng = np.random.default_rng(1)
    one, other = boxes_of(rng, 200) / 40, boxes_of(rng, 200) / 40
    torch.testing.assert_close(_boxes.paired(one, other), box_iou(one, other).diag())
    answer, truth = (losses.as_shares(boxes, (1, 1)) for boxes in (one, other))
    torch.testing.assert_close(losses.corners_of(answer), one)
    theirs = generalized_box_iou_loss(one, other)
    torch.testing.assert_close(losses.box_error("giou", answer, truth), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", losses.BOX_LOSSES)
def test_the_loss_is_that_of_the_formula(kind: losses.BoxLoss) -> None:
    """Image by image, with logarithms of sigmoid and softmax; without an object neither class nor box counts."""
    torch.manual_seed(0)
    output = torch.randn(6, 1 + 3 + 4, requires_grad=True)
    truth = Located(
        torch.tensor([1.0, 0, 1, 1, 0, 1]), torch.tensor([0, 0, 2, 1, 0, 2]), boxes_of(np.random.default_rng(2), 6)
    )
    found = losses.losses(output, truth, (40, 40), kind, 3.0)
    total, parts = torch.zeros(()), {"object": 0.0, "class": 0.0, "box": 0.0}
    for i in range(6):
        there = bool(truth.present[i])
        known = -(output[i, 0].sigmoid() if there else 1 - output[i, 0].sigmoid()).log()
        named = -output[i, 1:4].softmax(0)[truth.index[i]].log() if there else torch.zeros(())
        placed = torch.zeros(())
        if there:
            row, column, height, width = output[i, 4:].sigmoid()
            x0, y0, x1, y1 = truth.corners[i] / 40
            gaps = torch.stack([row - (y0 + y1) / 2, column - (x0 + x1) / 2, height - (y1 - y0), width - (x1 - x0)])
            if kind == "giou":
                own = torch.stack([column - width / 2, row - height / 2, column + width / 2, row + height / 2])
                placed = generalized_box_iou_loss(own[None], truth.corners[i][None] / 40)[0]
            else:
                bent = torch.where(gaps.abs() < 0.05, 10 * gaps.square(), gaps.abs() - 0.025)
                placed = (gaps.square() if kind == "squared" else bent).sum()
        total = total + (known + named + 3 * placed) / 6
        for name, value in zip(parts, (known, named, placed), strict=True):
            parts[name] += float(value.detach()) / 6
    assert float(found["loss"].detach()) == pytest.approx(float(total.detach()), rel=1e-4)
    assert {name: float(found[name].detach()) for name in parts} == pytest.approx(parts, rel=1e-4)
    found["loss"].backward()
    empty = output.grad[truth.present == 0]  # type: ignore[index]
    assert bool((empty[:, 1:] == 0).all()) and bool((empty[:, 0] != 0).all())


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^box_loss='l2': is not known; choose squared, smooth_l1 or giou\.$"):
        Localize(box_loss="l2")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^box_weight=0: must be above 0; give another value\.$"):
        Localize(box_weight=0)


# -- measures


def test_measures_are_those_of_sets_of_pixels() -> None:
    """Counted on painted masks: a pixel is in a box where its centre is."""
    rng = np.random.default_rng(4)
    truth = located([True] * 30 + [False] * 10, [0] * 40, boxes_of(rng, 40, 30))
    truth = Located(truth.present, truth.index, truth.corners * truth.present[:, None])
    answer = located((rng.random(40) < 0.7).tolist(), [0] * 40, boxes_of(rng, 40, 30))
    found = summarise(metrics.METRICS, metrics.columns(answer, truth, (30, 40)))
    centres = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5), -1)  # (H, W, 2)

    def painted(own: Located) -> np.ndarray:
        masks = [((centres >= c[:2].numpy()) & (centres < c[2:].numpy())).all(-1) & (p > 0.5)
                 for c, p in zip(own.corners, own.present.tolist(), strict=True)]  # fmt: skip
        return np.stack(masks)

    ours, theirs = painted(answer), painted(truth)
    expected = {
        "pixel_tpr": (ours & theirs).sum() / theirs.sum(),
        "pixel_tnr": (~ours & ~theirs).sum() / (~theirs).sum(),
        "pixel_ppv": (ours & theirs).sum() / ours.sum(),
        "pixel_iou": (ours & theirs).sum() / (ours | theirs).sum(),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected)


def test_measures_of_answers_that_are_known() -> None:
    """Six images: right, wrong class, shifted by half, missed, rightly empty, false alarm."""
    box = torch.tensor([[0.0, 0, 8, 8]])
    truth = located([True] * 4 + [False] * 2, [0, 0, 1, 1, 0, 0], torch.cat([box.expand(4, 4), torch.zeros(2, 4)]))
    places = torch.cat([box, box, box + torch.tensor([4.0, 0, 4, 0]), box, box, box])
    answer = located([True, True, True, False, False, True], [0, 1, 1, 1, 0, 0], places)
    records = metrics.columns(answer, truth, (16, 16))
    found = {name: one.value for name, one in summarise(metrics.METRICS, records).items()}
    assert found == pytest.approx(
        {
            "quality": (1 + 0 + 1 / 3 + 0 + 1 + 0) / 6,
            "right": 2 / 6,
            "class_accuracy": 3 / 4,  # also where the object was missed
            "found": 3 / 4,
            "located": 2 / 4,
            "false_alarms": 1 / 2,
            "mean_iou": (1 + 1 + 1 / 3) / 4,
            "pixel_tpr": (64 + 64 + 32) / 256,
            "pixel_tnr": 1 - (32 + 64) / (6 * 256 - 256),
            "pixel_ppv": (64 + 64 + 32) / 256,
            "pixel_iou": (64 + 64 + 32) / (256 + 256 - 160),
        }
    )
    table = metrics.details(records, ["cat", "dog", "cow"])["confusion"]
    assert table == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]


def test_a_rate_over_few_of_the_images_has_the_interval_of_so_many() -> None:
    """No false alarm in 10 empty images among 1,000 says as little as in 10 images alone (Wilson 1927)."""
    box = torch.tensor([[0.0, 0, 8, 8]]).expand(1000, 4)
    truth = located([True] * 990 + [False] * 10, [0] * 1000, box)
    found = summarise(metrics.METRICS, metrics.columns(truth, truth, (16, 16)))["false_alarms"]
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-3)


# -- answers


class Fixed(nn.Module):
    """Always the same answer."""

    def __init__(self, output: list[float]) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.tensor(output))

    def forward(self, images: Tensor) -> Tensor:
        return self.output.expand(len(images), -1)


def test_boxes_are_cut_to_the_image_and_follow_its_sides() -> None:
    logit = torch.tensor([0.5, 0.25, 0.5, 0.75]).logit().tolist()  # row, column, height, width
    answer = Localize().predict(Fixed([1.0, 0.0, 2.0, *logit]), torch.zeros(2, 3, 20, 40))
    assert answer.corners[0].tolist() == pytest.approx([0.0, 5.0, 25.0, 15.0])  # the left end would be at −5
    assert answer.found.all() and answer.index.tolist() == [1, 1]
    output = Fixed([1.0, 0.0, 2.0, *logit])(torch.zeros(1))
    sides = Localize().followable(["cat", "dog"])
    values = {name: round(float(score(output.detach())), 3) for name, score in sides.items()}
    assert values == {
        "object": 1.0, "class": 2.0, "cat": 0.0, "dog": 2.0, "left": -0.125, "top": 0.25, "right": 0.625, "bottom": 0.75,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    whole = data.open("sparse_scenes")
    splits = {part: split.select(range(24)) for part, split in whole.splits.items()}
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(
        "localize", whole.replace(splits=splits), None, out, epochs=2, batch_size=12, device="cpu", progress=False
    )


def test_each_part_of_the_loss_is_in_the_history(trained) -> None:  # type: ignore[no-untyped-def]
    for split in ("train", "val"):
        rows = [row for row in trained.history if row["split"] == split]
        assert rows
        for row in rows:
            assert row["loss"] == pytest.approx(row["object"] + row["class"] + 20 * row["box"], rel=1e-5)


def quarter(self: Localize, model: nn.Module, input: Tensor) -> Located:
    """The lower left quarter of every image but black ones, which show nothing."""
    height, width = input.shape[2:]
    corners = torch.tensor([[0, height / 2, width / 2, height]]).expand(len(input), 4)
    shares = torch.full((len(input), 8), 0.0)
    shares[:, 3] = 1
    return Located((input.amax((1, 2, 3)) > 0).float(), shares.argmax(1), corners, shares)


def test_answers_are_in_the_pixels_of_each_image(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Of files, arrays and floats of all sizes, in the table and on the picture."""
    from PIL import Image

    monkeypatch.setattr(Localize, "predict", quarter)
    grey = np.full((100, 300), 90, np.uint8)
    Image.fromarray(grey).save(tmp_path / "wide.png")
    black = np.zeros((50, 50, 3), np.uint8)
    given = [tmp_path / "wide.png", np.full((64, 64, 3), 90, np.uint8), np.full((32, 16, 3), 0.4), black]
    rows = predict(trained, given[:1], tmp_path / "out") + predict(trained, given[1:], tmp_path / "arrays")
    assert [list(row["box"].values()) for row in rows] == [
        [0, 50, 150, 100],
        [0, 32, 32, 64],
        [0, 16, 8, 32],
        [None] * 4,
    ]
    assert [row["label"] for row in rows] == ["diamond"] * 3 + [None]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())[0]["box"] == rows[0]["box"]
    pictures = [np.asarray(Image.open(row["picture"])) for row in rows]
    assert [picture.shape for picture in pictures] == [(100, 300, 3), (64, 64, 3), (32, 16, 3), (50, 50, 3)]
    ink = (pictures[0] == (255, 176, 0)).all(2)
    outline = np.zeros_like(ink)
    outline[50:100, 0:150], outline[51:99, 1:149] = True, False
    assert ink[outline].all()  # the first and the last row and column inside of the box
    assert not ink[51:, 150:].any() and (pictures[0][52:98, 2:148] == 90).all()


def test_a_table_alone_needs_no_pictures(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(Localize, "predict", quarter)
    images = np.full((2, 20, 40, 3), 90, np.uint8)
    rows = predict(trained, images, tmp_path / "answers.csv")
    assert all("picture" not in row for row in rows)
    header, first, _ = (tmp_path / "answers.csv").read_text().splitlines()
    assert header.split(",")[:7] == ["name", "object", "label", "box.x0", "box.y0", "box.x1", "box.y1"]
    assert first.split(",")[2:7] == ["diamond", "0.0", "10.0", "20.0", "20.0"]
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["answers.csv"]


# -- simpler answers


def test_otsu_finds_a_bright_square_and_says_when_there_is_none() -> None:
    """Squares and bars of one colour on noise, a third of the images empty."""
    rng = np.random.default_rng(5)
    images = rng.integers(90, 110, (120, 3, 32, 32), np.uint8)
    boxes, labels = [], []
    for i, image in enumerate(images):
        tall, wide = ((12, 12), (6, 20))[i % 2]
        y, x = (int(rng.integers(2, 30 - side)) for side in (tall, wide))
        if i % 3:
            image[0, y : y + tall, x : x + wide] = 220
        boxes.append(torch.tensor([[x, y, x + wide, y + tall]] * bool(i % 3), dtype=torch.float32).reshape(-1, 4))
        labels.append(torch.tensor([i % 2] * bool(i % 3), dtype=torch.int64))
    whole = Split(Pixels(images), {"boxes": Boxes(boxes, labels)}, [str(i) for i in range(120)])
    found = baselines.measured(whole.select(range(60)), whole.select(range(60, 120)), (32, 32))
    assert list(found) == [
        "mean box of the most common class", "the whole image", "no object",
        "Otsu's threshold on colour, 5 nearest neighbours",
    ]  # fmt: skip
    measured = {name: summarise(metrics.METRICS, records) for name, records in found.items()}
    otsu = measured["Otsu's threshold on colour, 5 nearest neighbours"]
    assert otsu["class_accuracy"].value == 1 and otsu["found"].value > 0.95 and otsu["false_alarms"].value < 0.1
    assert otsu["mean_iou"].value > 0.8
    assert measured["no object"]["quality"].value == pytest.approx(1 / 3)
    assert measured["the whole image"]["pixel_tpr"].value == 1


def test_the_mean_box_is_that_of_the_most_common_class() -> None:
    split = small([[[0.0, 0, 8, 8]], [[2.0, 4, 10, 12]], [[0.0, 0, 2, 2], [4.0, 4, 16, 16]]])["train"]
    records = baselines.measured(split, split, (32, 32))["mean box of the most common class"]
    assert records["box"].tolist() == [[2.0, 4.0, 18.0, 20.0]] * 3  # twice as large as the data
    assert records["predicted"].tolist() == [0, 0, 0] and records["true"].tolist() == [0, 0, 1]


# -- lenses


def test_lenses_follow_the_object_a_class_or_a_side(trained, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    image = data.open("sparse_scenes")["test"].images.read(1, 3)
    with torch.no_grad():
        output = trained.model()(torch.from_numpy(image)[None].float() / 255)[0]
    row, _, height, _ = output[-4:].sigmoid().tolist()
    expected = {None: float(output[0]), "object": float(output[0]), "star": float(output[7]), "top": row - height / 2}
    for follow, value in expected.items():
        view = look(trained, "occlusion", image.transpose(1, 2, 0), tmp_path, follow=follow, patch=32, stride=32)
        assert view["score"][0] == pytest.approx(value, abs=1e-4)
        view = look(
            trained, "attribution", image.transpose(1, 2, 0), tmp_path, method="saliency", follow=follow, depths=0
        )
        assert view["score"][0] == pytest.approx(value, abs=1e-4)
    with pytest.raises(UnknownNameError, match=r"^follow='nose' is not known.* Known: bottom, circle, class, cross"):
        look(trained, "occlusion", image.transpose(1, 2, 0), tmp_path, follow="nose")


def test_confusion_has_the_images_without_an_object() -> None:
    box = torch.tensor([[0.0, 0, 8, 8]]).expand(4, 4)
    truth, answer = (
        located([True, True, False, False], [0, 1, 0, 0], box),
        located([True, False, False, True], [0, 1, 0, 1], box),
    )
    names = Localize().outcomes(["cat", "dog", "cow"])
    view = Confusion().look(Evaluation(metrics.columns(answer, truth, (16, 16)), classes=names))
    assert view["confusion"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
