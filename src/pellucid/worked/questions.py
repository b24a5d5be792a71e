# SPDX-License-Identifier: Apache-2.0
"""What is asked of a worksheet: values, derivatives, and parameters after steps of an optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expression import At, Const, Index, Name, Neg
from pellucid.worked.tokens import place

if TYPE_CHECKING:
    from pellucid.worked.notation import Ask, _Reader

__all__ = ["RULES", "STEPS", "Question", "question"]

STEPS: Final = 1000

RULES: Final = {
    "sgd": {"lr": Fraction(1, 100)},
    "momentum": {"lr": Fraction(1, 100), "rho": Fraction(9, 10)},
    "nesterov": {"lr": Fraction(1, 100), "rho": Fraction(9, 10)},
    "adam": {
        "lr": Fraction(1, 1000),
        "beta1": Fraction(9, 10),
        "beta2": Fraction(999, 1000),
        "eps": Fraction(1, 10**8),
    },
}
"""The optimisers with their options and defaults; λ is `lr`, ρ is `rho`."""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """A question about quantities by their names.

    >>> Question(("W_h",), of="L").title
    'dL/dW_h'
    """

    names: tuple[str, ...]  # the values asked for, the names differentiated by, or the parameters updated
    of: str = ""  # the quantity differentiated or descended
    rule: str = ""  # the optimiser
    steps: int = 1
    options: tuple[tuple[str, Fraction], ...] = ()
    at: At | None = None

    @property
    def title(self) -> str:
        """The question as it stands in a text, without the ?."""
        if self.rule:
            given = ", ".join(f"{name}={float(value):g}" for name, value in self.options)
            count = f"{self.steps} " if self.steps != 1 else ""
            return f"{', '.join(self.names)} after {count}{self.rule}({given}) on {self.of}"
        return f"d{self.of}/d{self.names[0]}" if self.of else ", ".join(self.names)


def question(reader: _Reader) -> Ask:
    """Read what stands after a ?.

    Raises:
        UsageError: what is no question, with line and column.
    """
    from pellucid.worked.notation import Ask

    at = reader.next.at
    rule = "a question names a quantity, as in ? L, a derivative, as in ? dL/dW, or an update, as in ? W after sgd() on L"
    names = [reader.quantity(rule)]
    if reader.take("/"):
        below = reader.quantity(rule)
        reader.end("after a derivative")
        return Ask((_without_d(below),), at, of=_without_d(names[0]))
    while reader.take(","):
        names.append(reader.quantity(rule))
    if not reader.take("after"):
        reader.end("after a question")
        return Ask(tuple(names), at)
    steps = _steps(reader)
    optimiser = reader.next
    if optimiser.text not in RULES:
        raise UsageError(f"{place(optimiser.at)}{UnknownNameError('optimiser', optimiser.text, RULES)}")
    reader.take()
    options = _options(reader, optimiser.text)
    reader.want("on", "after the optimiser: it names what is to become small, as in on L")
    of = reader.quantity("the quantity that is to become small is wanted here")
    reader.end("after an update")
    return Ask(tuple(names), at, of, optimiser.text, steps, options)


def _steps(reader: _Reader) -> int:
    token = reader.next
    if token.kind != "number":
        return 1
    reader.take()
    if not token.text.isdigit() or not 1 <= int(token.text) <= STEPS:
        raise UsageError(f"{place(token.at)}steps={token.text}: must be a whole number from 1 to {STEPS}.")
    reader.take("steps")
    reader.take("of")
    return int(token.text)


def _options(reader: _Reader, rule: str) -> tuple[tuple[str, Fraction], ...]:
    options = dict(RULES[rule])
    reader.want("(", f"after {rule}, as in {rule}(lr=0.01)")
    while not reader.take(")"):
        token = reader.next
        if token.text not in options:
            raise UsageError(f"{place(token.at)}{UnknownNameError('option', token.text, options)}")
        reader.take()
        reader.want("=", f"after {token.text}")
        value = reader.expression()
        sign = -1 if isinstance(value, Neg) else 1
        value = value.term if isinstance(value, Neg) else value
        if not isinstance(value, Const) or not isinstance(value.value, Fraction):
            raise UsageError(f"{place(token.at)}{token.text}: must be a number, as in {token.text}=0.01.")
        options[token.text] = sign * value.value
        if reader.next.text != ")":
            reader.want(",", f"between the options of {rule}")
    return tuple(options.items())


def _without_d(name: Name | Index) -> Name | Index:
    """The quantity that dL or ∂L names."""
    text = name.name if isinstance(name, Name) else name.base
    if text[0] not in "d∂" or len(text) < 2:
        raise UsageError(f"{place(name.at)}{text}: a derivative is written dL/dW, with a d before both names.")
    return Name(text[1:], name.at) if isinstance(name, Name) else Index(text[1:], name.places, name.at)
