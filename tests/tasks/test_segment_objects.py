# SPDX-License-Identifier: Apache-2.0
"""segment: objects told apart, counted and measured, against counts by hand and COCO's own evaluation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from scipy import ndimage

from pellucid.tasks import summarise, taken
from pellucid.tasks.segment import model_measures, objects, outlines
from pellucid.tasks.segment.objects import Found, Seen

Region = NDArray[np.bool_]


def disc(size: tuple[int, int], y: float, x: float, radius: float) -> Region:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.asarray(np.hypot(rows - y, columns - x) <= radius)


def ellipse(size: tuple[int, int], y: float, x: float, tall: float, wide: float) -> Region:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.asarray(((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 <= 1)


# -- telling objects apart


def test_joined_objects_are_the_connected_regions() -> None:
    region = np.random.default_rng(0).random((40, 50)) < 0.3
    found = objects.parted(region, region.astype(float), "joined")
    theirs, count = ndimage.label(region, np.ones((3, 3)))
    assert found.max() == count
    assert len(np.unique(found.astype(np.int64) * (count + 1) + theirs)) == count + 1, "the same parts"


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_touching_discs_are_parted_at_their_neck_at_any_size(scale: int) -> None:
    size = (30 * scale, 90 * scale)
    places = [(15, 16, 10), (15, 35, 10), (15, 64, 12)]  # the first two overlap
    region = np.zeros(size, bool)
    for y, x, radius in places:
        region |= disc(size, y * scale, x * scale, radius * scale)
    found = objects.parted(region, region.astype(float), "distance")
    assert found.max() == 3
    assert np.array_equal(found > 0, region), "no pixel is lost"
    numbers = [found[y * scale, x * scale] for y, x, _ in places]
    assert len(set(numbers)) == 3
    middle = round(25.5 * scale)
    assert (found[:, :middle][region[:, :middle]] == numbers[0]).mean() > 0.97


@pytest.mark.parametrize(("tall", "wide"), [(10, 10), (6, 25), (14, 17)])
def test_one_convex_object_stays_one(tall: int, wide: int) -> None:
    region = ellipse((40, 60), 20, 30, tall, wide)
    assert objects.parted(region, region.astype(float), "distance").max() == 1


def test_the_image_frame_is_no_border_of_an_object() -> None:
    """Half of a pair of discs, cut along both of them, is still parted where the whole pair is."""
    region = (disc((60, 90), 0, 30, 12) | disc((60, 90), 0, 53, 12))[:40]
    assert objects.parted(region, region.astype(float), "distance").max() == 2
    full = np.ones((12, 20), bool)
    assert objects.parted(full, full.astype(float), "distance").max() == 1


def test_the_probability_parts_what_the_distance_does_not() -> None:
    region = np.zeros((24, 64), bool)
    region[4:20, 4:60] = True  # one bar
    share = np.where(region, 0.99, 0.01)
    share[:, 30:34] = np.where(region[:, 30:34], 0.55, 0.01)  # less certain in its middle
    assert [int(objects.parted(region, share, way).max()) for way in objects.TOUCHING] == [1, 2, 1]


def test_small_objects_are_left_out_and_numbers_have_no_gap() -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[2:4, 2:4], mask[8:14, 2:12], mask[8:14, 20:30], mask[1:3, 30:32] = 1, 1, 2, 2
    shares = np.stack([(mask == k) * 0.8 for k in range(3)])
    found = objects.found(mask, shares, [1, 2], least=10)
    assert found.classes.tolist() == [1, 2]
    assert sorted(np.unique(found.labels).tolist()) == [0, 1, 2]
    np.testing.assert_allclose(found.scores, 0.8)
    assert len(objects.found(mask, shares, [1, 2], least=1)) == 4
    assert len(objects.found(mask * 0, shares, [1, 2])) == 0


# -- the table


def test_the_table_has_the_values_of_plain_sums() -> None:
    size = (50, 70)
    region = ellipse(size, 20, 30, 8, 16)
    grey = np.random.default_rng(1).random(size) * 255
    labels = np.where(region, 1, 0).astype(np.int32)
    [row] = objects.table(Found(labels, np.array([1]), np.array([0.75])), grey, "a.png", ["background", "cell"], 0.5)
    rows, columns = np.nonzero(region)
    assert row["area_px"] == len(rows) and row["area_um2"] == pytest.approx(len(rows) / 4)
    assert (row["x"], row["y"]) == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=1e-3)
    assert [row[side] for side in ("x0", "y0", "x1", "y1")] == [14, 12, 47, 29]
    assert row["mean_intensity"] == pytest.approx(grey[region].mean(), abs=1e-3)
    assert row["eccentricity"] == pytest.approx(math.sqrt(1 - (8 / 16) ** 2), abs=0.01)
    # Ramanujan's second approximation of an ellipse's perimeter
    h = ((16 - 8) / (16 + 8)) ** 2
    around = math.pi * (16 + 8) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert row["perimeter_px"] == pytest.approx(around, rel=0.03)
    assert row["perimeter_um"] == pytest.approx(row["perimeter_px"] / 2, rel=1e-5)
    assert tuple(row) == objects.columns(0.5)
    assert objects.table(Found(labels * 0, np.array([], int), np.array([])), grey, "a.png", []) == []


# -- outlines


def test_polygons_hold_exactly_the_pixels_of_their_region() -> None:
    """By the rule of even and odd crossings from each pixel's centre; regions have holes and touch at corners."""
    rng = np.random.default_rng(2)
    for case in range(12):
        region = ndimage.binary_opening(rng.random((22, 26)) < 0.75) if case % 2 else rng.random((14, 15)) < 0.5
        inside = np.zeros(region.shape, int)
        for polygon in outlines.polygons(region):
            part = np.zeros(region.shape, int)
            for ring in polygon:
                assert ring[0] == ring[-1] and len(ring) >= 4
                part += crossings(np.array(ring), region.shape)
            inside += part % 2
        np.testing.assert_array_equal(inside, region)
        assert len(outlines.polygons(region)) == ndimage.label(region, np.ones((3, 3)))[1]


