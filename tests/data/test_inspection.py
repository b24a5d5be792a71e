"""What `pellucid data` counts, says and draws of annotated images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from pellucid import data
from pellucid.cli.cli import main
from pellucid.data.annotations import Annotated, Annotations, Instance
from pellucid.data.annotations.assembling import assemble
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.formats.finding import walk
from pellucid.data.inspection import contact_sheet, drawing, inspect, sheet, tiles
from pellucid.data.inspection import fonts as fonts_module
from pellucid.data.inspection.fonts import fonts_for
from pellucid.data.inspection.legend import Entry, entries, rows_of
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes, Mask, Points, Target, Text
from pellucid.errors import DataError


def boxed(*images: Sequence[tuple[float, float, float, float, int]], crowds: Sequence[tuple[int, int]] = ()) -> Boxes:
    """Boxes and classes of images; `crowds` are (image, box) that are ignored."""
    corners = [torch.tensor([box[:4] for box in own], dtype=torch.float32).view(-1, 4) for own in images]
    labels = [torch.tensor([box[4] for box in own], dtype=torch.int64) for own in images]
    ignored = [
        torch.tensor([(i, k) in crowds for k in range(len(own))], dtype=torch.bool) for i, own in enumerate(images)
    ]
    return Boxes(corners, labels, None, ignored)


def split(count: int, size: tuple[int, int] = (40, 60), seed: int = 0, **targets: Target) -> Split:
    array = np.random.default_rng(seed).integers(0, 256, (count, 3, *size), np.uint8)
    return Split(Pixels(array), targets, [f"{i}.png" for i in range(count)])


def printed(dataset: Dataset) -> str:
    console = Console(width=160, record=True, file=None, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        console.print(inspect(dataset))
    return shown.get()


OBJECTS = boxed(
    [(0, 0, 10, 20, 0), (5, 5, 35, 25, 1)],
    [],
    [(2, 2, 3, 3, 1), (10, 10, 50, 40, 1)],
    [(1, 1, 41, 31, 0)],
    crowds=[(3, 0)],
)


def kept(boxes: Boxes = OBJECTS, classes: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    one = boxed([(0, 0, 8, 8, 0), (0, 0, 9, 9, 1)])
    splits = {
        "train": split(len(boxes), boxes=boxes),
        "val": split(1, seed=1, boxes=one),
        "test": split(1, seed=2, boxes=one),
    }
    return finish("tests", splits, classes)


def test_objects_are_counted_by_split_and_class() -> None:
    found = inspect(kept()).objects
    assert found is not None
    assert found.total == {"train": 4, "val": 2, "test": 2}
    assert found.empty == {"train": 1, "val": 0, "test": 0}
    assert found.ignored == {"train": 1, "val": 0, "test": 0}
    assert {name: own["train"] for name, own in found.classes.items()} == {"cat": (1, 1), "dog": (2, 3)}
    sides = sorted([10, 20, 1, 30, 30, 8, 9, 8, 9])  # the shorter ones of all nine boxes
    assert found.shorter == (1, sides[4], 30)
    assert found.longer[2] == 40
    assert found.share[2] == pytest.approx(40 * 30 / (40 * 60))
    assert found.size == (40, 60)
    assert found.small == sum(side < 16 for side in sides)


def test_small_boxes_are_counted_at_the_size_of_a_training() -> None:
    """Of 400×800 px, images are trained on at 112×224: a box of 50×100 px has 14 px then, and one of 60×60 px 16.8."""
    boxes = boxed([(0, 0, 100, 50, 0), (0, 0, 60, 60, 0)])
    splits = {part: split(1, (400, 800), i, boxes=boxes) for i, part in enumerate(("train", "val", "test"))}
    found = inspect(finish("tests", splits, ("cat",))).objects
    assert found is not None
    assert (found.size, found.small) == ((112, 224), 3)


def test_pixels_are_counted_by_class_and_void_apart() -> None:
    classes = torch.zeros(2, 10, 10, dtype=torch.uint8)
    classes[0, :5] = 1
    classes[1, 0, 0] = 2
    classes[1, 9] = 255
    splits = {"train": split(2, (10, 10), mask=Mask(classes))}
    splits |= {part: split(2, (10, 10), i, mask=Mask(classes * 0 + i)) for i, part in ((1, "val"), (3, "test"))}
    found = inspect(finish("tests", splits, mask_classes=("background", "road", "car", "sky")))
    assert found.regions is not None
    assert found.regions.share == pytest.approx(
        {"background": 139 / 600, "road": 250 / 600, "car": 1 / 600, "sky": 200 / 600, "void": 10 / 600}
    )
    assert found.regions.images == {"background": 2, "road": 3, "car": 1, "sky": 2, "void": 1}
    assert "No training mask holds sky, which val or test has: nothing can be learned about it." in found.warnings


def test_keypoints_and_texts_are_counted() -> None:
    xy = torch.tensor([[[1.0, 2], [torch.nan, torch.nan]], [[torch.nan, torch.nan]] * 2])
    splits = {
        part: split(2, seed=i, points=Points(xy), text=Text(["AB\nBé", ""]))
        for i, part in enumerate(("train", "val", "test"))
    }
    dataset = finish("tests", splits, point_names=("eye", "nose"))
    found = inspect(dataset)
    assert found.keypoints is not None and found.texts is not None
    assert (found.keypoints.visible["train"], found.keypoints.bare["train"]) == ((1, 4), 1)
    assert (found.texts.lines["train"], found.texts.characters["train"], found.texts.bare["train"]) == (2, 4, 1)
    assert (found.texts.different, found.texts.longest) == (3, 2)
    shown = printed(dataset)
    assert "2 keypoints an image: 1 eye, 2 nose" in shown
    assert "3 different characters; the longest line has 2." in shown


def test_the_tables_say_what_was_counted() -> None:
    shown = printed(kept())
    assert "images without any" in shown and "not counted: crowd or difficult" in shown
    row = next(line for line in shown.splitlines() if line.startswith("dog"))
    assert row.split()[:7] == ["dog", "2", "3", "1", "1", "1", "1"]
    assert "6 of 9 have a side under 16 px when images are trained on at 40×60 px." in shown


def test_a_class_of_objects_that_train_lacks_is_refused() -> None:
    strange = boxed([(0, 0, 8, 8, 2)])
    splits = {
        "train": split(4, boxes=OBJECTS),
        "val": split(1, seed=1, boxes=boxed([])),
        "test": split(1, seed=2, boxes=strange),
    }
    with pytest.raises(DataError) as refusal:
        finish("tests", splits, ("cat", "dog", "cow"))
    assert str(refusal.value) == (
        "data='tests': class 'cow' of test is missing from train; add images of it there, or remove it."
    )
    crowd = boxed([(0, 0, 8, 8, 2)], crowds=[(0, 0)])  # it is not measured
    splits["test"] = split(1, seed=2, boxes=crowd)
    assert len(finish("tests", splits, ("cat", "dog", "cow"))["test"]) == 1


def test_a_split_without_any_object_is_named() -> None:
    splits = {part: split(2, seed=i, boxes=boxed([], [])) for i, part in enumerate(("train", "val", "test"))}
    warnings = finish("tests", splits, ("cat",)).problems
    assert "No image of the train split has an object: nothing about objects can be learned." in warnings
    assert "No image of the test split has an object: no objects are measured there." in warnings


def test_rare_and_imbalanced_classes_of_objects_are_named() -> None:
    many = boxed(*([(0, 0, 9, 9, 0)],) * 30, [(0, 0, 9, 9, 1)])
    warnings = " ".join(inspect(kept(many)).warnings)
    assert "1 of 2 classes has fewer than 10 training images (dog: 1)" in warnings
    assert "The objects are imbalanced, from 1 image with 'dog' to 30 with 'cat' in train" in warnings
    assert "--class-weights" not in warnings


def test_missing_splits_of_annotated_images_hold_every_class(tmp_path: Path) -> None:
    """Of 60 images three hold the rare class: cut by chance alone, most often a split would be without it."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).save(tmp_path / f"{i}.png")
        instances = [Instance("common", box=(0, 0, 3, 3))] if i % 3 else []
        instances += [Instance("rare", box=(1, 1, 4, 4))] if i in (1, 2, 4) else []
        records.append(Annotated(f"{i}.png", tuple(instances)))
    dataset = assemble(tmp_path, Annotations("tests", records), walk(tmp_path))
    found = inspect(dataset).objects
    assert found is not None
    assert {part: images for part, (images, _) in found.classes["rare"].items()} == {"train": 1, "val": 1, "test": 1}
    assert [found.empty[part] for part in ("train", "val", "test")] == [14, 2, 4]  # 20 % of 20, and 10 % of 16


