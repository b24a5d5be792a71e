"""The kinds of error, the confusion, the counts and the recall of proposals, against plain loops and drawn cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boxsets import answer_of, random_sets, truth_of
from torchvision.ops import box_iou

from pellucid.data.targets import Boxes
from pellucid.tasks.detect import counts, errors, metrics
from pellucid.tasks.detect.errors import KINDS
from pellucid.tasks.detect.metrics import LEVELS, PROPOSALS
from pellucid.tasks.detect.objects import Detected

TRUE = [100, 100, 140, 140]
IN_PLACE, NEAR, FAR = [101, 100, 141, 140], [120, 100, 160, 140], [200, 200, 240, 240]  # IoU 0.95, 0.33, 0


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (IN_PLACE, 0, "right"), (IN_PLACE, 1, "wrong class"), (NEAR, 0, "badly placed"), (NEAR, 1, "class and place"),
        (FAR, 0, "background"), (FAR, 1, "background"),
    ],
)  # fmt: skip
def test_each_kind_of_error_has_its_name(box: list[int], label: int, kind: str) -> None:
    records = metrics.columns(answer_of([[box]], [[0.9]], [[label]]), truth_of([[TRUE]]))
    assert KINDS[records["kind"][0][0]] == kind
    rows = {row["error"]: row["n"] for row in metrics.details(records, ("a", "b"))["errors"]}
    expected = dict.fromkeys(rows, 0) | ({} if kind == "right" else {kind: 1})
    # an object is missed where no answer was for it, not even a wrong one
    assert rows == expected | {"missed": int(kind in ("class and place", "background"))}


def test_the_second_box_of_an_object_is_found_twice_and_one_in_a_crowd_is_not_counted() -> None:
    twice = metrics.columns(answer_of([[TRUE, IN_PLACE]], [[0.7, 0.9]]), truth_of([[TRUE]]))
    assert [KINDS[kind] for kind in twice["kind"][0]] == ["right", "twice"]
    assert twice["box"][0][0].tolist() == IN_PLACE  # the more certain one is the hit
    crowd = metrics.columns(answer_of([[TRUE]], [[0.9]]), truth_of([[TRUE]], None, [[True]]))
    assert [KINDS[kind] for kind in crowd["kind"][0]] == ["not counted"] and not len(crowd["true_label"].values)
    assert crowd["confused"].values.tolist() == []


def test_kinds_follow_the_definitions_of_tide() -> None:
    answer, truth = random_sets(40, 3, 7)
    records = metrics.columns(answer, truth)
    seen = set()
    for i in range(40):
        for d, kind in enumerate(records["kind"][i]):
            box, label = torch.from_numpy(records["box"][i][d]), int(records["label"][i][d])
            counting = [g for g in range(len(truth.labels[i])) if truth.ignored is None or not truth.ignored[i][g]]
            fits = box_iou(box[None].double(), truth.corners[i].double())[0].tolist()
            own = max([fits[g] for g in counting if int(truth.labels[i][g]) == label], default=0.0)
            other = max([fits[g] for g in counting if int(truth.labels[i][g]) != label], default=0.0)
            if KINDS[kind] in ("right", "not counted"):  # what is matched is tested with the precision
                continue
            if 0.1 <= own < 0.5:
                expected = "badly placed"
            elif other >= 0.5:
                expected = "wrong class"
            elif own >= 0.5:
                expected = "twice"
            else:
                expected = "background" if max(own, other) < 0.1 else "class and place"
            assert KINDS[kind] == expected
            seen.add(expected)
    assert seen == set(KINDS) - {"right", "not counted"}


def test_the_errors_and_the_hits_are_all_answers() -> None:
    records = metrics.columns(*random_sets(40, 3, 2))
    rows = {row["error"]: row["n"] for row in metrics.details(records, ("a", "b", "c"))["errors"]}
    answers = sum(counts.numbers(records)[0])
    assert sum(rows.values()) - rows["missed"] + errors.found(records).sum() == answers


def confusion(records: dict, classes: int) -> np.ndarray:
    matrix = np.zeros((classes + 1, classes + 1), int)
    np.add.at(matrix, tuple((records["confused"].values % (classes + 1)).T), 1)  # −1 is the last
    return matrix


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_the_confusion_are_objects_and_columns_answers(seed: int) -> None:
    answer, truth = random_sets(40, 3, seed)
    records = metrics.columns(answer, truth)
    matrix = confusion(records, 3)
    for label in range(3):
        found, true = counts.numbers(records, label)
        assert matrix[label].sum() == true.sum()
        assert matrix[:, label].sum() == found.sum()
    hit = errors.found(records)
    assert np.diag(matrix)[:3].tolist() == np.bincount(records["true_label"].values[hit], minlength=3).tolist()
    assert matrix[3, 3] == 0 and matrix[3, :3].sum() > 0 and matrix[:3, 3].sum() > 0


def test_an_object_under_two_wrong_classes_has_the_more_certain_one() -> None:
    answer = answer_of([[TRUE, IN_PLACE, FAR]], [[0.6, 0.9, 0.4]], [[1, 2, 0]])
    records = metrics.columns(answer, truth_of([[TRUE]]))
    assert sorted(records["confused"][0].tolist()) == [[-1, 1], [0, 2]]  # the third is below the threshold


def test_what_is_found_is_said_the_same_way_whatever_lies_there_too() -> None:
    answer = answer_of([[TRUE, IN_PLACE]], [[0.6, 0.9]], [[0, 1]])
    records = metrics.columns(answer, truth_of([[TRUE]]))
    assert sorted(records["confused"][0].tolist()) == [[-1, 1], [0, 0]]


def test_counts_are_those_of_the_answers_from_the_threshold_on() -> None:
    answer, truth = random_sets(40, 3, 1)
    records = metrics.columns(answer, truth_without_crowds(truth))
    for label in range(3):
        found, true = counts.numbers(records, label)
        for i in range(40):
            own = (answer.labels[i] == label) & (answer.scores[i] >= 0.5)
            assert found[i] == int(own.sum()) and true[i] == int((truth.labels[i] == label).sum())
    each = [np.abs(np.subtract(*counts.numbers(records, label))) for label in range(3)]
    [metric] = [one for one in metrics.metrics(("a", "b", "c")) if one.key == "count_off"]
    assert metric.value(records) == pytest.approx(np.sum(each, 0).mean())


def truth_without_crowds(truth: Boxes) -> Boxes:
    return Boxes(truth.corners, truth.labels)


def test_the_median_share_that_is_found_is_that_of_numpy() -> None:
    records = metrics.columns(*random_sets(33, 2, 5))
    found, true = counts.numbers(records, 1)
    some = true > 0
    got = counts.share_found(1)(records, np.ones((1, 33)))[0]
    assert got == pytest.approx(np.median(found[some] / true[some]))


def test_the_median_count_error_is_that_of_numpy() -> None:
    records = metrics.columns(*random_sets(33, 2, 5))
    found, true = counts.numbers(records, 1)
    some = true > 0
    expected = np.median(np.abs(found - true)[some] / true[some])
    once = np.ones((1, 33))
    assert counts.share_off(1)(records, once)[0] == pytest.approx(expected)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(33, np.full(33, 1 / 33), 10).astype(float)
    for row, value in zip(weights, counts.share_off(1)(records, weights), strict=True):
        drawn = np.repeat(np.arange(33), row.astype(int))
        drawn = drawn[some[drawn]]
        assert value == pytest.approx(np.median(np.abs(found - true)[drawn] / true[drawn]))


def test_the_recall_of_proposals_is_that_of_a_loop() -> None:
    _, truth = random_sets(12, 2, 3)
    rng = np.random.default_rng(3)
    proposals = []
    for corners in truth.corners:  # some near the objects, at any rank, among many others
        near = np.repeat(corners.numpy(), 6, 0)
        near = near + rng.normal(0, 12, near.shape)
        low = rng.uniform(0, 250, (1200 - len(near), 2))
        every = np.concatenate([near, np.concatenate([low, low + rng.uniform(10, 60, low.shape)], 1)])
        proposals.append(rng.permutation(every))
    nothing: list[list[float]] = [[] for _ in range(12)]
    records = metrics.columns(answer_of(nothing, nothing, nothing, proposals=proposals), truth)
    declared = {metric.key: metric for metric in metrics.metrics(("a", "b"))}
    assert truth.ignored is not None
    fits = [  # one (objects, proposals) for each image, crowds left out
        box_iou(boxes[~crowd].double(), torch.from_numpy(own).float().double())
        for boxes, crowd, own in zip(truth.corners, truth.ignored, proposals, strict=True)
    ]
    values = []
    for number in PROPOSALS:
        for level in LEVELS:
            covered = sum(int((row[:number] >= level).any()) for fit in fits for row in fit)
            values.append(covered / sum(map(len, fits)))
            assert declared[f"proposals_{number}_iou_{100 * level:.0f}"].value(records) == pytest.approx(values[-1])
    assert values[0] < values[-2]  # the case is no trivial one


def test_methods_without_proposals_have_no_recall_of_them() -> None:
    from pellucid.tasks import summarise

    answer, truth = random_sets(10, 2, 0)
    assert not any("proposals" in key for key in summarise(metrics.metrics(("a", "b")), metrics.columns(answer, truth)))


def test_an_image_without_objects_and_without_answers_is_answered_best_but_shown_last() -> None:
    answer = answer_of([[], [TRUE], [FAR], [TRUE, FAR]], [[], [0.9], [0.9], [0.9, 0.9]])
    truth = truth_of([[], [TRUE], [], [TRUE]])
    ranking = metrics.quality(metrics.columns(answer, truth))
    assert np.argsort(-ranking).tolist() == [1, 0, 3, 2]


def test_answers_move_to_the_px_of_their_images() -> None:
    answer = answer_of([[TRUE], []], [[0.9], []], proposals=[[FAR], [TRUE, FAR]])
    scaled = answer.scaled(torch.tensor([[2.0, 3.0], [1.0, 0.5]]))
    assert scaled.corners[0].tolist() == [[200, 300, 280, 420]] and not len(scaled.corners[1])
    assert scaled.proposals is not None and scaled.proposals[1][0].tolist() == [100, 50, 140, 70]
    assert Detected.cat([answer[[0]], answer[[1]]]).labels[1].tolist() == []


@pytest.mark.parametrize(
    ("boxes", "labels", "scores", "lost"),
    [
        # alone, and with a hit of another object so that there is an AP to lose from
        ([TRUE, IN_PLACE], [0, 0], [0.9, 0.8], {}),  # a copy after the hit costs nothing
        ([FAR, TRUE], [0, 0], [0.9, 0.8], {"background": 0.5}),  # half of the answers up to the hit are wrong
        ([IN_PLACE], [1], [0.9], {"wrong class": 1.0}),
        ([NEAR], [0], [0.9], {"badly placed": 1.0}),
        ([NEAR, IN_PLACE], [0, 0], [0.9, 0.8], {"badly placed": 0.5}),  # the object is found: the bad box is left out
        ([NEAR, TRUE], [1, 0], [0.9, 0.8], {}),  # a class that no object has is left out of the mean
    ],
)
def test_the_cost_of_an_error_is_what_the_precision_rises_by_without_it(
    boxes: list[list[int]], labels: list[int], scores: list[float], lost: dict[str, float]
) -> None:
    found = errors.costs(metrics.columns(answer_of([boxes], [scores], [labels]), truth_of([[TRUE]])))
    assert found == pytest.approx(dict.fromkeys(found, 0.0) | lost)


def test_a_missed_object_costs_its_recall() -> None:
    found = errors.costs(metrics.columns(answer_of([[TRUE], []], [[0.9], []]), truth_of([[TRUE], [FAR]])))
    assert found["missed"] == pytest.approx(1 - 51 / 101)  # recalls 0 … 0.5 of the 101 were reached


@pytest.mark.parametrize("seed", range(3))
def test_no_error_is_worth_having(seed: int) -> None:
    found = errors.costs(metrics.columns(*random_sets(30, 3, seed)))
    assert min(found.values()) >= -1e-12 and max(found.values()) > 0.01
