# SPDX-License-Identifier: Apache-2.0
"""The exact outputs for an image covered by a patch at many places, computing only what the patch can reach.

One forward pass without a patch is kept ("clean"). A patch of p×p px changes a window of each layer's map, which grows with
every kernel and shrinks with every stride. For a batch of places, each layer's window is cut out of the clean map with the ring
around it that its kernel sees, the changed part is pasted in, and the layer runs on that. Where windows cover nearly the whole
map, and after layers that mix all places (a dense layer, attention), the rest runs on whole maps; a global mean is updated by
the difference of the sums. Places whose windows have equal sizes at every layer (away from the border, and equally aligned to
the strides) go together.
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
from pellucid.lenses._layers import floating
from pellucid.lenses._rules import Rule
from pellucid.lenses._windows import Ints, Span, Window, cut, gridded, padded, paste, span
from pellucid.lenses.occlusion.plan import WHOLE, Plan

__all__ = ["Block", "Incremental"]

_NARROW, _DEEP = 9, 1 << 17  # px of a row, and channels in × out, of the convolutions that prefer blocked weights


@final
@dataclass(frozen=True)
class Block:
    """The outputs for some rows and columns of places."""

    rows: Ints  # (R,) positions in the list of tops
    columns: Ints  # (C,) positions in the list of lefts
    output: Any  # of R·C covered images, row by row


@final
class Incremental:
    """A model, one image, and the places of a patch.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)).eval()
    >>> image = torch.rand(1, 9, 9)
    >>> with torch.no_grad():
    ...     engine = Incremental.of(model, image, tops=[0, 4], lefts=[3], patch=2)
    ...     block = next(iter(engine.run(torch.zeros_like(image))))
    ...     covered = image.clone(); covered[:, 0:2, 3:5] = 0
    ...     torch.allclose(block.output[0], model(covered[None])[0], atol=1e-6)
    True
    """

    def __init__(self, graph: Graph, tops: Sequence[int], lefts: Sequence[int], patch: int) -> None:
        self.graph, self.plan = graph, Plan(graph, tops, lefts, patch)
        self._kept: dict[Any, Tensor] = {}  # clean maps with their padding, and blocked weights
        self._last = {source: node for node in graph.nodes for source in node.all_input_nodes}  # the last user of each

    @classmethod
    def of(
        cls, model: nn.Module, image: Tensor, tops: Sequence[int], lefts: Sequence[int], patch: int
    ) -> Incremental | None:
        """The engine for an image (C, H, W), or None where the model's forward pass cannot be traced."""
        graph = trace(model, image[None].to(floating(model)).contiguous(memory_format=torch.channels_last))
        return None if graph is None else cls(graph, tops, lefts, patch)

    def run(self, cover: Tensor, batches: Iterable[tuple[Ints, Ints]] | None = None) -> Iterator[Block]:
        """The outputs for all places (or these batches of them), where the patch shows `cover` (C, H, W)."""
        shown = padded(cover[None].to(self.graph.values[self.plan.start].dtype), (0, 0, 0, 0))  # channels_last
        for rows, columns in self.plan.batches() if batches is None else batches:
            yield Block(rows, columns, self._outputs(shown, rows, columns))

    def _outputs(self, cover: Tensor, rows: Ints, columns: Ints) -> Any:
        """The model's output for one batch of places, node by node."""
        count = len(rows) * len(columns)
        spans = Span(self.plan.tops[rows], self.plan.patch), Span(self.plan.lefts[columns], self.plan.patch)
        # at the image the changed window is the patch itself; a node's value is a `Window`, a whole map, or a number
        known: dict[Any, Any] = {self.plan.start: Window(cut(cover, *spans), *spans)}
        for node in self.graph.nodes:
            if node not in self.plan.depends or node is self.plan.start:
                continue
            if node.op == "output":
                return fx.node.map_arg(node.args[0], lambda source: self._whole(source, known, count))
            known[node] = self._step(node, known, rows, columns, count)
            for source in node.all_input_nodes:
                if self._last[source] is node:
                    known.pop(source, None)  # frees the memory of maps that no later node reads
        raise AssertionError("a graph ends with its output")

    def _step(self, node: Any, known: dict[Any, Any], rows: Ints, columns: Ints, count: int) -> Any:
        """A node's value: a window where it is worth it, else a whole map for each place."""
        rule = self.plan.rules.get(node)
        if node in self.plan.folded and node.args[0] in known:
            return known[node.args[0]]  # a batch norm that is a part of the convolution before it
        sources = [source for source in node.all_input_nodes if source in self.plan.depends]
        windowed = any(isinstance(known.get(source), Window) for source in sources)
        if rule is not None and rule.kind == "mean" and windowed:
            return self._mean(node, known[sources[0]], sources[0])
        if node in self.plan.reach and windowed and not any(isinstance(known[source], Tensor) for source in sources):
            assert rule is not None
            sides = self.graph.values[node].shape[2:]
            high, wide = (
                span(part[index], side)
                for part, index, side in zip(self.plan.reach[node], (rows, columns), sides, strict=True)
            )
            if high.size * wide.size < WHOLE * sides[0] * sides[1]:
                return Window(self._windowed(node, rule, known, high, wide), high, wide)
        if node.op == "call_function" and node.target is getattr and node.args[1] == "shape":
            # the forward pass asks for a shape: that of the whole map, with as many images as places
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
        """A node's value for every place; a window is pasted into the clean map, (R·C, channels, H, W)."""
        if source not in self.plan.depends:
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
        """(1, channels, H, W): a node's map without a patch, padded and channels_last; each made once."""
        key = (node, pads, fill)
        if key not in self._kept:
            self._kept[key] = padded(self.graph.values[node], pads, fill)
        return self._kept[key]

    def _brought(
        self, node: Any, window: Window, rows: Span, columns: Span, pads: Any = (0, 0, 0, 0), fill: float = 0.0
    ) -> Tensor:
        """A node's map at other windows, in the map's own coordinates; they may reach into the padding."""
        same = window.rows.size == rows.size and window.columns.size == columns.size
        if same and (window.rows.starts == rows.starts).all() and (window.columns.starts == columns.starts).all():
            return window.data  # already the windows that are wanted: no copy
        left, _, top, _ = pads
        data = cut(self._clean(node, pads, fill), rows.moved(top), columns.moved(left))
        paste(data, rows, columns, window)
        return data

    def _windowed(self, node: Any, rule: Rule, known: dict[Any, Any], rows: Span, columns: Span) -> Tensor:
        """(R·C, channels, rows.size, columns.size): what a node computes at these windows of its own map."""
        if rule.kind == "slide":
            return self._slide(node, rule, known, rows, columns)
        if rule.kind == "transpose":
            return self._transpose(node, rule, known, rows, columns)
        if rule.kind == "pointwise":

            def brought(source: Any) -> Any:
                value = known.get(source, self.graph.values.get(source))
                if isinstance(value, Window):
                    return self._brought(source, value, rows, columns)
                # a map that no patch changes, e.g. of positions; a batch norm's statistics are none
                if (
                    isinstance(value, Tensor)
                    and max(value.shape[-2:], default=1) > 1
                    and node.target is not F.batch_norm
                ):
                    return cut(self._beside(source, self.graph.values[node].shape), rows, columns)
                return value

            args, kwargs = (fx.node.map_arg(part, brought) for part in (node.args, node.kwargs))
            value: Tensor = self.graph.call(node, args, kwargs)
            return value
        source = node.all_input_nodes[0]
        window: Window = known[source]
        if rule.kind == "move":
            moved = Window(window.data, window.rows.moved(rule.moved[0]), window.columns.moved(rule.moved[1]))
            return self._brought(node, moved, rows, columns)
        if rule.kind == "edge":
            return self._edge(node, rule, source, window, rows, columns)
        factors = rule.stride  # enlarged by whole factors
        above, beside = (Span(one.starts // f, one.size // f) for one, f in zip((rows, columns), factors, strict=True))
        return F.interpolate(self._brought(source, window, above, beside), scale_factor=tuple(map(float, factors)))

    def _beside(self, source: Any, shape: Sequence[int]) -> Tensor:
        """(1, channels, H, W): a constant that is combined with maps of this shape; a row or a column is repeated."""
        key = ("beside", source, tuple(shape[2:]))
        if key not in self._kept:
            value: Tensor = self.graph.values[source]
            whole = value[(None,) * (4 - value.ndim)]  # as broadcasting does
            self._kept[key] = padded(whole.expand(*whole.shape[:2], *shape[2:]), (0, 0, 0, 0))
        return self._kept[key]

    def _slide(self, node: Any, rule: Rule, known: dict[Any, Any], rows: Span, columns: Span) -> Tensor:
        """A convolution or pooling at output windows: cut what its kernel sees, then run it without padding."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        pads: list[int] = []
        inner = []
        lengths = zip(self.graph.values[source].shape[2:], self.graph.values[node].shape[2:], strict=True)
        for axis, (before, after) in enumerate(lengths):
            extent = rule.dilation[axis] * (rule.kernel[axis] - 1) + 1
            low = rule.padding[axis]
            high = max(0, (after - 1) * rule.stride[axis] + extent - low - before)
            pads = [low, high, *pads]  # F.pad counts from the last axis
            outer = (rows, columns)[axis]
            # output i sees the inputs from i · stride − padding on, `extent` of them
            inner.append(Span(outer.starts * rule.stride[axis] - low, (outer.size - 1) * rule.stride[axis] + extent))
        given = self._brought(source, known[source], inner[0], inner[1], tuple(pads), rule.fill)
        if rule.slide == "conv":
            assert rule.weight is not None
            return self._convolved(node, rule, given, (0, 0))
        if rule.slide == "max":
            return F.max_pool2d(given, rule.kernel, rule.stride, 0, rule.dilation)
        return F.avg_pool2d(given, rule.kernel, rule.stride)

    def _convolved(self, node: Any, rule: Rule, given: Tensor, padding: tuple[int, int]) -> Tensor:
        """A convolution, in the memory layout that is faster for its sizes."""
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
        """A transposed convolution at output windows: all inputs that reach them, then the excess cut off."""
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
            # input j reaches the outputs j · stride − padding … + reach; of it the first that reaches each window
            starts = -((-(one.starts + padding - reach)) // stride)
            size = (one.size - 1 + int((one.starts - starts * stride).max())) // stride + 2
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
            # (N, size): the input pixel that each output pixel copies
            wanted = np.clip(one.starts[:, None] + np.arange(one.size) - rule.moved[axis], 0, before - 1)
            size = min(one.size, before)
            starts = np.minimum(wanted[:, 0], before - size)
            inner.append(Span(starts, size))
            index.append(torch.from_numpy(wanted - starts[:, None]).to(window.data.device))
        shape = len(rows.starts), len(columns.starts)
        given = gridded(self._brought(source, window, inner[0], inner[1]), shape)  # (R, C, h, w, channels)
        r, c = (torch.arange(n, device=given.device) for n in shape)
        picked = given[
            r[:, None, None, None], c[None, :, None, None], index[0][:, None, :, None], index[1][None, :, None, :]
        ]
        flat: Tensor = picked.flatten(0, 1)
        return flat.permute(0, 3, 1, 2)

    def _mean(self, node: Any, window: Window, source: Any) -> Tensor:
        """(R·C, channels, …): a global mean, by the difference that the window makes."""
        clean = self._clean(source)
        area = clean.shape[2] * clean.shape[3]
        kind = torch.promote_types(clean.dtype, torch.float32)  # half precision would lose the difference of sums
        change = (window.data.to(kind) - cut(clean, window.rows, window.columns)).sum((2, 3)) / area
        value: Tensor = self.graph.values[node]
        return value + change.reshape(len(change), *value.shape[1:]).to(value.dtype)