# -- the contact sheet


def drawn(dataset: Dataset, out: Path, **asked: int) -> NDArray[np.uint8]:
    with Image.open(contact_sheet(dataset, out, **asked)) as picture:
        return np.array(picture.convert("RGB"))


def coloured(picture: NDArray[np.uint8], colour: str) -> int:
    """How many pixels have nearly this colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(2) < 12).sum())


def grey(count: int, size: tuple[int, int], seed: int = 0, **targets: Target) -> Split:
    array = np.full((count, 1, *size), 128, np.uint8)
    array[:, 0, 0, 0] = np.arange(count) + 40 * seed
    return Split(Pixels(array), targets, [f"{i}.png" for i in range(count)])


def sole(train: Split, **more: tuple[str, ...]) -> Dataset:
    empty = train.select([])
    return Dataset("tests", {"train": train, "val": empty, "test": empty}, **more)


def test_each_class_has_its_colour_on_boxes_masks_and_tags(tmp_path: Path) -> None:
    red, green = tiles.colours(["cat", "dog"]).values()
    alone = sole(grey(1, (60, 60), boxes=boxed([(10, 20, 50, 50, 1)])), classes=("cat", "dog"))
    picture = drawn(alone, tmp_path / "boxes.png")
    assert coloured(picture, green) > 200 and coloured(picture, red) == 0
    mask = torch.zeros(1, 60, 60, dtype=torch.uint8)
    mask[0, 10:30] = 1
    mask[0, 40:50] = 255
    named = {"mask_classes": ("background", "cat")}
    tinted = drawn(sole(grey(1, (60, 60), mask=Mask(mask)), **named), tmp_path / "mask.png")
    half = "#" + "".join(f"{round((128 + int(red[i : i + 2], 16)) / 2):02x}" for i in (1, 3, 5))
    assert coloured(tinted, half) == pytest.approx(192 * 192 / 3, rel=0.1)  # a third of the tile
    assert coloured(tinted, "#808080") == pytest.approx(192 * 192 / 2, rel=0.1)  # the background has no colour


def test_tags_lie_inside_the_tile_and_over_no_other_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    starts = rng.uniform(0, 90, (40, 2))
    boxes = boxed([(x, y, x + 10, y + 9, int(i % 8)) for i, (x, y) in enumerate(starts.tolist())])
    placed: list[tuple[float, float, float, float]] = []

    def noted(axes: object, words: str, place: tuple[float, float], extent: tuple[float, float], *_: object) -> None:
        placed.append((*place, place[0] + extent[0], place[1] + extent[1]))

    monkeypatch.setattr(drawing, "_tag", noted)
    drawn(sole(grey(1, (100, 100), boxes=boxes), classes=tuple(f"kind {i}" for i in range(8))), tmp_path / "a.png")
    assert 4 <= len(placed) <= 6
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 100 and y1 <= 100 for x0, y0, x1, y1 in placed)
    for i, (a0, b0, a1, b1) in enumerate(placed):
        assert not any(a0 < x1 and a1 > x0 and b0 < y1 and b1 > y0 for x0, y0, x1, y1 in placed[:i])


def test_the_legend_names_what_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Entry] = []
    monkeypatch.setattr(sheet, "entries", lambda *given: seen.extend(entries(*given)) or seen)
    mask = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    targets = {
        "mask": Mask(mask),
        "points": Points(torch.ones(1, 2, 2)),
        "boxes": boxed([(0, 0, 1, 1, 0)], crowds=[(0, 0)]),
    }
    dataset = sole(
        grey(1, (1, 3), **targets),
        classes=("cat", "dog"),
        mask_classes=("background", "road", "car"),
        point_names=("eye", "ear"),
    )
    contact_sheet(dataset, tmp_path / "a.png")
    assert [entry.words for entry in seen] == [
        "cat", "road", "void: counts for nothing", "crowd or difficult: not counted", "keypoints:", "1 eye", "2 ear",
    ]  # fmt: skip


def test_lines_join_the_keypoints_of_a_skeleton(tmp_path: Path) -> None:
    nan = torch.nan
    points = Points(torch.tensor([[[10.0, 10], [50, 10], [50, 50], [nan, nan]]]))
    alone = drawn(sole(grey(1, (60, 60), points=points)), tmp_path / "a.png")
    joined = drawn(sole(grey(1, (60, 60), points=points)).replace(skeleton=((0, 1), (2, 3))), tmp_path / "b.png")
    side = 192 / 60
    changed = np.argwhere((alone != joined).any(2))  # rows and columns of the sheet, below its heading
    assert len(changed)
    assert (
        np.abs(changed[:, 0] - (40 + 10 * side)).max() < 4
    )  # the first line alone: the other has an end that is not visible
    assert np.ptp(changed[:, 1]) == pytest.approx(40 * side, abs=8)


def test_dashes_join_the_keypoints_that_a_mirror_exchanges(tmp_path: Path) -> None:
    xy = torch.tensor([[[10.0, 10], [50, 10], [30, 50]]])
    plain = drawn(sole(grey(1, (60, 60), points=Points(xy, (0, 1, 2)))), tmp_path / "a.png")
    paired = drawn(sole(grey(1, (60, 60), points=Points(xy, (1, 0, 2)))), tmp_path / "b.png")
    side = 192 / 60
    changed = np.argwhere((plain[: 40 + 192] != paired[: 40 + 192]).any(2))
    assert len(changed)
    assert np.abs(changed[:, 0] - (40 + 10 * side)).max() < 4
    across = np.unique(changed[:, 1])
    assert np.ptp(across) == pytest.approx(40 * side, abs=12) and (np.diff(across) > 1).sum() > 5, "a dashed line"


def test_a_long_legend_ends_with_how_many_more() -> None:
    look = tiles.Look(fonts_for([]), 100)
    found = [Entry(f"kind {i}", "#ff0000") for i in range(300)]
    rows = rows_of(found, 600, look)
    assert len(rows) == 6
    listed = sum(map(len, rows)) - 1
    assert rows[-1][-1][1].words == f"… {300 - listed} more"
    assert all(place + look.fonts.width(entry.words, 7) <= 600 for row in rows for place, entry in row)


def test_a_rare_class_and_an_image_without_objects_are_shown() -> None:
    boxes = [[(0.0, 0.0, 4.0, 4.0, 0)] for _ in range(500)]
    boxes[123], boxes[321] = [], [(0.0, 0.0, 4.0, 4.0, 1)]
    chosen = sheet._telling(grey(500, (8, 8), boxes=boxed(*boxes)), 24)
    assert {123, 321} <= set(chosen.tolist())
    assert len(chosen) <= 24


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (2, 300), (300, 2), (900, 1200)])
def test_any_size_and_eighty_classes_with_any_names_are_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    height, width = size
    names = (
        "$x$",
        "_b_",
        "$\\frac",
        "지단",
        "猫",
        "[red]",
        "a" * 300,
        "line\nbreak",
        *(f"kind {i}" for i in range(72)),
    )
    boxes = boxed([(0, 0, width, height, i) for i in range(80)], [])
    mask = Mask(torch.arange(height * width).view(1, height, width).remainder(256).to(torch.uint8).repeat(2, 1, 1))
    points = Points(torch.tensor([[[0.0, 0.0], [width, height]], [[torch.nan, 1.0], [1.0, 1.0]]]))
    train = grey(2, size, boxes=boxes, mask=mask, points=points, text=Text(["地\nb\nc\nd", ""]))
    picture = drawn(sole(train, classes=names, point_names=("눈", "b")), tmp_path / "a.png")
    assert picture.shape[1] < 1500


def test_what_no_font_has_is_named_by_number_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts_module, "_characters", lambda file: frozenset(range(0x500)))
    never = "지단"
    fonts = fonts_for(["cat", never])
    assert not fonts.readable(never) and fonts.readable("cat")
    assert fonts.shown(f"a{never}") == "a??"
    look = tiles.Look(fonts, 100, tiles.colours(["cat", never]))
    assert look.named(never) == "#2"
    words = [entry.words for entry in entries([], look, ())]
    assert words == [
        "No installed font has some of the characters: numbers and “?” stand in their places; Noto Sans CJK may have them."
    ]
    dataset = kept(classes=("cat", never))
    assert any("No installed font has the characters of" in note for note in inspect(dataset).notes)


def test_a_font_that_has_the_characters_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the usual font had no Cyrillic letters, which another one has that comes with matplotlib."""
    whole = fonts_module._characters
    lacking = frozenset(map(ord, "ж"))
    monkeypatch.setattr(
        fonts_module, "_characters", lambda file: whole(file) - (lacking if file.endswith("DejaVuSans.ttf") else set())
    )
    fonts = fonts_for(["ж"])
    assert not fonts.lacking
    assert fonts.families[0] == "DejaVu Sans" and len(fonts.families) == 2
    assert "Last Resort" not in fonts.families[1]


