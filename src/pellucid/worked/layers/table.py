# SPDX-License-Identifier: Apache-2.0
"""The rows of a layer table with their sums, and how the table is written: text, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from pellucid.errors import UnknownNameError
from pellucid.worked.layers.sizes import Size, text

__all__ = ["FORMATS", "LayerTable", "Row", "size_text"]

FORMATS = ("text", "markdown", "json")
"""What a table can be written as."""


ZERO = sympy.Integer(0)


@dataclass
class Row:
    """One layer.

    Args:
        name: what stands in the first column.
        output: its size, channels last, as in 298×198×64.
        kernel: the window in words, `3×3×2`, or nothing.
        formula: the parameters as a formula with numbers, `(3·3·2 + 1)·64`.
        parameters: how many it has.
        biases: how many of these are biases.
        macs: multiply–accumulates for one sample.
        sees: the receptive field along each axis, in values of the input; None where it is the whole input.
        arithmetic: lines that show how the output size came about.
        note: what else is to be said, e.g. whose parameters it shares.
    """

    name: str
    output: tuple[Size, ...]
    kernel: str = ""
    formula: str = ""
    parameters: Size = ZERO
    biases: Size = ZERO
    macs: Size = ZERO
    sees: tuple[Size, ...] | None = ()
    arithmetic: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def values(self) -> Size:
        """How many values the layer puts out for one sample; a row that is no call of a layer puts out none."""
        return sympy.Mul(*self.output) if self.output else ZERO


@dataclass
class LayerTable:
    """The rows with their sums.

    >>> from pellucid.worked.layers.layers import table
    >>> found = table("input 8x8x1; conv 4 of 3x3; flatten; dense 10")
    >>> print(found.parameters, found.without_biases, found.macs)
    1490 1476 2736

    Args:
        title: what the table is of.
        rows: the layers, the input first.
        solved: lines about the unknowns: what each is and why, or that it stays open.
        notes: what else is to be said.
        bytes_per_value: of an activation, 4 for float32.
        batch: samples at a time, for the memory.
    """

    title: str
    rows: list[Row]
    solved: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes_per_value: int = 4
    batch: int = 1

    @property
    def parameters(self) -> Size:
        """All parameters, those that layers share counted once."""
        return sympy.Add(*(row.parameters for row in self.rows)).expand()

    @property
    def without_biases(self) -> Size:
        """The parameters that are no biases."""
        return (self.parameters - sympy.Add(*(row.biases for row in self.rows))).expand()

    @property
    def macs(self) -> Size:
        """Multiply–accumulates for one sample."""
        return sympy.Add(*(row.macs for row in self.rows)).expand()

    @property
    def training_values(self) -> Size:
        """Values kept for the backward pass: what every layer puts out, and the input."""
        return sympy.Add(*(row.values for row in self.rows)).expand()

    @property
    def inference_values(self) -> Size:
        """The most values at one time: a layer's input and output together; an unknown size counts as one of the candidates."""
        pairs = [(before.values + row.values).expand() for before, row in zip(self.rows, self.rows[1:], strict=False)]
        return sympy.Max(*pairs) if pairs else self.rows[0].values

    def write(self, form: str = "text") -> str:
        """The table in one of `FORMATS`.

        Raises:
            UnknownNameError: there is no such format.
        """
        if form not in FORMATS:
            raise UnknownNameError("format", form, FORMATS)
        return {"text": self._text, "markdown": self._markdown, "json": self._json}[form]()

    def __str__(self) -> str:
        return self.write()

    def _cells(self) -> list[list[str]]:
        return [
            [
                row.name,
                size_text(row.output),
                row.kernel,
                _formula(row),
                text(row.parameters - row.biases) if row.parameters != 0 else "",
                text(row.macs) if row.macs != 0 else "",
                text(row.values),
                "all" if row.sees is None else size_text(row.sees),
            ]
            for row in self.rows
        ]

    def _totals(self) -> list[tuple[str, str]]:
        known = not self.training_values.free_symbols
        unit = self.bytes_per_value * self.batch
        samples = "sample" if self.batch == 1 else f"{self.batch} samples"

        def memory(values: Size) -> str:
            if not known:
                return f"{_most(values)} values × {unit} bytes"
            times = f" × {self.batch}" if self.batch > 1 else ""
            return f"{text(values)} values × {self.bytes_per_value} bytes{times} = {_bytes(int(values) * unit)}"

        return [
            ("parameters", text(self.parameters)),
            ("without biases", text(self.without_biases)),
            ("multiply–accumulates", f"{text(self.macs)} a sample"),
            (
                f"activations, inference, {samples}",
                f"{memory(self.inference_values)}, the largest input and output of one layer",
            ),
            (
                f"activations, training, {samples}",
                f"{memory(self.training_values)}, every output kept for the way back",
            ),
        ]

    def _text(self) -> str:
        rows = [_HEADER, *self._cells()]
        keep = [k for k in range(len(_HEADER)) if any(row[k] for row in rows[1:])]
        width = {k: max(len(row[k]) for row in rows) for k in keep}

        def line(row: Sequence[str]) -> str:
            cells = [row[k].rjust(width[k]) if k in _RIGHT else row[k].ljust(width[k]) for k in keep]
            return "  ".join(cells).rstrip()

        rule = "─" * (sum(width.values()) + 2 * (len(keep) - 1))
        label = max(len(name) for name, _ in self._totals())
        lines = [self.title, "", line(rows[0]), rule, *(line(row) for row in rows[1:]), rule]
        lines += [f"{name:{label}}  {value}" for name, value in self._totals()]
        return "\n".join(lines + self._remarks())

    def _remarks(self) -> list[str]:
        lines: list[str] = []
        sums = [(row.name, each) for row in self.rows for each in row.arithmetic]
        if self.solved:
            lines += ["", "unknowns", *(f"  {each}" for each in self.solved)]
        if sums:
            label = max(len(name) for name, _ in sums)
            lines += ["", "output sizes, ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1 unless shown otherwise"]
            lines += [f"  {name:{label}}  {each}" for name, each in sums]
        notes = [*(f"{row.name}: {row.note}" for row in self.rows if row.note), *self.notes]
        return lines + (["", "notes", *(f"  {each}" for each in notes)] if notes else [])

    def _markdown(self) -> str:
        lines = [f"**{self.title}**", "", "| " + " | ".join(_HEADER) + " |"]
        lines += ["|" + "|".join("---:" if k in _RIGHT else "---" for k in range(len(_HEADER))) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self._cells()]
        lines += ["", *(f"- {name}: {value}" for name, value in self._totals())]
        return "\n".join(lines + [f"- {each.strip()}" if each.startswith("  ") else each for each in self._remarks()])

    def _json(self) -> str:
        def number(value: Size) -> Any:
            return int(value) if sympy.sympify(value).is_Integer else text(value)

        rows = [
            {
                "layer": row.name,
                "output": [number(each) for each in row.output],
                "kernel": row.kernel,
                "formula": row.formula,
                "parameters": number(row.parameters),
                "without_biases": number(row.parameters - row.biases),
                "macs": number(row.macs),
                "receptive_field": None if row.sees is None else [number(each) for each in row.sees],
                "arithmetic": row.arithmetic,
                "note": row.note,
            }
            for row in self.rows
        ]
        totals = {
            "parameters": number(self.parameters),
            "without_biases": number(self.without_biases),
            "macs": number(self.macs),
            "inference_values": number(self.inference_values),
            "training_values": number(self.training_values),
            "bytes_per_value": self.bytes_per_value,
            "batch": self.batch,
        }
        found = {"title": self.title, "rows": rows, "totals": totals, "solved": self.solved, "notes": self.notes}
        return json.dumps(found, indent=2, ensure_ascii=False)


_HEADER = ["layer", "output", "kernel", "parameters", "without biases", "MACs", "values", "sees"]
_RIGHT = (4, 5, 6)


def size_text(size: Sequence[Size]) -> str:
    """A size with crosses between.

    >>> size_text((298, 198, 64))
    '298×198×64'
    """
    return "×".join(f"({text(each)})" if sympy.sympify(each).is_Add else text(each) for each in size)


def _formula(row: Row) -> str:
    if row.parameters == 0:
        return row.formula
    total = text(row.parameters.expand() if hasattr(row.parameters, "expand") else row.parameters)
    return f"{row.formula} = {total}" if row.formula and row.formula != total else total


def _most(values: Size) -> str:
    return f"max({', '.join(text(each) for each in values.args)})" if isinstance(values, sympy.Max) else text(values)


def _bytes(count: int) -> str:
    """A number of bytes in the unit that suits it.

    >>> _bytes(2_500_000)
    '2.4 MiB'
    """
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
