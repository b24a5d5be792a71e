# SPDX-License-Identifier: Apache-2.0
"""How well a prediction covers the truth: intersection over union, recall, specificity, precision, from boxes, masks or counts.

TP FP FN TN are areas or pixels: predicted and true, predicted only, true only, neither. IoU = TP/(TP + FP + FN), recall =
TP/(TP + FN), specificity = TN/(TN + FP), precision = TP/(TP + FP) (Everingham et al. 2010, "The Pascal VOC challenge", section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, Index, Name, Sum, as_expr
from pellucid.worked.forms.presenting import Format, present, read_tensor, read_vector
from pellucid.worked.notation.operations import maximum, minimum
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.tensors import Numbers, as_tensor, define
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["box_measures", "command", "counted_measures", "mask_map", "mask_measures"]

_SIDES: Final = ("left", "top", "right", "bottom")


def box_measures(
    truth: Sequence[Any], prediction: Sequence[Any], *, image: Sequence[Any] | None = None, gradient: bool = False
) -> Worksheet:
    """The worksheet of two boxes: their intersection and union, IoU, recall and precision.

    >>> solution = box_measures((0, 0, 4, 4), (2, 2, 6, 6), image=(10, 10)).solve(exact=True)
    >>> print(solution.value("IoU"), solution.value("recall"), solution.value("specificity"))
    1/7 1/4 6/7

    Args:
        truth: left, top, right, bottom in pixels; right and bottom are the far edges.
        prediction: the same of the box that is predicted.
        image: width and height in pixels; with it the specificity can be told.
        gradient: ask for the derivative of IoU by each side of the prediction too.

    Raises:
        UsageError: not four numbers, an empty box, or a box outside the image.
    """
    sheet = Worksheet()
    for letter, box, what in (("t", truth, "truth"), ("p", prediction, "prediction")):
        numbers = [_exact(each) for each in as_tensor(box, what, 1)]
        if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
            raise UsageError(
                f"{what}={_listed(numbers)}: must be left, top, right, bottom with left < right, top < bottom; mend it."
            )
        for side, number in zip(_SIDES, numbers, strict=True):
            sheet[f"{side}_{letter}"] = number
    w = sheet
    w["width"] = maximum(0, minimum(w.right_t, w.right_p) - maximum(w.left_t, w.left_p))
    w["height"] = maximum(0, minimum(w.bottom_t, w.bottom_p) - maximum(w.top_t, w.top_p))
    w["A_t"] = (w.right_t - w.left_t) * (w.bottom_t - w.top_t)
    w["A_p"] = (w.right_p - w.left_p) * (w.bottom_p - w.top_p)
    w["TP"] = w.width * w.height
    w["FP"] = w.A_p - w.TP
    w["FN"] = w.A_t - w.TP
    if image is not None:
        size = [_exact(each) for each in as_tensor(image, "image", 1)]
        edges = [_exact(each) for box in (truth, prediction) for each in as_tensor(box, "box", 1)]
        if len(size) != 2 or min(edges) < 0 or max(edges[0::2]) > size[0] or max(edges[1::2]) > size[1]:
            raise UsageError(f"image={_listed(size)}: must be width and height, and hold both boxes; give its size.")
        w["W"], w["H"] = size
        w["TN"] = w.W * w.H - w.TP - w.FP - w.FN
    sheet.remark("TP is the area of the intersection, TP + FP + FN that of the union.")
    _rates(sheet)
    if gradient:
        sheet.ask(*(f"dIoU/d{side}_p" for side in _SIDES))
    return sheet


def mask_measures(truth: Numbers, prediction: Numbers, *, threshold: float | Fraction = Fraction(1, 2)) -> Worksheet:
    """The worksheet of two masks: pixels counted, then IoU, recall, specificity and precision.

    >>> solution = mask_measures([[1, 1], [0, 0]], [[0.9, 0.2], [0.7, 0.1]]).solve(exact=True)
    >>> print(solution.value("IoU"), solution.value("precision"))
    1/3 1/2

    Args:
        truth: rows of 0 and 1.
        prediction: rows of 0 and 1, or of probabilities; a pixel counts as predicted from `threshold` on.
        threshold: a probability.

    Raises:
        UsageError: shapes that differ, or a truth other than 0 and 1.
    """
    t, p = _masks(truth, prediction, _exact(as_expr(threshold)))
    sheet = Worksheet()
    define(sheet, "t", _expressions(t.reshape(-1)))
    define(sheet, "p", _expressions(p.reshape(-1)))
    if t.ndim == 2:
        sheet.remark("Pixels are numbered row by row; t is the truth, p the prediction.")
    whole = (Index("t", (Name("i"),)), Index("p", (Name("i"),)))
    pixels = [(Name(f"t_{n}"), Name(f"p_{n}")) for n in range(1, t.size + 1)]
    for name, true, said in (("TP", True, True), ("FP", False, True), ("FN", True, False), ("TN", False, False)):
        body, *terms = (_counted(*pair, true, said) for pair in (whole, *pixels))
        sheet[name] = Sum(body, "i", as_expr(1), as_expr(t.size), tuple(terms))
    sheet.ask("TP", "FP", "FN", "TN")
    _rates(sheet)
    return sheet


def counted_measures(tp: int, fp: int, fn: int, tn: int | None = None) -> Worksheet:
    """The worksheet of counts of hits and misses.

    >>> print(counted_measures(8, 2, 4, 6).solve().value("precision"))
    4/5

    Args:
        tp: predicted and true.
        fp: predicted and not true.
        fn: true and not predicted.
        tn: neither; without it the specificity is left out.

    Raises:
        UsageError: a count below 0, or nothing at all.
    """
    sheet = Worksheet()
    for name, count in (("TP", tp), ("FP", fp), ("FN", fn), ("TN", tn)):
        if count is not None and count < 0:
            raise UsageError(f"{name}={count}: is a count; give a number from 0 on.")
        if count is not None:
            sheet[name] = count
    _rates(sheet)
    return sheet


def mask_map(truth: Numbers, prediction: Numbers, *, threshold: float | Fraction = Fraction(1, 2)) -> MatrixEquation:
    """Truth, prediction, and how each pixel counts.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(mask_map([[1, 1], [0, 0]], [[1, 0], [1, 0]])))
    truth, prediction, and how each pixel counts
    <BLANKLINE>
          ⎡ 1  1 ⎤       ⎡ 1  0 ⎤   ⎡ TP  FN ⎤
      t = ⎣ 0  0 ⎦   p = ⎣ 1  0 ⎦   ⎣ FP  TN ⎦
    """
    t, p = _masks(truth, prediction, _exact(as_expr(threshold)))
    rows = [np.atleast_2d(each) for each in (t, p)]
    numbers = [Matrix(tuple(tuple(Const(Fraction(n)) for n in row) for row in mask.tolist())) for mask in rows]
    words = {(1, 1): "TP", (0, 1): "FP", (1, 0): "FN", (0, 0): "TN"}
    counts = tuple(
        tuple(Name(words[pair]) for pair in zip(*pairs, strict=True))
        for pairs in zip(rows[0].tolist(), rows[1].tolist(), strict=True)
    )
    line = (Name("t"), "=", numbers[0], " ", Name("p"), "=", numbers[1], " ", Matrix(counts))
    return MatrixEquation("truth, prediction, and how each pixel counts", (line,))


def _rates(sheet: Worksheet) -> None:
    """The measures of the counts in a sheet; one whose divisor is 0 is left out, and why is said."""
    values = sheet.solve().values
    TP, FP, FN = (sheet[name] for name in ("TP", "FP", "FN"))
    rates = [
        ("IoU", TP, (TP, FP, FN), "neither the truth nor the prediction holds anything"),
        ("recall", TP, (TP, FN), "nothing is true"),
        ("precision", TP, (TP, FP), "nothing is predicted"),
    ]
    if "TN" in sheet:
        TN = sheet["TN"]
        rates.insert(2, ("specificity", TN, (TN, FP), "everything is true"))
    for name, top, parts, why in rates:
        if sum(values[part.name] for part in parts):
            sheet[name] = top / (parts[0] + parts[1] + parts[2] if len(parts) > 2 else parts[0] + parts[1])
            sheet.ask(name)
        else:
            sheet.remark(f"The {name} has no value: {why}.")


def _counted(t: Expr, p: Expr, true: bool, predicted: bool) -> Expr:
    """1 for a pixel of this kind, else 0."""
    return (t if true else 1 - t) * (p if predicted else 1 - p)


def _masks(truth: Numbers, prediction: Numbers, threshold: Fraction) -> tuple[Any, Any]:
    t, p = (as_tensor(each, name, 1, 2) for each, name in ((truth, "truth"), (prediction, "prediction")))
    if t.shape != p.shape:
        raise UsageError(f"prediction.shape={p.shape}: the truth's is {t.shape}; give masks of one size.")
    numbers = np.vectorize(_exact, otypes=[object])
    true, said = numbers(t), numbers(p)
    if not all(each in (0, 1) for each in true.flat):
        raise UsageError("truth: must be a mask of 0 and 1; make it one.")
    return true.astype(int), (said >= threshold).astype(int)


def _expressions(numbers: Any) -> Any:
    return as_tensor(numbers, "mask")


def _exact(what: Any) -> Fraction:
    assert isinstance(what, Const) and isinstance(what.value, Fraction)
    return what.value


def _listed(numbers: Sequence[Fraction]) -> str:
    return " ".join(f"{float(each):g}" for each in numbers)


def command(
    truth: str = "2 2 8 7",
    prediction: str = "4 1 10 6",
    /,
    *,
    counts: tuple[int, ...] = (),
    image: tuple[int, ...] = (),
    threshold: float = 0.5,
    gradient: bool = False,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work intersection over union, recall, specificity and precision by hand, from two boxes, two masks or counts.

    Args:
        truth: a box as "left top right bottom" in pixels, or a mask in rows, as in "0 1 1; 0 1 0".
        prediction: the same of what is predicted; of a mask also probabilities.
        counts: TP, FP, FN and perhaps TN, in the place of truth and prediction.
        image: width and height in pixels, with which the specificity of boxes can be told.
        threshold: probability from which on a pixel of a mask counts as predicted.
        gradient: the derivative of IoU by each side of the predicted box too.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    grids = []
    if counts:
        if len(counts) not in (3, 4):
            raise UsageError(f"counts={' '.join(map(str, counts))}: must be TP FP FN, and TN if known; give 3 or 4.")
        sheet = counted_measures(*counts)
    elif ";" in truth or truth.strip().startswith("[["):
        if image or gradient:
            raise UsageError("image, gradient: belong to boxes; leave them out for masks.")
        t, p = read_tensor(truth, "truth"), read_tensor(prediction, "prediction")
        sheet = mask_measures(t, p, threshold=threshold)
        grids = [mask_map(t, p, threshold=threshold)]
    else:
        t, p = read_vector(truth, "truth"), read_vector(prediction, "prediction")
        sheet = box_measures(t, p, image=image or None, gradient=gradient)
    return present(sheet, grids, exact=exact, digits=digits, verify=verify, format=format, out=out)