def test_outlines_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    Image.fromarray(np.full((100, 100), 128, np.uint8)).save(tmp_path / "a.png")
    triangle = np.array([[10.0, 90], [90, 90], [50, 10]])
    records = [Annotated("a.png", (Instance("cat", polygons=(triangle,)),))]
    dataset = assemble(tmp_path, Annotations("tests", records), walk(tmp_path))
    tile = tiles.prepared(dataset, dataset["train"], 0, 200)
    assert [name for _, name in tile.outlines] == ["cat"]
    assert tile.outlines[0][0].tolist() == triangle.tolist()
    assert tile.classes is not None
    assert tile.classes[150, 100] == 1 and tile.classes[30, 30] == 0  # at twice the image's size


def test_the_embedded_scenes_show_all_their_targets() -> None:
    found = inspect(data.open("scenes"))
    assert found.regions is not None and found.objects is not None
    assert list(found.regions.share)[:2] == ["background", "circle"]
    assert found.point_names == ("centre", "tip", "base")
    assert sum(found.regions.share.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "sentences"),
    [
        ("bccd", ["2 boxes have no area and are dropped", "Boxes count from 1", "4,886 objects"]),
        ("camvid", ["The value 11 of masks (void) is void", "cyclist"]),
        ("pedestrians", ["The single category has the id 7", "342 objects, 0 without any"]),
        ("faces68", ["68 keypoints an image", "13 keypoints lie outside their images"]),
    ],
)
def test_real_data_open_and_say_what_is_wrong_with_them(
    folder: str, sentences: list[str], real: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", str(real(folder)), "--out", str(tmp_path / "sheet.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert [sentence for sentence in sentences if sentence not in said] == []
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 500
