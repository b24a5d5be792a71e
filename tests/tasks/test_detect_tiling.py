# SPDX-License-Identifier: Apache-2.0
"""Images far larger than those of the training: each object once, wherever the borders of the tiles run."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from detected import brief, picture, seen, sharp
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid import _boxes
from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.options import DetectOptions
from pellucid.tasks.detect.tiling import Found, merged, starts, tiled

Box = tuple[int, int, int, int]


def scattered(seed: int, size: tuple[int, int], sides: tuple[int, int], count: int) -> tuple[list[Box], list[int]]:
    """Rectangles in an image of this size (H, W) that do not touch, with sides from the first to below the second number."""
    draws, boxes = np.random.default_rng(seed), []
    for _ in range(count):
        tall, wide = draws.integers(*sides, 2).tolist()
        y, x = (int(draws.integers(0, max(1, side - own))) for side, own in zip(size, (tall, wide), strict=True))
        box = (x, y, min(x + wide, size[1]), min(y + tall, size[0]))
        if all(x >= b[2] + 2 or box[2] + 2 <= b[0] or y >= b[3] + 2 or box[3] + 2 <= b[1] for b in boxes):
            boxes.append(box)
    return boxes, draws.integers(0, 3, len(boxes)).tolist()


def found_by(see: object, image: NDArray[np.uint8], tile: tuple[int, int], overlap: float) -> Found:
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tiled(see, pixels, tile, tile, overlap)  # type: ignore[arg-type]


def exactly(tiles: Tensor) -> list[Found]:
    answer = seen(tiles)
    return [Found(*row) for row in zip(answer.corners, answer.labels, answer.scores, strict=True)]


def as_rows(found: Found) -> list[tuple[int, ...]]:
    return sorted(
        (*map(round, box), label) for box, label in zip(found.corners.tolist(), found.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize("sides", [(3, 16), (16, 40), (40, 130)], ids=["small", "as the overlap", "larger than a tile"])
@pytest.mark.parametrize("seed", range(4))
def test_each_object_is_found_once_and_whole(seed: int, sides: tuple[int, int]) -> None:
    """Rectangles of any size, of which each tile sees its part alone, come out as they were drawn."""
    size = [(200, 330), (64, 500), (130, 130), (50, 40)][seed]
    boxes, labels = scattered(seed, size, (sides[0], min(sides[1], min(size))) if sides[0] < min(size) else (3, 9), 60)
    image = picture(size, boxes, labels)
    for tile, overlap in (((64, 64), 0.25), ((64, 48), 0.5), ((96, 64), 0.3)):
        wanted = sorted((*box, label) for box, label in zip(boxes, labels, strict=True))
        assert as_rows(found_by(exactly, image, tile, overlap)) == wanted, (tile, overlap)


def test_boxes_that_differ_a_little_are_still_one_object() -> None:
    """A detector is never exact: its boxes are off by up to a tenth of their sides, and cut ones by more."""
    for seed in range(6):
        draws = np.random.default_rng(seed)

        def rough(tiles: Tensor, draws: np.random.Generator = draws) -> list[Found]:
            rows = []
            for one in exactly(tiles):
                wide = (one.corners[:, 2:] - one.corners[:, :2]).repeat(1, 2)
                noise = torch.tensor(draws.uniform(-0.1, 0.1, wide.shape), dtype=torch.float32)
                boxes = _boxes.clip(one.corners + noise * wide, (64, 64))
                rows.append(Found(boxes, one.labels, torch.tensor(draws.uniform(0.5, 1, len(wide))).float()))
            return rows

        boxes, labels = scattered(seed, (260, 330), (10, 16), 80)
        found = found_by(rough, picture((260, 330), boxes, labels), (64, 64), 0.3)
        overlap = _boxes.iou(torch.tensor(boxes).float(), found.corners)
        whole = int((overlap.amax(1) > 0.4).sum())
        assert whole == len(boxes), "each is found"
        assert len(found.labels) <= len(boxes) + 1, "and hardly any of them twice"


def test_a_sure_part_that_ends_before_the_border_loses_against_the_whole_box() -> None:
    """A detector seldom draws the box of a cut object as far as the border, and may be surer of it than of the whole one."""

    def hasty(tiles: Tensor) -> list[Found]:
        rows = []
        for one in exactly(tiles):
            cut = torch.cat([one.corners[:, :2] <= 0, one.corners[:, 2:] >= 64], 1)  # (n, 4)
            corners = one.corners + cut * torch.tensor([3.0, 3, -3, -3])
            rows.append(Found(corners, one.labels, torch.where(cut.any(1), 0.95, 0.6)))
        return rows

    for seed in range(4):
        boxes, labels = scattered(seed, (260, 330), (20, 26), 60)
        inner = [k for k, box in enumerate(boxes) if min(box[:2]) > 0 and box[2] < 330 and box[3] < 260]
        boxes, labels = [boxes[k] for k in inner], [labels[k] for k in inner]
        found = found_by(hasty, picture((260, 330), boxes, labels), (64, 64), 0.3)
        overlap = _boxes.iou(torch.tensor(boxes).float(), found.corners)
        assert len(found.labels) == len(boxes) > 20
        # a box that ends at a border by chance counts as cut, and lacks 3 px
        assert float(overlap.amax(1).min()) > 0.8


def test_a_cut_box_loses_against_the_whole_one_even_if_it_is_surer_or_of_another_class() -> None:
    frames = torch.tensor([[0.0, 0, 50, 50], [40, 0, 90, 50]])
    whole = Found(torch.tensor([[30.0, 5, 48, 25]]), torch.tensor([0]), torch.tensor([0.6]))
    cut = Found(torch.tensor([[40.0, 6, 49, 24]]), torch.tensor([1]), torch.tensor([0.9]))
    for order in ([0, 1], [1, 0]):
        found = merged([[whole, cut][k] for k in order], frames[order], (50, 90), (1.0, 1.0))
        assert as_rows(found) == [(30, 5, 48, 25, 0)]


def test_two_objects_that_meet_at_a_border_stay_two() -> None:
    frames = torch.tensor([[0.0, 0, 50, 50], [40, 0, 90, 50]])
    left = Found(torch.tensor([[20.0, 5, 42, 25]]), torch.tensor([0]), torch.tensor([0.9]))
    right = Found(torch.tensor([[42.0, 5, 70, 25]]), torch.tensor([0]), torch.tensor([0.9]))
    cut = Found(torch.tensor([[42.0, 5, 50, 25]]), torch.tensor([0]), torch.tensor([0.8]))
    both = Found(*(torch.cat(pair) for pair in zip(left, cut, strict=True)))
    assert as_rows(merged([both, right], frames, (50, 90), (1.0, 1.0))) == [(20, 5, 42, 25, 0), (42, 5, 70, 25, 0)]


@pytest.mark.parametrize(("length", "tile"), [(1000, 64), (65, 64), (64, 64), (3, 64), (129, 64)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9, 0.999])
def test_tiles_cover_a_side_and_overlap_as_asked(length: int, tile: int, overlap: float) -> None:
    begun = starts(length, tile, overlap)
    assert begun[0] == 0 and begun[-1] == max(0, length - tile)
    gaps = np.diff(begun)
    assert (gaps >= 1).all() and (gaps <= max(1, tile - overlap * tile)).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return brief(tmp_path_factory.mktemp("detect") / "run")


def mosaic(seed: int, down: int, across: int, side: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Single images of this size, and all of them as one."""
    singles = [
        picture((side, side), *scattered(10 * seed + k, (side - 4, side - 4), (8, 26), 6)) for k in range(down * across)
    ]
    rows = [np.concatenate(singles[k * across : (k + 1) * across], 1) for k in range(down)]
    return singles, np.concatenate(rows)


