# SPDX-License-Identifier: Apache-2.0
"""The search for the slip behind a wrong number: each slip is made wherever it can be, and the worksheet worked with it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.answers import slips_derivatives
from pellucid.worked.answers.entry import Number, Target, agrees
from pellucid.worked.answers.local_derivatives import LocalDerivatives, Rule
from pellucid.worked.answers.slips import SLIPS, Slip
from pellucid.worked.answers.slips_values import Site, ValueSlip
from pellucid.worked.answers.variant import EdgeDerivative, Exhausted, Variant
from pellucid.worked.expressions.evaluation import substitute
from pellucid.worked.expressions.expression import Const, Expr, Name, Partial, Value, replace, walk
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Words
from pellucid.worked.showing.numerals import numeral

__all__ = ["Candidate", "likely"]

_DERIVATIVE: Final = "in the derivative "
_PER_EQUATION: Final = 0.45  # a slip near what was answered is likelier than one far from it
_FARTHEST: Final = 4
_AGAIN: Final = 1.2
_NO_NUMBER: Final = (UsageError, ArithmeticError, ValueError, KeyError)  # a logarithm of a negative number, say


@final
@dataclass(frozen=True)
class Candidate:
    """A slip made at one place: the words about it, and the variant of the worksheet with it."""

    slip: Slip
    words: Words
    variant: Variant | None  # None: a slip in the number itself
    away: int = 0  # how many equations lie between the slip and what was answered
    score: float = field(default=0.0, compare=False)  # the lower, the likelier


def likely(
    sheets: Sequence[Variant],
    target: Target,
    given: Number,
    known: Container[str] = (),
    made: Container[str] = (),
    updates: Sequence[Question] = (),
) -> list[Candidate]:
    """The slips that lead to a number, the likeliest first.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> from pellucid.worked.answers.entry import literal
    >>> solved = Worksheet("W = 2; x = 3; b = 0.5; z = W*x + b; L = z^2; ? L").solve().numbers
    >>> [candidate.slip.name for candidate in likely([Variant(solved)], Target("z"), literal("6"))]
    ['bias left out']
    >>> likely([Variant(solved)], Target("W", "L"), literal("19.5"))[0].slip.name
    'missing factor of the power'

    Args:
        sheets: the worksheet with earlier wrong numbers, and the worksheet as it is.
        target: what was answered.
        given: the number.
        known: quantities whose answers are right: their equations have no slip.
        made: the names of slips that were made before, which are likelier to be made again.
        updates: the updates of the worksheet's parameters.
    """
    found: list[Candidate] = []
    changes: list[object] = []  # one change of an equation may be two slips
    exhausted = False
    for sheet in sheets:
        try:
            if (truth := _answer(sheet, target)) is None:
                continue  # the earlier wrong numbers lead nowhere
            for candidate in _candidates(sheet, target, truth, given, known, updates):
                variant = candidate.variant
                if variant is not None:
                    value = _answer(variant, target)
                    if value is None or not agrees(given, value):
                        continue
                change = (
                    (variant.right_sides, sorted(variant.edges)) if variant and variant.right_sides else candidate.words
                )
                if change not in changes:
                    changes.append(change)
                    found.append(_scored(candidate, target, made))
        except Exhausted:
            exhausted = True
        if found or exhausted:
            break
    by_name: dict[str, Candidate] = {}
    for candidate in sorted(found, key=lambda candidate: candidate.score):
        # a slip of rank 4 explains a number only where nothing else does
        if candidate.slip.rank < 4 or not by_name:
            by_name.setdefault(candidate.slip.name, candidate)
    return list(by_name.values())


def _scored(candidate: Candidate, target: Target, made: Container[str]) -> Candidate:
    """The candidate with its score, and with the changed line in its words."""
    slip, variant, away = candidate.slip, candidate.variant, candidate.away
    words = candidate.words if variant is None else (*candidate.words, *_changed_line(candidate, variant, target))
    # of a derivative, a slip in its own rules is likelier than one in an equation
    elsewhere = 0.5 * bool(target.of and slip.kind == "value")
    score = slip.rank + _PER_EQUATION * min(away, _FARTHEST) + elsewhere - _AGAIN * (slip.name in made)
    return Candidate(slip, words, variant, away, score)


def _answer(sheet: Variant, target: Target) -> Value | None:
    """The answer of a variant, None where it has no number."""
    try:
        return sheet.answer(target)
    except _NO_NUMBER:
        return None


def _candidates(
    sheet: Variant,
    target: Target,
    truth: Value,
    given: Number,
    known: Container[str],
    updates: Sequence[Question],
) -> Iterator[Candidate]:
    """Every slip at every place, the nearest first."""
    for slip in SLIPS:
        if slip.kind == "number":
            continue
        if slip.kind == "order":
            if target.of:
                yield from (Candidate(slip, *attempt) for attempt in slip.function(sheet, target, updates))
        elif slip.kind in ("update", "chain"):
            if target.update or (target.of and slip.kind == "chain"):
                yield from (Candidate(slip, *attempt) for attempt in slip.function(sheet, target))
        elif slip.kind == "rounding":
            yield from (Candidate(slip, *attempt) for attempt in slip.function(sheet, target, truth, given))
        elif slip.kind == "derivative":
            if target.of:
                yield from _in_derivatives(slip, sheet, target)
        else:
            yield from _in_values(slip, sheet, target, known)
    equations = sheet.solved.equations
    others: dict[Expr, Value] = {}
    if not target.update:
        if target.of:
            others = {Partial(target.of, name): value for name, value in sheet.graph.backward(target.of).items()}
        worked = {name: value for name, value in sheet.solved.values.items() if not equations[name].given}
        others |= {Name(name): value for name, value in worked.items()}
    for slip in SLIPS:
        if slip.kind == "number" and (words := slip.function(given, truth, target, others)):
            yield Candidate(slip, words, None)


def _sites(sheet: Variant, of: str) -> list[str]:
    """The equations that lead to a quantity and are not answered themselves, the nearest first."""
    below = sheet.graph.dependencies(of)
    names = [name for name in sheet.solved.order if name in below and not sheet.solved.equations[name].given]
    return [name for name in reversed(names) if name not in sheet.fixed]


def _in_values(slip: Slip, sheet: Variant, target: Target, known: Container[str]) -> Iterator[Candidate]:
    """An equation with a slip: in the values, and for a derivative in the derivative alone as well."""
    sites = _sites(sheet, target.of or target.name)
    rewrite: ValueSlip = slip.function
    everywhere: dict[str, Expr] = {}
    everywhere_words: Words = ()
    for away, name in enumerate(sites):
        root = sheet.right_side(name)
        site = Site(sheet.solved, name, root)
        for changed, words in _rewritten(root, rewrite, site):
            if name not in everywhere and name not in known:
                everywhere[name], everywhere_words = changed, everywhere_words or words
            # these two have a slip of their own in derivatives
            if target.of and slip.word not in ("square_left_out", "activation_left_out"):
                edges = {(name, by): _edge(name, changed, by) for by in sheet.graph.uses[name]}
                yield Candidate(slip, (_DERIVATIVE, *words), sheet.changed(edges=edges), away)
            if name not in known:
                yield Candidate(slip, words, sheet.changed(right_sides={name: changed}), away)
    if len(everywhere) > 1:
        words = (*everywhere_words, ", and so in every such equation")
        yield Candidate(slip, words, sheet.changed(right_sides=everywhere), 1)


def _rewritten(root: Expr, rewrite: ValueSlip, site: Site) -> Iterator[tuple[Expr, Words]]:
    """The right side with a slip at one of its nodes."""
    for node in walk(root):
        for other, words in rewrite(node, site):
            if other != node:
                yield _with_node(root, node, other), words


def _with_node(root: Expr, node: Expr, other: Expr) -> Expr:
    """The tree with one node replaced: this one alone, and none that is equal to it."""
    done: list[Expr] = []

    def change(candidate: Expr) -> Expr | None:
        if candidate is node and not done:
            done.append(candidate)
            return other
        return None

    return replace(root, change)


def _edge(name: str, root: Expr, by: str, rule: Rule | None = None) -> EdgeDerivative:
    return lambda numbers: LocalDerivatives(numbers, name, root, rule).derivative(root, by)


def _in_derivatives(slip: Slip, sheet: Variant, target: Target) -> Iterator[Candidate]:
    """A wrong rule of differentiation, at one node, or at every node on the way."""
    route = [name for name in reversed(sheet.graph.route(target.name, target.of)) if name != target.name]
    rule: Rule = slip.function
    everywhere: dict[tuple[str, str], EdgeDerivative] = {}
    for away, name in enumerate(route):
        root = sheet.right_side(name)
        local = sheet.local_derivatives(target.of, name)
        uses = sheet.graph.uses[name]
        for node in walk(root):
            if not _differs(rule, node, local, uses):
                continue

            def here(part: Expr, local: LocalDerivatives, by: str, node: Expr = node) -> Value | None:
                return rule(part, local, by) if part is node else None

            edges = {(name, by): _edge(name, root, by, here) for by in uses}
            yield Candidate(slip, (_sentence(slip, node),), sheet.changed(edges=edges), away)
            everywhere |= {(name, by): _edge(name, root, by, rule) for by in uses}
    if len({name for name, _ in everywhere}) > 1:
        words = (slips_derivatives.WORDS[slip.word], ", everywhere")
        yield Candidate(slip, words, sheet.changed(edges=everywhere), 1)


def _differs(rule: Rule, node: Expr, local: LocalDerivatives, by: Sequence[str]) -> bool:
    """Whether the wrong rule can be used at a node, and gives another number than the correct one."""
    try:
        for name in by:
            wrong = rule(node, local, name)
            if wrong is not None and wrong != local.correct(node, name):
                return True
    except (*_NO_NUMBER, IndexError):
        pass
    return False


def _sentence(slip: Slip, node: Expr) -> str:
    function = getattr(node, "function", "")
    if slip.word == "derivative_of_the_function" and function in ("relu", "leaky_relu", "clip", "abs"):
        words = {"relu": "ReLU", "leaky_relu": "leaky ReLU", "clip": "clipping", "abs": "the absolute value"}[function]
        return f"the branch of {words} is ignored: its derivative is taken as 1"
    if slip.word == "derivative_of_the_function":
        return f"the derivative of {function} is left out, as if it were 1"
    return slips_derivatives.WORDS[slip.word]


def _changed_line(candidate: Candidate, variant: Variant, target: Target) -> Words:
    """The one line that the slip changes, with numbers."""
    if len(variant.right_sides) != 1 or candidate.slip.kind != "value" or candidate.words[0] == _DERIVATIVE:
        return ()
    (name,) = variant.right_sides
    numbers = variant.values(target.of or target.name)
    if name not in numbers:
        return ()
    right, value = variant.right_sides[name], numbers[name]
    sign = " = " if numeral(value).exact or not isinstance(value, Decimal) else " ≈ "
    with_numbers = substitute(right, numbers)
    middle: Words = (" = ", with_numbers) if with_numbers != right and with_numbers != Const(value) else ()
    return (": ", Name(name), " = ", right, *middle, sign, Const(value))
