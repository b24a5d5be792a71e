# SPDX-License-Identifier: Apache-2.0
"""What builders are given: numbers, vectors and matrices from Python or from text, checked, and the steps all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import Expr, Operand
from pellucid.worked.forms.presenting import read_tensor
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.operations import leaky_relu, relu, sigmoid, tanh
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = [
    "ACTIVATIONS",
    "Quantity",
    "activated",
    "ask_update",
    "from_text",
    "given",
    "one_of",
    "product",
    "rate_of",
    "shape_of",
    "wanted_shape",
]

Quantity: TypeAlias = Expr | Array

ACTIVATIONS: Final = ("identity", "relu", "leaky_relu", "sigmoid", "tanh")
"""Of a unit; softmax belongs to the cross-entropy, as it works on all units of a layer at once."""

_APPLIED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
}


def activated(name: str, what: Quantity) -> Quantity:
    """An activation of a quantity, component by component.

    >>> from pellucid.worked.expressions.expression import Name
    >>> activated("identity", Name("z"))
    Name(name='z')

    Raises:
        UnknownNameError: no such activation.
    """
    one_of("activation", name, ACTIVATIONS)
    if name == "identity":
        return what
    found: Quantity = _APPLIED[name](what)
    return found


def one_of(kind: str, name: str, known: Sequence[str]) -> None:
    """Refuse a name that is not known, with the nearest one that is."""
    if name not in known:
        raise UnknownNameError(kind, name, known)


def product(matrix: Quantity, vector: Quantity) -> Quantity:
    """Matrix times vector; of two numbers their product.

    >>> w = Worksheet("W = [[1, 2], [3, 4]]; x = [5, 6]")
    >>> len(product(w.W, w.x))
    2
    """
    if isinstance(matrix, Array) and isinstance(vector, Array):
        return matrix @ vector
    return matrix * vector


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """The shape of a number (), of a list (n,) or of a list of lists (rows, columns).

    >>> shape_of("W", [[1, 2], [3, 4], [5, 6]])
    (3, 2)

    Raises:
        UsageError: rows of different lengths, or no numbers at all.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
            raise UsageError(f"{name}={value!r}: must be a number, or a list of numbers; write digits.")
        return ()
    inner = {shape_of(name, each) for each in value}
    if not value or len(inner) > 1 or len(next(iter(inner))) > 1:
        raise UsageError(f"{name}={value!r}: must be numbers, or rows of one length; mend the shorter ones.")
    return (len(value), *next(iter(inner)))


def wanted_shape(name: str, value: Any, wanted: tuple[int, ...], why: str) -> None:
    """Refuse a quantity of another shape than its neighbours have.

    >>> wanted_shape("b", [1, 2], (3,), "the layer has 3 units")
    Traceback (most recent call last):
    pellucid.errors.UsageError: b: is 2 numbers and must be 3 numbers, since the layer has 3 units; give it that shape.
    """
    found = shape_of(name, value)
    if found != wanted:
        has, must = (f"{'×'.join(map(str, each))} numbers" if each else "one number" for each in (found, wanted))
        raise UsageError(f"{name}: is {has} and must be {must}, since {why}; give it that shape.")


def from_text(name: str, text: str) -> Any:
    """Numbers as they are typed, each read as an exact decimal: a number 0.5, a vector 1 2, a matrix 1 2; 3 4.

    >>> print(from_text("w", "0.5"))
    1/2
    >>> [str(each) for each in from_text("x", "[1]")], len(from_text("W", "1 2; 3 4; 5 6"))
    (['1'], 3)

    Raises:
        UsageError: anything else.
    """
    found = read_tensor(text, name)
    shape_of(name, found)
    alone = len(found) == 1 and not text.strip().startswith("[")
    return found[0] if alone else found


def rate_of(learning_rate: Operand) -> str:
    """A learning rate as it stands in a question.

    Raises:
        UsageError: one that is not positive, or no decimal number.
    """
    try:
        value = Fraction(str(learning_rate))
    except ValueError:
        value = Fraction(0)
    text = f"{float(value):.12g}"
    if not 0 < value <= 1_000_000 or Fraction(text) != value:
        raise UsageError(f"learning_rate={learning_rate}: must be a positive number of up to 12 digits; try 0.01.")
    return text


def ask_update(sheet: Worksheet, parameters: Sequence[str], learning_rate: Operand, of: str = "L") -> None:
    """Ask for every parameter after one step of gradient descent."""
    rate = rate_of(learning_rate)
    flat = [each for name in parameters for each in sheet.components(name)]
    sheet.ask(f"{', '.join(flat)} after sgd(lr={rate}) on {of}")


def given(sheet: Worksheet, quantities: Mapping[str, Any]) -> None:
    """Put numbers into a worksheet by their names, leaving out what is None."""
    for name, value in quantities.items():
        if value is not None:
            shape_of(name, value)
            sheet[name] = value
