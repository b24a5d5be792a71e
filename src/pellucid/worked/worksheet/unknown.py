# SPDX-License-Identifier: Apache-2.0
"""The sentence about a name that a worksheet does not define: what is near, and what was probably meant."""

from __future__ import annotations

from collections.abc import Container, Mapping

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import At
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Shape

__all__ = ["unknown_name"]


def unknown_name(
    name: str, at: At | None, where: str, equations: Mapping[str, object], shapes: Mapping[str, Shape]
) -> UsageError:
    """The error for a name without a value.

    >>> print(unknown_name("x_0", None, "L", {"x_1": 0, "x_2": 0}, {"x": (2,)}))
    equation of L: x_0: is not defined; components are counted from 1: x_1 to x_2.
    """
    here = position(at, where)
    if name in shapes:
        return UsageError(f"{here}{name}: has several components; choose one, as in {name}[1].")
    base, _, last = name.rpartition("_")
    if last == "0" and len(shapes.get(base, ())) == 1:
        return UsageError(
            f"{here}{name}: is not defined; components are counted from 1: {base}_1 to {base}_{shapes[base][0]}."
        )
    if name[0] in "d∂" and _has(name[1:], equations, shapes):
        return UsageError(
            f"{here}{name}: a derivative is a question, as in ? dL/dw, and a step too, as in ? w after sgd(lr=0.1) on L."
        )
    known = UnknownNameError("name", name, equations or ["none"])
    hint = str(known).partition(" Known:")[0].partition("; did")[2]
    rule = "is used but not defined"
    return UsageError(f"{here}{name}: {rule};{' did' + hint if hint else ''} write {name} = … to define it.")


def _has(name: str, equations: Container[str], shapes: Container[str]) -> bool:
    return name in equations or name in shapes
