# SPDX-License-Identifier: Apache-2.0
"""Derivations: a derivative with one named rule per line, simplified to its textbook form, each line checked at random points.

`derive("exp(z_j)/sum(exp(z_k), k)", by="z_l")` ends with f_j·(δ_jl − f_l) and its two cases. The proofs in
`pellucid.worked.derivation.proofs` look the same.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.derivation.branches import conventions
from pellucid.worked.derivation.indexed import INDICES, apart, indices_of
from pellucid.worked.derivation.naming import Naming, naming
from pellucid.worked.derivation.parts import Parts
from pellucid.worked.derivation.points import POINTS, difference, points_of
from pellucid.worked.derivation.rules import Step, differentiate
from pellucid.worked.derivation.simplifying import as_sigmoid, simplified
from pellucid.worked.derivation.sums import shortest
from pellucid.worked.derivation.terms import ONE, signs_first
from pellucid.worked.derivation.text import indexed, pending, to_text
from pellucid.worked.expressions.expression import Call, Expr, Name, replace, walk
from pellucid.worked.notation.notation import parse_expression

__all__ = ["DERIVATIONS", "TOLERANCE", "Derivation", "Row", "derive", "derive_node"]

TOLERANCE = 1e-7
"""The difference allowed between a derivative and the central difference, relative to the larger of it and 1."""

DERIVATIONS: Final = {
    "softmax": ("exp(z_j)/sum(exp(z_k), k)", "z_l", ""),
    "sigmoid": ("1/(1 + exp(-z))", "z", "σ"),
    "softmax-cross-entropy": ("-sum(y_i*log(exp(z_i)/sum(exp(z_k), k)), i)", "z_j", "L"),
    "sigmoid-cross-entropy": ("-(y*log(1/(1 + exp(-z))) + (1 - y)*log(1 - 1/(1 + exp(-z))))", "z", "L"),
}
"""Derivatives by name: the function, the variable, and what the function is called."""


@final
@dataclass(frozen=True)
class Row:
    """One line: a rule, and what it is about; `forms` are equal to each other."""

    rule: str
    forms: tuple[Expr, ...]

    @property
    def words(self) -> str:
        """The forms as text."""
        return " = ".join(map(to_text, self.forms))


@final
@dataclass(frozen=True)
class Derivation:
    """A derivative with every step that leads to it.

    Args:
        name: what the function is called.
        node: the function.
        by: the variable.
        naming: the names of its parts.
        steps: the rules, the outermost first.
        total: the derivative as the rules give it.
        simple: the derivative simplified, in terms of the function if that is shorter, such as f·(1 − f).
        special: cases, such as equal indices, with the derivative in each.
        remarks: sentences about it.
        difference: the largest relative difference between a line and its central difference.
    """

    name: Expr
    node: Expr
    by: str
    naming: Naming
    steps: tuple[Step, ...]
    total: Expr
    simple: Expr
    special: tuple[tuple[str, Expr], ...]
    remarks: tuple[str, ...]
    difference: float

    @property
    def function(self) -> str:
        """The function as text."""
        return to_text(self.node)

    @property
    def result(self) -> str:
        """The derivative as the rules give it, as text."""
        return to_text(self.total)

    @property
    def simplified(self) -> str:
        """The derivative simplified, as text with its left side."""
        return f"{self.title} = {to_text(self.simple)}"

    @property
    def cases(self) -> tuple[tuple[str, str], ...]:
        """The cases as text."""
        return tuple((case, to_text(form)) for case, form in self.special)

    @property
    def title(self) -> str:
        """∂f/∂x."""
        return f"∂{to_text(self.name)}/∂{indexed(self.by)}"

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every line: the rules, the derivative put together and simplified, and its cases."""
        left = pending(self.name, self.by)
        rules = [Row(step.rule, (pending(step.node, step.by), *step.forms)) for step in self.steps]
        last = [Row("put together", (left, self.total)), Row("simplified", (left, self.simple))]
        if self.result == to_text(self.simple):
            last = [Row("put together", (left, self.total))]
        cases = [Row(case if case.startswith("where ") else f"case {case}", (form,)) for case, form in self.special]
        return (*rules, *last, *cases)

    @property
    def definitions(self) -> tuple[Row, ...]:
        """The function, and the parts that have names."""
        parts = [Row("with", (Name(name), part)) for name, part in self.naming.parts.defined.items()]
        return (Row("", (self.name, self.node)), *parts)

    @property
    def check(self) -> str:
        """How the lines were checked."""
        return f"every line against central differences at {POINTS} random points, largest difference {self.difference:.0e}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        rows = [(row.rule, row.words if len(row.forms) > 1 else to_text(row.forms[0])) for row in self.rows]
        count = len(rows) - len(self.special)
        lines = _numbered(rows, count)
        titles = [f"{row.rule} {row.words}".strip() for row in self.definitions]
        return "\n".join(
            [*titles, "", *lines, *([""] if self.remarks else []), *self.remarks, "", f"checked: {self.check}"]
        )


def _numbered(rows: list[tuple[str, str]], count: int) -> list[str]:
    """The lines with their numbers; those behind the first `count` are cases and have none."""
    width = max(len(rule) for rule, _ in rows)
    digits = len(str(count))
    return [
        f"{number if number <= count else '':{digits}}  {rule:{width}}  {words}"
        for number, (rule, words) in enumerate(rows, 1)
    ]


