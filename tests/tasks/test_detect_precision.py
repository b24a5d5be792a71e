"""The average precision of a detector against faster-coco-eval, plain loops and repeated images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boxsets import answer_of, coco_precision, random_sets, truth_of

from pellucid.tasks._metrics import resamples
from pellucid.tasks._records import taken
from pellucid.tasks.detect import metrics
from pellucid.tasks.detect.matching import HIT, IGNORED, IOUS, RANGES
from pellucid.tasks.detect.precision import best_threshold, curve, mean_precision, precision_of

CLASSES = ("a", "b", "c")


def value_of(key: str, records: dict, classes: tuple[str, ...] = CLASSES) -> float:
    [metric] = [one for one in metrics.metrics(classes) if one.key == key]
    return metric.value(records)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowds", [False, True])
def test_the_average_precision_is_that_of_faster_coco_eval(seed: int, crowds: bool) -> None:
    answer, truth = random_sets(40, 3, seed, crowds)
    records = metrics.columns(answer, truth)
    peer = coco_precision(answer, truth, 3)["precision"]  # (IoUs, classes, ranges)
    once = np.ones((1, 40))
    for size in range(len(RANGES)):
        ours = np.array([[precision_of(records, once, k, [t], size)[0] for k in range(3)] for t in range(len(IOUS))])
        assert ours == pytest.approx(peer[:, :, size], abs=1e-9, nan_ok=True)
    assert value_of("ap50", records) == pytest.approx(np.nanmean(peer[0, :, 0]), abs=1e-9)
    assert value_of("ap", records) == pytest.approx(np.nanmean(peer[:, :, 0]), abs=1e-9)
    assert value_of("ap50 b", records) == pytest.approx(peer[0, 1, 0], abs=1e-9)
    for place, name in enumerate(("small", "medium", "large"), 1):
        assert value_of(f"ap_{name}", records) == pytest.approx(np.nanmean(peer[..., place]), abs=1e-9)


def test_a_resample_is_measured_as_if_its_images_were_repeated() -> None:
    answer, truth = random_sets(12, 3, 5)
    records = metrics.columns(answer, truth)
    weights = next(resamples(12, 20, seed=3))
    for key in ("ap50", "ap", "ap_small", "precision", "recall", "f1", "count_off"):
        [metric] = [one for one in metrics.metrics(CLASSES) if one.key == key]
        whole = metric.values(records, weights)
        for row, value in zip(weights, whole, strict=True):
            repeated = taken(records, np.repeat(np.arange(12), row.astype(int)))
            assert metric.value(repeated) == pytest.approx(value, abs=1e-12)


def test_every_interval_holds_its_value() -> None:
    from pellucid.tasks import summarise

    answer, truth = random_sets(30, 3, 8)
    found = summarise(metrics.metrics(CLASSES), metrics.columns(answer, truth))
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert found["ap50"].low < found["ap50"].value < found["ap50"].high


def test_matching_follows_the_plain_rules() -> None:
    answer, truth = random_sets(25, 2, 11)
    records = metrics.columns(answer, truth)
    assert truth.ignored is not None
    for i in range(25):
        boxes, labels = records["box"][i].astype(float), records["label"][i]
        theirs, known, crowd = truth.corners[i].double().numpy(), truth.labels[i].numpy(), truth.ignored[i].numpy()
        for t, least in enumerate(IOUS):
            free = np.ones(len(theirs), bool)
            for d in range(len(boxes)):
                fits = [plain_overlap(boxes[d], theirs[g], crowd[g]) for g in range(len(theirs))]
                own = [g for g in range(len(theirs)) if known[g] == labels[d] and fits[g] >= least]
                real = [g for g in own if not crowd[g] and free[g]]
                if real:
                    free[max(real, key=lambda g: fits[g])] = False
                state = HIT if real else IGNORED if any(crowd[g] for g in own) else 0
                assert records["state"][i][d, 0, t] == state


def plain_overlap(one: np.ndarray, other: np.ndarray, crowd: bool) -> float:
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    first, second = (float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return shared / (first if crowd else first + second - shared)


BOX, ELSEWHERE = [10, 10, 50, 50], [200, 200, 260, 260]


def test_false_alarms_on_images_without_objects_lower_the_precision() -> None:
    quiet = metrics.columns(answer_of([[BOX], []], [[0.8], []]), truth_of([[BOX], []]))
    loud = metrics.columns(answer_of([[BOX], [BOX, ELSEWHERE]], [[0.8], [0.9, 0.7]]), truth_of([[BOX], []]))
    assert value_of("precision", quiet) == 1 and value_of("precision", loud) == pytest.approx(1 / 3)
    assert value_of("ap50", quiet) == 1 and value_of("ap50", loud) == pytest.approx(1 / 2)
    assert value_of("recall", loud) == 1


def test_the_order_of_images_changes_nothing_even_where_scores_are_equal() -> None:
    answer, truth = random_sets(30, 3, 4)
    rounded = [(scores * 4).round() / 4 for scores in answer.scores]  # five scores in all
    answer = answer_of([box.numpy() for box in answer.corners], rounded, [row.numpy() for row in answer.labels])
    order = np.random.default_rng(0).permutation(30).tolist()
    one, other = metrics.columns(answer, truth), metrics.columns(answer[order], truth[order])
    for metric in metrics.metrics(CLASSES):
        if metric.needs == ():
            assert metric.value(one) == pytest.approx(metric.value(other), abs=1e-12, nan_ok=True)


def test_a_class_that_the_images_lack_is_left_out_of_the_mean_and_the_table_says_so() -> None:
    truth = truth_of([[BOX], [BOX]], [[0], [0]])
    answer = answer_of([[BOX], [BOX, ELSEWHERE]], [[0.9], [0.8, 0.7]], [[0], [0, 2]])
    records = metrics.columns(answer, truth)
    assert value_of("ap50", records) == 1
    assert np.isnan(value_of("ap50 c", records))
    rows = metrics.details(records, CLASSES)["by_class"]
    assert [row["class"] for row in rows] == [
        "a", "b (not in these images, left out of the mean)", "c (not in these images, left out of the mean)",
    ]  # fmt: skip
    assert [row["objects"] for row in rows] == [2, 0, 0] and rows[2]["AP50"]["value"] is None
    # its false alarms do count where answers are counted
    assert value_of("precision", records) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("boxes", "expected"), [([[], []], {"ap50": 0.0, "recall": 0.0}), ([[BOX], []], {"ap50": 1.0, "recall": 1.0})]
)
def test_few_or_no_answers_are_measured(boxes: list, expected: dict[str, float]) -> None:
    truth = truth_of([[BOX], []])
    records = metrics.columns(answer_of(boxes, [[0.9] * len(row) for row in boxes]), truth)
    for key, value in expected.items():
        assert value_of(key, records) == value
    assert np.isnan(value_of("precision", records)) == (expected["ap50"] == 0)
    assert metrics.details(records, CLASSES)["errors"][0]["n"] == 1 - expected["recall"]


def test_without_any_object_there_is_no_average_precision_but_a_precision() -> None:
    records = metrics.columns(answer_of([[BOX], []], [[0.9], []]), truth_of([[], []]))
    assert np.isnan(value_of("ap50", records)) and np.isnan(value_of("recall", records))
    assert value_of("precision", records) == 0


def test_the_threshold_has_the_highest_f1_of_all() -> None:
    records = metrics.columns(*random_sets(40, 3, 6))
    threshold, f1 = best_threshold(records)
    [metric] = [one for one in metrics.metrics(CLASSES) if one.key == "f1"]

    def at(cut: float) -> float:
        return metric.value({**records, "threshold": np.full(40, cut)})

    tried = np.unique(records["score"].values)
    assert at(threshold) == pytest.approx(f1)
    assert f1 == pytest.approx(max(at(float(cut)) for cut in tried))


def test_the_curve_ends_at_the_recall_and_the_precision_of_all_detections() -> None:
    records = metrics.columns(*random_sets(20, 1, 2))
    recall, precision = curve(records, 0)
    state = records["state"].values[:, 0, 0]
    assert recall[-1] == pytest.approx((state == HIT).sum() / len(records["true_label"].values))
    # its last point is that of the last hit
    last = records["score"].values[state == HIT].min()
    there = records["score"].values >= last
    assert precision[-1] == pytest.approx((state[there] == HIT).sum() / (state[there] != IGNORED).sum())
    assert (np.diff(recall) > 0).all()


def test_many_images_are_measured_in_parts_as_at_once() -> None:
    answer, truth = random_sets(70, 3, 9)
    whole = metrics.columns(answer, truth)
    for i in (0, 31, 32, 69):
        alone = metrics.columns(answer[[i]], truth[[i]])
        for name, column in alone.items():
            assert np.array_equal(column[0], whole[name][i]), name


def test_scores_need_not_fall() -> None:
    answer, truth = random_sets(10, 2, 1)
    mixed = [torch.from_numpy(np.random.default_rng(i).permutation(len(row))) for i, row in enumerate(answer.scores)]
    shuffled = answer_of(
        *(
            [row[order].numpy() for row, order in zip(rows, mixed, strict=True)]
            for rows in (answer.corners, answer.scores, answer.labels)
        )
    )
    one, other = metrics.columns(answer, truth), metrics.columns(shuffled, truth)
    assert all(np.array_equal(a, b) for a, b in zip(one["state"], other["state"], strict=True))


def test_one_class_alone_is_its_own_mean() -> None:
    records = metrics.columns(*random_sets(20, 3, 3))
    once = np.ones((1, 20))
    each = [mean_precision([0], label=k)(records, once)[0] for k in range(3)]
    assert mean_precision([0])(records, once)[0] == pytest.approx(np.mean(each))
