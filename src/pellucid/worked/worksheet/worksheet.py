# SPDX-License-Identifier: Apache-2.0
"""A worksheet: named equations and questions about them.

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
from fractions import Fraction
from typing import Any, Final, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import At, Expr, Index, Name, as_expr, depth, names
from pellucid.worked.expressions.position import position
from pellucid.worked.expressions.spelling import canonical
from pellucid.worked.notation.arrays import Array, Shape, component_name, named_array
from pellucid.worked.notation.expansion import Scope, expand, loop_bindings
from pellucid.worked.notation.indexing import Bindings, index_name, index_subscripts
from pellucid.worked.notation.notation import parse
from pellucid.worked.notation.questions import Question
from pellucid.worked.notation.statements import EquationStatement, QuestionStatement
from pellucid.worked.showing.lines import Words
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.unknown import unknown_name

__all__ = ["EQUATIONS", "Worksheet"]

EQUATIONS: Final = 3_000
QUESTIONS: Final = 2_000
WORK: Final = 30_000  # equations times optimiser steps
DEPTH: Final = 150  # of one right side: each level takes a few of Python's 1000 levels of recursion


@final
class Worksheet:
    """Named equations and questions; set equations as attributes or items, or parse a text.

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
        self._paths = True
        if text:
            _fill(self, parse(text))

    @classmethod
    def parse(cls, text: str) -> Worksheet:
        """A worksheet from its text; `pellucid.worked.notation.notation` explains the notation.

        Raises:
            UsageError: a mistake in the text, with line and column.
        """
        return cls(text)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle ask for special names, which are no quantities
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        elif hasattr(type(self), name):
            raise UsageError(f"name={name!r}: is a method of Worksheet; write w[{name!r}] = …, or choose another name.")
        else:
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        name = canonical(name)
        array = self._find(name, None)
        return Name(name) if array is None else array

    def __setitem__(self, name: str, value: Any) -> None:
        name = canonical(name)
        if not name.isidentifier():
            raise UsageError(f"name={name!r}: must start with a letter and have letters, digits and _ only; rename it.")
        self._set(name, _from_python(value), None)

    def __iter__(self) -> Any:
        return iter(self._equations.values())

    def __len__(self) -> int:
        return len(self._equations)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self._equations

    def ask(self, *questions: str) -> None:
        """Ask for values ("L"), derivatives ("dL/dW_h") or updates ("W_h after sgd(lr=0.01) on L").

        Raises:
            UsageError: not a question, or one about an unknown name.
        """
        for text in questions:
            for statement in parse("?" + text):
                assert isinstance(statement, QuestionStatement)
                self._ask(statement)

    def remark(self, *words: str | Expr | tuple[str, ...], hint: bool = False) -> None:
        """Add a sentence about the whole sheet, of strings and expressions; it is shown before the answers.

        An exercise leaves out a `hint`.
        """
        self._remarks.append(words)
        if hint:
            self._held.add(words)

    def hold_back(self, *names: str) -> None:
        """Leave equations out of an exercise, because they give away part of the answer."""
        self._held |= {*map(canonical, names)}

    def is_held(self, what: str | Words) -> bool:
        """Whether an exercise leaves out a remark, or the equation of a name."""
        return what in self._held

    @property
    def remarks(self) -> Sequence[Words]:
        """The sentences about the whole sheet, in order."""
        return tuple(self._remarks)

    @property
    def equations(self) -> Mapping[str, Equation]:
        """The equations by name, in the order of writing."""
        return self._equations

    @property
    def questions(self) -> Sequence[Question]:
        """The questions, in order."""
        return tuple(self._questions)

    def components(self, name: str) -> list[str]:
        """The names of the components of a vector or matrix; of a number, its own name.

        >>> Worksheet.parse("x = [1, 2]").components("x")
        ['x_1', 'x_2']
        """
        name = self._apart(canonical(name))
        array = self._find(name, None)
        if isinstance(array, Array):
            return [item.name for item in array.items if isinstance(item, Name)]
        return [name]

    def order(self) -> list[str]:
        """The names in an order in which they can be computed.

        Raises:
            UsageError: a name without a value, or equations that form a cycle.
        """
        below: dict[str, list[str]] = {}
        for equation in self._equations.values():
            below[equation.name] = list(used := names(equation.right))
            for name, node in used.items():
                if name not in self._equations:
                    raise self._unknown(name, getattr(node, "at", None), equation.name)
        # graphlib finds cycles; its order is not that of writing, see `_in_order`
        try:
            graphlib.TopologicalSorter(below).prepare()
        except graphlib.CycleError as fault:
            cycle: list[str] = fault.args[1][::-1]
            # start the cycle at the equation that was written first
            first = min(cycle, key=list(self._equations).index)
            turn = cycle.index(first)
            cycle = [*cycle[turn:-1], *cycle[:turn], first] if turn else cycle
            raise UsageError(
                f"{position(self._equations[first].at, first)}{first} depends on itself ({' needs '.join(cycle)}); "
                "give one of them a number, or a new name at each step."
            ) from None
        return _in_order(below)

    def go_backwards(self) -> None:
        """Answer derivatives backwards, each from those of the quantities that use it, instead of path by path."""
        self._paths = False

    def solve(self, *, exact: bool = False, digits: int = 6, paths: bool | None = None) -> Solution:
        """Compute and check all values; the questions are answered when the solution is shown.

        Args:
            exact: show fractions as fractions if their decimals do not end.
            digits: significant digits of numbers that are not exact, 1 to 50.
            paths: list every path of a derivative, or go backwards through the graph; by default the sheet decides.

        Raises:
            UsageError: a name without a value, a cycle, a division by zero, a logarithm of a negative number.
        """
        given = (self._equations, self.order(), self._questions, self._remarks)
        return Solution(*given, exact=exact, digits=digits, paths=self._paths if paths is None else paths)

    def __str__(self) -> str:
        return str(self.solve())

    def __repr__(self) -> str:
        return f"Worksheet of {len(self._equations)} equations and {len(self._questions)} questions"

    def _repr_html_(self) -> str:
        return self.solve().show("fragment")

    def _repr_latex_(self) -> str:
        return self.solve().show("latex-fragment")

    def _find(self, name: str, at: At | None) -> Array | None:
        """The array of this name; None for a number or an unknown name."""
        if name in self._equations:  # a scalar of this name hides z_1, z_2, …
            return None
        shape = self._shapes.get(name)
        if shape is None:  # z_1, z_2, … or a_1_1, a_1_2, … may be defined one by one
            return named_array(name, self._equations, at)
        places = [[i, *rest] for i in range(1, shape[0] + 1) for rest in _rest(shape)]
        return Array(shape, tuple(Name(component_name(name, place), at) for place in places))

    def _apart(self, name: str) -> str:
        """W_21 as W_2_1, where the worksheet has only the latter."""
        base, _, last = name.rpartition("_")
        apart = f"{base}_{last[:1]}_{last[1:]}"
        return (
            apart
            if len(last) == 2 and last.isdigit() and name not in self._equations and apart in self._equations
            else name
        )

    def _set(self, name: str, right: Expr | Array, at: At | None) -> None:
        if name in self._shapes:
            raise UsageError(f"{position(at)}{name}: is already defined; choose another name.")
        if isinstance(right, Array):
            self._shapes[name] = right.shape
            places = [[i, *rest] for i in range(1, right.shape[0] + 1) for rest in _rest(right.shape)]
            for key, item in zip(places, right.items, strict=True):
                self._add(component_name(name, key), item, at)
        else:
            self._add(name, right, at)

    def _add(self, name: str, right: Expr, at: At | None) -> None:
        if name in self._equations:
            first = self._equations[name].at
            where = f" in line {first[0]}" if first else ""
            if any(used[0] in "d∂" and used[1:] in self._equations for used in names(right)):  # w = w − λ·dL/dw
                way = f"a step of gradient descent is a question, as in ? {name} after sgd(lr=0.1) on L"
                raise UsageError(f"{position(at)}{name}: is already defined{where}; {way}.")
            raise UsageError(f"{position(at)}{name}: is already defined{where}; choose another name, as in {name}_new.")
        if len(self._equations) >= EQUATIONS:
            raise UsageError(f"{position(at)}{name}: a worksheet has at most {EQUATIONS:,} equations; split it.")
        if depth(right) > DEPTH:
            raise UsageError(
                f"{position(at, name)}the expression is nested more than {DEPTH} levels deep; give names to its parts."
            )
        self._equations[name] = Equation(name, right, at)

    def _ask(self, ask: QuestionStatement) -> None:
        for question in _questions(self, ask):
            for name in (*question.names, *([question.of] if question.of else [])):
                if name not in self._equations:
                    raise self._unknown(name, question.at, "a question")
            if len(self._questions) >= QUESTIONS:
                raise UsageError(
                    f"{position(question.at)}a worksheet has at most {QUESTIONS:,} questions; ask for fewer components."
                )
            if question.steps * len(self._equations) > WORK:
                raise UsageError(
                    f"{position(question.at)}steps={question.steps}: of {len(self._equations):,} equations are more than "
                    f"{WORK:,} lines of work; take fewer steps."
                )
            self._questions.append(question)

    def _unknown(self, name: str, at: At | None, where: str) -> UsageError:
        return unknown_name(name, at, where, self._equations, self._shapes)


