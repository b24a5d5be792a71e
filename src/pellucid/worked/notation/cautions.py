# SPDX-License-Identifier: Apache-2.0
"""What people read in two ways where a matrix stands: said to the reader of the worksheet, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Call, Const, Expr, Mul, Neg, Pow
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array

__all__ = ["check_matrices", "vector_norm"]

_TIMES: Final = "* multiplies a matrix component by component; W x and W @ x are products of matrices."
_POWER: Final = "A power of a matrix is taken component by component; W W and W @ W are products of matrices."


def check_matrices(what: Expr, parts: Sequence[Expr | Array], notes: dict[str, None]) -> None:
    """Say what * and powers of matrices do here: in mathematics they are products of matrices.

    >>> from pellucid.worked.expressions.expression import Name
    >>> notes: dict[str, None] = {}
    >>> W = Array((2, 2), tuple(map(Name, "abcd")))
    >>> check_matrices(Pow(Name("W"), Const(Fraction(2))), [W, Const(Fraction(2))], notes)
    >>> print(*notes)
    A power of a matrix is taken component by component; W W and W @ W are products of matrices.

    Args:
        what: a product or a power.
        parts: its factors, or its base and exponent, written out.
        notes: takes a sentence for the reader.

    Raises:
        UsageError: an inverse.
    """
    matrices = [part for part in parts if isinstance(part, Array) and len(part.shape) == 2]
    if not matrices:
        return
    if isinstance(what, Pow) and isinstance(parts[0], Array) and parts[0] is matrices[0]:
        if (isinstance(parts[1], Const) and parts[1].value == -1) or parts[1] == Neg(Const(Fraction(1))):
            raise UsageError(
                f"{position(what.at)}^-1: a worksheet does not invert matrices; write 1/W for the reciprocal of each component."
            )
        if parts[0].shape[0] == parts[0].shape[1]:
            notes[_POWER] = None
    if isinstance(what, Mul) and sum(isinstance(part, Array) for part in parts) > 1:
        notes[_TIMES] = None


def vector_norm(norm: Call, inside: Expr | Array) -> Call:
    """||x||_1 or ||x||_2 as an expression; of a matrix these are other norms than those of its numbers in a row.

    >>> from pellucid.worked.expressions.expression import Name
    >>> x = Array((2,), (Name("x_1"), Name("x_2")))
    >>> vector_norm(Call("norm", (Name("x"),), 1), x)
    Call(function='sum', args=(Call(function='abs', args=(Name(name='x'),), index=0),), index=0)

    Args:
        norm: the call; its index is the order.
        inside: its argument, written out.

    Raises:
        UsageError: a matrix.
    """
    if isinstance(inside, Array) and len(inside.shape) == 2:
        raise UsageError(
            f"{position(norm.at)}||…||_{norm.index}: of a matrix has several meanings; write ||W||_F for the root of the sum of "
            "squares, or sum(abs(W))."
        )
    if norm.index == 2:
        return Call("norm", norm.args, 0, norm.at)
    return Call("sum", (Call("abs", norm.args, 0, norm.at),), 0, norm.at)
