# SPDX-License-Identifier: Apache-2.0
"""confusion: which classes are confused with which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError, check_choice
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import picture
from pellucid.lenses._parts import Evaluation
from pellucid.lenses._wording import percent
from pellucid.lenses.confusion.figure import Row, figure, room, short
from pellucid.lenses.confusion.pairs import (
    Counts,
    Pair,
    counts,
    may_tell,
    natural_order,
    pairs,
    shares,
    similarity_order,
    tells,
)

__all__ = ["Confusion"]

_LISTED = 24  # images of each cell in the numbers
_FEW = 3  # mistakes on pages that are all named

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
class Confusion(Lens[Evaluation]):
    """The confusion matrix, true classes down and predicted ones across, in counts and in shares of the row.

    The classes have the data's order, numbers that of their values; many are sorted so that confusable ones are neighbours where
    that tells something, and the words say so. Where objects were detected, the last one is none. The most confused pairs are
    beside the matrix with their images, the most confident mistakes first; of pages that were read, with their letters. In the
    numbers `confusion` and `share` have the classes in the data's order; `order` is the one that is drawn. `example` are
    positions in the split, -1 where there are no more, and `cell_image` lists the first images of every cell.

    >>> records = {"true": np.array([0, 0, 1]), "predicted": np.array([0, 1, 1])}
    >>> Confusion().look(Evaluation(records, classes=("a", "b"))).words
    '1 of 3 images is wrong: a predicted as b. Without images: the data are not available.'
    """

    sort: Literal["auto", "likeness", "errors", "given"] = "auto"
    """order of the classes: as in the data and numbers by value, of many by likeness where it tells something (auto); confusable
    ones side by side (likeness); those with the largest share of errors first; or as in the data (given)"""
    figures: Literal["both", "counts", "shares", "none"] = "both"
    """numbers in the cells, up to 40 classes (both: up to 16)"""
    pairs: int | None = None
    """pairs of classes that are shown with images; by default as many as fit beside the matrix"""
    examples: int = 8
    """images for each direction of a pair"""

    def __post_init__(self) -> None:
        check_choice("sort", self.sort, ("auto", "likeness", "errors", "given"))
        check_choice("figures", self.figures, ("both", "counts", "shares", "none"))
        for name, value in (("pairs", self.pairs), ("examples", self.examples)):
            if value is not None and value < 0:
                raise UsageError(f"{name}={value}: must not be negative; give another number.")

    def look(self, evaluation: Evaluation) -> View:
        counted = counts(evaluation.records, len(evaluation.classes))
        share = shares(counted.matrix)
        order, how = self._order(counted, share, [evaluation.label(i, 200) for i in range(len(counted.matrix))])
        most = room(len(counted.matrix)) if self.pairs is None else self.pairs
        worst = pairs(counted.matrix, most)
        if evaluation.pictures is not None:  # what is taken for what; of what is missed there is no picture
            worst = [*pairs(counted.matrix[:-1, :-1], most), *(one for one in worst if _none(one, counted))][:most]
        examples = np.full((len(worst), 2, self.examples), -1, np.int64)
        for k, pair in enumerate(worst):
            for direction, (true, predicted) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
                members = _most_confident(evaluation, counted, true, predicted)[: self.examples]
                examples[k, direction, : len(members)] = members
        rows = self._rows(evaluation, counted, share, worst, examples)
        grid = np.ix_(order, order)
        names = [evaluation.label(int(i), 200) for i in order]
        drawing = partial(figure, counted.matrix[grid], share[grid], names, self.figures, rows)
        numbers: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {
            "confusion": counted.matrix,
            "share": share,
            "order": order,
            "pair": np.array([(pair.first, pair.second) for pair in worst], np.int64).reshape(-1, 2),
            "pair_count": np.array([(pair.forth, pair.back) for pair in worst], np.int64).reshape(-1, 2),
            "example": examples,
            "cell_image": _listed(evaluation, counted),
        }
        return View(drawing, numbers, f"{_words(evaluation, counted)}{how}", _AXES)

    def _order(
        self, counted: Counts, share: NDArray[np.float64], names: Sequence[str]
    ) -> tuple[NDArray[np.int64], str]:
        """The classes as they are drawn, and a sentence where they are not in the data's order though nobody asked for that."""
        matrix, last = counted.matrix, len(counted.matrix) - 1
        if counted.unit == "objects":  # none at all is no class like others
            own = Counts(matrix[:last, :last], "", None, None)
            order, how = self._order(own, share[:last, :last], names[:last])
            return np.append(order, last), how
        if self.sort == "likeness":
            return similarity_order(matrix), ""
        if self.sort == "given":
            return np.arange(len(matrix)), ""
        if self.sort == "errors":
            wrong = np.where(matrix.sum(1) > 0, 1 - np.diag(share), -1.0)  # classes that do not occur come last
            return np.argsort(-wrong, kind="stable").astype(np.int64), ""
        natural = natural_order(names)
        if may_tell(matrix) and tells(matrix, alike := similarity_order(matrix), natural):
            return alike, " The classes are sorted so that those which are confused are neighbours."
        return natural, ""

    def _rows(
        self,
        evaluation: Evaluation,
        counted: Counts,
        share: NDArray[np.float64],
        worst: Sequence[Pair],
        examples: NDArray[np.int64],
    ) -> list[Row]:
        """Both directions of each pair, if they occur, with their images; none without the images."""
        if (evaluation.images is None and evaluation.pictures is None) or not self.examples:
            return []
        wanted = np.unique(examples[examples >= 0]).tolist() if evaluation.pictures is None else []
        images: dict[int, NDArray[np.float32]] = {}
        for batch in evaluation.images(wanted) if wanted and evaluation.images is not None else ():
            images |= {int(i): picture(image) for i, image in zip(batch.index, batch.images, strict=True)}
        rows = []
        for k, pair in enumerate(worst):
            begins = True
            for direction, (true, predicted) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
                count = int(counted.matrix[true, predicted])
                if not count:
                    continue
                unit = " px" if counted.unit == "pixels" else ""
                number = f"{short(count)}{unit} ({percent(share[true, predicted])})"
                if evaluation.pictures is not None:
                    shown = [*evaluation.pictures(true, predicted)[: self.examples]]
                else:
                    shown = [images[int(i)] for i in examples[k, direction] if i >= 0]
                rows.append(Row(evaluation.label(true), evaluation.label(predicted), number, shown, begins))
                begins = False
        return rows