def _in_order(below: Mapping[str, Sequence[str]]) -> list[str]:
    """The order of writing, except that every name comes after those it needs (a depth-first topological sort)."""
    done: dict[str, None] = {}  # a dict keeps the order
    for first in below:
        pending = [first]
        while pending:  # a stack of our own: a chain of 3,000 equations is too deep for recursion
            missing = [name for name in below[pending[-1]] if name not in done]
            if missing:
                pending += reversed(missing)
            else:
                done.setdefault(pending.pop())
    return list(done)


def _rest(shape: Shape) -> Iterable[list[int]]:
    return [[j] for j in range(1, shape[1] + 1)] if len(shape) > 1 else [[]]


def _from_python(value: Any) -> Expr | Array:
    """The right side of an assignment in Python: numbers, expressions, lists of them, NumPy arrays."""
    if isinstance(value, (Expr, Array)):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        rows = [_from_python(row) for row in value]
        if not rows:
            raise UsageError("value=[]: is empty; give at least one component.")
        arrays = [row for row in rows if isinstance(row, Array)]
        if not arrays:
            return Array((len(rows),), tuple(row for row in rows if isinstance(row, Expr)))
        if len(arrays) < len(rows) or len({row.shape for row in arrays}) > 1 or len(arrays[0].shape) > 1:
            raise UsageError(f"value={value!r}: the rows of a matrix must have one length; complete the shorter ones.")
        return Array((len(rows), *arrays[0].shape), tuple(item for row in arrays for item in row.items))
    return as_expr(value)


