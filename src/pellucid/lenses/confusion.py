# SPDX-License-Identifier: Apache-2.0
"""confusion: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Sight, View

__all__ = ["Confusion"]

_MOST_LABELS, _LONGEST = 100, 24  # class names along an axis, and letters of one


@final
@dataclass(frozen=True)
class Confusion(Lens):
    """The confusion matrix: a row a true class, a column a predicted one, shares of the row in colour, counts in figures.

    >>> records = {"true": np.array([0, 0, 1]), "predicted": np.array([0, 1, 1])}
    >>> Confusion().look(Sight(records=records, classes=("a", "b"))).words
    '1 of 3 images is wrong; most often a is taken for b (1).'
    """

    counts: bool = True
    """write counts into the cells, where there are at most 40 classes"""

    def look(self, sight: Sight) -> View:
        from matplotlib.figure import Figure

        if not {"true", "predicted"} <= set(sight.records) or not sight.classes:
            raise UsageError(
                "lens='confusion': needs the true and the predicted class of each image; evaluate a classifier first."
            )
        true, predicted = sight.records["true"].astype(np.int64), sight.records["predicted"].astype(np.int64)
        n = len(sight.classes)
        matrix = np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)
        shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
        side = min(11.0, 1.9 + 0.42 * n)
        every = -(-n // _MOST_LABELS)
        names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in sight.classes[::every]]
        figure = Figure(figsize=(side + 0.6, side), dpi=130, layout="constrained")
        axes = figure.subplots()
        # a root makes one wrong image in a hundred visible beside the diagonal
        picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        style: dict[str, Any] = {"fontsize": 8 if n <= 40 else 5, "parse_math": False}
        long = max(map(len, names), default=0) > 3
        axes.set_xticks(range(0, n, every), names, rotation=90 if long else 0, **style)
        axes.set_yticks(range(0, n, every), names, **style)
        axes.set(xlabel="predicted", ylabel="true")
        if self.counts and n <= 40:
            for i, j in np.argwhere(matrix):
                colour = "white" if shares[i, j] > 0.4 else "0.15" if i == j else "#a02c1c"
                axes.text(
                    j, i, f"{matrix[i, j]:,}", ha="center", va="center", fontsize=7 if n <= 12 else 5, color=colour
                )
        bar = figure.colorbar(picture, shrink=0.7, ticks=np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]))
        bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"], fontsize=7)
        bar.set_label("share of the true class", fontsize=8)
        return View(figure, {"confusion": matrix}, _words(matrix, sight.classes))


def _words(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    wrong = matrix - np.diag(np.diag(matrix))
    total, count = int(matrix.sum()), int(wrong.sum())
    if not count:
        return f"All {total:,} images are right."
    i, j = divmod(int(wrong.argmax()), len(wrong))
    verb = "is" if count == 1 else "are"
    return f"{count:,} of {total:,} images {verb} wrong; most often {classes[i]} is taken for {classes[j]} ({wrong[i, j]:,})."
