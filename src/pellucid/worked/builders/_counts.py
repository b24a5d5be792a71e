# SPDX-License-Identifier: Apache-2.0
"""How well a prediction covers the truth, from hits and misses: what boxes, masks and counts share.

TP FP FN TN are areas, pixels or counts: predicted and true, predicted only, true only, neither. IoU = TP/(TP + FP + FN),
recall = TP/(TP + FN), specificity = TN/(TN + FP), precision = TP/(TP + FP) (Everingham et al. 2010, "The Pascal VOC challenge",
section 4).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import exact
from pellucid.worked.expressions.expression import Const, Name
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.tensors import Numbers, as_tensor
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["mask_map", "masks", "put_rates"]

_KINDS = {(1, 1): "TP", (0, 1): "FP", (1, 0): "FN", (0, 0): "TN"}
"""Of a pixel: (true, predicted)."""


def put_rates(sheet: Worksheet) -> None:
    """Write down the measures of a sheet's counts and ask for them; one whose divisor is 0 is left out with a remark.

    >>> sheet = Worksheet("TP = 0; FP = 0; FN = 2")
    >>> put_rates(sheet)
    >>> [question.title for question in sheet.questions], len(sheet.remarks)
    (['IoU', 'recall'], 2)
    """
    # which measures have a divisor is known from the numbers alone
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
    # a quotient by 0 has no value, and the other measures still have theirs
    for name, top, parts, why in rates:
        if sum(values[part.name] for part in parts):
            sheet[name] = top / (parts[0] + parts[1] + parts[2] if len(parts) > 2 else parts[0] + parts[1])
            sheet.ask(name)
        else:
            sheet.remark(f"The {name} has no value: {why}.")
    others = {"recall": "the true positive rate (tpr)", "specificity": "the true negative rate (tnr)"}
    others["precision"] = "the positive predictive value (ppv)"
    known = [f"{name} is {other}" for name, other in others.items() if name in sheet]
    if known:
        sheet.remark(f"By other names, {', '.join(known)}.")


def masks(truth: Numbers, prediction: Numbers, threshold: float | Fraction) -> tuple[Any, Any]:
    """Truth and thresholded prediction as whole numbers 0 and 1.

    Raises:
        UsageError: shapes that differ, or a truth other than 0 and 1.
    """
    t, p = (
        as_tensor(mask, name, 1, 2) for mask, name in ((truth, "truth"), (prediction, "prediction"))
    )  # (N,) or (H, W) each
    if t.shape != p.shape:
        raise UsageError(f"prediction.shape={p.shape}: the truth's is {t.shape}; give masks of one size.")
    # as fractions: a probability of 0.3 is not below a threshold of 0.3
    numbers = np.vectorize(exact, otypes=[object])
    t, p = numbers(t), numbers(p)
    if not all(pixel in (0, 1) for pixel in t.flat):
        raise UsageError("truth: must be a mask of 0 and 1; make it one.")
    return t.astype(int), (p >= exact(threshold)).astype(int)


def mask_map(truth: Numbers, prediction: Numbers, *, threshold: float | Fraction = Fraction(1, 2)) -> MatrixEquation:
    """Truth, prediction, and how each pixel counts.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(mask_map([[1, 1], [0, 0]], [[1, 0], [1, 0]])))
    truth, prediction, and how each pixel counts
    <BLANKLINE>
          ⎡ 1  1 ⎤       ⎡ 1  0 ⎤   ⎡ TP  FN ⎤
      t = ⎣ 0  0 ⎦   p = ⎣ 1  0 ⎦   ⎣ FP  TN ⎦
    """
    # a vector is shown as one row
    t, p = (np.atleast_2d(mask).tolist() for mask in masks(truth, prediction, threshold))
    numbers = [Matrix(tuple(tuple(Const(Fraction(pixel)) for pixel in row) for row in mask)) for mask in (t, p)]
    kinds = tuple(tuple(Name(_KINDS[pair]) for pair in zip(*rows, strict=True)) for rows in zip(t, p, strict=True))
    line = (Name("t"), "=", numbers[0], " ", Name("p"), "=", numbers[1], " ", Matrix(kinds))
    return MatrixEquation("truth, prediction, and how each pixel counts", (line,))
