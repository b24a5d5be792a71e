# SPDX-License-Identifier: Apache-2.0
"""Layer specifications: a network as text, one layer per line or between semicolons; `#` starts a comment.

    input 300x200x2                      height × width × channels; 0 to 3 axes before the channels; or 300x200x2 alone
    conv 64 of 3x3xU_1 stride 2 padding 1 dilation 1 groups 1 no-bias        also `conv 64 3x3`; padding also `same`
    depthwise-conv 3x3    pointwise-conv 64    transposed-conv 64 of 2x2 stride 2
    max-pool 2    avg-pool 3 stride 2 padding 1    adaptive-pool 3    global-pool    upsample 2
    flatten    dense N_2 (fc, linear)    batch-norm    layer-norm    dropout 0.5    relu    gelu    sigmoid    tanh    softmax
    embedding 10000 64                   vocabulary and size, over a sequence of token numbers
    attention 8                          self-attention with 8 heads over steps × features
    lstm 128    gru 128    rnn 128       over steps × features, parameters as in PyTorch (two biases)
    output 10                            after a vector a dense layer; after a map, the number of its values

Any number may be a name, and a number or name by itself is a dense layer. `gives 148x98x64` and `parameters 1216` after a layer
state what is known about it. From these and from the sizes of the other layers the unknowns are solved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import sympy

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.layers.sizes import Size, read_product, show
from pellucid.worked.layers.words import (
    FUNCTIONS,
    KINDS,
    NUMBERS,
    OPTIONS,
    PAIRS,
    SHORT,
    SLIDING,
    SPELLINGS,
    TAKES,
    WINDOWED,
    tidied,
)

__all__ = ["LayerLine", "SizeEquation", "candidates_text", "is_shape", "read_lines", "shape_notes", "solve"]

_LONGEST, _WIDEST = 2000, 400  # layers, characters per line
_CANDIDATES = 1024  # values tried for an unknown in a rounded size
_COLOURS = 4  # channels that an image has at most


@dataclass
class LayerLine:
    """One layer as it was written.

    Args:
        number: the line's number, from 1.
        kind: one of `KINDS`.
        sizes: the number after the kind, or the sizes separated by x.
        kernel: the sizes after `of`.
        options: stride, padding, … by name.
        gives: the output size after `gives`.
        flags: words without a value.
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

    def known(self, solved: dict[sympy.Symbol, Size]) -> LayerLine:
        """The line with the solved unknowns replaced by their values."""
        sizes, kernel, gives = (
            [sympy.sympify(size).subs(solved) for size in part] for part in (self.sizes, self.kernel, self.gives)
        )
        options = {
            name: value.subs(solved) if isinstance(value, sympy.Basic) else value
            for name, value in self.options.items()
        }
        return LayerLine(self.number, self.kind, sizes, kernel, options, gives, self.flags, self.words)


@dataclass(frozen=True)
class SizeEquation:
    """Two sizes that must be equal, and the reason."""

    left: Size
    right: Size
    why: str


def read_lines(specification: str) -> list[LayerLine]:
    """The layers of a specification.

    >>> [line.kind for line in read_lines("input 8x8x1; conv 4 of 3x3; N_2")]
    ['input', 'conv', 'dense']

    Raises:
        UsageError: a line that is not a layer.
    """
    lines: list[LayerLine] = []
    for number, row in enumerate(specification.splitlines(), 1):
        for part in row.split("#")[0].split(";"):
            if not part.strip():
                continue
            if len(part) > _WIDEST or len(lines) >= _LONGEST:
                raise UsageError(
                    f"line {number}: a layer has at most {_WIDEST} characters and a table {_LONGEST} layers; split it."
                )
            if not lines and is_shape(part):
                part = "input " + re.sub(r"\s*[x×*]\s*", "x", part.strip())
            lines.append(_line(number, part.strip()))
    if not lines or lines[0].kind != "input":
        raise UsageError(
            "specification: must begin with the input; write a first line such as `input 300x200x2` or `300x200x2`."
        )
    return lines


