# SPDX-License-Identifier: Apache-2.0
"""Which part of each layer's map a patch changes, which places are computed together, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from torch import Tensor

from pellucid.lenses._graph import Graph
from pellucid.lenses._rules import Rule, rules
from pellucid.lenses._windows import Ints, slid, spread, together

__all__ = ["WHOLE", "Plan"]

WHOLE = 0.9  # share of a map above which a window saves less than cutting and pasting costs
_KINDS = 9  # groups of places along an axis, at most: more would make the batches small
_BATCH = 96  # places at a time, at most: what fits into the processor's caches


@final
class Plan:
    """The reach of a patch through a network's graph, for a grid of places."""

    def __init__(self, graph: Graph, tops: Sequence[int], lefts: Sequence[int], patch: int) -> None:
        self.graph, self.patch = graph, patch
        self.tops, self.lefts = np.array(tops, np.int64), np.array(lefts, np.int64)
        self.rules, self.folded = rules(graph)
        self.start = next(node for node in graph.nodes if node.op == "placeholder")
        self.depends = graph.depending
        self.reach = self._changed()
        self._groups: dict[int, list[Ints]] = {}  # by axis

    def batches(self, most: int = _BATCH) -> list[tuple[Ints, Ints]]:
        """Rows and columns of places that go together, at most so many places at a time."""
        batches = []
        for rows in self._kinds(0):
            for columns in self._kinds(1):
                wide = min(len(columns), most)
                high = max(1, most // wide)
                batches += [
                    (rows[top : top + high], columns[left : left + wide])
                    for left in range(0, len(columns), wide)
                    for top in range(0, len(rows), high)
                ]
        return batches

    def whole_layers(self) -> list[str]:
        """The names of the layers that are computed whole."""
        return [
            rule.name
            for node, rule in self.rules.items()
            if rule.kind == "whole" and node in self.depends and getattr(self.graph.values[node], "ndim", 0) >= 2
        ]

    def work(self) -> dict[str, float]:
        """Multiplications for all places: of whole passes, of the affected windows alone, and as planned."""
        total = {"full": 0.0, "affected": 0.0, "planned": 0.0}
        kinds = [self._kinds(axis) for axis in (0, 1)]
        places = len(self.tops) * len(self.lefts)
        for node, rule in self.rules.items():
            if not rule.work or node not in self.depends:
                continue
            area = float(np.prod(self.graph.values[node].shape[2:]))  # 1 for a dense layer
            total["full"] += rule.work * area * places
            if node not in self.reach:
                total["affected"] += rule.work * area * places
                total["planned"] += rule.work * area * places
                continue
            lengths = [np.diff(part, axis=1)[:, 0] for part in self.reach[node]]  # (R,) and (C,) px
            total["affected"] += rule.work * float(lengths[0].sum()) * float(lengths[1].sum())
            for rows in kinds[0]:
                for columns in kinds[1]:
                    window = float(lengths[0][rows].max() * lengths[1][columns].max())
                    share = area if window >= WHOLE * area else window
                    total["planned"] += rule.work * share * len(rows) * len(columns)
        return total

    def bytes_each(self) -> float:
        """Bytes that one place takes at the widest layer, input and output included."""
        largest = self.patch**2
        for node in self.depends:
            value = self.graph.values[node]
            if isinstance(value, Tensor):
                share = 1.0
                if node in self.reach:
                    lengths = [int(np.diff(part, axis=1).max()) for part in self.reach[node]]
                    share = float(np.prod(lengths)) / max(1, value.shape[-1] * value.shape[-2])
                largest = max(largest, int(value.numel() * share))
        return 4.0 * 4 * largest  # fp32; the input as cut and as pasted, the output, and a working copy

    def _changed(self) -> dict[Any, tuple[Ints, Ints]]:
        """For each windowed node, which rows and columns of its map each row and column of places changes, (N, 2) each."""
        reach: dict[Any, Any] = {
            self.start: tuple(np.stack([at, at + self.patch], 1) for at in (self.tops, self.lefts))
        }
        for node, rule in self.rules.items():
            sources = [source for source in node.all_input_nodes if source in self.depends]
            if rule.kind in ("whole", "mean") or not sources or not all(source in reach for source in sources):
                continue
            values = [self.graph.values[source] for source in sources]
            if not all(isinstance(value, Tensor) for value in values):
                continue
            sides = self.graph.values[node].shape[2:]
            if rule.kind == "pointwise" and any(value.shape[2:] != sides for value in values):
                continue  # a row or a column that is spread over the map
            reach[node] = tuple(
                self._grown(node, rule, [reach[source][axis] for source in sources], axis) for axis in (0, 1)
            )
        return reach

    def _grown(self, node: Any, rule: Rule, intervals: Sequence[Ints], axis: int) -> Ints:
        """(N, 2): what a node makes of its inputs' changed intervals, (N, 2) each."""
        # a sum of several maps, as in a shortcut, changes wherever one of them does
        first = np.min([interval[:, 0] for interval in intervals], 0)
        interval = np.stack([first, np.max([interval[:, 1] for interval in intervals], 0)], 1)
        length = int(self.graph.values[node].shape[2 + axis])
        if rule.kind in ("slide", "transpose"):
            grow = slid if rule.kind == "slide" else spread
            return grow(interval, rule.kernel[axis], rule.stride[axis], rule.padding[axis], rule.dilation[axis], length)
        if rule.kind == "move":
            first = np.clip(interval[:, 0] + rule.moved[axis], 0, length - 1)
            return np.stack([first, np.clip(interval[:, 1] + rule.moved[axis], first + 1, length)], 1)
        if rule.kind == "edge":
            # replicate padding copies the outermost pixel, so that a change there spreads to the new border
            before = int(self.graph.values[node.args[0]].shape[2 + axis])
            first = np.where(interval[:, 0] == 0, 0, interval[:, 0] + rule.moved[axis])
            last = np.where(interval[:, 1] == before, length, interval[:, 1] + rule.moved[axis])
            return np.stack([first, last], 1)
        if rule.kind == "enlarge":
            return interval * rule.stride[axis]
        return interval

    def _kinds(self, axis: int) -> list[Ints]:
        """The places along an axis in groups whose windows have equal or nearly equal sizes at every layer."""
        if axis not in self._groups:
            self._groups[axis] = self._grouped(axis)
        return self._groups[axis]

    def _grouped(self, axis: int) -> list[Ints]:
        heavy = [node for node, rule in self.rules.items() if node in self.reach and rule.work]
        count = len(self.tops if axis == 0 else self.lefts)
        if not heavy:
            return [np.arange(count)]
        sizes = np.stack([np.diff(self.reach[node][axis], axis=1)[:, 0] for node in heavy], 1)  # (N, layers)
        # what a longer window costs here grows with the mean window across
        weight = np.array(
            [self.rules[node].work * np.diff(self.reach[node][1 - axis], axis=1).mean() for node in heavy], np.float64
        )
        return together(sizes, weight, _KINDS)
