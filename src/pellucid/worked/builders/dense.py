# SPDX-License-Identifier: Apache-2.0
"""A dense layer with inverted dropout on its inputs (Srivastava et al. 2014), and the smallest and largest sum it can form."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.worked.builders._given import activated, ask_update, from_text, shape_of, wanted_shape
from pellucid.worked.builders._objective import put_end
from pellucid.worked.expressions.expression import Add, Const, Expr, Name, Operand, as_expr
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.forming import command_of
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.operations import maximum, minimum
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "dense"]


def dense(
    x: Any,
    W: Any,
    b: Any = None,
    *,
    activation: str = "identity",
    dropout: Operand = 0.5,
    mask: Sequence[int] | None = None,
    target: Any = None,
    delta: Any = None,
    learning_rate: Operand = 0.01,
) -> Worksheet:
    """The worksheet of a dense layer whose inputs are dropped with probability p: z = (m·x/(1 − p))·W + b, y = f(z).

    >>> solution = dense([1, 2, 3, 4], [1, -1, 2, 0.5]).solve()
    >>> [str(solution.value(f"y_{name}")) for name in ("test", "exact_low", "exact_high", "any_low", "any_high")]
    ['7', '-2', '16', '-4', '18']

    The sums in this example are of c = (2, −4, 12, 4): with exactly two units active at least −4 + 2 and at most 12 + 4, with
    any number of them active at least −4 and at most 2 + 12 + 4.

    Args:
        x: the activations of the N units before, of which some are dropped.
        W: N weights, or N × M for M units.
        b: the bias, or M of them; None for none.
        activation: f; each of them never falls, so that the smallest sum gives the smallest output.
        dropout: p, the probability that a unit is dropped, from 0 to below 1.
        mask: which units are active in a training step, N zeros and ones; None for no such step.
        target: with a mask, what y should be in that step, L = Σ (y − t)².
        delta: with a mask, ∂L/∂y in the place of a target.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit, or a probability that is none.
    """
    wide = shape_of("x", x)
    shape = shape_of("W", W)
    if len(wide) != 1 or shape[:1] != wide:
        raise UsageError("x, W: x must be N numbers and W N weights, or N rows; mend the shapes.")
    if b is not None:
        wanted_shape("b", b, shape[1:], "W leads to as many units")
    p = exact(dropout)
    if not 0 <= p < 1:
        raise UsageError(f"dropout={float(p)}: is a probability and must be from 0 to below 1; try 0.5.")
    if mask is None and not (target is None and delta is None):
        raise UsageError("target: belongs to a training step; give the mask of it too.")
    sheet = Worksheet()
    sheet.x, sheet.W = x, W
    if b is not None:
        sheet.b = b
    sheet.p = p
    sheet.q = 1 - sheet.p
    _test(sheet, activation)
    if mask is not None:
        _training(sheet, mask, activation)
    _extremes(sheet, activation)
    if put_end(sheet, sheet.components("y"), target, delta) if mask is not None else False:
        sheet.ask("L")
        sheet.ask(*(f"dL/d{name}" for name in sheet.components("x")))
        ask_update(sheet, ["W", *(["b"] if b is not None else [])], learning_rate)
    return sheet


def exact(value: Operand) -> Fraction:
    """A number as a fraction."""
    node = as_expr(value)
    assert isinstance(node, Const) and isinstance(node.value, Fraction)
    return node.value


def _summed(sheet: Worksheet, x: Any) -> Any:
    """x·W + b."""
    found = x @ sheet.W
    return found + sheet.b if sheet.components("b")[0] in sheet else found


def _put(sheet: Worksheet, end: str, z: Any, activation: str) -> None:
    """The sum z, its activation y, and the question for the last of them."""
    if activation == "identity":
        sheet[f"y{end}"] = z
    else:
        sheet[f"z{end}"] = z
        sheet[f"y{end}"] = activated(activation, sheet[f"z{end}"])
    sheet.ask(*sheet.components(f"y{end}"))


def _test(sheet: Worksheet, activation: str) -> None:
    sheet.remark(
        "In training each input is dropped with probability ", Name("p"), "; those that stay are divided by ",
        Name("q"), " = ", 1 - Name("p"), " (inverted scaling), so that the mean of each over the draws is the input itself;",
        " at test time nothing is dropped and nothing is scaled.",
    )  # fmt: skip
    _put(sheet, "_test", _summed(sheet, sheet.x), activation)


def _training(sheet: Worksheet, mask: Sequence[int], activation: str) -> None:
    if len(mask) != len(sheet.x) or any(each not in (0, 1) for each in mask):
        raise UsageError(
            f"mask={[int(each) for each in mask]}: must be {len(sheet.x)} zeros and ones, one for each input."
        )
    sheet.m = [int(each) for each in mask]
    sheet.a = sheet.m * sheet.x / sheet.q
    _put(sheet, "", _summed(sheet, sheet.a), activation)


def _extremes(sheet: Worksheet, activation: str) -> None:
    """The contributions c of the inputs, and the smallest and largest sum of them under both readings."""
    numbers = _numbers(sheet)
    several = sheet.W.shape[1:] != ()
    units = [f"_{j}" for j in range(1, sheet.W.shape[1] + 1)] if several else [""]
    count = len(sheet.x)
    kept = numbers["q"] * count
    whole = kept.denominator == 1
    sheet.remark("c is what an active input adds to the sum.")
    if whole:
        sheet.remark(
            *_both("y_exact"), f" are the smallest and the largest output with exactly {kept} of the {count} inputs active; ",
            *_both("y_any"), " are the same with any number of them active.",
        )  # fmt: skip
        sheet.remark(f"Exactly {kept} active: the {kept} smallest c, or the {kept} largest. Any number: the negative c, or "
            "the positive ones.", hint=True)  # fmt: skip
    else:
        sheet.remark(
            *_both("y_any"), " are the smallest and the largest output with any number of inputs active; exactly "
            f"{count}·q = {float(kept):g} of them cannot be, as it is no whole number.",
        )  # fmt: skip
    for j, end in enumerate(units, 1):
        sheet[f"c{end}"] = (
            sheet.x
            / sheet.q
            * Array((count,), tuple(sheet.W[i, j] if several else sheet.W[i] for i in range(1, count + 1)))
        )
        names = sheet.components(f"c{end}")
        values = _numbers(sheet)
        order = sorted(names, key=lambda name: values[name])
        bias: list[Expr] = [sheet[f"b{end}"]] if f"b{end}" in sheet else []
        if whole:
            for word, chosen in (("low", order[: int(kept)]), ("high", order[count - int(kept) :])):
                terms = [*(sheet[name] for name in chosen), *bias]
                _put(sheet, f"_exact_{word}{end}", _add(terms), activation)
        for word, pick in (("low", minimum), ("high", maximum)):
            _put(sheet, f"_any_{word}{end}", _add([*(pick(sheet[name], 0) for name in names), *bias]), activation)
        known = [
            f"{kind}_{reading}_{word}{end}" for kind in "yz" for reading in ("exact", "any") for word in ("low", "high")
        ]
        sheet.hold_back(*(name for name in known if name[0] == ("y" if activation == "identity" else "z")))


def _both(name: str) -> tuple[Expr, str, Expr]:
    return Name(f"{name}_low"), " and ", Name(f"{name}_high")


def _add(terms: list[Expr]) -> Expr:
    return terms[0] if len(terms) == 1 else Add(tuple(terms)) if terms else Const(Fraction(0))


def _numbers(sheet: Worksheet) -> dict[str, Fraction]:
    """The numbers so far."""
    found = sheet.solve().values
    return {name: value for name, value in found.items() if isinstance(value, Fraction)}


def example(
    *,
    x: str = "1 2 3 4",
    W: str = "1 -1 2 0.5",
    b: str | None = None,
    activation: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "identity",
    dropout: float = 0.5,
    mask: str | None = "1 0 1 0",
    target: str | None = "10",
    learning_rate: float = 0.01,
) -> Worksheet:
    """Work a dense layer with dropout: at test time, in one training step, and its smallest and largest output.

    Args:
        x: the inputs, as "1 2 3 4".
        W: a weight for each input, or rows of them, one row an input: "1 0; 2 -1; 0 1; 3 2".
        b: the bias, one number a unit; by default none.
        activation: of the layer.
        dropout: probability that an input is dropped.
        mask: which inputs are active in the training step, as "1 0 1 0"; None for no training step.
        target: what the training step should give, one number a unit; None for no loss.
        learning_rate: of the step.
    """
    texts = {"x": x, "W": W, "b": b, "mask": mask, "target": target}
    found = {name: None if text is None else from_text(name, text) for name, text in texts.items()}
    found = {name: _row(value) if name in ("x", "W", "mask") else value for name, value in found.items()}
    first, weights, bias = (found.pop(name) for name in ("x", "W", "b"))
    return dense(first, weights, bias, **found, activation=activation, dropout=dropout, learning_rate=learning_rate)


def _row(value: Any) -> Any:
    return [value] if isinstance(value, Fraction) else value


def problem(
    random: Random, *, activation: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "identity"
) -> Worksheet:
    """Draw four inputs, of which half are dropped."""

    z = "y" if activation == "identity" else "z"
    small = activation in ("sigmoid", "tanh")  # which are flat for large sums

    def draw() -> Worksheet:
        mask = random.sample([0, 0, 1, 1], 4)
        weights = [nonzero_tenth(random) if small else random.choice([-2, -1, 1, 2, Fraction(1, 2)]) for _ in range(4)]
        x = [random.choice([-1, 1] if small else [-2, -1, 1, 2, 3]) for _ in range(4)]
        target, bias = random.choice([0, 1]), random.choice([None, 1, -1])
        return dense(x, weights, bias, activation=activation, mask=mask, target=target, learning_rate=0.1)

    def telling(solution: Solution) -> bool:
        """Whether all four answers differ."""
        ends = ("any_low", "exact_low", "exact_high", "any_high")
        return len({solution.value(f"{z}_{end}") for end in ends}) == len(ends)

    return by_hand(draw, telling)


command = command_of(example, problem)
