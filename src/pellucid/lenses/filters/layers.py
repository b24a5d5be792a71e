# SPDX-License-Identifier: Apache-2.0
"""The layers that have filters, their responses to images, and the first layer's weights as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses._graph import Graph, trace
from pellucid.lenses._layers import recorded
from pellucid.lenses._rules import Rule, rules
from pellucid.lenses.filters.receptive import Fields, fields, support

__all__ = ["Layer", "Reader", "chosen", "first_layer", "weights"]

KINDS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_CONVOLUTIONS = (F.conv2d, torch.conv2d, F.conv_transpose2d, torch.conv_transpose2d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.InstanceNorm2d)
_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Softplus,
    nn.Mish, nn.PReLU, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
_ACTIVATING = (
    F.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.sigmoid, F.tanh, F.elu, F.selu, F.leaky_relu, F.softplus, F.mish,
    torch.relu, torch.sigmoid, torch.tanh, "relu", "sigmoid", "tanh",
)  # fmt: skip


@final
@dataclass(frozen=True)
class Layer:
    """A layer of filters: a convolution responds with a map (F, h, w), a dense layer with numbers (F,)."""

    name: str
    shape: tuple[int, ...]  # of its response to an image: (F, h, w) or (F,)
    exact: bool  # whether it is a node of the traced graph

    @property
    def is_map(self) -> bool:
        """Whether it responds with a map."""
        return len(self.shape) == 3


@final
class Reader:
    """Reads a model's layers for images of one size, from the graph if the forward pass can be traced, else by hooks."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        self._model, self._image = model, image
        self._graph = trace(model, image[None])
        self._ruled: dict[Any, Rule] = rules(self._graph)[0] if self._graph is not None else {}
        self._nodes = _nodes(self._graph) if self._graph is not None else {}
        self._fields: dict[str, Fields | None] = {}
        if self._graph is not None and self._nodes:
            values = self._graph.values
            self.layers = [Layer(name, tuple(values[pair[0]].shape[1:]), True) for name, pair in self._nodes.items()]
        else:
            self.layers = _hooked(model, image)

    def read(self, images: Tensor, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Each layer's response before and after the activation that follows it, (B, F, h, w) or (B, F).

        A batch norm after the layer counts as a part of it, since it can turn a filter's sign.
        """
        if self._graph is not None and self._nodes:
            pairs = {name: self._nodes[name] for name in names}
            values = _computed(self._graph, images, {node for pair in pairs.values() for node in pair})
            return {name: (values[before], values[after]) for name, (before, after) in pairs.items()}
        parts = dict(self._model.named_modules())
        with recorded({name: parts[name] for name in names}) as seen:
            self._model(images)
        return {name: (tensors[0], tensors[0]) for name, tensors in seen.items()}

    def fields(self, layer: Layer) -> Fields | None:
        """The receptive fields of a layer's map, None where the graph does not give them."""
        if layer.name not in self._fields:
            self._fields[layer.name] = None
            if self._graph is not None and layer.name in self._nodes and layer.is_map:
                self._fields[layer.name] = fields(self._graph, self._ruled, self._nodes[layer.name][0])
        return self._fields[layer.name]

    def box(self, layer: Layer, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right px of what a place of a layer's map sees; a dense layer sees the whole image."""
        if not layer.is_map:
            return 0, 0, int(self._image.shape[1]), int(self._image.shape[2])
        known = self.fields(layer)
        if known is not None:
            return known.box(row, column)
        respond: Callable[[Tensor], Tensor] = lambda images: self.read(images, [layer.name])[layer.name][0]  # noqa: E731
        return support(respond, self._image, row, column)


def chosen(layers: Sequence[Layer], named: str | None, most: int) -> list[Layer]:
    """The layers to show: the named one, else the first and then the last at each size of map, at most so many.

    >>> [one.name for one in chosen([Layer(n, (4, s, s), True) for n, s in zip("abcde", (9, 9, 9, 4, 4))], None, 6)]
    ['a', 'c', 'e']

    Without convolutions the dense layers are shown. A last layer with fewer filters than the one before is the output itself, and
    left out.

    Raises:
        UnknownNameError: no layer has this name.
        UsageError: the model has no layer with filters.
    """
    if named is not None:
        own = [layer for layer in layers if layer.name == named]
        if not own:
            raise UnknownNameError("layer", named, [layer.name for layer in layers])
        return own
    maps = [layer for layer in layers if layer.is_map and max(layer.shape[1:]) > 1]
    if not maps:
        maps = [layer for layer in layers if not layer.is_map]
    if len(maps) > 1 and maps[-1] is layers[-1] and maps[-1].shape[0] < maps[-2].shape[0]:
        maps = maps[:-1]
    if not maps:
        raise UsageError("lens='filters': the model has no convolution and no dense layer; look at another model.")
    kept = [maps[0]]
    # the last layer before each pooling or stride has seen the most at its size of map
    for layer, after in zip(maps, [*maps[1:], None], strict=True):
        if (after is None or after.shape[1:] != layer.shape[1:] or not layer.is_map) and layer is not maps[0]:
            kept.append(layer)
    if len(kept) > most:
        kept = [kept[place] for place in evenly_spread(most, len(kept))] if most > 1 else kept[-1:]
    return kept


def first_layer(model: nn.Module, image: Tensor) -> str | None:
    """The first layer with weights that an image (C, H, W) passes, if it sees pixels; else None.

    >>> first_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2)), torch.zeros(3, 2, 2))
    '1'
    """
    named = {name: part for name, part in model.named_modules() if isinstance(part, KINDS)}
    with recorded(named, "input") as seen, torch.no_grad():
        model(image[None])
    for name, tensors in seen.items():
        part = named[name]
        if isinstance(part, nn.Linear):
            return name if tensors[0].ndim == 2 and part.in_features == image.numel() else None
        return name if tensors[0].shape[1] in (1, 3, len(image)) else None
    return None


def weights(model: nn.Module, name: str, image: Tensor) -> Tensor:
    """(F, C, k, k): the filters of a first layer; those of a dense one have the image's height and width."""
    part = model.get_submodule(name)
    assert isinstance(part, KINDS)
    own = part.weight.detach().float().cpu()
    if isinstance(part, nn.Linear):
        return own.reshape(len(own), *image.shape)
    # a transposed convolution has its filters in the second dimension, (C, F, k, k)
    return own.transpose(0, 1) if isinstance(part, nn.ConvTranspose2d) else own


def _nodes(graph: Graph) -> dict[str, tuple[fx.Node, fx.Node]]:
    """The layers of filters by name, in the order of computation: the nodes before and after the activation."""
    parts = dict(graph.root.named_modules())
    layers: dict[str, tuple[fx.Node, fx.Node]] = {}
    for node in graph.nodes:
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(part, KINDS) and node.target not in _CONVOLUTIONS:
            continue
        value = graph.values.get(node)
        if not isinstance(value, Tensor) or value.ndim not in (2, 4):
            continue
        name = str(node.target) if part is not None else _owner(node)
        if name in layers:  # a layer that is used again
            name = f"{name}, use {1 + sum(other.split(', use')[0] == name for other in layers)}"
        # a batch norm counts as a part of the layer; the activation may come with a dropout
        before = _follow(graph, parts, node, _NORMS, (F.batch_norm, F.group_norm), most=1)
        layers[name] = before, _follow(graph, parts, before, _ACTIVATIONS, (*_ACTIVATING, F.dropout), most=3)
    return layers


def _owner(node: fx.Node) -> str:
    """The name of the module whose weight a function takes, else the node's own."""
    weight = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
    owner = str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""
    return owner or node.name


def _follow(graph: Graph, parts: Any, node: fx.Node, kinds: Any, functions: Any, most: int) -> fx.Node:
    """The last of up to `most` nodes of these kinds in a row, each the only user of the one before."""
    for _ in range(most):
        users = [user for user in node.users if user.op != "output" and user.target is not getattr]
        if len(users) != 1 or users[0].args[:1] != (node,):
            break
        after = users[0]
        part = parts.get(str(after.target)) if after.op == "call_module" else None
        if not isinstance(part, kinds) and not any(after.target is one or after.target == one for one in functions):
            break
        if getattr(graph.values.get(after), "shape", None) != graph.values[node].shape:
            break
        node = after
    return node


def _computed(graph: Graph, images: Tensor, wanted: set[fx.Node]) -> dict[fx.Node, Tensor]:
    """The values of nodes for images (B, C, H, W) of the traced size."""
    last = max(place for place, node in enumerate(graph.nodes) if node in wanted)
    used = {source: place for place, node in enumerate(graph.nodes) for source in node.all_input_nodes}
    known: dict[fx.Node, Any] = {}
    for place, node in enumerate(graph.nodes[: last + 1]):
        args, kwargs = (fx.node.map_arg(part, known.__getitem__) for part in (node.args, node.kwargs))
        known[node] = images if node.op == "placeholder" else graph.call(node, args, kwargs)
        for source in node.all_input_nodes:  # frees what no later node reads
            if used[source] <= place and source not in wanted:
                known.pop(source, None)
    return {node: known[node] for node in wanted}


def _hooked(model: nn.Module, image: Tensor) -> list[Layer]:
    """The layers of a model whose forward pass cannot be traced, in the order of their calls."""
    named = {name: part for name, part in model.named_modules() if isinstance(part, KINDS)}
    with recorded(named) as seen, torch.no_grad():
        model(image[None])
    return [
        Layer(name, tuple(tensors[0].shape[1:]), False)
        for name, tensors in seen.items()
        if tensors[0].ndim in (2, 4) and len(tensors[0]) == 1
    ]
