# SPDX-License-Identifier: Apache-2.0
"""dense: a layer with inverted dropout on its inputs (Srivastava et al. 2014), and the smallest and largest sum it can form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_end
from pellucid.worked.builders._quantities import (
    Activation,
    activated,
    as_row,
    ask_update,
    check_shape,
    exact,
    from_texts,
    shape_of,
)
from pellucid.worked.builders._symbols import has_symbols, only_numbers
from pellucid.worked.builders.dense.symbols import dense_in_symbols
from pellucid.worked.expressions.expression import Add, Const, Expr, Name, Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.numbers import typed_options
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.operations import maximum, minimum
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Dense"]


@final
@dataclass(frozen=True, kw_only=True)
class Dense(Builder):
    """Work a dense layer with dropout: at test time, in one training step, and its smallest and largest output."""

    topic = "regularisation and normalisation"
    question = "What does dropout do in training and at test time, and which outputs are possible at all?"
    keeps = ("activation",)

    x: str = "1 2 3 4"
    """the inputs, as "1 2 3 4"; names such as "x_1 x_2" ask for the form alone, forwards and backwards"""
    W: str = "1 -1 2 0.5"
    """a weight for each input, or rows of them, one row per input: "1 0; 2 -1; 0 1; 3 2\""""
    b: str | None = None
    """bias, one number per unit; by default none"""
    activation: Activation = "identity"
    """activation of the layer"""
    dropout: float = 0.5
    """probability that an input is dropped"""
    mask: str | None = "1 0 1 0"
    """which inputs are active in the training step, as "1 0 1 0"; None for no training step"""
    target: str | None = "10"
    """target of the training step, one number per unit; None for no loss"""
    learning_rate: float = 0.01
    """learning rate of the update"""

    @staticmethod
    def build(
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

        >>> solution = Dense.build([1, 2, 3, 4], [1, -1, 2, 0.5]).solve()
        >>> [str(solution.value(f"y_{name}")) for name in ("test", "exact_low", "exact_high", "any_low", "any_high")]
        ['7', '-2', '16', '-4', '18']

        The sums in this example are of c = (2, −4, 12, 4): with exactly two units active at least −4 + 2 and at most 12 + 4,
        with any number of them active at least −4 and at most 2 + 12 + 4.

        Args:
            x: the activations of the N units before, of which some are dropped.
            W: N weights, or N × M for M units.
            b: the bias, or M of them; None for none.
            activation: f; all of them are monotonic, so that the smallest sum gives the smallest output.
            dropout: p, the probability that a unit is dropped, from 0 to below 1.
            mask: which units are active in a training step, N zeros and ones; None for no such step.
            target: with a mask, the target of y in that step, L = Σ (y − t)².
            delta: with a mask, ∂L/∂y instead of a target.
            learning_rate: of the update.

        Raises:
            UsageError: shapes that do not fit, or a dropout that is not a probability below 1.
        """
        wide = shape_of("x", x)
        shape = shape_of("W", W)
        if len(wide) != 1 or shape[:1] != wide:
            raise UsageError("x, W: x must be N numbers and W N weights, or N rows; change the shapes.")
        if b is not None:
            check_shape("b", b, shape[1:], "W leads to as many units")
        # as a fraction: q·N must be recognised as a whole number
        p = exact(dropout)
        if not 0 <= p < 1:
            raise UsageError(f"dropout={float(p)}: is a probability and must be from 0 to below 1; try 0.5.")
        if mask is None and not (target is None and delta is None):
            raise UsageError("target: belongs to a training step; give the mask of it too.")
        sheet = Worksheet()
        sheet.x, sheet.W = x, W  # (N,), and (N,) or (N, M)
        if b is not None:
            sheet.b = b
        sheet.p = p
        # the probability that a unit stays
        sheet.q = 1 - sheet.p
        _put_test(sheet, activation)
        if mask is not None:
            _put_training(sheet, mask, activation)
        _put_extremes(sheet, activation)
        if put_end(sheet, sheet.components("y"), target, delta) if mask is not None else False:
            sheet.ask("L")
            sheet.ask(*(f"dL/d{name}" for name in sheet.components("x")))
            ask_update(sheet, ["W", *(["b"] if b is not None else [])], learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.x, self.W, self.b):
            own = {name: getattr(self, name) for name in ("mask", "target")}
            only_numbers(**{name: value for name, value in own.items() if value != getattr(Dense, name)})
            return Worksheet()
        numbers = from_texts(x=self.x, W=self.W, b=self.b, mask=self.mask, target=self.target)
        numbers |= {name: as_row(numbers[name]) for name in ("x", "W", "mask")}
        more: dict[str, Any] = {"activation": self.activation, "dropout": self.dropout}
        return self.build(**numbers, **more, learning_rate=self.learning_rate)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """In symbols, the layer as matrices, forwards and backwards."""
        if not has_symbols(self.x, self.W, self.b):
            return []
        return [*dense_in_symbols(self.x, None if self.W == Dense.W else self.W, self.b, self.activation)]

    def draw(self, random: Random) -> Dense:
        """Four inputs, of which half are dropped."""
        z = "y" if self.activation == "identity" else "z"
        flat = self.activation in ("sigmoid", "tanh")  # for large sums

        def draw() -> Dense:
            mask = random.sample([0, 0, 1, 1], 4)
            W = [nonzero_tenth(random) if flat else random.choice([-2, -1, 1, 2, Fraction(1, 2)]) for _ in range(4)]
            x = [random.choice([-1, 1] if flat else [-2, -1, 1, 2, 3]) for _ in range(4)]
            target, b = random.choice([0, 1]), random.choice([None, 1, -1])
            return replace(self, **typed_options(x=x, W=W, b=b, mask=mask, target=target), learning_rate=0.1)

        def all_differ(solution: Solution) -> bool:
            """Whether the two readings of the question have four different answers."""
            ends = ("any_low", "exact_low", "exact_high", "any_high")
            return len({solution.value(f"{z}_{end}") for end in ends}) == len(ends)

        return by_hand(draw, all_differ)


def _weighted_sum(sheet: Worksheet, x: Any) -> Any:
    """x·W + b."""
    weighted = x @ sheet.W
    return weighted + sheet.b if sheet.components("b")[0] in sheet else weighted


def _put_output(sheet: Worksheet, end: str, z: Any, activation: str) -> None:
    """Write down the sum z and its activation y, and ask for y."""
    if activation == "identity":
        sheet[f"y{end}"] = z
    else:
        sheet[f"z{end}"] = z
        sheet[f"y{end}"] = activated(activation, sheet[f"z{end}"])
    sheet.ask(*sheet.components(f"y{end}"))


def _put_test(sheet: Worksheet, activation: str) -> None:
    sheet.remark(
        "In training each input is dropped with probability ", Name("p"), "; the others are divided by ",
        Name("q"), " = ", 1 - Name("p"), " (inverted scaling), so that the expected value of each is the input itself;",
        " at test time nothing is dropped and nothing is scaled.",
    )  # fmt: skip
    _put_output(sheet, "_test", _weighted_sum(sheet, sheet.x), activation)


def _put_training(sheet: Worksheet, mask: Sequence[int], activation: str) -> None:
    if len(mask) != len(sheet.x) or any(bit not in (0, 1) for bit in mask):
        raise UsageError(
            f"mask={[int(bit) for bit in mask]}: must be {len(sheet.x)} zeros and ones, one for each input."
        )
    sheet.m = [int(bit) for bit in mask]
    # inverted dropout scales in training, so that nothing is to be done at test time
    sheet.a = sheet.m * sheet.x / sheet.q
    _put_output(sheet, "", _weighted_sum(sheet, sheet.a), activation)


def _put_extremes(sheet: Worksheet, activation: str) -> None:
    """The contributions c of the inputs, and their smallest and largest sum under both readings of the question."""
    count = len(sheet.x)
    several = sheet.W.shape[1:] != ()
    units = [f"_{j}" for j in range(1, sheet.W.shape[1] + 1)] if several else [""]
    # "half of the units are dropped" can be read as exactly half, or as half on average
    active = _exact_values(sheet)["q"] * count  # how many inputs are active on average
    whole = active.denominator == 1
    sheet.remark("c is what an active input adds to the sum.")
    if whole:
        sheet.remark(
            *_both("y_exact"), f" are the smallest and the largest output with exactly {active} of the {count} inputs active; ",
            *_both("y_any"), " are the same with any number of them active.",
        )  # fmt: skip
        sheet.remark(f"Exactly {active} active: the {active} smallest c, or the {active} largest. Any number: the negative c, "
            "or the positive ones.", hint=True)  # fmt: skip
    else:
        sheet.remark(
            *_both("y_any"), " are the smallest and the largest output with any number of inputs active; exactly "
            f"{count}·q = {float(active):g} of them cannot be active, since that is not a whole number.",
        )  # fmt: skip
    for j, end in enumerate(units, 1):
        weights = tuple(sheet.W[i, j] if several else sheet.W[i] for i in range(1, count + 1))
        sheet[f"c{end}"] = sheet.x / sheet.q * Array((count,), weights)  # (N,)
        names = sheet.components(f"c{end}")
        values = _exact_values(sheet)
        # the extremes of a sum with a fixed number of terms: its smallest or its largest terms
        order = sorted(names, key=lambda name: values[name])
        bias: list[Expr] = [sheet[f"b{end}"]] if f"b{end}" in sheet else []
        if whole:
            for word, chosen in (("low", order[: int(active)]), ("high", order[count - int(active) :])):
                terms = [*(sheet[name] for name in chosen), *bias]
                _put_output(sheet, f"_exact_{word}{end}", _sum_of(terms), activation)
        # with any number of terms: all that lower the sum, or all that raise it
        for word, pick in (("low", minimum), ("high", maximum)):
            terms = [*(pick(sheet[name], 0) for name in names), *bias]
            _put_output(sheet, f"_any_{word}{end}", _sum_of(terms), activation)
        sums = "y" if activation == "identity" else "z"
        # these equations say which inputs are active: that is the exercise
        sheet.hold_back(*(f"{sums}_{reading}_{word}{end}" for reading in ("exact", "any") for word in ("low", "high")))


def _both(name: str) -> tuple[Expr, str, Expr]:
    return Name(f"{name}_low"), " and ", Name(f"{name}_high")


def _sum_of(terms: list[Expr]) -> Expr:
    return terms[0] if len(terms) == 1 else Add(tuple(terms)) if terms else Const(Fraction(0))


def _exact_values(sheet: Worksheet) -> dict[str, Fraction]:
    """The numbers so far that are exact."""
    values = sheet.solve().values
    return {name: value for name, value in values.items() if isinstance(value, Fraction)}