def derive(text: str, by: str, names: str = "") -> Derivation:
    """Differentiate an expression with respect to a name, with one named rule per line.

    >>> softmax = derive("exp(z_j)/sum(exp(z_k), k)", "z_l")
    >>> softmax.simplified, softmax.cases
    ('∂f_j/∂z_l = f_j·(δ_jl − f_l)', (('l = j', 'f_j·(1 − f_j)'), ('l ≠ j', '−f_j·f_l')))

    Args:
        text: an expression in the notation of worksheets. Names such as z_j, with an index among the letters i to t, are
            components, and sum(…, k) runs over all k.
        by: a name in the expression; for a component, with an index that the expression does not use.
        names: what the function and its parts are called, as in "f_sm(z_j)", "g, h" or "p = 1 + exp(x)".

    Raises:
        UsageError: not an expression, or one without a differentiation rule.
    """
    return derive_node(apart(parse_expression(text)), by, names, text)


def derive_node(node: Expr, by: str, names: str = "", text: str = "", known: Parts | None = None) -> Derivation:
    """The same for an expression that was read already.

    Args:
        node: the expression.
        by: the variable.
        names: what the function and its parts are called.
        text: the expression as it was typed, for sentences about it.
        known: names in it that stand for other expressions.

    Raises:
        UsageError: one without a differentiation rule, or defined hardly anywhere.
    """
    used = sorted({part.name for part in walk(known.written_out(node) if known else node) if isinstance(part, Name)})
    by = _variable(by, used, [_sum_index(part) for part in walk(node)])
    own = indices_of(by)[1]
    bound = {_sum_index(part) for part in walk(node)}
    indices = sorted({letter for name in used for letter in indices_of(name)[1]})
    free = [letter for letter in indices if letter not in bound and letter not in own]
    tree, given = naming(node, names, {indices_of(name)[0] for name in used}, free)
    if known is not None:
        given = Naming(given.own, Parts({**known.defined, **given.parts.defined}, known.kept | given.parts.kept))
    total, steps = differentiate(tree, by, given.parts)
    function = given.parts.written_out(tree)
    points = points_of(function, by)
    if len(points) < 2:
        raise UsageError(
            f"function={text or to_text(node)!r}: is not defined, or has a kink, at nearly every random point between −40 and 40; "
            "use a function that is smooth somewhere there."
        )
    index = own[0] if len(own) == 1 else ""
    if given.parts.kept:
        simple, special = _with_parts(total, given, by)
    else:
        simple, special = simplified(function, given.parts.written_out(total), given.own, index)
    own_name = Name(given.own)

    def plain(form: Expr) -> Expr:
        """A form with the function's and all parts' definitions, for the check."""
        return _expanded(given.parts.written_out(form), own_name, function)

    worst = difference([plain(simple)], function, by, points)
    for step in steps:
        forms = map(plain, (*step.forms, step.result))
        worst = max(worst, difference(forms, given.parts.written_out(step.node), by, points))
    if not worst < TOLERANCE:
        raise UsageError(
            f"function={text or to_text(node)!r}: its derivative fails the check by central differences; "
            "use a function that is smooth at numbers near 1."
        )
    dressed = given.dressed
    found = as_sigmoid(function)
    remarks = [f"{to_text(dressed(own_name))} = σ({to_text(found)})" if found is not None else ""]
    remarks += [f"{sentence}." for sentence in conventions(function)]
    return Derivation(
        dressed(own_name),
        tree,
        by,
        given,
        tuple(steps),
        signs_first(total),
        dressed(simple),
        tuple((case, dressed(form)) for case, form in special),
        tuple(filter(None, remarks)),
        worst,
    )


def _variable(by: str, used: list[str], bound: list[str]) -> str:
    """The variable's name: w_l_m for w_{l,m} and w_lm.

    Raises:
        UsageError: not in the expression, or with the index of a sum.
    """
    variable = parse_expression(by)
    by = variable.name if isinstance(variable, Name) else by
    stem, own = indices_of(by)
    carried = {(other, len(theirs)) for other, theirs in map(indices_of, used) if theirs}
    head, _, last = by.rpartition("_")
    if not own and by not in used and (head, len(last)) in carried:
        by = "_".join([head, *last])  # by w_lm
        stem, own = indices_of(by)
    if by not in used and (stem, len(own)) not in carried:
        raise UnknownNameError("by", by, [indexed(name) for name in used if name not in INDICES])
    for letter in own:
        if letter in bound:
            raise UsageError(f"by={by!r}: {letter} is the index of the sum; choose another index, such as l.")
    return by


def _with_parts(total: Expr, given: Naming, by: str) -> tuple[Expr, tuple[tuple[str, Expr], ...]]:
    """The derivative with the names of its parts in it, and what is left where targets add up to 1."""
    simple = shortest(given.parts.written_out(total, keep=True), min(given.parts.kept))
    sums = {part for part in walk(simple) if isinstance(part, Call) and part.function == "sum"}
    alone = [
        part
        for part in sums
        if isinstance(part.args[0], Name) and indices_of(part.args[0].name)[0] not in given.parts.kept
    ]
    if not alone:
        return simple, ()
    return simple, ((f"where {to_text(alone[0])} = 1", shortest(replace(simple, {alone[0]: ONE}))),)


def _expanded(node: Expr, own: Name, function: Expr) -> Expr:
    """An expression with the function in place of its name, whatever the name's index is."""
    return Parts({own.name: function}).written_out(node)


def _sum_index(node: Expr) -> str:
    """The index k of sum(…, k); nothing for any other node."""
    match node:
        case Call(function="sum", args=(_, Name(name=index))):
            return index
    return ""
