# SPDX-License-Identifier: Apache-2.0
"""The layers whose filters can be looked at, what they answer to images, and the first layer's weights as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

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
    """A layer of filters: convolutional ones answer with a map (F, h, w), dense ones with a number each (F,)."""

    name: str
    shape: tuple[int, ...]  # of its answer to an image: (F, h, w) or (F,)
    exact: bool  # whether it stands in the graph

    @property
    def is_map(self) -> bool:
        """Whether it answers with a map."""
        return len(self.shape) == 3


@final
class Reader:
    """Reads the answers of a model's layers to images of one size, of the graph where the model's forward can be followed."""

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
        """Of each layer, the answers before and after the activation behind it, (B, F, h, w) or (B, F).

        A batch norm that follows the layer is taken for a part of it: it can turn a filter's sign.
        """
        if self._graph is not None and self._nodes:
            pairs = {name: self._nodes[name] for name in names}
            found = _computed(self._graph, images, {node for pair in pairs.values() for node in pair})
            return {name: (found[before], found[after]) for name, (before, after) in pairs.items()}
        parts = dict(self._model.named_modules())
        with recorded({name: parts[name] for name in names}) as seen:
            self._model(images)
        return {name: (tensors[0], tensors[0]) for name, tensors in seen.items()}

    def fields(self, layer: Layer) -> Fields | None:
        """The receptive fields of a layer's map, None where they cannot be read off the graph."""
        if layer.name not in self._fields:
            known = self._graph is not None and layer.name in self._nodes and layer.is_map
            self._fields[layer.name] = fields(self._graph, self._ruled, self._nodes[layer.name][0]) if known else None  # type: ignore[arg-type]
        return self._fields[layer.name]

    def box(self, layer: Layer, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right px of what a place of a layer's map sees; of a dense layer the whole image."""
        if not layer.is_map:
            return 0, 0, int(self._image.shape[1]), int(self._image.shape[2])
        known = self.fields(layer)
        if known is not None:
            return known.box(row, column)
        answers: Callable[[Tensor], Tensor] = lambda images: self.read(images, [layer.name])[layer.name][0]  # noqa: E731
        return support(answers, self._image, row, column)


def chosen(layers: Sequence[Layer], named: str | None, most: int) -> list[Layer]:
    """The layers to show: the named one, else the first and the last one at each size of map, at most so many.

    >>> [one.name for one in chosen([Layer(n, (4, s, s), True) for n, s in zip("abcde", (9, 9, 9, 4, 4))], None, 6)]
    ['a', 'c', 'e']

    Without convolutions the dense layers are shown. A last layer of fewer filters than the one before is the answer itself,
    and left out.

    Raises:
        UnknownNameError: no such layer.
        UsageError: the model has no layer with filters.
    """
    if named is not None:
        found = [layer for layer in layers if layer.name == named]
        if not found:
            raise UnknownNameError("layer", named, [layer.name for layer in layers])
        return found
    maps = [layer for layer in layers if layer.is_map and max(layer.shape[1:]) > 1]
    if not maps:
        maps = [layer for layer in layers if not layer.is_map]
    if len(maps) > 1 and maps[-1] is layers[-1] and maps[-1].shape[0] < maps[-2].shape[0]:
        maps = maps[:-1]
    if not maps:
        raise UsageError("lens='filters': the model has no convolution and no dense layer; look at another model.")
    kept = [maps[0]]
    for layer, after in zip(maps, [*maps[1:], None], strict=True):
        if (after is None or after.shape[1:] != layer.shape[1:] or not layer.is_map) and layer is not maps[0]:
            kept.append(layer)
    if len(kept) > most:
        kept = [kept[round(i * (len(kept) - 1) / (most - 1))] for i in range(most)] if most > 1 else kept[-1:]
    return kept


def first_layer(model: nn.Module, image: Tensor) -> str | None:
    """The first layer with weights that an image (C, H, W) meets, if it sees pixels; else None.

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
    """(F, C, k, k): the filters of a first layer; of a dense one, with the image's own height and width."""
    part = model.get_submodule(name)
    assert isinstance(part, KINDS)
    own = part.weight.detach().float().cpu()
    if isinstance(part, nn.Linear):
        return own.reshape(len(own), *image.shape)
    return own.transpose(0, 1) if isinstance(part, nn.ConvTranspose2d) else own


def _nodes(graph: Graph) -> dict[str, tuple[fx.Node, fx.Node]]:
    """The layers of filters by name, in the order of computation: the nodes of their answers before and after activation."""
    parts = dict(graph.root.named_modules())
    found: dict[str, tuple[fx.Node, fx.Node]] = {}
    for node in graph.nodes:
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(part, KINDS) and node.target not in _CONVOLUTIONS:
            continue
        value = graph.values.get(node)
        if not isinstance(value, Tensor) or value.ndim not in (2, 4):
            continue
        name = str(node.target) if part is not None else _owner(node)
        if name in found:  # a layer that is used again
            name = f"{name}, use {1 + sum(other.split(', use')[0] == name for other in found)}"
        before = _follow(graph, parts, node, _NORMS, (F.batch_norm, F.group_norm), most=1)
        found[name] = before, _follow(graph, parts, before, _ACTIVATIONS, (*_ACTIVATING, F.dropout), most=3)
    return found


def _owner(node: fx.Node) -> str:
    """The module whose weight a function takes, else the node's own name."""
    weight = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
    owner = str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""
    return owner or node.name


def _follow(graph: Graph, parts: Any, node: fx.Node, kinds: Any, functions: Any, most: int) -> fx.Node:
    """The last of the nodes of these kinds that follow one another, each the only user of the one before."""
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
    """The values of nodes for images (B, C, H, W) of the size that the graph was traced with."""
    last = max(place for place, node in enumerate(graph.nodes) if node in wanted)
    used = {source: place for place, node in enumerate(graph.nodes) for source in node.all_input_nodes}
    known: dict[fx.Node, Any] = {}
    for place, node in enumerate(graph.nodes[: last + 1]):
        args, kwargs = (fx.node.map_arg(part, known.__getitem__) for part in (node.args, node.kwargs))
        known[node] = images if node.op == "placeholder" else graph.call(node, args, kwargs)
        for source in node.all_input_nodes:  # what is not needed any more makes room
            if used[source] <= place and source not in wanted:
                known.pop(source, None)
    return {node: known[node] for node in wanted}


def _hooked(model: nn.Module, image: Tensor) -> list[Layer]:
    """The layers of a model whose forward cannot be followed, as a forward pass meets them."""
    named = {name: part for name, part in model.named_modules() if isinstance(part, KINDS)}
    with recorded(named) as seen, torch.no_grad():
        model(image[None])
    return [
        Layer(name, tuple(tensors[0].shape[1:]), False)
        for name, tensors in seen.items()
        if tensors[0].ndim in (2, 4) and len(tensors[0]) == 1
    ]
