# SPDX-License-Identifier: Apache-2.0
"""From the lines of a specification to the rows of a table: what each layer makes of the size that comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import sympy

from pellucid.errors import UsageError
from pellucid.worked.layers.sizes import Size, output_size, output_size_text, product_text, text, transposed_size
from pellucid.worked.layers.specification import FUNCTIONS, Equation, Line, read_lines, several, solve
from pellucid.worked.layers.table import Row, size_text

__all__ = ["build", "read"]

ONE = sympy.Integer(1)
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass
class _State:
    """What stands between two layers: the size, and how far one of its values sees."""

    size: tuple[Size, ...]
    field: tuple[Size, ...] | None
    jump: tuple[Size, ...]
    equations: list[Equation] = dataclasses.field(default_factory=list)

    @property
    def channels(self) -> Size:
        return self.size[-1]

    @property
    def axes(self) -> tuple[Size, ...]:
        return self.size[:-1]


def read(specification: str) -> tuple[list[Row], list[str]]:
    """The rows of a specification, and a line about each unknown.

    >>> rows, lines = read("input 300x200x2; conv 64 of 3x3xU_1; dense N_2")
    >>> lines
    ['U_1 = 2: what comes into `conv 64 of 3x3xU_1` has as many channels', 'N_2 stays open: nothing here determines it']

    Raises:
        UsageError: a line that is no layer, or sizes that cannot be.
    """
    lines = read_lines(specification)
    known: dict[sympy.Symbol, Size] = {}
    said: list[str] = []
    while True:
        rows, equations = build([line.known(known) for line in lines])
        found, told = solve(equations)
        if not found:
            break
        known |= found
        known = {name: sympy.sympify(value).subs(found) for name, value in known.items()}
        said += told
    symbols = (sympy.sympify(each).free_symbols for row in rows for each in (*row.output, row.parameters))
    free = sorted({symbol for found_symbols in symbols for symbol in found_symbols}, key=str)
    return rows, said + [
        f"{symbol} stays open: {several(equations, symbol) or 'nothing here determines it'}" for symbol in free
    ]


def build(lines: list[Line]) -> tuple[list[Row], list[Equation]]:
    """The rows of a network, and what must be equal in it."""
    first = lines[0]
    state = _State(tuple(first.sizes), (ONE,) * (len(first.sizes) - 1), (ONE,) * (len(first.sizes) - 1))
    rows = [Row("input", state.size, sees=state.field)]
    for line in lines[1:]:
        row = _BUILDERS[line.kind](line, state)
        if line.gives:
            if len(line.gives) != len(row.output):
                raise UsageError(
                    f"line {line.number}: gives={size_text(line.gives)}: `{line.words}` has {len(row.output)} axes; give as many."
                )
            why = f"`{line.words}` gives it"
            state.equations += [Equation(a, b, why) for a, b in zip(row.output, line.gives, strict=True)]
            row.output = tuple(
                b if sympy.sympify(a).free_symbols else a for a, b in zip(row.output, line.gives, strict=True)
            )
        if "parameters" in line.options:
            state.equations.append(
                Equation(row.parameters, line.options["parameters"], f"the parameters of `{line.words}`")
            )
        for each in row.output:
            if sympy.sympify(each).is_number and each < 1:
                raise UsageError(
                    f"line {line.number}: `{line.words}` gives {size_text(row.output)}: nothing is left; make the window smaller."
                )
        if state.field is not None and len(row.output) > 1:
            row.sees = state.field
        else:
            row.sees = None
        state.size = row.output
        rows.append(row)
    return rows, state.equations


def _spatial(line: Line, state: _State) -> int:
    axes = len(state.axes)
    if axes not in _AXES:
        raise UsageError(
            f"line {line.number}: `{line.words}` slides over 1 to 3 axes and receives {size_text(state.size)}; move it up."
        )
    return axes


def _see(state: _State, window: list[Size], stride: Size, dilation: Size = ONE) -> None:
    """A window of f values a jump apart widens the field by d(f − 1) jumps; a stride widens the jump."""
    if state.field is not None:
        state.field = tuple(r + dilation * (f - 1) * j for r, f, j in zip(state.field, window, state.jump, strict=True))
    state.jump = tuple(j * stride for j in state.jump)


def _window(line: Line, given: list[Size], axes: int) -> list[Size]:
    window = [*given] if len(given) == axes else [*given] * axes if len(given) == 1 else []
    if not window:
        raise UsageError(
            f"line {line.number}: `{line.words}` has a window of {len(given)} sizes over {axes} axes; give {axes}."
        )
    return window


def _slide(line: Line, state: _State, window: list[Size], stride: Size) -> tuple[tuple[Size, ...], list[str]]:
    dilation, padding = line.options.get("dilation", ONE), [line.options.get("padding", sympy.Integer(0))] * len(window)
    if "same" in line.flags:
        padding = [dilation * (f - 1) / 2 for f in window]
        if stride != 1 or not all(sympy.sympify(p).is_integer is not False for p in padding):
            raise UsageError(
                f"line {line.number}: padding=same: it takes stride 1 and an odd window; give padding a number."
            )
    terms = [(n, f, stride, p, dilation) for n, f, p in zip(state.axes, window, padding, strict=True)]
    names = _AXES[len(window)]
    alike = len({term[:2] for term in terms}) == 1
    arithmetic = [f"{name} {output_size_text(*term)}" for name, term in zip(names, terms, strict=True)]
    if alike and len(terms) > 1:
        arithmetic = [f"{' and '.join(names)} {output_size_text(*terms[0])}"]
    _see(state, window, stride, dilation)
    return tuple(output_size(*term) for term in terms), arithmetic


def _conv(line: Line, state: _State) -> Row:
    axes = _spatial(line, state)
    given, groups, filters = [*line.kernel], line.options.get("groups", ONE), line.sizes[0]
    if not given:
        raise UsageError(f"line {line.number}: `{line.words}` has no window; write `conv 64 of 3x3`.")
    depth = state.channels / groups
    if len(given) == axes + 1:
        whole = "" if groups == 1 else f", divided among {text(groups)} groups"
        state.equations.append(
            Equation(given[-1], depth, f"what comes into `{line.words}` has as many channels{whole}")
        )
        depth = given.pop()
    elif sympy.sympify(depth).is_number and not sympy.sympify(depth).is_Integer:
        raise UsageError(
            f"line {line.number}: groups={text(groups)}: it must divide {text(state.channels)} channels; choose a divisor."
        )
    window = _window(line, given, axes)
    bias = "no-bias" not in line.flags
    product = product_text([*window, depth])
    formula = f"({product} + 1)·{text(filters)}" if bias else f"{product}·{text(filters)}"
    weights = sympy.Mul(*window) * depth * filters
    if line.kind == "conv":
        size, arithmetic = _slide(line, state, window, line.options.get("stride", ONE))
        positions = sympy.Mul(*size)
    else:
        stride, padding, dilation = (
            line.options.get(name, ONE * default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        size = tuple(transposed_size(n, f, stride, padding, dilation) for n, f in zip(state.axes, window, strict=True))
        arithmetic = [
            f"{name} ({text(n)} − 1)·{text(stride)} − 2·{text(padding)} + {text(dilation)}·({text(f)} − 1) + 1 = {text(m)}"
            for name, n, f, m in zip(_AXES[axes], state.axes, window, size, strict=True)
        ]
        positions = sympy.Mul(*state.axes)  # every value that comes in is spread over the whole window
        spread = [sympy.ceiling(f / sympy.sympify(stride)) for f in window]
        state.jump = tuple(j / stride for j in state.jump)
        if state.field is not None:
            state.field = tuple(
                r + (s - 1) * j * stride for r, s, j in zip(state.field, spread, state.jump, strict=True)
            )
    return Row(
        _name(line, f"{line.kind} {text(filters)}"), (*size, filters), size_text([*window, depth]), formula,
        weights + (filters if bias else 0), filters if bias else sympy.Integer(0), positions * weights, arithmetic=arithmetic,
    )  # fmt: skip


def _pool(line: Line, state: _State) -> Row:
    window = _window(line, line.sizes, _spatial(line, state))
    stride = line.options.get("stride", window[0])
    size, arithmetic = _slide(line, state, window, stride)
    return Row(_name(line, line.kind), (*size, state.channels), size_text(window), arithmetic=arithmetic)


def _global_pool(line: Line, state: _State) -> Row:
    _spatial(line, state)
    state.field, state.jump = None, ()
    return Row(_name(line, line.kind), (state.channels,), size_text(state.axes))


def _upsample(line: Line, state: _State) -> Row:
    _spatial(line, state)
    factor = line.sizes[0]
    state.jump = tuple(j / factor for j in state.jump)
    return Row(_name(line, f"upsample {text(factor)}"), (*(n * factor for n in state.axes), state.channels))


def _flatten(line: Line, state: _State) -> Row:
    values = sympy.Mul(*state.size)
    arithmetic = [f"{product_text([*state.size])} = {text(values)}"] if len(state.size) > 1 else []
    state.field, state.jump = None, ()
    return Row("flatten", (values,), arithmetic=arithmetic)


def _dense(line: Line, state: _State) -> Row:
    neurons, inputs, bias = line.sizes[0], state.channels, "no-bias" not in line.flags
    before = f"({text(inputs)} + 1)" if bias else product_text([inputs])
    return Row(
        _name(line, f"dense {text(neurons)}"), (*state.axes, neurons), "", f"{before}·{text(neurons)}",
        inputs * neurons + (neurons if bias else 0), neurons if bias else sympy.Integer(0),
        sympy.Mul(*state.size) * neurons,
    )  # fmt: skip


def _batch_norm(line: Line, state: _State) -> Row:
    channels = state.channels
    note = "γ and β are learned; the running mean and variance are no parameters"
    return Row(_name(line, "batch-norm"), state.size, "", f"2·{text(channels)}", 2 * channels, channels, note=note)


def _recurrent(line: Line, state: _State) -> Row:
    if len(state.size) != 2:
        raise UsageError(
            f"line {line.number}: `{line.words}` receives {size_text(state.size)}; give it steps × features."
        )
    (steps, features), hidden, gates = state.size, line.sizes[0], _GATES[line.kind]
    bias = "no-bias" not in line.flags
    inside = (
        f"{product_text([features, hidden])} + {text(hidden)}·{text(hidden)}{f' + 2·{text(hidden)}' if bias else ''}"
    )
    weights = gates * (features * hidden + hidden**2)
    biases = gates * 2 * hidden if bias else sympy.Integer(0)
    formula = f"{gates}·({inside})" if gates > 1 else inside
    state.field, state.jump = None, ()
    return Row(
        _name(line, f"{line.kind} {text(hidden)}"),
        (steps, hidden),
        "",
        formula,
        weights + biases,
        biases,
        steps * weights,
    )


def _function(line: Line, state: _State) -> Row:
    return Row(line.words, state.size)


def _output(line: Line, state: _State) -> Row:
    wanted = sympy.Mul(*line.sizes)
    state.equations.append(Equation(sympy.Mul(*state.size), wanted, f"`{line.words}` has as many values"))
    return Row("output", tuple(line.sizes))


def _name(line: Line, name: str) -> str:
    return ", ".join([name, *(flag for flag in line.flags if flag in FUNCTIONS or flag == "no-bias")])


_BUILDERS: dict[str, Callable[[Line, _State], Row]] = {
    "conv": _conv,
    "transposed-conv": _conv,
    "max-pool": _pool,
    "avg-pool": _pool,
    "global-pool": _global_pool,
    "upsample": _upsample,
    "flatten": _flatten,
    "dense": _dense,
    "batch-norm": _batch_norm,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": _recurrent,
    "output": _output,
    **dict.fromkeys(FUNCTIONS, _function),
}
