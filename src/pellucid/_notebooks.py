# SPDX-License-Identifier: Apache-2.0
"""How results show themselves in a notebook's cell, and as pandas data frames."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Measures", "Rows", "as_html", "frame_of", "picture", "table"]

_COLUMNS = 140  # characters across a table that rich draws
_LATEST = 30  # rows of a history that a cell shows
_FONT = "font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@final
class Measures(dict[str, Any]):
    """What `evaluate` measured: the content of metrics.json, and in a notebook a table of it.

    >>> one = {"value": 0.9, "low": 0.8, "high": 0.95, "unit": "", "better": "higher", "title": "accuracy"}
    >>> found = Measures({"data": "digits", "split": "test", "n": 9, "model": {"accuracy": one}, "baselines": {}})
    >>> found.frame[["owner", "measure", "value", "low", "high"]].values.tolist()
    [['model', 'accuracy', 0.9, 0.8, 0.95]]
    """

    @property
    def frame(self) -> DataFrame:
        """A row for each measure of the model and of each baseline: owner, measure, value, low, high, unit, better, title."""
        owners = {"model": self["model"], **self["baselines"]}
        return frame_of(
            {"owner": owner, "measure": name, **measure}
            for owner, measures in owners.items()
            for name, measure in measures.items()
        )

    def _repr_html_(self) -> str:
        about = f"{self['data']}, {self['split']} split, n = {self['n']:,}, with 95 % intervals"
        owners = {"model": self["model"], **self["baselines"]}
        names = list(self["model"])
        rows = [[owner, *(_with_interval(measures.get(name)) for name in names)] for owner, measures in owners.items()]
        titles = [str(self["model"][name].get("title") or name) for name in names]
        return table(["", *titles], rows, about)


@final
class Rows(list[dict[str, Any]]):
    """The rows of a training's history.

    >>> Rows([{"step": 1, "split": "train", "loss": 0.5}]).frame.to_dict("list")
    {'step': [1], 'split': ['train'], 'loss': [0.5]}
    """

    @property
    def frame(self) -> DataFrame:
        """The rows as a data frame."""
        return frame_of(self)

    def _repr_html_(self) -> str:
        shown = [row for row in self if row.get("split") == "val"][-_LATEST:] or self[-_LATEST:]
        names = [*dict.fromkeys(name for row in shown for name in row)]
        rows = [[_plain(row.get(name)) for name in names] for row in shown]
        return table(names, rows, f"the latest {len(shown):,} of {len(self):,} rows; .frame has all")


def _plain(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def frame_of(rows: Iterable[Mapping[str, Any]]) -> DataFrame:
    """A data frame with a row for each mapping, and a column for each of their keys."""
    from pandas import DataFrame

    return DataFrame.from_records([dict(row) for row in rows])


def table(head: Iterable[str], rows: Iterable[Iterable[str]], about: str = "") -> str:
    """A table as HTML, whose texts are shown as they are.

    >>> table(["a<b"], [["1"]])
    '<table><thead><tr><th>a&lt;b</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    """
    first = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f"<caption>{html.escape(about)}</caption>" if about else ""
    return f"<table>{caption}<thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>"


def as_html(shown: Any) -> str:
    """What rich would print, as HTML."""
    import io

    from rich.console import Console

    # in a notebook, rich would show the table by itself, and the cell a second time
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), **plain)
    console.print(shown)
    return console.export_html(inline_styles=True, code_format=f'<pre style="{_FONT}">{{code}}</pre>')


def picture(png: bytes, words: str) -> str:
    """A picture with words below it, as HTML without further files."""
    inside = base64.b64encode(png).decode()
    said = html.escape(words)
    shown = f'<img alt="{said}" style="max-width: 100%" src="data:image/png;base64,{inside}"/>'
    return f"<figure>{shown}<figcaption>{said}</figcaption></figure>"


def _with_interval(measure: Mapping[str, Any] | None) -> str:
    if measure is None or measure["value"] is None:
        return "–"
    known = measure["low"] is not None and measure["high"] is not None and measure["low"] == measure["low"]
    interval = f" ({measure['low']:.3g}–{measure['high']:.3g})" if known else ""
    unit = f" {measure['unit']}" if measure["unit"] else ""
    return f"{measure['value']:.4g}{unit}{interval}"