def _none(pair: Pair, counted: Counts) -> bool:
    """Whether one of the two is none at all."""
    return max(pair.first, pair.second) == len(counted.matrix) - 1


def _listed(evaluation: Evaluation, counted: Counts) -> NDArray[np.int64]:
    """(L, 3): true class, predicted class and position of the first images of every cell."""
    rows = [
        (true, predicted, place)
        for true, predicted in np.argwhere(counted.matrix).tolist()
        for place in _most_confident(evaluation, counted, true, predicted)[:_LISTED].tolist()
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _most_confident(evaluation: Evaluation, counted: Counts, true: int, predicted: int) -> NDArray[np.int64]:
    """The images of a cell; where probabilities are recorded, the most confident answers first."""
    members = counted.members(true, predicted)
    known = evaluation.records.get("probabilities")  # (N, K)
    if counted.cell is None or known is None or known.ndim != 2:
        return members
    return members[np.argsort(-known[members, predicted], kind="stable")]


def _words(evaluation: Evaluation, counted: Counts) -> str:
    matrix = counted.matrix
    if counted.unit == "objects":
        return _of_objects(evaluation, matrix)
    wrong = matrix - np.diag(np.diag(matrix))
    total, count = int(matrix.sum()), int(wrong.sum())
    if not count:
        return f"All {total:,} {counted.unit} are right."
    i, j = divmod(int(wrong.argmax()), len(wrong))
    words = f"{count:,} of {total:,} {counted.unit} {'is' if count == 1 else 'are'} wrong"
    if count == 1:
        words += f": {evaluation.label(i)} predicted as {evaluation.label(j)}."
    elif wrong.max() == 1:  # naming one of them would make a habit of an accident
        words += "; no mistake occurs twice, so none is systematic."
    else:
        words += (
            f"; the most common mistake is {evaluation.label(i)} predicted as {evaluation.label(j)} ({wrong[i, j]:,})."
        )
    words += _both_ways(evaluation, matrix)
    if evaluation.images is None:
        words += " Without images: the data are not available."
    return words


def _both_ways(evaluation: Evaluation, matrix: NDArray[np.int64]) -> str:
    """The pairs with most mistakes, if there are several that were confused more than once."""
    first = [pair for pair in pairs(matrix, 3) if pair.forth + pair.back > 1]
    if len(first) < 2:
        return ""
    named = [f"{evaluation.label(p.first)} and {evaluation.label(p.second)} ({p.forth + p.back:,})" for p in first]
    return f" Most confused in both directions: {', '.join(named)}."


def _of_objects(evaluation: Evaluation, matrix: NDArray[np.int64]) -> str:
    """What became of the objects, and how many answers show none."""
    noun = evaluation.objects
    classes = matrix[:-1, :-1]
    total, right, missed, alarms = (
        int(part.sum()) for part in (matrix[:-1], np.diag(classes), matrix[:-1, -1], matrix[-1])
    )
    mixed = classes - np.diag(np.diag(classes))
    share = f" ({percent(right / total)})" if total else ""
    words = f"Of {total:,} {noun}s, {right:,}{share} were found with their class, "
    few = [f"{evaluation.label(i)} as {evaluation.label(j)}" for i, j in np.argwhere(mixed).tolist()]
    named = f" ({', '.join(few)})" if evaluation.pictures is not None and 0 < len(few) <= _FEW else ""
    words += f"{int(mixed.sum()):,} with another class{named}, and {missed:,} missed; "
    words += f"{alarms:,} {'answer shows' if alarms == 1 else 'answers show'} no {noun}, or one again."
    if mixed.max(initial=0) > 1:
        i, j = divmod(int(mixed.argmax()), len(mixed))
        words += (
            f" The most common mix-up is {evaluation.label(i)} predicted as {evaluation.label(j)} ({mixed[i, j]:,})."
        )
    words += _both_ways(evaluation, classes)
    name = evaluation.label(len(matrix) - 1)
    words += f" The last row, {name}, holds the false alarms, and the last column the missed {noun}s."
    if evaluation.images is None and evaluation.pictures is None:
        words += " Without images: the data are not available."
    return words
