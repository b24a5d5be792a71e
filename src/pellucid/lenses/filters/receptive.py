# SPDX-License-Identifier: Apache-2.0
"""Receptive fields: which pixels each place of a map depends on, from the graph or, failing that, from gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, fx

from pellucid.lenses._graph import Graph
from pellucid.lenses._rules import Rule
from pellucid.lenses._windows import Ints, slid, spread

__all__ = ["Fields", "fields", "support"]

_NOISES = 2  # images of noise: a ReLU that is off in one may be on in the other


@final
@dataclass(frozen=True)
class Fields:
    """The intervals of pixels, [first, last + 1) along each axis, that the rows and columns of a map depend on."""

    rows: Ints  # (h, 2)
    columns: Ints  # (w, 2)
    gates: tuple[str, ...] = ()  # layers that scale whole maps by a factor of the whole image; left out of the field

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right px of the field of a place."""
        (top, bottom), (left, right) = self.rows[row].tolist(), self.columns[column].tolist()
        return top, left, bottom, right

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest field, px; fields at the border are cut off."""
        height, width = (int((side[:, 1] - side[:, 0]).max()) for side in (self.rows, self.columns))
        return height, width


def fields(graph: Graph, ruled: Mapping[Any, Rule], node: fx.Node) -> Fields | None:
    """The receptive field of each place of a node's map; None where a layer on the way mixes all places.

    Intervals are carried back from the map to the image, layer by layer; kernels widen them (Dumoulin & Visin 2016).

    >>> from torch import nn
    >>> from pellucid.lenses._graph import trace
    >>> from pellucid.lenses._rules import rules
    >>> graph = trace(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2)), torch.zeros(1, 1, 8, 8))
    >>> fields(graph, rules(graph)[0], graph.nodes[2]).rows.tolist()
    [[0, 4], [2, 6], [4, 8]]
    """
    order = {one: place for place, one in enumerate(graph.nodes)}
    live = _depending(graph)
    gates: list[str] = []
    # for each node on the way, which of its rows (h, 2) and columns (w, 2) the places of the map need
    needed: dict[fx.Node, tuple[Ints, Ints]] = {node: _own(graph, node)}
    for one in reversed(graph.nodes[: order[node] + 1]):
        if one not in needed or one.op == "placeholder":
            continue
        rule = ruled.get(one)
        if rule is None or rule.kind in ("mean", "whole"):
            return None
        sides = tuple(graph.values[one].shape[2:])
        for source in one.all_input_nodes:
            value = graph.values.get(source)
            if source not in live or not isinstance(value, Tensor):
                continue  # weights, sizes and constants: no pixel reaches them
            if value.ndim != 4:
                return None
            if tuple(value.shape[2:]) == (1, 1) != sides:  # a factor of the whole map, as of squeeze and excitation
                gates.append(rule.name)
                continue
            rows, columns = (_back(rule, needed[one][axis], axis, int(value.shape[2 + axis])) for axis in (0, 1))
            if source in needed:  # a shortcut: the field is the union of both ways
                rows, columns = _joined(needed[source][0], rows), _joined(needed[source][1], columns)
            needed[source] = rows, columns
    image = next(one for one in graph.nodes if one.op == "placeholder")
    return Fields(*needed[image], tuple(dict.fromkeys(gates))) if image in needed else None


def support(answers: Callable[[Tensor], Tensor], image: Tensor, row: int, column: int) -> tuple[int, int, int, int]:
    """Top, left, bottom and right px of the pixels from which a place of a map has a gradient, in noise of the image's size.

    Args:
        answers: images (B, C, H, W) to maps (B, F, h, w).
        image: (C, H, W), of which only the size matters.
        row, column: of the map.
    """
    noise = torch.rand((_NOISES, *image.shape), generator=torch.Generator().manual_seed(0)).to(image)
    noise.requires_grad_(True)
    with torch.enable_grad():
        there = answers(noise)[:, :, row, column]  # (noises, F)
        # a weight of its own for each filter: with equal ones, filters that mirror each other would cancel
        weights = torch.linspace(0.5, 1.5, there.shape[1], device=there.device)
        (slope,) = torch.autograd.grad((there * weights).sum(), noise)  # (noises, C, H, W)
    seen = (slope != 0).any(0).any(0)  # (H, W)
    if not bool(seen.any()):
        return 0, 0, int(image.shape[1]), int(image.shape[2])
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _own(graph: Graph, node: fx.Node) -> tuple[Ints, Ints]:
    """Each row (h, 2) and column (w, 2) of a node's own map as an interval of one."""
    rows, columns = (np.arange(int(side)) for side in graph.values[node].shape[2:])
    return np.stack([rows, rows + 1], 1), np.stack([columns, columns + 1], 1)


def _depending(graph: Graph) -> set[fx.Node]:
    """The nodes whose value depends on the image's pixels rather than on its size alone."""
    depending: set[fx.Node] = set()
    for node in graph.nodes:
        shape = node.op == "call_function" and node.target is getattr
        if node.op == "placeholder" or (not shape and any(source in depending for source in node.all_input_nodes)):
            depending.add(node)
    return depending


def _back(rule: Rule, interval: Ints, axis: int, length: int) -> Ints:
    """(N, 2): the part of a node's input, `length` long, from which its outputs in each interval are computed."""
    window = rule.kernel[axis], rule.stride[axis], rule.padding[axis], rule.dilation[axis], length
    if rule.kind == "slide":  # a convolution's inputs are a transposed one's outputs, and the other way round
        return spread(interval, *window)
    if rule.kind == "transpose":
        return slid(interval, *window)
    if rule.kind in ("move", "edge"):
        return _inside(interval - rule.moved[axis], length)
    if rule.kind == "enlarge":
        factor = rule.stride[axis]
        return _inside(np.stack([interval[:, 0] // factor, (interval[:, 1] - 1) // factor + 1], 1), length)
    return _inside(interval, length)


def _inside(interval: Ints, length: int) -> Ints:
    """Intervals inside [0, length), each with at least one element."""
    first = np.clip(interval[:, 0], 0, length - 1)
    return np.stack([first, np.clip(interval[:, 1], first + 1, length)], 1)


def _joined(one: Ints, other: Ints) -> Ints:
    """The smallest intervals that hold both."""
    return np.stack([np.minimum(one[:, 0], other[:, 0]), np.maximum(one[:, 1], other[:, 1])], 1)
