# SPDX-License-Identifier: Apache-2.0
"""The rows of a layer table, their totals, and the table as text, Markdown or JSON."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from pellucid.errors import UnknownNameError
from pellucid.worked.layers.sizes import Size, show

__all__ = ["FORMATS", "LayerRow", "LayerTable", "size_text"]

FORMATS = ("text", "markdown", "json")
"""The formats of a table."""

ZERO = sympy.Integer(0)


@dataclass
class LayerRow:
    """One layer.

    Args:
        name: the first column.
        output: the size, channels last, as in 298×198×64.
        kernel: the window as text, `3×3×2`, or nothing.
        formula: the number of parameters as a formula, `(3·3·2 + 1)·64`.
        parameters: their number.
        biases: how many of them are biases.
        macs: multiply–accumulates for one sample.
        receptive_field: along each axis, in values of the input; None for the whole input.
        arithmetic: how the output size was computed, line by line.
        note: a remark, such as whose parameters it shares.
        stride, padding, dilation, groups: of the window, as text; empty for a layer without one.
        statistics: numbers that are kept but not learned, the running mean and variance of batch norm.
        window: of each axis the n, f, s, p and d of its output size.
        spread: whether that is the window of a transposed convolution.
    """

    name: str
    output: tuple[Size, ...]
    kernel: str = ""
    formula: str = ""
    parameters: Size = ZERO
    biases: Size = ZERO
    macs: Size = ZERO
    receptive_field: tuple[Size, ...] | None = ()
    arithmetic: list[str] = field(default_factory=list)
    note: str = ""
    stride: str = ""
    padding: str = ""
    dilation: str = ""
    groups: str = ""
    statistics: Size = ZERO
    window: tuple[tuple[Size, ...], ...] = ()
    spread: bool = False

    @property
    def values(self) -> Size:
        """The number of output values for one sample; none if the row is not a call of a layer."""
        return sympy.Mul(*self.output) if self.output else ZERO


@dataclass
class LayerTable:
    """The rows with their totals.

    >>> from pellucid.worked.layers.layers import table
    >>> small = table("input 8x8x1; conv 4 of 3x3; flatten; dense 10")
    >>> print(small.parameters, small.without_biases, small.macs)
    1490 1476 2736

    Args:
        title: of the table.
        rows: the layers, the input first.
        solved: a line about each unknown: its value and why, or that it stays open.
        notes: further remarks.
        bytes_per_value: of an activation, 4 for float32.
        batch: samples per batch, for the memory.
        outside: multiply–accumulates of matrix products that belong to no layer, such as those of attention.
    """

    title: str
    rows: list[LayerRow]
    solved: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes_per_value: int = 4
    batch: int = 1
    outside: Size = ZERO

    @property
    def parameters(self) -> Size:
        """The number of parameters; shared ones count once."""
        return sympy.Add(*(row.parameters for row in self.rows)).expand()

    @property
    def without_biases(self) -> Size:
        """The number of parameters without the biases."""
        return (self.parameters - sympy.Add(*(row.biases for row in self.rows))).expand()

    @property
    def macs(self) -> Size:
        """Multiply–accumulates for one sample."""
        return sympy.Add(self.outside, *(row.macs for row in self.rows)).expand()

    @property
    def statistics(self) -> Size:
        """Numbers that are kept but not learned: the running means and variances of batch norm."""
        return sympy.Add(*(row.statistics for row in self.rows)).expand()

    @property
    def training_values(self) -> Size:
        """The number of values kept for the backward pass: the input and the output of every layer."""
        return sympy.Add(*(row.values for row in self.rows)).expand()

    @property
    def inference_values(self) -> Size:
        """The largest number of values in memory at once: input and output of one layer, the maximum over the layers."""
        pairs = [(before.values + row.values).expand() for before, row in zip(self.rows, self.rows[1:], strict=False)]
        return sympy.Max(*pairs) if pairs else self.rows[0].values

    def write(self, form: str = "text", width: int = 0) -> str:
        """The table in one of `FORMATS`; as text it turns by layer if it is wider than `width` columns, of which 0 are any number.

        Raises:
            UnknownNameError: no such format.
        """
        if form not in FORMATS:
            raise UnknownNameError("format", form, FORMATS)
        if form == "text":
            return self._text(width)
        return self._markdown() if form == "markdown" else self._json()

    def __str__(self) -> str:
        return self.write()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.write())}</pre>"

    def _cells(self) -> list[list[str]]:
        return [
            [
                row.name,
                size_text(row.output),
                row.kernel,
                row.stride,
                row.padding,
                row.dilation,
                row.groups,
                _formula(row),
                show(row.parameters - row.biases) if row.parameters != 0 else "",
                show(row.macs) if row.macs != 0 else "",
                show(row.values),
                "all" if row.receptive_field is None else size_text(row.receptive_field),
            ]
            for row in self.rows
        ]

    def _totals(self) -> list[tuple[str, str]]:
        known = not self.training_values.free_symbols
        unit = self.bytes_per_value * self.batch
        samples = "1 sample" if self.batch == 1 else f"{self.batch} samples"

        def memory(values: Size) -> str:
            if not known:
                return f"{_most(values)} values × {unit} bytes"
            times = f" × {self.batch}" if self.batch > 1 else ""
            return f"{show(values)} values × {self.bytes_per_value} bytes{times} = {_bytes(int(values) * unit)}"

        return [
            ("parameters", show(self.parameters)),
            ("without biases", show(self.without_biases)),
            *(
                [("running statistics", f"{show(self.statistics)}, kept but not learned")]
                if self.statistics != 0
                else []
            ),
            ("multiply–accumulates", f"{show(self.macs)} per sample{self._of_these()}"),
            (
                f"activations, inference, {samples}",
                f"{memory(self.inference_values)}, the largest input and output of one layer",
            ),
            (
                f"activations, training, {samples}",
                f"{memory(self.training_values)}, every output kept for the backward pass",
            ),
        ]

    def _of_these(self) -> str:
        if self.outside == 0:
            return ""
        return f", of which {show(self.outside)} are matrix products outside the layers, as in attention"

    def _columns(self, cells: list[list[str]]) -> list[int]:
        """The columns that say something: no empty ones, and no dilation or groups that are 1 everywhere."""
        quiet = {_HEADER.index("dilation"): "1", _HEADER.index("groups"): "1"}
        return [k for k in range(len(_HEADER)) if any(row[k] not in ("", quiet.get(k, "")) for row in cells)]

    def _text(self, width: int = 0) -> str:
        rows = [_HEADER, *self._cells()]
        keep = self._columns(rows[1:])
        widths = {k: max(len(row[k]) for row in rows) for k in keep}

        def line(row: Sequence[str]) -> str:
            cells = [row[k].rjust(widths[k]) if k in _RIGHT else row[k].ljust(widths[k]) for k in keep]
            return "  ".join(cells).rstrip()

        across = sum(widths.values()) + 2 * (len(keep) - 1)
        if width and across > width:
            lines = [self.title, *self._by_layer(rows, keep)]
        else:
            rule = "─" * across
            lines = [self.title, "", line(rows[0]), rule, *(line(row) for row in rows[1:]), rule]
        label = max(len(name) for name, _ in self._totals())
        totals = [(f"{name:{label}}  ", value) for name, value in self._totals()]
        lines += [piece for name, value in totals for piece in hanging(name, value, width)]
        return "\n".join(lines + [piece for text in self._remarks() for piece in hanging(*_indented(text), width)])

    def _by_layer(self, rows: list[list[str]], keep: list[int]) -> list[str]:
        """A block for each layer, for a terminal that is narrower than the table."""
        label = max(len(_HEADER[k]) for k in keep[1:])
        lines: list[str] = []
        for row in rows[1:]:
            lines += ["", row[0], *(f"  {_HEADER[k]:{label}}  {row[k]}" for k in keep[1:] if row[k])]
        return [*lines, ""]

    def _remarks(self) -> list[str]:
        lines: list[str] = []
        sizes = [(row.name, line) for row in self.rows for line in row.arithmetic]
        if self.solved:
            lines += ["", "unknowns", *(f"  {line}" for line in self.solved)]
        if sizes:
            label = max(len(name) for name, _ in sizes)
            lines += ["", "output sizes, ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1 unless shown otherwise"]
            lines += [f"  {name:{label}}  {line}" for name, line in sizes]
        notes = [*_grouped(self.rows), *self.notes]
        return lines + (["", "notes", *(f"  {note}" for note in notes)] if notes else [])

    def _markdown(self) -> str:
        cells = self._cells()
        keep = self._columns(cells)
        lines = [f"**{self.title}**", "", "| " + " | ".join(_HEADER[k] for k in keep) + " |"]
        lines += ["|" + "|".join("---:" if k in _RIGHT else "---" for k in keep) + "|"]
        lines += ["| " + " | ".join(row[k] for k in keep) + " |" for row in cells]
        lines += ["", *(f"- {name}: {value}" for name, value in self._totals())]
        return "\n".join(lines + [f"- {line.strip()}" if line.startswith("  ") else line for line in self._remarks()])

    def _json(self) -> str:
        def number(value: Size) -> Any:
            return int(value) if sympy.sympify(value).is_Integer else show(value)

        rows = [
            {
                "layer": row.name,
                "output": [number(size) for size in row.output],
                "kernel": row.kernel,
                "stride": row.stride,
                "padding": row.padding,
                "dilation": row.dilation,
                "groups": row.groups,
                "statistics": number(row.statistics),
                "formula": row.formula,
                "parameters": number(row.parameters),
                "without_biases": number(row.parameters - row.biases),
                "macs": number(row.macs),
                "receptive_field": None if row.receptive_field is None else [*map(number, row.receptive_field)],
                "arithmetic": row.arithmetic,
                "note": row.note,
            }
            for row in self.rows
        ]
        totals = {
            "parameters": number(self.parameters),
            "without_biases": number(self.without_biases),
            "macs": number(self.macs),
            "macs_outside_layers": number(self.outside),
            "statistics": number(self.statistics),
            "inference_values": number(self.inference_values),
            "training_values": number(self.training_values),
            "bytes_per_value": self.bytes_per_value,
            "batch": self.batch,
        }
        whole = {"title": self.title, "rows": rows, "totals": totals, "solved": self.solved, "notes": self.notes}
        return json.dumps(whole, indent=2, ensure_ascii=False)


_HEADER = [
    "layer", "output", "kernel", "stride", "padding", "dilation", "groups", "parameters", "without biases", "MACs", "values",
    "receptive field",
]  # fmt: skip
_RIGHT = (8, 9, 10)  # columns of numbers


def hanging(start: str, text: str, width: int) -> list[str]:
    """A text behind its label, wrapped under itself.

    >>> hanging("a  ", "b c d", 6)
    ['a  b c', '   d']
    """
    if not width or len(start) + len(text) <= width:
        return [start + text]
    space = " " * min(len(start), width // 2)
    return textwrap.wrap(text, width, initial_indent=start, subsequent_indent=space, break_long_words=False)


def _indented(text: str) -> tuple[str, str]:
    """The indent of a line, with what stands before the gap in it, and the rest."""
    inner = text.lstrip()
    _, gap, rest = inner.partition("  ")
    if gap and text != inner:
        start = text[: len(text) - len(rest.lstrip())]
        return start, rest.lstrip()
    return text[: len(text) - len(inner)], inner


def size_text(size: Sequence[Size]) -> str:
    """A size with × between its axes, sums in brackets.

    >>> size_text((298, 198, 64))
    '298×198×64'
    """
    return "×".join(f"({show(axis)})" if sympy.sympify(axis).is_Add else show(axis) for axis in size)


def _formula(row: LayerRow) -> str:
    if row.parameters == 0:
        return row.formula
    total = show(row.parameters.expand() if hasattr(row.parameters, "expand") else row.parameters)
    return f"{row.formula} = {total}" if row.formula and row.formula != total else total


def _most(values: Size) -> str:
    # with unknown sizes the maximum stays open
    return f"max({', '.join(map(show, values.args))})" if isinstance(values, sympy.Max) else show(values)


def _bytes(count: int) -> str:
    """A number of bytes in a suitable unit.

    >>> _bytes(2_500_000)
    '2.4 MiB'
    """
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"


def _grouped(rows: Sequence[LayerRow]) -> list[str]:
    """The rows' notes; one that many rows share is said once."""
    owners: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            owners.setdefault(row.note, []).append(row.name)
    notes = []
    for note, names in owners.items():
        if len(names) > 3:
            notes.append(f"{note}: {names[0]}; {names[1]}; and {len(names) - 2} more rows")
        else:
            notes += [f"{name}: {note}" for name in names]
    return notes