def is_shape(words: str) -> bool:
    """Whether words are the sizes of an input alone.

    >>> is_shape("28x28x1"), is_shape("32 × 32 × 3"), is_shape("100"), is_shape("conv 3x3")
    (True, True, True, False)
    """
    return re.fullmatch(r"\s*\d+(\s*[x×*]\s*\d+){0,3}\s*", words) is not None


def shape_notes(lines: list[LayerLine]) -> list[str]:
    """How the input's shape is read, where people often mean another one.

    >>> shape_notes(read_lines("input 28x28; conv 8 of 3"))
    ['28×28 is read as 28 steps of 28 channels; an image of one channel is 28x28x1.']
    >>> shape_notes(read_lines("input 3x32x32; conv 8 of 3x3"))
    ['3×32×32 is read as height × width × channels; an image of 3 channels is 32x32x3.']
    """
    shape = [int(size) for size in lines[0].sizes if sympy.sympify(size).is_Integer]
    said = "×".join(map(str, shape))
    if len(shape) < len(lines[0].sizes) or not any(line.kind in SLIDING for line in lines):
        return []
    if len(shape) == 2 and shape[1] > _COLOURS:
        return [
            f"{said} is read as {shape[0]} steps of {shape[1]} channels; an image of one channel is {shape[0]}x{shape[1]}x1."
        ]
    if len(shape) == 3 and shape[0] <= _COLOURS < min(shape[1:]):
        channels = "channel" if shape[0] == 1 else "channels"
        turned = "x".join(map(str, (*shape[1:], shape[0])))
        return [f"{said} is read as height × width × channels; an image of {shape[0]} {channels} is {turned}."]
    return []


def _line(number: int, words: str) -> LayerLine:
    first, *rest = tidied(words).split()
    kind = first.lower().replace("_", "-")
    while rest and (kind, rest[0].lower()) in PAIRS:  # global average pooling
        kind = f"{kind}-{rest.pop(0).lower()}"
    kind = SPELLINGS.get(kind, kind)
    line = LayerLine(number, kind, words=words)
    if kind not in KINDS:
        try:
            line.sizes = [read_product(first)]
        except UsageError:
            raise UnknownNameError(f"line {number}: layer", first, KINDS) from None
        if not (first[0].isdigit() or re.search(r"[A-Z]|_", first)):
            # N_2 is an unknown number of neurons, but `conf` is a typing error
            raise UnknownNameError(f"line {number}: layer", first, KINDS)
        line.kind = "dense"
    while rest:
        word = OPTIONS.get(rest[0], rest[0])
        rest.pop(0)
        short = re.fullmatch(r"([spdg])(\d+)", word) if kind in SLIDING else None
        if short:
            line.options[SHORT[short[1]]] = _one(number, words, [short[2]], SHORT[short[1]])
        elif word == "of":
            line.kernel = _sizes(number, words, rest)
        elif word == "gives":
            line.gives = _sizes(number, words, rest)
        elif word in ("same", "valid") or (word == "padding" and rest[:1] in (["same"], ["valid"])):
            line.flags += [flag for flag in [rest.pop(0) if word == "padding" else word] if flag == "same"]
        elif word in NUMBERS:
            line.options[word] = _one(number, words, rest, word)
        elif SPELLINGS.get(word.lower(), word) in ("no-bias", *FUNCTIONS) or kind == "dropout":
            line.flags.append(SPELLINGS.get(word.lower(), word))
        elif not line.sizes:
            line.sizes = _sizes(number, words, [word])
        elif kind in WINDOWED and not line.kernel:  # conv 32 3x3
            line.kernel = _sizes(number, words, [word])
        elif kind == "embedding" and len(line.sizes) == 1:
            line.sizes += _sizes(number, words, [word])
        else:
            raise UsageError(f"line {number}: {word!r} in {words!r}: is not an option of a layer; see docs/worked.md.")
    if kind in WINDOWED and len(line.sizes) > 1 and len(line.kernel) == 1:
        line.sizes, line.kernel = line.kernel, line.sizes  # conv 3x3 32
    if kind == "depthwise-conv" and not line.kernel:
        line.sizes, line.kernel = [], line.sizes
    if line.kind in _SIZED and not line.sizes and not (kind == "depthwise-conv" and line.kernel):
        raise UsageError(f"line {number}: {words!r}: {line.kind} needs a number; write it after the word.")
    for option in (*line.options, *(flag for flag in line.flags if flag in ("same", "no-bias"))):
        if option != "parameters" and option not in TAKES.get(line.kind, ()):
            what = {"same": "padding", "no-bias": "bias"}.get(option, option)
            raise UsageError(f"line {number}: {words!r}: {line.kind} has no {what}; leave it out.")
    return line


