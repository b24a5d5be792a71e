# SPDX-License-Identifier: Apache-2.0
"""Layer specifications: a network as text, a layer a line or between semicolons, `#` before a comment.

    input 300x200x2                      height × width × channels; 0 to 3 axes before the channels
    conv 64 of 3x3xU_1 stride 2 padding 1 dilation 1 groups 1 no-bias        padding also `same`
    transposed-conv 64 of 2x2 stride 2
    max-pool 2    avg-pool 3 stride 2 padding 1    global-pool    upsample 2
    flatten    dense N_2    batch-norm    dropout 0.5    relu    sigmoid    tanh    softmax    leaky-relu
    lstm 128    gru 128    rnn 128       over steps × features, parameters as in PyTorch (two biases)
    output 60*100                        what comes out has so many values

Any number may be a name; a number or a name alone is a dense layer. `gives 148x98x64` and `parameters 1216` behind a layer
state what is known of it. From these, and from what each layer receives, the unknowns are solved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import sympy

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.layers.sizes import Size, read_product, text

__all__ = ["FUNCTIONS", "KINDS", "Equation", "Line", "read_lines", "several", "solve"]

FUNCTIONS = ("relu", "leaky-relu", "sigmoid", "tanh", "softmax", "dropout")
"""Layers that keep the size and have no parameters."""
KINDS = (
    "input", "conv", "transposed-conv", "max-pool", "avg-pool", "global-pool", "upsample", "flatten", "dense", "batch-norm",
    "lstm", "gru", "rnn", "output", *FUNCTIONS,
)  # fmt: skip
"""Every layer that a specification can hold."""

_NUMBERS = {"stride", "padding", "dilation", "groups", "parameters"}
_LONGEST, _WIDEST, _REACH = 2000, 400, 1024  # layers, characters a line, candidates for an unknown in a rounded size


@dataclass
class Line:
    """One layer as it was written.

    Args:
        number: of the line, from 1.
        kind: one of `KINDS`.
        sizes: the number behind the kind, or the sizes between crosses.
        kernel: the sizes behind `of`.
        options: stride, padding, … by name.
        flags: words that stand alone.
        words: the line itself.
    """

    number: int
    kind: str
    sizes: list[Size] = field(default_factory=list)
    kernel: list[Size] = field(default_factory=list)
    options: dict[str, Size] = field(default_factory=dict)
    gives: list[Size] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    words: str = ""

    def known(self, found: dict[sympy.Symbol, Size]) -> Line:
        """The line with the solved unknowns put in."""
        put = [[sympy.sympify(each).subs(found) for each in many] for many in (self.sizes, self.kernel, self.gives)]
        options = {
            name: each.subs(found) if isinstance(each, sympy.Basic) else each for name, each in self.options.items()
        }
        return Line(self.number, self.kind, put[0], put[1], options, put[2], self.flags, self.words)


@dataclass(frozen=True)
class Equation:
    """Two sizes that must be equal, and why."""

    left: Size
    right: Size
    why: str


def read_lines(specification: str) -> list[Line]:
    """The layers of a specification.

    >>> [line.kind for line in read_lines("input 8x8x1; conv 4 of 3x3; N_2")]
    ['input', 'conv', 'dense']

    Raises:
        UsageError: a line that is no layer.
    """
    lines: list[Line] = []
    for number, row in enumerate(specification.splitlines(), 1):
        for part in row.split("#")[0].split(";"):
            if not part.strip():
                continue
            if len(part) > _WIDEST or len(lines) >= _LONGEST:
                raise UsageError(
                    f"line {number}: a layer has at most {_WIDEST} characters and a table {_LONGEST} layers; split it."
                )
            lines.append(_line(number, part.strip()))
    if not lines or lines[0].kind != "input":
        raise UsageError("specification: it begins with what comes in; write a first line such as `input 300x200x2`.")
    return lines


def _line(number: int, words: str) -> Line:
    first, *rest = words.split()
    kind = first.lower().replace("_", "-")
    line = Line(number, kind, words=words)
    if kind not in KINDS:
        try:
            line.sizes = [read_product(first)]
        except UsageError:
            raise UnknownNameError(f"line {number}: layer", first, KINDS) from None
        if not (first[0].isdigit() or re.search(r"[A-Z]|_", first)):
            raise UnknownNameError(f"line {number}: layer", first, KINDS)  # a plain word is a slip, not an unknown
        line.kind = "dense"
    while rest:
        word = rest.pop(0)
        if word == "of":
            line.kernel = _sizes(number, words, rest)
        elif word == "gives":
            line.gives = _sizes(number, words, rest)
        elif word == "padding" and rest[:1] == ["same"]:
            line.flags.append(rest.pop(0))
        elif word in _NUMBERS:
            line.options[word] = _one(number, words, rest)
        elif word in ("no-bias", *FUNCTIONS) or kind == "dropout":
            line.flags.append(word)
        elif not line.sizes:
            line.sizes = _sizes(number, words, [word])
        else:
            raise UsageError(f"line {number}: {word!r} in {words!r}: it is no option of a layer; see the docs' list.")
    needs = {
        "input",
        "conv",
        "transposed-conv",
        "max-pool",
        "avg-pool",
        "upsample",
        "dense",
        "lstm",
        "gru",
        "rnn",
        "output",
    }
    if line.kind in needs and not line.sizes:
        raise UsageError(f"line {number}: {words!r}: {line.kind} needs a number; write it behind the word.")
    return line


def _sizes(number: int, words: str, rest: list[str]) -> list[Size]:
    if not rest:
        raise UsageError(f"line {number}: {words!r}: a size is missing at the end; write it.")
    return [read_product(part) for part in re.split(r"[x×](?=[0-9A-Za-z])", rest.pop(0))]


def _one(number: int, words: str, rest: list[str]) -> Size:
    found = _sizes(number, words, rest)
    if len(found) != 1:
        raise UsageError(f"line {number}: {words!r}: one number serves for all axes; write one.")
    return found[0]


def solve(equations: list[Equation]) -> tuple[dict[sympy.Symbol, Size], list[str]]:
    """The unknowns that one equation alone determines, and a line about each.

    >>> U = read_product("U_1")
    >>> solve([Equation(U, sympy.Integer(2), "the channels that come in")])[1]
    ['U_1 = 2: the channels that come in']

    Raises:
        UsageError: an equation that no whole number satisfies.
    """
    found: dict[sympy.Symbol, Size] = {}
    lines: list[str] = []
    for equation in equations:
        left, right = (sympy.sympify(side).subs(found) for side in (equation.left, equation.right))
        unknown = sorted((left - right).free_symbols, key=str)
        said = f"{text(equation.left)} = {text(equation.right)}"
        if not unknown:
            if left != right:
                raise UsageError(f"{text(left)} ≠ {text(right)}: {equation.why}; change one of the two.")
            continue
        symbol = unknown[0]
        if left in unknown and left not in right.free_symbols and not right.has(sympy.floor):
            # U_1 = 64 and U_1 = N_2 alike: one name goes
            found[left] = right
            lines.append(f"{left} = {text(right)}: {equation.why}")
            continue
        if len(unknown) > 1:
            continue
        values = _whole_numbers(left - right, symbol)
        if not values:
            raise UsageError(f"{symbol}: no whole number makes {said}, {equation.why}; change one of the sizes.")
        if len(values) == 1:
            found[symbol] = values[0]
            lines.append(f"{symbol} = {text(values[0])}: {equation.why}, {said}")
    return found, lines


def several(equations: list[Equation], symbol: sympy.Symbol) -> str:
    """The few values of an unknown that an equation leaves, in words; nothing where none bounds it.

    >>> U = read_product("U_1")
    >>> several([Equation(sympy.floor(U / 2), sympy.Integer(3), "the rounding")], U)
    '6 and 7 fit alike'
    """
    for equation in equations:
        difference = sympy.sympify(equation.left - equation.right)
        if difference.free_symbols == {symbol} and len(values := _whole_numbers(difference, symbol)) in range(2, 5):
            return f"{', '.join(text(each) for each in values[:-1])} and {text(values[-1])} fit alike"
    return ""


def _whole_numbers(expression: Size, symbol: sympy.Symbol) -> list[Size]:
    """The whole numbers that make an expression of one unknown 0."""
    if expression.is_polynomial(symbol):
        roots = sympy.Poly(expression, symbol).ground_roots()
        return sorted(root for root in roots if root.is_Integer and root >= 0)
    # rounding makes it no polynomial: the sizes of windows and paddings are few enough to try
    found = []
    for candidate in range(_REACH):
        value = expression.subs(symbol, candidate)
        if value == 0:
            found.append(sympy.Integer(candidate))
    return found
