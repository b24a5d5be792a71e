# SPDX-License-Identifier: Apache-2.0
"""From the lines of a specification to the rows of a table: what each layer does to the size it receives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from pellucid.errors import UsageError
from pellucid.worked.layers.sizes import (
    Size,
    output_size,
    output_size_text,
    product_text,
    show,
    transposed_size,
    transposed_size_text,
)
from pellucid.worked.layers.specification import LayerLine, SizeEquation
from pellucid.worked.layers.table import LayerRow, size_text
from pellucid.worked.layers.words import FUNCTIONS

__all__ = ["build_rows"]

ZERO, ONE = sympy.Integer(0), sympy.Integer(1)
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass
class _State:
    """What a layer receives: the size, and the receptive field of one of its values."""

    size: tuple[Size, ...]  # channels last
    field: tuple[Size, ...] | None  # along each axis, in values of the input; None for the whole input
    jump: tuple[Size, ...]  # the distance of two neighbours, in values of the input
    equations: list[SizeEquation] = dataclasses.field(default_factory=list)

    @property
    def channels(self) -> Size:
        return self.size[-1]

    @property
    def axes(self) -> tuple[Size, ...]:
        return self.size[:-1]


def build_rows(
    lines: list[LayerLine], instead: Mapping[int, tuple[Size, ...]] | None = None
) -> tuple[list[LayerRow], list[SizeEquation]]:
    """The rows of a network, and the equations that its sizes must satisfy.

    Args:
        lines: of the specification.
        instead: other output sizes, by the number of the row, with which the layers behind go on.
    """
    first = lines[0]
    state = _State(tuple(first.sizes), (ONE,) * (len(first.sizes) - 1), (ONE,) * (len(first.sizes) - 1))
    rows = [LayerRow("input", state.size, receptive_field=state.field)]
    for line in lines[1:]:
        row = _BUILDERS[line.kind](line, state)
        if line.gives:
            if len(line.gives) != len(row.output):
                raise UsageError(
                    f"line {line.number}: gives={size_text(line.gives)}: `{line.words}` has {len(row.output)} axes; give as many."
                )
            why = f"`{line.words}` gives it"
            state.equations += [SizeEquation(a, b, why) for a, b in zip(row.output, line.gives, strict=True)]
            # what is stated replaces an unknown, and so determines the layers after it
            row.output = tuple(
                b if sympy.sympify(a).free_symbols else a for a, b in zip(row.output, line.gives, strict=True)
            )
        if "parameters" in line.options:
            state.equations.append(
                SizeEquation(row.parameters, line.options["parameters"], f"the parameters of `{line.words}`")
            )
        for size in row.output:  # an unknown size may still turn out positive
            if sympy.sympify(size).is_number and size < 1:
                raise UsageError(
                    f"line {line.number}: `{line.words}` gives {size_text(row.output)}: nothing is left; use a smaller window, "
                    "and write channels last."
                )
        if state.field is not None and len(row.output) > 1:
            row.receptive_field = state.field
        else:
            row.receptive_field = None
        state.size = (instead or {}).get(len(rows), row.output)
        rows.append(row)
    return rows, state.equations


def _spatial(line: LayerLine, state: _State) -> int:
    """The number of axes besides the channels, 1 to 3."""
    axes = len(state.axes)
    if axes not in _AXES:
        raise UsageError(
            f"line {line.number}: `{line.words}` slides over 1 to 3 axes but receives {size_text(state.size)}; move it up."
        )
    return axes


def _see(state: _State, window: list[Size], stride: Size, dilation: Size = ONE) -> None:
    """r ← r + d(f − 1)·j, j ← j·s: the receptive field r and jump j after a window (Araujo et al. 2019)."""
    if state.field is not None:
        state.field = tuple(r + dilation * (f - 1) * j for r, f, j in zip(state.field, window, state.jump, strict=True))
    state.jump = tuple(j * stride for j in state.jump)


def _window(line: LayerLine, given: list[Size], axes: int) -> list[Size]:
    """The window's size along each axis; a single number counts for all."""
    window = [*given] if len(given) == axes else [*given] * axes if len(given) == 1 else []
    if not window:
        raise UsageError(
            f"line {line.number}: `{line.words}` has a window of {len(given)} sizes over {axes} axes; give {axes}."
        )
    return window


