# SPDX-License-Identifier: Apache-2.0
"""What is written in a worksheet's text, before loops and vectors are spelt out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

from pellucid.worked.expressions.expression import At, Expr, Index, Name

__all__ = ["Ask", "Component", "Given", "Loop", "Product", "Row"]


@final
@dataclass(frozen=True, slots=True)
class Row(Expr):
    """A bracketed list: a vector, or the rows of a matrix."""

    items: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Product(Expr):
    """A matrix product."""

    left: Expr
    right: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Component(Expr):
    """A component of something that has several and no name."""

    of: Expr
    places: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """A loop variable with its first and last number."""

    variable: str
    low: Expr
    high: Expr
    at: At


@final
@dataclass(frozen=True, slots=True)
class Given:
    """An equation as it is written, before loops and vectors are spelt out."""

    target: Name | Index
    right: Expr
    loops: tuple[Loop, ...]
    at: At


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it is written: `names` by themselves, `of` by `names`, or `names` after `steps` of a `rule`."""

    names: tuple[Name | Index, ...]
    at: At
    of: Name | Index | None = None
    rule: str = ""
    steps: int = 1
    options: tuple[tuple[str, Fraction], ...] = ()
