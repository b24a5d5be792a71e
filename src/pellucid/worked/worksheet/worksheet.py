# SPDX-License-Identifier: Apache-2.0
"""A worksheet: named equations with numbers, and questions about them.

>>> w = Worksheet()
>>> w.x, w.y, w.W = 3, 10, 2
>>> w.yhat = w.W * w.x
>>> w.L = (w.yhat - w.y) ** 2
>>> w.ask("dL/dW", "W after sgd(lr=0.01) on L")
>>> solution = w.solve()
>>> print(solution.value("L"), solution.derivative("L", "W"))
16 -24
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import At, Expr, Index, Name, as_expr, depth, names
from pellucid.worked.expressions.position import place
from pellucid.worked.notation.arrays import Array, Bound, Scope, Shape, component, elaborate, ranges, scalar, whole
from pellucid.worked.notation.notation import parse
from pellucid.worked.notation.questions import Question
from pellucid.worked.notation.statements import Ask, Given
from pellucid.worked.showing.lines import Words
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.solution import Solution

__all__ = ["EQUATIONS", "Worksheet"]

EQUATIONS: Final = 3_000
QUESTIONS: Final = 2_000
WORK: Final = 30_000  # equations times steps of an optimiser
DEPTH: Final = 150  # of one right side: Python's own recursion ends at 1000


@final
class Worksheet:
    """Named equations with numbers; set them as attributes or items, or parse them from text.

    >>> w = Worksheet.parse("x = 2; y = x^2 + 1; ? y")
    >>> print(w.solve().value("y"))
    5
    >>> w = Worksheet()
    >>> w.x = [1, 2]
    >>> w.W = [[1, 0], [0, 3]]
    >>> w.z = w.x @ w.W
    >>> [str(w.solve().value(name)) for name in ("z_1", "z_2")]
    ['1', '6']
    """

    def __init__(self, text: str = "") -> None:
        self._equations: dict[str, Equation] = {}
        self._shapes: dict[str, Shape] = {}
        self._questions: list[Question] = []
        self._remarks: list[Words] = []
        self._held: set[str | Words] = set()
        if text:
            _fill(self, parse(text))

    @classmethod
    def parse(cls, text: str) -> Worksheet:
        """A worksheet from its text; the notation stands in `pellucid.worked.notation.notation`.

        Raises:
            UsageError: with line and column.
        """
        return cls(text)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        elif hasattr(type(self), name):
            raise UsageError(
                f"name={name!r}: is a method of a worksheet; write w[{name!r}] = …, or choose another name."
            )
        else:
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        found = self._find(name, None)
        return Name(name) if found is None else found

    def __setitem__(self, name: str, value: Any) -> None:
        if not name.isidentifier():
            raise UsageError(f"name={name!r}: must be letters, digits and _, beginning with a letter; rename it.")
        self._set(name, _from_python(value), None)

    def __iter__(self) -> Any:
        return iter(self._equations.values())

    def __len__(self) -> int:
        return len(self._equations)

    def __contains__(self, name: object) -> bool:
        return name in self._equations

    def ask(self, *questions: str) -> None:
        """Ask for values ("L"), derivatives ("dL/dW_h") or updates ("W_h after sgd(lr=0.01) on L").

        Raises:
            UsageError: what is no question.
        """
        for text in questions:
            statements = parse("?" + text)
            for each in statements:
                assert isinstance(each, Ask)
                self._ask(each)

    def remark(self, *words: str | Expr | tuple[str, ...], hint: bool = False) -> None:
        """Say one sentence about the whole sheet, text and expressions in turn; it is shown before the answers.

        An exercise leaves a `hint` out.
        """
        self._remarks.append(words)
        if hint:
            self._held.add(words)

    def hold_back(self, *names: str) -> None:
        """Leave equations out of an exercise, since they hold a part of its answer."""
        self._held |= {*names}

    def is_held(self, what: str | Words) -> bool:
        """Whether an exercise leaves out the equation of a name, or a remark."""
        return what in self._held

    @property
    def remarks(self) -> Sequence[Words]:
        """What is said of the whole sheet, in order."""
        return tuple(self._remarks)

    @property
    def equations(self) -> Mapping[str, Equation]:
        """The equations by name, in the order in which they were written."""
        return self._equations

    @property
    def questions(self) -> Sequence[Question]:
        """What is asked, in order."""
        return tuple(self._questions)

    def components(self, name: str) -> list[str]:
        """The names of a vector's or matrix's components; of a number, its own.

        >>> Worksheet.parse("x = [1, 2]").components("x")
        ['x_1', 'x_2']
        """
        found = self._find(name, None)
        if isinstance(found, Array):
            return [item.name for item in found.items if isinstance(item, Name)]
        return [name]

    def order(self) -> list[str]:
        """The names in an order in which they can be worked out.

        Raises:
            UsageError: a name without a number, or equations that go round in a circle.
        """
        below: dict[str, list[str]] = {}
        for equation in self._equations.values():
            below[equation.name] = list(used := names(equation.right))
            for name, node in used.items():
                if name not in self._equations:
                    raise self._unknown(name, getattr(node, "at", None), equation.name)
        try:
            graphlib.TopologicalSorter(below).prepare()
        except graphlib.CycleError as fault:
            ring: list[str] = fault.args[1][::-1]
            first = min(ring, key=list(self._equations).index)
            turn = ring.index(first)
            ring = [*ring[turn:-1], *ring[:turn], first] if turn else ring
            raise UsageError(
                f"{place(self._equations[first].at, first)}{first} needs itself ({' needs '.join(ring)}); "
                "give one of them a number, or a name of its own at each step."
            ) from None
        return _in_order(below)

    def solve(self, *, exact: bool = False, digits: int = 6) -> Solution:
        """Work everything out, and check it; the questions are answered when they are shown.

        Args:
            exact: show fractions as fractions where decimals do not end.
            digits: significant digits of numbers that are not exact, 1 to 50.

        Raises:
            UsageError: a name without a number, a circle, a division by zero, a logarithm of a negative number.
        """
        return Solution(self._equations, self.order(), self._questions, self._remarks, exact=exact, digits=digits)

    def __str__(self) -> str:
        return self.solve().show("terminal")

    def __repr__(self) -> str:
        return f"Worksheet of {len(self._equations)} equations and {len(self._questions)} questions"

    def _repr_html_(self) -> str:
        return self.solve().show("fragment")

    def _repr_latex_(self) -> str:
        return self.solve().show("latex-fragment")

    def _find(self, name: str, at: At | None) -> Array | None:
        """The array of a name, or None for a number or a name that is not known yet."""
        if name in self._equations:
            return None
        shape = self._shapes.get(name) or self._family(name)
        if shape is None:
            return None
        places = [[i, *rest] for i in range(1, shape[0] + 1) for rest in _rest(shape)]
        return Array(shape, tuple(Name(component(name, each), at) for each in places))

    def _family(self, name: str) -> Shape | None:
        """The shape of z when z_1, z_2, … were written one by one."""
        count = 0
        while f"{name}_{count + 1}" in self._equations:
            count += 1
        return (count,) if count else None

    def _set(self, name: str, right: Expr | Array, at: At | None) -> None:
        if name in self._shapes:
            raise UsageError(f"{place(at)}{name}: has its numbers already; choose another name.")
        if isinstance(right, Array):
            self._shapes[name] = right.shape
            places = [[i, *rest] for i in range(1, right.shape[0] + 1) for rest in _rest(right.shape)]
            for key, item in zip(places, right.items, strict=True):
                self._add(component(name, key), item, at)
        else:
            self._add(name, right, at)

    def _add(self, name: str, right: Expr, at: At | None) -> None:
        if name in self._equations:
            first = self._equations[name].at
            where = f" in line {first[0]}" if first else ""
            raise UsageError(
                f"{place(at)}{name}: has an equation already{where}; choose another name, as in {name}_new."
            )
        if len(self._equations) >= EQUATIONS:
            raise UsageError(f"{place(at)}{name}: a worksheet has at most {EQUATIONS:,} equations; split it.")
        if depth(right) > DEPTH:
            raise UsageError(f"{place(at, name)}the expression is nested more than {DEPTH} deep; name parts of it.")
        self._equations[name] = Equation(name, right, at)

    def _ask(self, ask: Ask) -> None:
        for question in _questions(self, ask):
            for name in (*question.names, *([question.of] if question.of else [])):
                if name not in self._equations:
                    raise self._unknown(name, question.at, "a question")
            if len(self._questions) >= QUESTIONS:
                raise UsageError(
                    f"{place(question.at)}a worksheet has at most {QUESTIONS:,} questions; ask for components."
                )
            if question.steps * len(self._equations) > WORK:
                raise UsageError(
                    f"{place(question.at)}steps={question.steps}: times {len(self._equations):,} equations is more than "
                    f"{WORK:,}; take fewer steps."
                )
            self._questions.append(question)

    def _unknown(self, name: str, at: At | None, where: str) -> UsageError:
        if name in self._shapes:
            return UsageError(f"{place(at, where)}{name}: has several components; name one, as in {name}[1].")
        known = UnknownNameError("name", name, self._equations or ["none"])
        hint = str(known).partition(" Known:")[0].partition("; did")[2]
        rule = "is used and has no number"
        return UsageError(
            f"{place(at, where)}{name}: {rule};{' did' + hint if hint else ''} write {name} = … to give it one."
        )


def _in_order(below: Mapping[str, Sequence[str]]) -> list[str]:
    """The order of writing, but what is needed stands before what needs it."""
    done: dict[str, None] = {}
    for first in below:
        pending = [first]
        while pending:
            missing = [name for name in below[pending[-1]] if name not in done]
            if missing:
                pending += reversed(missing)
            else:
                done.setdefault(pending.pop())
    return list(done)


def _rest(shape: Shape) -> Iterable[list[int]]:
    return [[j] for j in range(1, shape[1] + 1)] if len(shape) > 1 else [[]]


def _from_python(value: Any) -> Expr | Array:
    """What stands on the right of an assignment: numbers, expressions, lists of them, NumPy arrays."""
    if isinstance(value, (Expr, Array)):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        rows = [_from_python(each) for each in value]
        if not rows:
            raise UsageError("value=[]: has no components; give at least one.")
        arrays = [row for row in rows if isinstance(row, Array)]
        if not arrays:
            return Array((len(rows),), tuple(row for row in rows if isinstance(row, Expr)))
        if len(arrays) < len(rows) or len({row.shape for row in arrays}) > 1 or len(arrays[0].shape) > 1:
            raise UsageError(
                f"value={value!r}: the rows of a matrix must be lists of one length; mend the shorter ones."
            )
        return Array((len(rows), *arrays[0].shape), tuple(item for row in arrays for item in row.items))
    return as_expr(value)


def _fill(sheet: Worksheet, statements: Sequence[Given | Ask]) -> None:
    """Spell statements out: first the equations, whose order is free except for vectors, then the questions."""
    given = [each for each in statements if isinstance(each, Given)]
    known = _written(given)

    def find(name: str, at: At | None) -> Array | None:
        found = sheet._find(name, at)
        if found is not None or name in known:
            return found
        count = 0
        while f"{name}_{count + 1}" in known:
            count += 1
        return Array((count,), tuple(Name(f"{name}_{n + 1}", at) for n in range(count))) if count else None

    scope = Scope(find)
    scope.promise(given)
    for each in given:
        for bound in ranges(each.loops, {}) if each.loops else ({},):
            name = _target(each.target, bound)
            right = elaborate(each.right, scope, bound)
            if each.loops or isinstance(each.target, Index):
                right = scalar(right, each.at)
            sheet._set(name, right, each.at)
    for ask in statements:
        if isinstance(ask, Ask):
            sheet._ask(ask)


def _written(given: Sequence[Given]) -> set[str]:
    """The names that stand on a left side, with the loops run."""
    found: set[str] = set()
    for each in given:
        for bound in ranges(each.loops, {}) if each.loops else ({},):
            found.add(_target(each.target, bound))
            if len(found) > EQUATIONS:
                raise UsageError(f"{place(each.at)}a worksheet has at most {EQUATIONS:,} equations; split it.")
    return found


def _target(target: Name | Index, bound: Bound) -> str:
    if isinstance(target, Index):
        return component(target.base, [whole(each, bound, target.at) for each in target.places])
    base, *parts = target.name.split("_")
    return "_".join([base, *(str(bound[part]) if part in bound else part for part in parts)])


def _questions(sheet: Worksheet, ask: Ask) -> Iterable[Question]:
    """One question for each value and each derivative; an update takes its parameters together."""
    groups = [sheet.components(_target(each, {})) for each in ask.names]
    flat = [name for group in groups for name in group]
    if ask.of is None:
        return [Question((name,), at=ask.at) for name in flat]
    of = _target(ask.of, {})
    if ask.rule:
        return [Question(tuple(flat), of, ask.rule, ask.steps, ask.options, ask.at)]
    return [Question((name,), top, at=ask.at) for top in sheet.components(of) for name in flat]