def _fill(sheet: Worksheet, statements: Sequence[EquationStatement | QuestionStatement]) -> None:
    """Expand the statements into a sheet: the equations, in any order but for vectors, and then the questions."""
    equations = [statement for statement in statements if isinstance(statement, EquationStatement)]
    known = _defined(equations)

    def find(name: str, at: At | None) -> Array | None:
        array = sheet._find(name, at)
        if array is not None or name in known:
            return array
        # z stands for z_1, z_2, … even where these are defined further down
        return named_array(name, known, at)

    scope = Scope(find, known=lambda name: name in known or name in sheet._equations)
    scope.check_size(equations)
    for equation in equations:
        for bindings in loop_bindings(equation.loops, {}) if equation.loops else ({},):
            name = _target(equation.target, bindings)
            right = expand(equation.right, scope, bindings)
            sheet._set(name, right, equation.at)
    for sentence in scope.notes:
        sheet.remark(sentence)
    for question in statements:
        if isinstance(question, QuestionStatement):
            sheet._ask(question)


def _defined(equations: Sequence[EquationStatement]) -> set[str]:
    """The names on all left sides, with the loops run."""
    known: set[str] = set()
    for equation in equations:
        for bindings in loop_bindings(equation.loops, {}) if equation.loops else ({},):
            known.add(_target(equation.target, bindings))
            if len(known) > EQUATIONS:
                raise UsageError(f"{position(equation.at)}a worksheet has at most {EQUATIONS:,} equations; split it.")
    return known


def _target(target: Name | Index, bindings: Bindings) -> str:
    """The name of a left side: h[t] and h_t are h_2 in the loop's second round."""
    if isinstance(target, Index):
        return index_name(target, bindings)
    return index_subscripts(target.name, bindings)


def _questions(sheet: Worksheet, ask: QuestionStatement) -> Iterable[Question]:
    """One question for each value and each derivative; an update takes all its parameters together."""
    groups = [sheet.components(_target(name, {})) for name in ask.names]
    flat = [name for group in groups for name in group]
    if ask.of is None:
        return [Question((name,), at=ask.at) for name in flat]
    of = sheet._apart(_target(ask.of, {}))
    if ask.rule:
        options = tuple((name, _option(sheet, name, value, ask.at)) for name, value in ask.options)
        return [Question(tuple(flat), of, ask.rule, ask.steps, options, ask.at)]
    return [Question((name,), top, at=ask.at) for top in sheet.components(of) for name in flat]


def _option(sheet: Worksheet, name: str, value: Fraction | Expr, at: At | None) -> Fraction:
    """The number of an optimiser's option, of which the worksheet may give a part a name."""
    if isinstance(value, Fraction):
        return value
    rights = {key: sheet.equations[key].right for key in names(value) if key in sheet.equations}
    used = {key: right for key, right in rights.items() if not names(right)}
    if used.keys() == names(value).keys():
        number = evaluate(value, {key: evaluate(right, {}) for key, right in used.items()})
        if isinstance(number, Fraction):
            return number
    raise UsageError(f"{position(at)}{name}: must be a number or the name of a given one, as in {name}=0.01.")