def crossings(ring: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """How many of a ring's lines a ray to the right of each pixel's centre crosses."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    count = np.zeros(size, np.int64)
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        # the ray is a little below the centre, so that it meets no corner
        at = rows + 1e-6
        if y0 != y1:
            count += ((y0 <= at) != (y1 <= at)) & (columns < x0 + (at - y0) / (y1 - y0) * (x1 - x0))
    return count


def test_outlines_and_holes_turn_opposite_ways() -> None:
    region = np.ones((9, 9), bool)
    region[3:6, 3:6] = False
    [rings] = outlines.polygons(region)
    areas = [sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(r)) / 2 for r in rings]
    assert len(rings) == 2 and areas[0] * areas[1] < 0 and abs(areas[0]) > abs(areas[1])


# -- counts and average precision


def scene(rng: np.random.Generator) -> Seen:
    """True squares of two classes, and answers that are shifted, missed, doubled or of the wrong class."""
    size = (60, 60)
    true: list[Region] = []
    kinds: list[int] = []
    labels, classes, scores = np.zeros(size, np.int32), [], []
    for y in (4, 24, 44):
        for x in (4, 24, 44):
            kind = int(rng.integers(1, 3))
            if rng.random() < 0.8:
                region = np.zeros(size, bool)
                region[y : y + 12, x : x + 12] = True
                true.append(region)
                kinds.append(kind)
            if rng.random() < 0.8:
                down, right = rng.integers(-2, 3, 2)
                classes.append(kind if rng.random() < 0.9 else 3 - kind)
                labels[y + down : y + down + 12, x + right : x + right + 12] = len(classes)
                scores.append(round(float(rng.random()), 3))
    image = np.zeros((1, *size), np.float32)
    return Seen(image, Found(labels, np.array(classes), np.array(scores)), true, np.array(kinds), np.zeros(size, bool))


def test_average_precision_is_that_of_coco() -> None:
    rng = np.random.default_rng(3)
    seen = [scene(rng) for _ in range(12)]
    records = model_measures.compared(seen, [1, 2])
    truth: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    for i, own in enumerate(seen):
        for region, kind in zip(own.true, own.classes.tolist(), strict=True):
            area = int(region.sum())
            truth.append({"id": len(truth) + 1, "image_id": i, "category_id": kind, "iscrowd": 0, "area": area,
                          "segmentation": outlines.run_lengths(region), "bbox": [0, 0, 1, 1]})  # fmt: skip
        for number, (kind, score) in enumerate(zip(own.found.classes.tolist(), own.found.scores.tolist(), strict=True)):
            region = own.found.labels == number + 1
            answers.append({"image_id": i, "category_id": kind, "score": score,
                            "segmentation": outlines.run_lengths(region)})  # fmt: skip
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": 60, "width": 60} for i in range(len(seen))],
        "annotations": truth,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    coco.createIndex()
    theirs = COCOeval_faster(coco, coco.loadRes(answers), "segm", print_function=lambda *words: None)
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    found = {metric.key: metric.value(records) for metric in model_measures.METRICS}
    assert found["objects_ap"] == pytest.approx(theirs.stats[0], abs=1e-6)
    assert found["objects_ap50"] == pytest.approx(theirs.stats[1], abs=1e-6)
    assert 0.1 < found["objects_ap"] < found["objects_ap50"] < 0.9, "the case tells them apart"


def test_a_resample_is_what_its_images_give() -> None:
    rng = np.random.default_rng(4)
    records = model_measures.compared([scene(rng) for _ in range(6)], [1, 2])
    weights = np.array([[2.0, 0, 1, 0, 3, 0], [1, 1, 1, 1, 1, 1]])
    drawn = [0, 0, 2, 4, 4, 4]
    for metric in model_measures.METRICS:
        assert metric.values(records, weights)[0] == pytest.approx(metric.value(taken(records, np.array(drawn))))
        found = summarise([metric], records)[metric.key]
        assert found.low <= found.value <= found.high


def test_counts_and_their_errors() -> None:
    rng = np.random.default_rng(5)
    seen = [scene(rng) for _ in range(5)]
    records = model_measures.compared(seen, [1, 2])
    off = [
        sum(abs(int((own.found.classes == k).sum()) - int((own.classes == k).sum())) for k in (1, 2)) for own in seen
    ]
    assert summarise(model_measures.METRICS, records)["count_error"].value == pytest.approx(np.mean(off))
    extra = np.mean([len(own.found) - len(own.true) for own in seen])
    assert summarise(model_measures.METRICS, records)["count_bias"].value == pytest.approx(extra)


def test_objects_in_void_are_neither_right_nor_wrong() -> None:
    own = scene(np.random.default_rng(6))
    crowd = Seen(own.image, own.found, [], np.zeros(0, np.int64), np.ones((60, 60), bool))
    records = model_measures.compared([crowd], [1, 2])
    assert records["found"].sum() == 0 and len(records["objects"].values) == 0
    assert math.isnan(summarise(model_measures.METRICS, records)["objects_ap50"].value)
