# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix as a picture whose cells are links."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from pellucid.lenses import Evaluation, View
from pellucid.reporting.pictures import inline

__all__ = ["cell_id", "cell_words", "matrix"]

_DPI = 130
_PHONE = 3.9  # inches: 374 px of CSS
_FEW = 12  # classes whose numbers fit into such a picture


def matrix(
    view: View | None, evaluation: Evaluation, shown: Mapping[tuple[int, int], list[int]]
) -> dict[str, Any] | None:
    """The lens's figure with a rectangle (px) over each cell of its first axes, its tooltip and its link.

    "narrow" is the same for a phone: smaller cells with letters of the same size, and no colour bar; None of many classes, whose
    cells would not hold their numbers.
    """
    if view is None:
        return None
    wide = _linked(view, evaluation, shown)
    if len(view["order"]) > _FEW:
        return {**wide, "narrow": None}
    figure = view.figure
    for bar in figure.axes[1:]:
        bar.remove()
    figure.set_size_inches(_PHONE, _PHONE + 0.25)
    return {**wide, "narrow": _linked(view, evaluation, shown)}


def _linked(view: View, evaluation: Evaluation, shown: Mapping[tuple[int, int], list[int]]) -> dict[str, Any]:
    """The figure as it is, with the rectangles over its cells."""
    figure = view.figure
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, facecolor="white")
    width, height = (float(side) * _DPI for side in figure.get_size_inches())
    scale = _DPI / figure.dpi
    axes = figure.axes[0]
    order = view["order"].tolist()
    cells = []
    for i, true in enumerate(order):
        for j, predicted in enumerate(order):
            if not view["confusion"][true, predicted]:
                continue
            (left, bottom), (right, top) = axes.transData.transform([(j - 0.5, i + 0.5), (j + 0.5, i - 0.5)]) * scale
            cell = (true, predicted)
            cells.append(
                {
                    "x": round(left, 1),
                    "y": round(height - top, 1),
                    "width": round(right - left, 1),
                    "height": round(top - bottom, 1),
                    "id": cell_id(cell) if cell in shown else "",
                    "title": cell_words(view, evaluation, cell),
                }
            )
    return {"picture": inline(out.getvalue(), "png"), "width": round(width), "height": round(height), "cells": cells}


def cell_id(cell: tuple[int, int]) -> str:
    """The anchor of a cell on the page.

    >>> cell_id((3, 5))
    'cell-3-5'
    """
    return f"cell-{cell[0]}-{cell[1]}"


def cell_words(view: View | None, evaluation: Evaluation, cell: tuple[int, int]) -> str:
    """A cell in words, with its count and its share of the images, or objects, of the true class."""
    assert view is not None
    count, share = int(view["confusion"][cell]), float(view["share"][cell])
    true, predicted = (evaluation.label(i, 60) for i in cell)
    words = f"{true}, classified correctly" if cell[0] == cell[1] else f"{true} taken for {predicted}"
    if "confused" in evaluation.records:  # the last class is none
        last = len(evaluation.classes) - 1
        words = f"{true}, found" if cell[0] == cell[1] else f"{true}, missed" if cell[1] == last else words
        words = f"{predicted}, false alarms" if cell[0] == last else words
    return f"{words}: {count:,} ({100 * share:.3g} %)"