_SIZED = {*KINDS} - {"global-pool", "flatten", "batch-norm", "layer-norm", *FUNCTIONS}


def _sizes(number: int, words: str, rest: list[str], least: int = 1) -> list[Size]:
    if not rest:
        raise UsageError(f"line {number}: {words!r}: a size is missing at the end; add it.")
    sizes = [read_product(part) for part in re.split(r"[x×](?=[0-9A-Za-z])", rest.pop(0))]
    if any(size.is_number and size < least for size in sizes):
        raise UsageError(f"line {number}: {words!r}: a size is at least {least}; write a larger number.")
    return sizes


def _one(number: int, words: str, rest: list[str], option: str) -> Size:
    sizes = _sizes(number, words, rest, 0 if option in ("padding", "parameters") else 1)
    if len(sizes) != 1:
        raise UsageError(f"line {number}: {words!r}: an option has one number for all axes; write one.")
    return sizes[0]


def solve(equations: list[SizeEquation]) -> tuple[dict[sympy.Symbol, Size], list[str]]:
    """The unknowns that a single equation determines, and a line about each.

    >>> U = read_product("U_1")
    >>> solve([SizeEquation(U, sympy.Integer(2), "the channels that come in")])[1]
    ['U_1 = 2: the channels that come in']

    Raises:
        UsageError: an equation that no whole number satisfies.
    """
    solved: dict[sympy.Symbol, Size] = {}
    lines: list[str] = []
    for equation in equations:
        left, right = (sympy.sympify(side).subs(solved) for side in (equation.left, equation.right))
        unknown = sorted((left - right).free_symbols, key=str)
        formula = f"{show(equation.left)} = {show(equation.right)}"
        if not unknown:
            if left != right:
                raise UsageError(f"{show(left)} ≠ {show(right)}: {equation.why}; change one of the two.")
            continue
        symbol = unknown[0]
        if left in unknown and left not in right.free_symbols and not right.has(sympy.floor):
            # U_1 = 64 gives a number, U_1 = N_2 replaces one name by the other
            solved[left] = right
            lines.append(f"{left} = {show(right)}: {equation.why}")
            continue
        if len(unknown) > 1:
            continue  # another equation may determine one of them
        values = _whole_numbers(left - right, symbol)
        if not values:
            raise UsageError(f"{symbol}: no whole number solves {formula}, {equation.why}; change one of the sizes.")
        if len(values) == 1:
            solved[symbol] = values[0]
            lines.append(f"{symbol} = {show(values[0])}: {equation.why}, {formula}")
    return solved, lines


def candidates_text(equations: list[SizeEquation], symbol: sympy.Symbol) -> str:
    """The values of an unknown that its equation allows, if there are two to four, in words; else nothing.

    >>> U = read_product("U_1")
    >>> candidates_text([SizeEquation(sympy.floor(U / 2), sympy.Integer(3), "the rounding")], U)
    '6 and 7 both fit'
    """
    for equation in equations:
        difference = sympy.sympify(equation.left - equation.right)
        if difference.free_symbols == {symbol} and len(values := _whole_numbers(difference, symbol)) in range(2, 5):
            both = "both" if len(values) == 2 else "all"
            return f"{', '.join(map(show, values[:-1]))} and {show(values[-1])} {both} fit"
    return ""


def _whole_numbers(expression: Size, symbol: sympy.Symbol) -> list[Size]:
    """The non-negative integer roots of an expression in one unknown."""
    if expression.is_polynomial(symbol):
        roots = sympy.Poly(expression, symbol).ground_roots()
        return sorted(root for root in roots if root.is_Integer and root >= 0)
    # with a floor it is not a polynomial: windows and paddings are small enough to try all values
    return [sympy.Integer(value) for value in range(_CANDIDATES) if expression.subs(symbol, value) == 0]
