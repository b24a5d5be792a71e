# SPDX-License-Identifier: Apache-2.0
"""The exact answers to an image covered by a patch at many places, computing only what the patch can reach.

One forward pass without a patch is kept. A patch of p×p px changes a window of each layer's map, which grows with every
kernel and shrinks with every stride; for a batch of places, each layer's window is cut out of the kept input with the ring
around it that its kernel sees, the changed part pasted in, and the layer run on that. Where windows cover nearly the whole
map, and from layers on that mix all places (a dense layer, attention), the rest runs on whole maps; a global mean is
updated by the difference of the sums. Places whose windows have equal sizes (away from the border, and by the alignment
of the patch to the strides) go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pellucid.lenses._graph import Graph, trace
from pellucid.lenses._rules import Rule, rules
from pellucid.lenses._windows import Ints, Span, Window, cut, gridded, padded, paste, slid, span, spread, together

__all__ = ["Incremental", "Part"]

_WHOLE = 0.9  # share of a map from which on a window is not worth its trouble
_NARROW, _DEEP = 9, 1 << 17  # px of a row, and channels in × out
_KINDS = 9  # kinds of places along an axis, at most
_BATCH = 96  # places at a time, at most: what the caches hold


@final
@dataclass(frozen=True)
class Part:
    """The answers for some rows and columns of places."""

    rows: Ints  # (R,) positions in the list of tops
    columns: Ints  # (C,) positions in the list of lefts
    output: Any  # of R·C covered images


@final
class Incremental:
    """A model, one image, and the places of a patch.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)).eval()
    >>> image = torch.rand(1, 9, 9)
    >>> with torch.no_grad():
    ...     engine = Incremental.of(model, image, tops=[0, 4], lefts=[3], patch=2)
    ...     part = next(iter(engine.run(torch.zeros_like(image))))
    ...     covered = image.clone(); covered[:, 0:2, 3:5] = 0
    ...     torch.allclose(part.output[0], model(covered[None])[0], atol=1e-6)
    True
    """

    def __init__(self, graph: Graph, image: Tensor, tops: Sequence[int], lefts: Sequence[int], patch: int) -> None:
        self.graph, self.patch = graph, patch
        self.tops, self.lefts = np.array(tops, np.int64), np.array(lefts, np.int64)
        self.rules, self.folded = rules(graph)
        self.start = next(node for node in graph.nodes if node.op == "placeholder")
        self._kept: dict[Any, Tensor] = {}
        self._together: dict[int, list[Ints]] = {}
        self._last = {source: node for node in graph.nodes for source in node.all_input_nodes}
        self.depends = self._depending()
        self.reach = self._plan()

    @classmethod
    def of(
        cls, model: nn.Module, image: Tensor, tops: Sequence[int], lefts: Sequence[int], patch: int
    ) -> Incremental | None:
        """The engine for an image (C, H, W), or None where the model's forward cannot be followed."""
        graph = trace(model, image[None].contiguous(memory_format=torch.channels_last))
        return None if graph is None else cls(graph, image, tops, lefts, patch)

    def batches(self, most: int = _BATCH) -> list[tuple[Ints, Ints]]:
        """Rows and columns of places that go together, at most so many places at a time."""
        found = []
        for rows in self._kinds(0):
            for columns in self._kinds(1):
                wide = min(len(columns), most)
                high = max(1, most // wide)
                found += [
                    (rows[top : top + high], columns[left : left + wide])
                    for left in range(0, len(columns), wide)
                    for top in range(0, len(rows), high)
                ]
        return found

    def run(self, cover: Tensor, batches: Iterable[tuple[Ints, Ints]] | None = None) -> Iterator[Part]:
        """The answers for all places (or these batches of them), where the patch shows `cover` (C, H, W)."""
        shown = padded(cover[None], (0, 0, 0, 0))
        for rows, columns in self.batches() if batches is None else batches:
            yield Part(rows, columns, self._answer(shown, rows, columns))

    # -- what is told of it

    def whole_layers(self) -> list[str]:
        """The layers that are not windowed, as they are called."""
        return [
            rule.name
            for node, rule in self.rules.items()
            if rule.kind == "whole" and node in self.depends and getattr(self.graph.values[node], "ndim", 0) >= 2
        ]

    def work(self) -> dict[str, float]:
        """Multiplications for all places: of whole passes, of the affected windows alone, and as they are planned."""
        found = {"full": 0.0, "affected": 0.0, "planned": 0.0}
        kinds = [self._kinds(axis) for axis in (0, 1)]
        places = len(self.tops) * len(self.lefts)
        for node, rule in self.rules.items():
            if not rule.work or node not in self.depends:
                continue
            area = float(np.prod(self.graph.values[node].shape[2:]))  # 1 for a dense layer
            found["full"] += rule.work * area * places
            if node not in self.reach:
                found["affected"] += rule.work * area * places
                found["planned"] += rule.work * area * places
                continue
            lengths = [np.diff(part, axis=1)[:, 0] for part in self.reach[node]]
            found["affected"] += rule.work * float(lengths[0].sum()) * float(lengths[1].sum())
            for rows in kinds[0]:
                for columns in kinds[1]:
                    window = float(lengths[0][rows].max() * lengths[1][columns].max())
                    share = area if window >= _WHOLE * area else window
                    found["planned"] += rule.work * share * len(rows) * len(columns)
        return found

    def bytes_each(self) -> float:
        """Bytes that one place takes at the widest layer, with what is cut for it and what comes of it."""
        largest = self.patch**2
        for node in self.depends:
            value = self.graph.values[node]
            if isinstance(value, Tensor):
                share = 1.0
                if node in self.reach:
                    lengths = [int(np.diff(part, axis=1).max()) for part in self.reach[node]]
                    share = float(np.prod(lengths)) / max(1, value.shape[-1] * value.shape[-2])
                largest = max(largest, int(value.numel() * share))
        return 4.0 * 4 * largest

    # -- the plan

    def _depending(self) -> set[Any]:
        found = {self.start}
        for node in self.graph.nodes:
            if any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found

    def _plan(self) -> dict[Any, tuple[Ints, Ints]]:
        """For each windowed node, what each row and each column of places affects of its map."""
        reach: dict[Any, Any] = {
            self.start: tuple(np.stack([at, at + self.patch], 1) for at in (self.tops, self.lefts))
        }
        for node, rule in self.rules.items():
            sources = [source for source in node.all_input_nodes if source in self.depends]
            if rule.kind in ("whole", "mean") or not sources or not all(source in reach for source in sources):
                continue
            if any(isinstance(self.graph.values[source], Tensor) is False for source in sources):
                continue
            reach[node] = tuple(
                self._grown(node, rule, [reach[source][axis] for source in sources], axis) for axis in (0, 1)
            )
        return reach

    def _grown(self, node: Any, rule: Rule, given: Sequence[Ints], axis: int) -> Ints:
        interval = np.stack([np.min([one[:, 0] for one in given], 0), np.max([one[:, 1] for one in given], 0)], 1)
        length = int(self.graph.values[node].shape[2 + axis])
        if rule.kind in ("slide", "transpose"):
            grow = slid if rule.kind == "slide" else spread
            return grow(interval, rule.kernel[axis], rule.stride[axis], rule.padding[axis], rule.dilation[axis], length)
        if rule.kind == "move":
            first = np.clip(interval[:, 0] + rule.moved[axis], 0, length - 1)
            return np.stack([first, np.clip(interval[:, 1] + rule.moved[axis], first + 1, length)], 1)
        if rule.kind == "edge":
            before = int(self.graph.values[node.args[0]].shape[2 + axis])
            first = np.where(interval[:, 0] == 0, 0, interval[:, 0] + rule.moved[axis])
            last = np.where(interval[:, 1] == before, length, interval[:, 1] + rule.moved[axis])
            return np.stack([first, last], 1)
        if rule.kind == "enlarge":
            return interval * rule.stride[axis]
        return interval

    def _kinds(self, axis: int) -> list[Ints]:
        """The places along an axis, those together whose windows have equal or nearly equal sizes at every layer."""
        if axis not in self._together:
            self._together[axis] = self._grouped(axis)
        return self._together[axis]

    def _grouped(self, axis: int) -> list[Ints]:
        heavy = [node for node, rule in self.rules.items() if node in self.reach and rule.work]
        count = len(self.tops if axis == 0 else self.lefts)
        if not heavy:
            return [np.arange(count)]
        sizes = np.stack([np.diff(self.reach[node][axis], axis=1)[:, 0] for node in heavy], 1)  # (N, layers)
        # the other axis is alike: a layer's work grows with the mean window across
        weight = np.array(
            [self.rules[node].work * np.diff(self.reach[node][1 - axis], axis=1).mean() for node in heavy], np.float64
        )
        return together(sizes, weight, _KINDS)

    # -- one batch of places

    def _answer(self, cover: Tensor, rows: Ints, columns: Ints) -> Any:
        count = len(rows) * len(columns)
        window = Span(self.tops[rows], self.patch), Span(self.lefts[columns], self.patch)
        known: dict[Any, Any] = {self.start: Window(cut(cover, *window), *window)}
        for node in self.graph.nodes:
            if node not in self.depends or node is self.start:
                continue
            if node.op == "output":
                return fx.node.map_arg(node.args[0], lambda source: self._whole(source, known, count))
            known[node] = self._step(node, known, rows, columns, count)
            for source in node.all_input_nodes:
                if self._last[source] is node:
                    known.pop(source, None)
        raise AssertionError("a graph ends with its output")

    def _step(self, node: Any, known: dict[Any, Any], rows: Ints, columns: Ints, count: int) -> Any:
        rule = self.rules.get(node)
        if node in self.folded and node.args[0] in known:
            return known[node.args[0]]
        sources = [source for source in node.all_input_nodes if source in self.depends]
        windowed = any(isinstance(known.get(source), Window) for source in sources)
        if rule is not None and rule.kind == "mean" and windowed:
            return self._mean(node, known[sources[0]], sources[0])
        if node in self.reach and windowed and not any(isinstance(known[source], Tensor) for source in sources):
            assert rule is not None
            sides = self.graph.values[node].shape[2:]
            own = [
                span(part[index], side)
                for part, index, side in zip(self.reach[node], (rows, columns), sides, strict=True)
            ]
            if own[0].size * own[1].size < _WHOLE * sides[0] * sides[1]:
                return Window(self._windowed(node, rule, known, own[0], own[1]), own[0], own[1])
        if node.op == "call_function" and node.target is getattr and node.args[1] == "shape":
            source = known[node.args[0]]
            return (
                torch.Size((count, *self.graph.values[node.args[0]].shape[1:]))
                if isinstance(source, Window)
                else source.shape
            )
        args, kwargs = (
            fx.node.map_arg(part, lambda source: self._whole(source, known, count)) for part in (node.args, node.kwargs)
        )
        if rule is not None and rule.kind == "slide" and rule.slide == "conv":
            assert rule.weight is not None
            return self._convolved(node, rule, args[0], rule.padding)
        return self.graph.call(node, args, kwargs)

    def _whole(self, source: Any, known: Mapping[Any, Any], count: int) -> Any:
        """A node's value for every place: its window set into the map without a patch, where it is windowed."""
        if source not in self.depends:
            return self.graph.values[source]
        value = known[source]
        if not isinstance(value, Window):
            return value
        clean = self._clean(source)
        full = clean.expand(count, -1, -1, -1).clone(memory_format=torch.channels_last)
        height, width = clean.shape[2:]
        origin = Span(np.zeros_like(value.rows.starts), height), Span(np.zeros_like(value.columns.starts), width)
        paste(full, *origin, value)
        return full

    def _clean(self, node: Any, pads: tuple[int, int, int, int] = (0, 0, 0, 0), fill: float = 0.0) -> Tensor:
        key = (node, pads, fill)
        if key not in self._kept:
            self._kept[key] = padded(self.graph.values[node], pads, fill)
        return self._kept[key]

    def _brought(
        self, node: Any, window: Window, rows: Span, columns: Span, pads: Any = (0, 0, 0, 0), fill: float = 0.0
    ) -> Tensor:
        """A node's map at other windows, which stand in the map's own coordinates and may reach into the padding."""
        same = window.rows.size == rows.size and window.columns.size == columns.size
        if same and (window.rows.starts == rows.starts).all() and (window.columns.starts == columns.starts).all():
            return window.data
        left, _, top, _ = pads
        data = cut(self._clean(node, pads, fill), rows.moved(top), columns.moved(left))
        paste(data, rows, columns, window)
        return data

    def _windowed(self, node: Any, rule: Rule, known: dict[Any, Any], rows: Span, columns: Span) -> Tensor:
        if rule.kind == "slide":
            return self._slide(node, rule, known, rows, columns)
        if rule.kind == "transpose":
            return self._transpose(node, rule, known, rows, columns)
        if rule.kind == "pointwise":

            def brought(source: Any) -> Any:
                value = known.get(source, self.graph.values.get(source))
                if isinstance(value, Window):
                    return self._brought(source, value, rows, columns)
                if isinstance(value, Tensor) and value.ndim >= 3 and value.shape[-1] * value.shape[-2] > 1:
                    return cut(self._clean(source), rows, columns)  # a map that no patch changes
                return value

            args, kwargs = (fx.node.map_arg(part, brought) for part in (node.args, node.kwargs))
            found: Tensor = self.graph.call(node, args, kwargs)
            return found
        source = node.all_input_nodes[0]
        window: Window = known[source]
        if rule.kind == "move":
            moved = Window(window.data, window.rows.moved(rule.moved[0]), window.columns.moved(rule.moved[1]))
            return self._brought(node, moved, rows, columns)
        if rule.kind == "edge":
            return self._edge(node, rule, source, window, rows, columns)
        factors = rule.stride
        above, beside = (Span(one.starts // f, one.size // f) for one, f in zip((rows, columns), factors, strict=True))
        return F.interpolate(self._brought(source, window, above, beside), scale_factor=tuple(map(float, factors)))

    def _slide(self, node: Any, rule: Rule, known: dict[Any, Any], rows: Span, columns: Span) -> Tensor:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        pads: list[int] = []
        inner = []
        lengths = zip(self.graph.values[source].shape[2:], self.graph.values[node].shape[2:], strict=True)
        for axis, (before, after) in enumerate(lengths):
            extent = rule.dilation[axis] * (rule.kernel[axis] - 1) + 1
            low = rule.padding[axis]
            high = max(0, (after - 1) * rule.stride[axis] + extent - low - before)
            pads = [low, high, *pads]  # the last axis comes first
            one = (rows, columns)[axis]
            inner.append(Span(one.starts * rule.stride[axis] - low, (one.size - 1) * rule.stride[axis] + extent))
        given = self._brought(source, known[source], inner[0], inner[1], tuple(pads), rule.fill)
        if rule.slide == "conv":
            assert rule.weight is not None
            return self._convolved(node, rule, given, (0, 0))
        if rule.slide == "max":
            return F.max_pool2d(given, rule.kernel, rule.stride, 0, rule.dilation)
        return F.avg_pool2d(given, rule.kernel, rule.stride)

    def _convolved(self, node: Any, rule: Rule, given: Tensor, padding: tuple[int, int]) -> Tensor:
        weight = rule.weight
        assert weight is not None
        width = (given.shape[3] + 2 * padding[1] - rule.kernel[1]) // rule.stride[1] + 1
        # many channels on few pixels: oneDNN is up to a third faster on its own blocks of channels than on channels_last
        if given.device.type == "cpu" and width <= _NARROW and weight.shape[0] * weight.shape[1] >= _DEEP:
            key = ("blocked", node)
            if key not in self._kept:
                self._kept[key] = weight.contiguous()
            weight, given = self._kept[key], given.contiguous()
        return F.conv2d(given, weight, rule.bias, rule.stride, padding, rule.dilation, rule.groups)

    def _transpose(self, node: Any, rule: Rule, known: dict[Any, Any], rows: Span, columns: Span) -> Tensor:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        pads: list[int] = []
        inner, wide = [], []
        for axis, one in enumerate((rows, columns)):
            stride, padding, reach = (
                rule.stride[axis],
                rule.padding[axis],
                rule.dilation[axis] * (rule.kernel[axis] - 1),
            )
            starts = -((-(one.starts + padding - reach)) // stride)  # the first input that reaches each first output
            size = (one.size - 1 + padding + int((one.starts - starts * stride).max()) - padding) // stride + 2
            before = int(self.graph.values[source].shape[2 + axis])
            pads = [max(0, -int(starts.min())), max(0, int(starts.max()) + size - before), *pads]
            inner.append(Span(starts, size))
            wide.append(Span(starts * stride - padding, (size - 1) * stride + reach + 1))
        given = self._brought(source, known[source], inner[0], inner[1], tuple(pads))
        assert rule.weight is not None
        full = F.conv_transpose2d(given, rule.weight, rule.bias, rule.stride, 0, 0, rule.groups, rule.dilation)
        into = full.new_empty((len(full), rows.size, columns.size, full.shape[1])).permute(0, 3, 1, 2)
        paste(into, rows, columns, Window(full.contiguous(memory_format=torch.channels_last), *wide))
        return into

    def _edge(self, node: Any, rule: Rule, source: Any, window: Window, rows: Span, columns: Span) -> Tensor:
        """Padding by the nearest pixel: an affected edge is repeated outwards."""
        inner, index = [], []
        for axis, one in enumerate((rows, columns)):
            before = int(self.graph.values[source].shape[2 + axis])
            wanted = np.clip(one.starts[:, None] + np.arange(one.size) - rule.moved[axis], 0, before - 1)  # (N, size)
            size = min(one.size, before)
            starts = np.minimum(wanted[:, 0], before - size)
            inner.append(Span(starts, size))
            index.append(torch.from_numpy(wanted - starts[:, None]).to(window.data.device))
        shape = len(rows.starts), len(columns.starts)
        given = gridded(self._brought(source, window, inner[0], inner[1]), shape)
        r, c = (torch.arange(n, device=given.device) for n in shape)
        picked = given[
            r[:, None, None, None], c[None, :, None, None], index[0][:, None, :, None], index[1][None, :, None, :]
        ]
        flat: Tensor = picked.flatten(0, 1)
        return flat.permute(0, 3, 1, 2)

    def _mean(self, node: Any, window: Window, source: Any) -> Tensor:
        """A global mean, by the difference that the window makes."""
        clean = self._clean(source)
        area = clean.shape[2] * clean.shape[3]
        change = (window.data.float() - cut(clean, window.rows, window.columns)).sum((2, 3)) / area
        value: Tensor = self.graph.values[node]
        return value + change.reshape(len(change), *value.shape[1:]).to(value.dtype)
