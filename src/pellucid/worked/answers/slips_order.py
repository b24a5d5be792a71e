# SPDX-License-Identifier: Apache-2.0
"""Slips of a whole training step: a parameter used after its own update, the target forgotten in the gradient p − y."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.answers.entry import Target
from pellucid.worked.answers.local_derivatives import LocalDerivatives
from pellucid.worked.answers.slips_graph import Attempt
from pellucid.worked.answers.variant import EdgeDerivative, Variant
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Call, Const, Expr, Name, Partial, Value, walk
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Words

__all__ = ["target_left_out", "used_after_its_update"]

SAMPLES = 8  # a mean over so many samples divides p − y


def used_after_its_update(sheet: Variant, target: Target, updates: Sequence[Question]) -> Iterator[Attempt]:
    """∂L/∂w with v that is updated already: all parameters of a step must keep their old values until its end."""
    new: dict[str, Value] = {}
    for question in updates:
        if question.of == target.of and question.steps == 1:
            for name, value in sheet.changed().updated(question).items():
                new.setdefault(name, value)
    new.pop(target.name, None)
    used = [name for name in new if name in sheet.graph.dependencies(target.of)]
    for names in ([name] for name in used) if len(used) < 2 else (*([name] for name in used), used):
        fixed = {name: new[name] for name in names}
        parts: list[str | Expr] = ["the gradient uses "]
        for n, name in enumerate(names):
            parts += [", " if n else "", Name(name), " = ", Const(new[name])]
        words: Words = (*parts, " after its update; all parameters are updated at the end, from the old ones")
        # the sheet's own values on the way forwards, the new parameter on the way back …
        yield words, sheet.changed(edges=_edges(sheet, target, fixed)), 0
        # … or everything worked out once more
        try:
            slope = sheet.changed(fixed=fixed).derivative(target.of, target.name)
        except (UsageError, ArithmeticError, ValueError):
            continue
        yield words, sheet.changed(derivatives={(target.of, target.name): slope}), 0


def _edges(sheet: Variant, target: Target, fixed: dict[str, Value]) -> dict[tuple[str, str], EdgeDerivative]:
    """The local derivatives on the way from the loss to the target, with new parameters in them."""
    route = sheet.graph.route(target.name, target.of)

    def with_new(above: str, name: str) -> EdgeDerivative:
        root = sheet.right_side(above)
        return lambda numbers: LocalDerivatives({**numbers, **fixed}, above, root).derivative(root, name)

    return {
        (above, name): with_new(above, name)
        for above in route
        for name in sheet.graph.uses[above]
        if name in route and any(other in sheet.graph.uses[above] for other in fixed)
    }


def target_left_out(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """∂L/∂z = p instead of p − y, with p = σ(z) or softmax(z)."""
    values = sheet.values(target.of)
    given = [name for name in sheet.graph.dependencies(target.of) if not sheet.graph.uses[name]]
    targets: list[tuple[Expr, Fraction]] = [(Name(name), Fraction(values[name])) for name in sorted(given)]
    targets.append((Const(Fraction(1)), Fraction(1)))
    route = sheet.graph.route(target.name, target.of)
    for away, name in enumerate(reversed(route)):
        calls = {
            node: Name(above) if node is sheet.right_side(above) else node
            for above in sheet.graph.used_by[name]
            if above in route
            for node in walk(sheet.right_side(above))
            if _activation_of(node, name)
        }
        for call, shown in calls.items():
            p = evaluate(call, values)
            slope = Fraction(sheet.derivative(target.of, name))
            for count in range(1, SAMPLES + 1):
                rest = Fraction(p) - slope * count  # y, if the derivative is (p − y)/n
                found = next((y for y, number in targets if number and abs(rest - number) < Fraction(1, 10**20)), None)
                if found is not None:
                    words: Words = (
                        Partial(target.of, name),
                        " is ",
                        shown,
                        " − ",
                        found,
                        ", and ",
                        found,
                        " is left out",
                    )
                    yield words, sheet.changed(derivatives={(target.of, name): Fraction(p) / count}), away
                    break


def _activation_of(node: Expr, name: str) -> bool:
    """Whether a node is σ(z), or the component of a softmax that belongs to z."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "softmax"):
        return False
    return node.args[node.index - 1 if node.index else 0] == Name(name)