def test_a_mosaic_has_the_objects_of_its_images(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Detect, "predict", sharp)
    for seed, side in enumerate((64, 50, 120)):  # tiles of 64 px begin where they will
        singles, whole = mosaic(seed, 4, 5, side)
        Image.fromarray(whole).save(tmp_path / "whole.png")
        [row] = predict(
            run, tmp_path / "whole.png", tmp_path / "out", tile=True, threshold=0.5, format="csv", overwrite=True
        )
        apart = predict(run, singles, tile=True, threshold=0.5)
        counts: Counter[str] = Counter()
        for one in apart:
            counts.update(one["counts"])
        assert row["counts"] == dict(counts) and row["objects"] > 40
        assert np.asarray(Image.open(tmp_path / "out/whole.png")).shape == (4 * side, 5 * side, 3)
        boxes = torch.tensor([[one[edge] for edge in ("x0", "y0", "x1", "y1")] for one in row["detections"]])
        assert float((_boxes.iou(boxes, boxes) - torch.eye(len(boxes))).max()) < 0.3, "no object twice"


def test_a_tile_is_seen_as_the_training_images_were(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it has their median size; an image of one tile is then answered as without tiles."""
    assert run.model().get_buffer("own_size").tolist() == [64, 64]
    images = [np.random.default_rng(k).integers(0, 255, (64, 64, 3), np.uint8) for k in range(3)]
    plain = predict(run, images, threshold=0.05)
    assert predict(run, images, threshold=0.05, tile=True) == plain
    floats = [image / np.float32(255) for image in images]
    assert predict(run, floats, threshold=0.05, tile=True) == predict(run, floats, threshold=0.05)
    sizes: list[tuple[int, ...]] = []
    monkeypatch.setattr(Detect, "predict", lambda self, model, input: sizes.append(tuple(input.shape)) or seen(input))
    predict(run, np.zeros((100, 300, 3), np.uint8), tile=True, tile_size=(50, 100), tile_overlap=0.0)
    assert sizes == [(6, 3, 64, 64)]


def test_the_memory_for_a_large_image_is_that_of_a_few_tiles(run: Run) -> None:
    """40 megapixels, in tiles of 640 px: far less than one copy in 32 bits is held besides the image."""
    image = torch.zeros(3, 5000, 8000, dtype=torch.uint8)
    image[:, 3000:3040, 4000:4050] = 255
    tracemalloc.start()
    found = tiled(exactly, image, (640, 640), (64, 64), 0.25)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.labels) == 1
    assert np.allclose(found.corners[0], [4000, 3000, 4050, 3040], atol=12)
    assert peak < 100e6


def test_a_damaged_image_does_not_stop_the_others(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detect, "predict", sharp)
    Image.fromarray(picture((80, 90), [(5, 5, 20, 30)], [0])).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    rows = predict(run, tmp_path, tile=True, threshold=0.5)
    assert rows[0]["objects"] == 1 and "b.png" in rows[1]["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile_size": (640,)}, "tile_size=(640,): is of the tiles, and images are seen whole; add --tile."),
        ({"tile_overlap": 0.5}, "tile_overlap=0.5: is of the tiles, and images are seen whole; add --tile."),
        ({"tile": True, "tile_size": (8,)}, "tile_size=8: must be a whole number of at least 16 px; give a larger one."),
        ({"tile": True, "tile_size": (64, 64, 64)}, "tile_size=(64, 64, 64): must be one or two numbers; give a height and a width in px."),
        ({"tile": True, "tile_size": 64.5}, "tile_size=64.5: must be a whole number of at least 16 px; give a larger one."),
        ({"tile": True, "tile_overlap": 1.0}, "tile_overlap=1.0: is a share; give a number from 0 up to, but not including, 1."),
        ({"tile": True, "tile_overlap": float("nan")}, "tile_overlap=nan: is a share; give a number from 0 up to, but not including, 1."),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as fault:
        DetectOptions(**options)  # type: ignore[arg-type]
    assert str(fault.value) == said


def test_a_model_that_does_not_know_its_images_needs_a_size(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = run.model()
    model.get_buffer("own_size").zero_()
    monkeypatch.setattr(Run, "model", lambda self, which="best": model)
    with pytest.raises(UsageError, match="give --tile-size with the height and width"):
        predict(run, np.zeros((90, 90, 3), np.uint8), tile=True)
    assert predict(run, np.zeros((90, 90, 3), np.uint8), tile=True, tile_size=64)


def test_the_command_line_takes_tiles(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((90, 130, 3), np.uint8)).save(tmp_path / "a.png")
    words = [
        "predict",
        str(run.path),
        str(tmp_path / "a.png"),
        "--tile",
        "--tile-size",
        "64",
        "48",
        "--tile-overlap",
        "0.3",
    ]
    assert main(words) == 0
    assert "a.png" in capsys.readouterr().out