def _slide(line: LayerLine, state: _State, window: list[Size], stride: Size) -> tuple[tuple[Size, ...], dict[str, Any]]:
    """The axes after a sliding window, and what the row says about them."""
    dilation, padding = line.options.get("dilation", ONE), [line.options.get("padding", ZERO)] * len(window)
    if "same" in line.flags:
        padding = [dilation * (f - 1) / 2 for f in window]
        if stride != 1 or not all(sympy.sympify(p).is_integer is not False for p in padding):
            raise UsageError(
                f"line {line.number}: padding=same: it needs stride 1 and an odd window; give padding a number."
            )
    terms = [(n, f, stride, p, dilation) for n, f, p in zip(state.axes, window, padding, strict=True)]
    names = _AXES[len(window)]
    # square images and windows need one line of arithmetic for both axes
    alike = len({term[:2] for term in terms}) == 1
    arithmetic = [f"{name} {output_size_text(*term)}" for name, term in zip(names, terms, strict=True)]
    if alike and len(terms) > 1:
        arithmetic = [f"{' and '.join(names)} {output_size_text(*terms[0])}"]
    _see(state, window, stride, dilation)
    about = {"arithmetic": arithmetic, "window": tuple(terms)}
    return tuple(output_size(*term) for term in terms), about | _columns(stride, padding, dilation)


def _columns(stride: Size, padding: list[Size], dilation: Size) -> dict[str, Any]:
    sides = [*dict.fromkeys(map(show, padding))]
    return {"stride": show(stride), "padding": "×".join(sides), "dilation": show(dilation)}


def _conv(line: LayerLine, state: _State) -> LayerRow:
    """A convolution or transposed convolution: (∏f · C/groups + 1)·filters parameters."""
    axes = _spatial(line, state)
    given, groups, filters = [*line.kernel], line.options.get("groups", ONE), line.sizes[0] if line.sizes else ONE
    if line.kind == "pointwise-conv":
        given = [ONE] * axes
    if line.kind == "depthwise-conv":  # a filter, or several, for each channel by itself
        groups, filters = state.channels, _depthwise_filters(line, state.channels)
    if not given:
        raise UsageError(f"line {line.number}: `{line.words}` has no window; write `conv 64 of 3x3`.")
    depth = state.channels / groups
    if len(given) == axes + 1:  # the window names its depth as well, 3x3xU_1
        shared = "" if groups == 1 else f", divided among {show(groups)} groups"
        state.equations.append(
            SizeEquation(given[-1], depth, f"the input of `{line.words}` has as many channels{shared}")
        )
        depth = given.pop()
    elif sympy.sympify(depth).is_number and not sympy.sympify(depth).is_Integer:
        raise UsageError(
            f"line {line.number}: groups={show(groups)}: it must divide {show(state.channels)} channels; choose a divisor."
        )
    window = _window(line, given, axes)
    bias = "no-bias" not in line.flags
    product = product_text([*window, depth])
    formula = f"({product} + 1)·{show(filters)}" if bias else f"{product}·{show(filters)}"
    weights = sympy.Mul(*window) * depth * filters
    if line.kind != "transposed-conv":
        size, about = _slide(line, state, window, line.options.get("stride", ONE))
        positions = sympy.Mul(*size)
    else:
        size, about = _spread(line, state, window)
        positions = sympy.Mul(*state.axes)  # every input value is spread over the whole window
    return LayerRow(
        _name(line, f"{line.kind} {show(filters)}"), (*size, filters), size_text([*window, depth]), formula,
        weights + (filters if bias else 0), filters if bias else ZERO, positions * weights, groups=show(groups), **about,
    )  # fmt: skip


def _depthwise_filters(line: LayerLine, channels: Size) -> Size:
    """A filter for each channel, or several, by `multiplier` or as a number of filters that the channels divide."""
    filters = channels * line.options.get("multiplier", ONE)
    given = line.sizes[0] if line.sizes else filters
    times = sympy.sympify(given / channels)
    if (line.options.get("multiplier") and given != filters) or (times.is_number and not times.is_Integer):
        raise UsageError(
            f"line {line.number}: `{line.words}` has {show(given)} filters for {show(channels)} channels; a depth-wise "
            "convolution has one for each channel, or several: leave the number out, or write `conv`."
        )
    return given


