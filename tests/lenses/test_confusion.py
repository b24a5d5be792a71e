# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix against scikit-learn's, and names of classes that a figure could choke on."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, to_tree
from scipy.spatial.distance import squareform
from sklearn.metrics import confusion_matrix
from torch import Tensor

from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.lenses import Evaluation, Labelled, View
from pellucid.lenses.confusion import Confusion
from pellucid.lenses.confusion.pairs import shares, similarity_order
from pellucid.looking.looking import look
from pellucid.tasks.classify import Classify
from pellucid.training.training import train


def evaluation(n: int = 200, classes: tuple[str, ...] = ("a", "b", "c", "d"), seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    true, other = rng.integers(0, len(classes), (2, n))
    return Evaluation(records={"true": true, "predicted": np.where(rng.random(n) < 0.7, true, other)}, classes=classes)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_scikit_learn(seed: int) -> None:
    given = evaluation(seed=seed)
    found = Confusion().look(given).numbers["confusion"]
    expected = confusion_matrix(given.records["true"], given.records["predicted"], labels=range(4))
    np.testing.assert_array_equal(found, expected)


def test_a_class_without_images_keeps_its_row() -> None:
    records = {"true": np.array([0, 0, 2]), "predicted": np.array([0, 2, 2])}
    found = Confusion().look(Evaluation(records=records, classes=("a", "none", "c")))
    assert found.numbers["confusion"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert found.words.startswith("1 of 3 images is wrong: a predicted as c.")
    assert found["share"].tolist() == [[0.5, 0, 0.5], [0, 0, 0], [0, 0, 1]]


def test_without_a_mistake_it_says_so() -> None:
    records = {"true": np.arange(3), "predicted": np.arange(3)}
    assert Confusion().look(Evaluation(records=records, classes=("a", "b", "c"))).words == "All 3 images are right."


def test_a_permutation_of_the_classes_permutes_rows_and_columns() -> None:
    given, order = evaluation(), np.array([2, 0, 3, 1])
    place = np.argsort(order)  # the new number of each class
    moved = Evaluation(
        records={k: place[v] for k, v in given.records.items()}, classes=[given.classes[i] for i in order]
    )
    before, after = (Confusion().look(each).numbers["confusion"] for each in (given, moved))
    np.testing.assert_array_equal(after, before[np.ix_(order, order)])


@pytest.mark.parametrize(("figures", "per_cell"), [("both", 2), ("counts", 1), ("shares", 1), ("none", 0)])
def test_every_count_and_share_stands_in_its_cell(figures: str, per_cell: int) -> None:
    view = Confusion(figures=figures).look(evaluation())  # type: ignore[arg-type]
    order, matrix = view["order"], view["confusion"]
    texts = {text.get_position(): text.get_text().split("\n") for text in view.figure.axes[0].texts}
    assert len(texts) == (np.count_nonzero(matrix) if per_cell else 0)
    for (column, row), lines in texts.items():
        true, predicted = order[int(row)], order[int(column)]
        share = 100 * matrix[true, predicted] / matrix[true].sum()
        assert len(lines) == per_cell
        if figures != "shares":
            assert lines[0] == str(matrix[true, predicted])
        if figures != "counts":
            assert float(lines[-1].removesuffix(" %")) == pytest.approx(share, abs=0.5)


def test_hostile_and_long_names_are_drawn_as_they_are() -> None:
    """Dollar signs begin a formula elsewhere, and a long name would squeeze the matrix."""
    view = Confusion().look(evaluation(classes=("$\\frac{", "<b>&", "a" * 200, "$x$")))
    labels = [label.get_text() for label in view.figure.axes[0].get_yticklabels()]
    assert sorted(labels) == sorted(["$\\frac{", "<b>&", "a" * 23 + "…", "$x$"])
    view.figure.savefig(io.BytesIO(), format="svg")


def test_many_classes_share_out_the_labels() -> None:
    view = Confusion().look(evaluation(2000, tuple(f"class {i}" for i in range(250))))
    assert view.numbers["confusion"].shape == (250, 250)
    assert len(view.figure.axes[0].get_yticklabels()) <= 100
    assert not view.figure.axes[0].texts


@pytest.mark.parametrize(
    "records", [{}, {"true": np.zeros(1)}, {"true": np.zeros(1), "predicted": np.zeros(1)}],
)  # fmt: skip
def test_what_it_lacks_is_said(records: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="evaluate a classifier first"):
        Confusion().look(Evaluation(records))


# -- the order


def planted(groups: list[tuple[int, ...]], classes: int, seed: int) -> Evaluation:
    """Most images right; of the others most stay in their class's group, a few go anywhere."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(classes), 60)
    predicted = true.copy()
    for group in groups:
        for one in group:
            own = np.flatnonzero(true == one)[:15]
            predicted[own] = rng.choice([other for other in group if other != one], len(own))
    stray = rng.choice(len(true), len(true) // 40, replace=False)
    predicted[stray] = rng.integers(0, classes, len(stray))
    return Evaluation(records={"true": true, "predicted": predicted}, classes=tuple(f"c{i}" for i in range(classes)))


@pytest.mark.parametrize("seed", range(4))
def test_classes_that_are_confused_stand_together(seed: int) -> None:
    """Pairs and a group of three, spread over the data's order, become neighbours."""
    numbers = np.random.default_rng(seed).permutation(20).tolist()
    groups = [tuple(numbers[:2]), tuple(numbers[2:4]), tuple(numbers[4:7]), tuple(numbers[7:9])]
    view = Confusion().look(planted(groups, 20, seed))
    place = np.argsort(view["order"])
    assert sorted(view["order"].tolist()) == list(range(20))
    for group in groups:
        assert np.ptp(place[list(group)]) == len(group) - 1, group
    pairs = {frozenset(pair) for pair in view["pair"][:3].tolist()}
    assert pairs <= {frozenset(g) for g in groups if len(g) == 2} | {
        frozenset(p) for p in itertools.combinations(groups[2], 2)
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_among_the_best_that_the_tree_allows(seed: int) -> None:
    """Against every way to turn the branches of the tree, tried one by one; SciPy's search stays a little below at ties."""
    matrix = Confusion().look(planted([(0, 5), (2, 7, 4)], 8, seed))["confusion"]
    alike = shares(matrix)
    alike = (alike + alike.T) / 2
    np.fill_diagonal(alike, 0)
    tree = to_tree(average(squareform(1 - alike / alike.max() - np.eye(8))))

    def turned(node: Any) -> Iterator[list[int]]:
        if node.is_leaf():
            yield [node.id]
            return
        for left, right in itertools.product(turned(node.left), turned(node.right)):
            yield left + right
            yield right + left

    def beside(order: Any) -> float:
        return float(alike[order[:-1], order[1:]].sum())

    every = [beside(np.array(order)) for order in turned(tree)]
    assert beside(similarity_order(matrix)) >= max(0.95 * max(every), np.mean(every))


def test_few_classes_have_the_order_of_the_data_and_numbers_that_of_their_values() -> None:
    """Though sorting would bring confused ones together: ten digits are looked up by their number."""
    given = planted([(0, 9), (2, 7)], 10, 0)
    assert similarity_order(Confusion().look(given)["confusion"]).tolist() != list(range(10))
    view = Confusion().look(given)
    assert view["order"].tolist() == list(range(10)) and "sorted" not in view.words
    named = Evaluation(records=given.records, classes=tuple(str(n) for n in (0, 1, 10, 2, 3, 4, 5, 6, 7, 9)))
    assert Confusion().look(named)["order"].tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 2]
    assert Confusion(sort="given").look(named)["order"].tolist() == list(range(10))


def test_many_classes_are_sorted_where_that_tells_something_and_it_is_said() -> None:
    groups = [(0, 15), (3, 19), (5, 12, 17)]
    view = Confusion().look(planted(groups, 20, 0))
    assert view["order"].tolist() == similarity_order(view["confusion"]).tolist() != list(range(20))
    assert view.words.count("The classes are sorted so that those which are confused are neighbours.") == 1
    near = Confusion().look(planted([(0, 1), (3, 4), (16, 17)], 20, 0))  # neighbours in the data already
    assert near["order"].tolist() == list(range(20)) and "sorted" not in near.words
    few = planted([], 20, 0)
    few.records["predicted"][:] = few.records["true"]
    few.records["predicted"][[0, 70]] = 19, 18  # two mistakes of 1,200 are chance
    assert Confusion().look(few)["order"].tolist() == list(range(20))


def test_other_orders() -> None:
    given = planted([(1, 3)], 5, 0)
    assert Confusion(sort="given").look(given)["order"].tolist() == [0, 1, 2, 3, 4]
    view = Confusion(sort="errors").look(given)
    wrong = 1 - np.diag(view["share"])[view["order"]]
    assert (np.diff(wrong) <= 0).all()
    assert set(view["order"][:2].tolist()) == {1, 3}


# -- the images


def with_images(records: dict[str, Any], classes: tuple[str, ...]) -> Evaluation:
    """Images that hold their own position as brightness."""
    count = len(next(iter(records.values())))
    images = (torch.arange(count) / 255.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 6)

    def those(places: Sequence[int]) -> Iterator[Labelled]:
        for chunk in np.array_split(np.array(places), -(-len(places) // 64)):
            at = torch.from_numpy(chunk)
            yield Labelled(images[at], None, [f"image {i}" for i in chunk], at, None)

    return Evaluation(records=records, classes=classes, split="val", images=those)


def test_a_pair_is_shown_with_its_images_the_surest_first() -> None:
    true = np.array([0] * 10 + [1] * 10)
    predicted = np.array([1, 0, 1, 0, 1] + [0] * 5 + [1] * 9 + [0])
    sure = np.linspace(0.5, 0.9, 20)
    shares = np.stack([np.where(predicted == 0, sure, 1 - sure), np.where(predicted == 1, sure, 1 - sure)], 1)
    given = with_images({"true": true, "predicted": predicted, "probabilities": shares}, ("zero", "O"))
    view = Confusion(examples=2).look(given)
    assert view["pair"].tolist() == [[0, 1]] and view["pair_count"].tolist() == [[3, 1]]
    assert view["example"].tolist() == [[[4, 2], [19, -1]]]
    drawn = [float(np.asarray(image.get_array()).mean()) for image in view.figure.axes[1].images]
    if len(view.figure.axes) > 2:  # the axes of the colour bar stand between
        drawn = [float(np.asarray(image.get_array()).mean()) for image in view.figure.axes[-1].images]
    assert [round(255 * value) for value in drawn] == [4, 2, 19]
    said = " ".join(text.get_text() for text in view.figure.axes[-1].texts)
    assert "zero → O" in said and "3 (30 %)" in said and "O → zero" in said
    assert "Without images" not in view.words
    listed = {tuple(cell): places for cell, places in cells(view).items()}
    assert listed[0, 1] == [4, 2, 0] and listed[1, 0] == [19]


def cells(view: View) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for true, predicted, place in view["cell_image"].tolist():
        found.setdefault((true, predicted), []).append(place)
    return found


def test_without_images_the_matrix_is_drawn_and_it_is_said() -> None:
    view = Confusion().look(evaluation())
    assert len(view.figure.axes) == 2  # the matrix and its colour bar
    assert view.words.endswith("Without images: the data are not available.")


@pytest.mark.slow
def test_glyphs_that_look_alike_are_found(tmp_path: Path) -> None:
    """A letter and a digit of the same shape are what a network mixes up."""
    run = train("classify", "glyphs", "convnet", tmp_path / "run", epochs=6, widths=(16, 32), batch_size=64,
                device="cpu", progress=False)  # fmt: skip
    evaluate(run, baselines=False)
    view = look(run, "confusion")
    named = {frozenset(run.classes[i] for i in pair) for pair in view["pair"].tolist()}
    alike = {
        frozenset(pair)
        for pair in ("0O", "2Z", "5S", "1I", "OQ", "0Q", "8B", "VY", "UV", "T7", "1J", "IJ", "XK", "OD", "0D")
    }
    assert len(named & {frozenset(pair) for pair in ("0O", "2Z", "5S", "1I")}) >= 2
    assert len(named & alike) >= len(named) / 2
    place = np.argsort(view["order"])
    zero, letter = (run.classes.index(name) for name in "0O")
    assert abs(place[zero] - place[letter]) <= 2


# -- classes of pixels


@final
@dataclass(frozen=True)
class Painted(Classify):
    """A made-up question: which of two classes each pixel is, answered by a threshold."""

    def score(self, input: Tensor, prediction: Target, target: Target) -> dict[str, NDArray[Any]]:
        answer, truth = input[:, 0] > 0.5, input[:, 1] > 0.5  # (B, H, W)
        cell = 2 * truth.long() + answer.long()
        return {"confusion": torch.stack([(cell == k).sum((1, 2)) for k in range(4)], 1).int().numpy()}


@pytest.mark.parametrize("flat", [True, False])
def test_a_score_that_counts_pixels_is_a_confusion_too(flat: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    input = torch.rand(12, 2, 5, 7, generator=generator)
    columns = Painted().score(input, None, None)  # type: ignore[arg-type]
    records = {"confusion": columns["confusion"] if flat else columns["confusion"].reshape(-1, 2, 2)}
    view = Confusion(examples=3).look(with_images(records, ("ground", "paint")))
    truth, answer = (input[:, k].flatten().gt(0.5).long().numpy() for k in (1, 0))
    expected = confusion_matrix(truth, answer)
    np.testing.assert_array_equal(view["confusion"], expected)
    assert view["confusion"].sum() == 12 * 35
    assert f"of {12 * 35} pixels are wrong" in view.words
    first = columns["confusion"].reshape(-1, 2, 2)
    pair = view["pair"][0]
    most = first[:, pair[0], pair[1]]
    assert most[view["example"][0, 0]].tolist() == sorted(most, reverse=True)[:3]


def test_wrong_options_are_refused() -> None:
    for options in ({"sort": "size"}, {"figures": "all"}, {"pairs": -1}, {"examples": -1}):
        with pytest.raises(UsageError):
            Confusion(**options)  # type: ignore[arg-type]


def test_single_mistakes_are_no_habit() -> None:
    """Three mistakes, each once: none is called the most common, and no pair confused; a repeated one is named."""
    true = np.array([0, 1, 2] * 10)
    once = true.copy()
    once[[0, 1, 2]] = [1, 2, 0]
    words = Confusion().look(Evaluation({"true": true, "predicted": once}, classes=("a", "b", "c"))).words
    assert words.startswith("3 of 30 images are wrong; no mistake occurs twice, so none is systematic.")
    assert "common" not in words and "confused" not in words
    once[3] = 1
    words = Confusion().look(Evaluation({"true": true, "predicted": once}, classes=("a", "b", "c"))).words
    assert "the most common mistake is a predicted as b (2)." in words and "confused" not in words


def detected(classes: tuple[str, ...]) -> Evaluation:
    """Of three images: two objects of the first class found and one missed, one of the second taken for the first, an alarm."""
    from pellucid.tasks import Ragged

    rows = [[[0, 0], [1, 0]], [[0, 0], [0, -1], [-1, 1]], np.zeros((0, 2))]
    return Evaluation({"confused": Ragged.of([np.array(row, np.int64) for row in rows])}, classes=classes)


def test_what_became_of_detected_objects_can_be_read() -> None:
    names = ("red cell", "platelet", "no object")
    view = Confusion().look(detected(names))
    assert view["confusion"].tolist() == [[2, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert view["order"].tolist()[-1] == 2  # none at all stays last, however often it is confused with a class
    assert view.words.startswith(
        "Of 4 objects, 2 (50 %) were found with their class, 1 with another class, and 1 missed; 1 answer shows no object"
    )
    axes = view.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "no object"
    assert sorted(text.get_text() for text in axes.texts) == ["1\n100 %", "1\n100 %", "1\n33 %", "2\n67 %"]


@pytest.mark.parametrize("sort", ["auto", "likeness", "errors", "given"])
def test_no_object_is_the_last_row_and_column_in_any_order(sort: Any) -> None:
    assert Confusion(sort=sort).look(detected(("a", "b", "none")))["order"].tolist()[-1] == 2


def test_cells_of_detected_objects_have_words_of_their_own() -> None:
    from pellucid.reporting.matrix import cell_words

    found = detected(("cell", "platelet", "no object"))
    view = Confusion().look(found)
    words = [cell_words(view, found, cell) for cell in ((0, 0), (0, 2), (1, 0), (2, 1))]
    assert words == [
        "cell, found: 2 (66.7 %)", "cell, missed: 1 (33.3 %)", "platelet taken for cell: 1 (100 %)",
        "platelet, false alarms: 1 (100 %)",
    ]  # fmt: skip
