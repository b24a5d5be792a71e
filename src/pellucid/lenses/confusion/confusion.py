# SPDX-License-Identifier: Apache-2.0
"""confusion: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._images import picture
from pellucid.lenses.confusion.figure import Row, figure, percent, room, short
from pellucid.lenses.confusion.pairs import Counts, Pair, counts, likeness_order, pairs, shares

__all__ = ["Confusion"]

_LISTED = 24  # images of a cell

_AXES = {
    "confusion": ("true", "predicted"),
    "share": ("true", "predicted"),
    "order": ("place",),
    "pair": ("pair", "first and second"),
    "pair_count": ("pair", "first for second and second for first"),
    "example": ("pair", "direction", "image"),
    "cell_image": ("listed image", "true, predicted, position"),
}


@final
@dataclass(frozen=True)
class Confusion(Lens):
    """The confusion matrix: a row a true class, a column a predicted one, in shares of the row and in counts.

    The classes stand in an order that brings confusable ones together, and the pairs that are most confused stand beside the
    matrix with their images, the surest mistakes first. In the numbers `confusion` and `share` have the classes in their own
    order; `order` is the one that is drawn. `example` are positions in the split, -1 where there is no further one, and
    `cell_image` lists the first images of every cell.

    >>> records = {"true": np.array([0, 0, 1]), "predicted": np.array([0, 1, 1])}
    >>> Confusion().look(Subject(records=records, classes=("a", "b"))).words
    '1 of 3 images is wrong; most often a is taken for b (1). The images are missing: the data of the evaluation are not at hand.'
    """

    sort: Literal["likeness", "errors", "given"] = "likeness"
    """the order of the classes: confusable ones together, those with the largest share of errors first, or the data's own"""
    figures: Literal["both", "counts", "shares", "none"] = "both"
    """what stands in the cells, where there are at most 40 classes (two figures: at most 16)"""
    pairs: int | None = None
    """pairs of classes that are shown with their images; by default as many as find room beside the matrix"""
    examples: int = 8
    """images of each direction of a pair"""

    def __post_init__(self) -> None:
        if self.sort not in ("likeness", "errors", "given"):
            raise UsageError(f"sort={self.sort!r}: is not known; choose likeness, errors or given.")
        if self.figures not in ("both", "counts", "shares", "none"):
            raise UsageError(f"figures={self.figures!r}: is not known; choose both, counts, shares or none.")
        for name, value in (("pairs", self.pairs), ("examples", self.examples)):
            if value is not None and value < 0:
                raise UsageError(f"{name}={value}: must not be negative; give another.")

    def look(self, subject: Subject) -> View:
        found = counts(subject.records, len(subject.classes))
        share = shares(found.matrix)
        order = self._order(found.matrix, share)
        worst = pairs(found.matrix, room(len(found.matrix)) if self.pairs is None else self.pairs)
        examples = np.full((len(worst), 2, self.examples), -1, np.int64)
        for k, pair in enumerate(worst):
            for direction, (true, predicted) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
                members = _surest(subject, found, true, predicted)[: self.examples]
                examples[k, direction, : len(members)] = members
        rows = self._rows(subject, found, share, worst, examples) if subject.shows_records and self.examples else []
        grid = np.ix_(order, order)
        names = [subject.label(int(i), 200) for i in order]
        drawing = figure(found.matrix[grid], share[grid], names, self.figures, rows)
        numbers: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {
            "confusion": found.matrix,
            "share": share,
            "order": order,
            "pair": np.array([(pair.first, pair.second) for pair in worst], np.int64).reshape(-1, 2),
            "pair_count": np.array([(pair.forth, pair.back) for pair in worst], np.int64).reshape(-1, 2),
            "example": examples,
            "cell_image": _listed(subject, found),
        }
        return View(drawing, numbers, _words(subject, found), _AXES)

    def _order(self, matrix: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.int64]:
        if self.sort == "likeness":
            return likeness_order(matrix)
        if self.sort == "given":
            return np.arange(len(matrix))
        wrong = np.where(matrix.sum(1) > 0, 1 - np.diag(share), -1.0)
        return np.argsort(-wrong, kind="stable").astype(np.int64)

    def _rows(
        self,
        subject: Subject,
        found: Counts,
        share: NDArray[np.float64],
        worst: Sequence[Pair],
        examples: NDArray[np.int64],
    ) -> list[Row]:
        """Both directions of each pair that occur, with their images."""
        assert subject.batches is not None
        wanted = np.unique(examples[examples >= 0]).tolist()
        images: dict[int, NDArray[np.float32]] = {}
        for batch in subject.batches(subject.evaluated, 64, places=wanted) if wanted else ():
            images |= {int(i): picture(image) for i, image in zip(batch.index, batch.images, strict=True)}
        rows = []
        for k, pair in enumerate(worst):
            begins = True
            for direction, (true, predicted) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
                count = int(found.matrix[true, predicted])
                if not count:
                    continue
                unit = " px" if found.unit == "pixels" else ""
                told = f"{short(count)}{unit} ({percent(share[true, predicted])})"
                shown = [images[int(i)] for i in examples[k, direction] if i >= 0]
                rows.append(Row(subject.label(true), subject.label(predicted), told, shown, begins))
                begins = False
        return rows


def _listed(subject: Subject, found: Counts) -> NDArray[np.int64]:
    """(L, 3) true class, predicted class and position of the first images of every cell."""
    rows = [
        (true, predicted, place)
        for true, predicted in np.argwhere(found.matrix).tolist()
        for place in _surest(subject, found, true, predicted)[:_LISTED].tolist()
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _surest(subject: Subject, found: Counts, true: int, predicted: int) -> NDArray[np.int64]:
    """The images of a cell, where probabilities are known those of the surest answers first."""
    members = found.members(true, predicted)
    known = subject.records.get("probabilities")
    if found.cell is None or known is None or known.ndim != 2:
        return members
    return members[np.argsort(-known[members, predicted], kind="stable")]


def _words(subject: Subject, found: Counts) -> str:
    matrix = found.matrix
    wrong = matrix - np.diag(np.diag(matrix))
    total, count = int(matrix.sum()), int(wrong.sum())
    if not count:
        return f"All {total:,} {found.unit} are right."
    i, j = divmod(int(wrong.argmax()), len(wrong))
    said = (
        f"{count:,} of {total:,} {found.unit} {'is' if count == 1 else 'are'} wrong; "
        f"most often {subject.label(i)} is taken for {subject.label(j)} ({wrong[i, j]:,})."
    )
    first = pairs(matrix, 3)
    if len(first) > 1:
        told = [f"{subject.label(p.first)} and {subject.label(p.second)} ({p.forth + p.back:,})" for p in first]
        said += f" Most confused in both directions: {', '.join(told)}."
    if not subject.shows_records:
        said += " The images are missing: the data of the evaluation are not at hand."
    return said
