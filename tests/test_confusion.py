# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix against scikit-learn's, and names of classes that a figure could choke on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from pellucid.errors import UsageError
from pellucid.lenses import Sight
from pellucid.lenses.confusion import Confusion


def sight(n: int = 200, classes: tuple[str, ...] = ("a", "b", "c", "d"), seed: int = 0) -> Sight:
    rng = np.random.default_rng(seed)
    true, other = rng.integers(0, len(classes), (2, n))
    return Sight(records={"true": true, "predicted": np.where(rng.random(n) < 0.7, true, other)}, classes=classes)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_scikit_learn(seed: int) -> None:
    given = sight(seed=seed)
    found = Confusion().look(given).numbers["confusion"]
    expected = confusion_matrix(given.records["true"], given.records["predicted"], labels=range(4))
    np.testing.assert_array_equal(found, expected)


def test_a_class_without_images_keeps_its_row() -> None:
    records = {"true": np.array([0, 0, 2]), "predicted": np.array([0, 2, 2])}
    found = Confusion().look(Sight(records=records, classes=("a", "none", "c")))
    assert found.numbers["confusion"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert found.words == "1 of 3 images is wrong; most often a is taken for c (1)."


def test_without_a_mistake_it_says_so() -> None:
    records = {"true": np.arange(3), "predicted": np.arange(3)}
    assert Confusion().look(Sight(records=records, classes=("a", "b", "c"))).words == "All 3 images are right."


def test_a_permutation_of_the_classes_permutes_rows_and_columns() -> None:
    given, order = sight(), np.array([2, 0, 3, 1])
    place = np.argsort(order)  # the new number of each class
    moved = Sight(records={k: place[v] for k, v in given.records.items()}, classes=[given.classes[i] for i in order])
    before, after = (Confusion().look(each).numbers["confusion"] for each in (given, moved))
    np.testing.assert_array_equal(after, before[np.ix_(order, order)])


@pytest.mark.parametrize("counts", [True, False])
def test_every_count_stands_in_its_cell(counts: bool) -> None:
    view = Confusion(counts=counts).look(sight())
    texts = [text.get_text() for text in view.figure.axes[0].texts]
    matrix = view.numbers["confusion"]
    assert sorted(texts) == (sorted(str(n) for n in matrix[matrix > 0]) if counts else [])


def test_hostile_and_long_names_are_drawn_as_they_are() -> None:
    """Dollar signs begin a formula elsewhere, and a long name would squeeze the matrix."""
    view = Confusion().look(sight(classes=("$\\frac{", "<b>&", "a" * 200, "$x$")))
    labels = [label.get_text() for label in view.figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["$\\frac{", "<b>&"]
    assert labels[2] == "a" * 23 + "…"
    view.figure.savefig(io.BytesIO(), format="svg")


def test_many_classes_share_out_the_labels() -> None:
    view = Confusion().look(sight(2000, tuple(f"class {i}" for i in range(250))))
    assert view.numbers["confusion"].shape == (250, 250)
    assert len(view.figure.axes[0].get_yticklabels()) <= 100
    assert not view.figure.axes[0].texts


@pytest.mark.parametrize(
    "broken", [Sight(), Sight(records={"true": np.zeros(1)}), Sight(records={"true": np.zeros(1), "predicted": np.zeros(1)})]
)  # fmt: skip
def test_what_it_lacks_is_said(broken: Sight) -> None:
    with pytest.raises(UsageError, match="evaluate a classifier first"):
        Confusion().look(broken)