def _spread(line: LayerLine, state: _State, window: list[Size]) -> tuple[tuple[Size, ...], dict[str, Any]]:
    """The axes after a transposed convolution, and what the row says about them."""
    stride, padding, dilation = (
        line.options.get(name, ONE * default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    terms = [(n, f, stride, padding, dilation) for n, f in zip(state.axes, window, strict=True)]
    names = [*zip(_AXES[len(window)], terms, strict=True)]
    # of an output value, ⌈f/s⌉ input values lie under the window along each axis
    spread = [sympy.ceiling(f / sympy.sympify(stride)) for f in window]
    state.jump = tuple(j / stride for j in state.jump)
    if state.field is not None:
        state.field = tuple(r + (s - 1) * j * stride for r, s, j in zip(state.field, spread, state.jump, strict=True))
    if "same" in line.flags:  # as in Keras: as many zeros are cut off or added as it takes
        axes = tuple(sympy.sympify(n * stride) for n in state.axes)
        texts = [
            f"{name} {product_text([term[0], stride])} = {show(n)}" for (name, term), n in zip(names, axes, strict=True)
        ]
        return axes, {"arithmetic": texts, "stride": show(stride), "padding": "same", "dilation": show(dilation)}
    about: dict[str, Any] = {"arithmetic": [f"{name} {transposed_size_text(*term)}" for name, term in names]}
    about |= {"window": tuple(terms), "spread": True}
    return tuple(transposed_size(*term) for term in terms), about | _columns(stride, [padding], dilation)


def _pool(line: LayerLine, state: _State) -> LayerRow:
    window = _window(line, line.kernel or line.sizes, _spatial(line, state))
    stride = line.options.get("stride", window[0])
    size, about = _slide(line, state, window, stride)
    return LayerRow(_name(line, line.kind), (*size, state.channels), size_text(window), **about)


def _adaptive_pool(line: LayerLine, state: _State) -> LayerRow:
    """Windows as large as it takes for a given output size: row k reaches from ⌊k·n/m⌋ to ⌈(k + 1)·n/m⌉."""
    wanted = _window(line, line.sizes, _spatial(line, state))
    state.field, state.jump = None, ()
    return LayerRow(_name(line, f"{line.kind} {size_text(wanted)}"), (*wanted, state.channels))


def _global_pool(line: LayerLine, state: _State) -> LayerRow:
    _spatial(line, state)
    state.field, state.jump = None, ()  # from here on a value depends on the whole input
    return LayerRow(_name(line, line.kind), (state.channels,), size_text(state.axes))


def _upsample(line: LayerLine, state: _State) -> LayerRow:
    _spatial(line, state)
    factor = line.sizes[0]
    state.jump = tuple(j / factor for j in state.jump)
    return LayerRow(_name(line, f"upsample {show(factor)}"), (*(n * factor for n in state.axes), state.channels))


def _flatten(line: LayerLine, state: _State) -> LayerRow:
    values = sympy.Mul(*state.size)
    arithmetic = [f"{product_text([*state.size])} = {show(values)}"] if len(state.size) > 1 else []
    state.field, state.jump = None, ()
    return LayerRow("flatten", (values,), arithmetic=arithmetic)


def _dense(line: LayerLine, state: _State) -> LayerRow:
    """(in + 1)·out parameters, applied along the last axis; of a map, where people often mean all values, that is said."""
    neurons, inputs, bias = line.sizes[0], state.channels, "no-bias" not in line.flags
    before = f"({show(inputs)} + 1)" if bias else product_text([inputs])
    note, places, values = "", sympy.Mul(*state.axes), show(sympy.Mul(*state.size))
    if len(state.size) == 3 and places != 1:
        note = f"works at each of {size_text(state.axes)} places, on {show(inputs)} {'channel' if inputs == 1 else 'channels'}; "
        note += f"`flatten` before it makes a layer on all {values} values"
    return LayerRow(
        _name(line, f"dense {show(neurons)}"), (*state.axes, neurons), "", f"{before}·{show(neurons)}",
        inputs * neurons + (neurons if bias else 0), neurons if bias else ZERO,
        sympy.Mul(*state.size) * neurons, note=note,
    )  # fmt: skip


def _batch_norm(line: LayerLine, state: _State) -> LayerRow:
    channels = state.channels
    note = f"γ and β are learned; the running mean and variance, 2·{show(channels)} numbers, are not parameters"
    return LayerRow(
        _name(line, "batch-norm"), state.size, "", f"2·{show(channels)}", 2 * channels, channels, note=note,
        statistics=2 * channels,
    )  # fmt: skip


def _layer_norm(line: LayerLine, state: _State) -> LayerRow:
    """γ and β for every value of the last axis, as in torch's LayerNorm of the features."""
    features = state.channels
    if "no-bias" in line.flags:
        return LayerRow(_name(line, "layer-norm"), state.size, "", show(features), features)
    return LayerRow(_name(line, "layer-norm"), state.size, "", f"2·{show(features)}", 2 * features, features)


def _embedding(line: LayerLine, state: _State) -> LayerRow:
    """A table of a vector for each token; looking one up multiplies nothing."""
    if len(line.sizes) != 2 or len(state.size) > 2 or (len(state.size) == 2 and state.channels != 1):
        raise UsageError(
            f"line {line.number}: `{line.words}`: takes a sequence of tokens; write `input 12` and `embedding 10000 64`."
        )
    vocabulary, size = line.sizes
    state.field, state.jump = None, ()
    name = _name(line, f"embedding {show(vocabulary)}×{show(size)}")
    return LayerRow(name, (state.size[0], size), "", f"{show(vocabulary)}·{show(size)}", vocabulary * size)


def _attention(line: LayerLine, state: _State) -> LayerRow:
    """Self-attention with h heads (Vaswani et al. 2017): 4·(d² + d) parameters; n·4·d² + 2·n²·d multiply–accumulates."""
    if len(state.size) != 2:
        raise UsageError(
            f"line {line.number}: `{line.words}` receives {size_text(state.size)}; give it steps × features."
        )
    (steps, size), heads, bias = state.size, line.sizes[0], "no-bias" not in line.flags
    share = sympy.sympify(size / heads)
    if share.is_number and not share.is_Integer:
        raise UsageError(
            f"line {line.number}: heads={show(heads)}: must divide {show(size)} features; choose a divisor."
        )
    d = show(size)
    formula = f"4·({d}·{d} + {d})" if bias else f"4·{d}·{d}"
    state.field, state.jump = None, ()
    projections, products = 4 * steps * size**2, 2 * steps**2 * size
    return LayerRow(
        _name(line, f"attention {show(heads)}"), state.size, "", formula, 4 * size**2 + (4 * size if bias else 0),
        4 * size if bias else ZERO, projections + products,
        note=f"multiply–accumulates: {show(projections)} in the four projections, {show(products)} in q·kᵀ and the weighted sum of v",
    )  # fmt: skip


def _recurrent(line: LayerLine, state: _State) -> LayerRow:
    """g·(in·h + h·h + 2·h) parameters with g gates; PyTorch has two biases for each gate, one of input and one of state."""
    if len(state.size) != 2:
        raise UsageError(
            f"line {line.number}: `{line.words}` receives {size_text(state.size)}; give it steps × features."
        )
    (steps, features), hidden, gates = state.size, line.sizes[0], _GATES[line.kind]
    bias = "no-bias" not in line.flags
    inside = f"{product_text([features, hidden])} + {show(hidden)}·{show(hidden)}"
    inside += f" + 2·{show(hidden)}" if bias else ""
    weights = gates * (features * hidden + hidden**2)
    biases = gates * 2 * hidden if bias else ZERO
    formula = f"{gates}·({inside})" if gates > 1 else inside
    state.field, state.jump = None, ()
    return LayerRow(
        _name(line, f"{line.kind} {show(hidden)}"),
        (steps, hidden),
        "",
        formula,
        weights + biases,
        biases,
        steps * weights,
    )


def _function(line: LayerLine, state: _State) -> LayerRow:
    return LayerRow(line.words, state.size)


def _output(line: LayerLine, state: _State) -> LayerRow:
    """After a vector a dense layer; what has axes is only read as so many values."""
    wanted = sympy.Mul(*line.sizes)
    if len(state.size) == 1:
        row = _dense(LayerLine(line.number, "dense", [wanted], flags=line.flags, words=line.words), state)
        row.name = _name(line, f"output {size_text(line.sizes)}")
        if len(line.sizes) > 1:
            row.note = f"its {show(wanted)} values are read as {size_text(line.sizes)}"
        return row
    why = f"`{line.words}` reads the values before it; for a dense layer on them write `flatten` first"
    state.equations.append(SizeEquation(sympy.Mul(*state.size), wanted, why))
    return LayerRow("output", tuple(line.sizes))


def _name(line: LayerLine, name: str) -> str:
    return ", ".join([name, *(flag for flag in line.flags if flag in FUNCTIONS or flag == "no-bias")])


_BUILDERS: dict[str, Callable[[LayerLine, _State], LayerRow]] = {
    **dict.fromkeys(("conv", "depthwise-conv", "pointwise-conv", "transposed-conv"), _conv),
    "adaptive-pool": _adaptive_pool,
    "layer-norm": _layer_norm,
    "embedding": _embedding,
    "attention": _attention,
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
