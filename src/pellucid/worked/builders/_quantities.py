# SPDX-License-Identifier: Apache-2.0
"""What builders are given: numbers, vectors and matrices from Python or from text, their shapes checked, and layers made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import Const, Expr, Operand, as_expr
from pellucid.worked.forms.numbers import read_tensor
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.operations import leaky_relu, relu, sigmoid, tanh
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Quantity",
    "activated",
    "as_row",
    "ask_update",
    "check_name",
    "check_shape",
    "exact",
    "from_text",
    "from_texts",
    "product",
    "put_numbers",
    "rate_text",
    "shape_of",
]

Quantity: TypeAlias = Expr | Array

Activation: TypeAlias = Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"]

ACTIVATIONS: Final = ("identity", "relu", "leaky_relu", "sigmoid", "tanh")
"""Of a unit; softmax belongs to the cross-entropy, as it works on all units of a layer at once."""

_FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
}


def activated(activation: str, quantity: Quantity) -> Quantity:
    """An activation of a quantity, component by component.

    >>> from pellucid.worked.expressions.expression import Name
    >>> activated("identity", Name("z"))
    Name(name='z')

    Raises:
        UnknownNameError: no such activation.
    """
    check_name("activation", activation, ACTIVATIONS)
    # no node in the tree, so that no line shows it
    if activation == "identity":
        return quantity
    applied: Quantity = _FUNCTIONS[activation](quantity)
    return applied


def check_name(kind: str, name: str, known: Sequence[str]) -> None:
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
        # (O, I) times (I,) is (O,); of x·W, (I,) times (I, O) is (O,)
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
        # NumPy arrays and torch tensors become lists of Python numbers
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):  # a bool is an int, and hardly ever meant
            raise UsageError(f"{name}={value!r}: must be a number, or a list of numbers; write digits.")
        return ()
    # a worksheet has no third dimension: tensors of more go through worksheet.tensors
    inner = {shape_of(name, row) for row in value}
    if not value or len(inner) > 1 or len(next(iter(inner))) > 1:
        raise UsageError(f"{name}={value!r}: must be numbers, or rows of one length; correct the shorter ones.")
    return (len(value), *next(iter(inner)))


def check_shape(name: str, value: Any, wanted: tuple[int, ...], why: str) -> None:
    """Refuse a quantity whose shape does not fit the others.

    >>> check_shape("b", [1, 2], (3,), "the layer has 3 units")
    Traceback (most recent call last):
    pellucid.errors.UsageError: b: is 2 numbers and must be 3 numbers, since the layer has 3 units; give it that shape.
    """
    shape = shape_of(name, value)
    if shape != wanted:
        has, must = (f"{'×'.join(map(str, size))} numbers" if size else "one number" for size in (shape, wanted))
        raise UsageError(f"{name}: is {has} and must be {must}, since {why}; give it that shape.")


def from_text(name: str, text: str) -> Any:
    """Numbers as they are typed, each read as an exact decimal: a number 0.5, a vector 1 2, a matrix 1 2; 3 4.

    >>> print(from_text("w", "0.5"))
    1/2
    >>> [str(number) for number in from_text("x", "[1]")], len(from_text("W", "1 2; 3 4; 5 6"))
    (['1'], 3)

    Raises:
        UsageError: anything else.
    """
    numbers = read_tensor(text, name)
    shape_of(name, numbers)
    # a lone number is a scalar unless brackets make it a vector
    alone = len(numbers) == 1 and not text.strip().startswith("[")
    return numbers[0] if alone else numbers


def from_texts(**texts: str | None) -> dict[str, Any]:
    """Several options as numbers; None stays None.

    >>> from_texts(w="0.5", b=None)
    {'w': Fraction(1, 2), 'b': None}
    """
    return {name: None if text is None else from_text(name, text) for name, text in texts.items()}


def as_row(value: Any) -> Any:
    """A vector where a lone number was read."""
    return [value] if isinstance(value, Fraction) else value


def exact(value: Operand) -> Fraction:
    """A number as a fraction.

    >>> exact(0.1)
    Fraction(1, 10)
    """
    node = as_expr(value)
    assert isinstance(node, Const) and isinstance(node.value, Fraction)
    return node.value


def rate_text(learning_rate: Operand) -> str:
    """A learning rate as it is written in a question.

    Raises:
        UsageError: one that is not positive, or not a decimal number.
    """
    try:
        value = Fraction(str(learning_rate))  # 0.1 as the decimal, not as the nearest float
    except ValueError:
        value = Fraction(0)
    # the question is a text and must read back as the same number
    text = f"{float(value):.12g}"
    if not 0 < value <= 1_000_000 or Fraction(text) != value:
        raise UsageError(f"learning_rate={learning_rate}: must be a positive number of up to 12 digits; try 0.01.")
    return text


def ask_update(sheet: Worksheet, parameters: Sequence[str], learning_rate: Operand, of: str = "L") -> None:
    """Ask for every parameter after one step of gradient descent."""
    rate = rate_text(learning_rate)
    names = [component for name in parameters for component in sheet.components(name)]
    # one question for all, since a step takes every gradient before it changes a weight
    sheet.ask(f"{', '.join(names)} after sgd(lr={rate}) on {of}")


def put_numbers(sheet: Worksheet, quantities: Mapping[str, Any]) -> None:
    """Put numbers into a worksheet by their names; None is left out."""
    for name, value in quantities.items():
        if value is not None:
            shape_of(name, value)
            sheet[name] = value
