# SPDX-License-Identifier: Apache-2.0
"""A network as a graph, traced with one image: every node knows its value, so that every shape is a number.

`torch.fx` alone stops at the first `if x.shape[1] == 1`. Here a proxy carries the value that it stands for, and such questions are
answered from it; only the batch size stays open. A module whose forward pass cannot be traced is kept as one node, and the modules
around it are traced all the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

__all__ = ["Graph", "trace"]

# attributes that are the same for any batch size
_CONCRETE = ("ndim", "dtype", "device", "is_cuda", "requires_grad", "layout", "is_quantized")


@final
@dataclass(frozen=True)
class Graph:
    """The nodes in the order of computation, the value of each for one image, and the modules that they call."""

    root: nn.Module
    nodes: tuple[fx.Node, ...]
    values: Mapping[fx.Node, Any]
    kept: tuple[str, ...]  # modules that are one node because their forward pass cannot be traced

    @cached_property
    def depending(self) -> frozenset[fx.Node]:
        """The nodes that the image reaches, its size included."""
        reached: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder" or any(source in reached for source in node.all_input_nodes):
                reached.add(node)
        return frozenset(reached)

    def call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What a node computes."""
        return self.values[node] if node.op == "get_attr" else _call(self.root, node.op, node.target, args, kwargs)


def trace(model: nn.Module, image: Tensor) -> Graph | None:
    """The graph of a model for images (1, C, H, W) of this size, or None if its own forward pass cannot be traced.

    >>> import torch
    >>> graph = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), torch.zeros(1, 1, 5, 5))
    >>> [(node.op, str(node.target)) for node in graph.nodes]
    [('placeholder', 'input'), ('call_module', '0'), ('call_module', '1'), ('output', 'output')]
    """
    tracer = _Tracer(image)
    before = [(part, _kept_by(part)) for part in model.modules()]
    try:
        graph = tracer.trace(model)
    except Exception:  # a forward pass that meets a proxy instead of a tensor can fail in any way
        _restore(before)
        return None
    # sizes that only Python's `if` asked for leave nodes that nothing uses
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    values = {node: tracer.values[node.name] for node in graph.nodes if node.name in tracer.values}
    for node in graph.nodes:
        if node.op == "get_attr":
            values[node] = _attribute(tracer.root, str(node.target))
        elif node.op == "output":
            values[node] = fx.node.map_arg(node.args[0], values.__getitem__)
    _restore(before)
    return Graph(model, tuple(graph.nodes), values, tuple(tracer.kept))


@final
class _Valued(fx.Proxy):
    """A proxy that answers questions about shape and type from the value that it stands for."""

    def _value(self) -> Any:
        tracer: Any = self.tracer
        return tracer.values[self.node.name]

    def __getattr__(self, name: str) -> Any:
        value = self._value()
        if isinstance(value, Tensor):
            if name in _CONCRETE:
                return getattr(value, name)
            if name == "shape":
                return self._shape(value)
            if name == "dim":
                return lambda: value.ndim
            if name == "size":
                return lambda dim=None: self._shape(value) if dim is None else self._shape(value)[dim]
        return super().__getattr__(name)

    def _shape(self, value: Tensor) -> tuple[Any, ...]:
        """The sizes as numbers, except the batch size, which stays open."""
        if not value.ndim:
            return ()
        sizes = self.tracer.create_proxy("call_function", getattr, (self, "shape"), {})
        batch = self.tracer.create_proxy("call_function", operator.getitem, (sizes, 0), {})
        return batch, *value.shape[1:]

    def __len__(self) -> int:
        value = self._value()
        if isinstance(value, Tensor):
            raise TypeError("the batch size stays open")
        return len(value)


class _Tracer(fx.Tracer):
    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image
        self.values: dict[str, Any] = {}
        self.kept: list[str] = []
        self.computing = False  # while a value is computed nothing is traced

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Valued(node, self)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """The image alone: other arguments of the forward pass keep their defaults."""
        function, given = super().create_args_for_root(root_fn, is_module, concrete_args)
        more = [proxy for proxy in given[2:] if isinstance(proxy, fx.Proxy)]
        if more and len(more) == len(given) - 2 and all(proxy.node.args for proxy in more):
            for proxy in more:
                self.graph.erase_node(proxy.node)
            given = given[:2]
        return function, given

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        """A node, and its value for the image, computed at once from the values of its arguments."""
        plain = [fx.node.map_aggregate(part, self._known) for part in (args, kwargs)]
        if kind == "placeholder":
            value: Any = self.image
        elif kind == "output":
            value = plain[0]
        else:
            if kind == "call_method" and str(target).endswith("_") and not str(target).endswith("__"):
                raise TypeError(f"{target}: writes into its input")  # values are kept, so nothing may change them
            tensors = [part for part in pytree.tree_leaves(plain) if isinstance(part, Tensor)]
            versions = [tensor._version for tensor in tensors]
            self.computing = True
            try:
                value = _call(self.root, kind, target, plain[0], plain[1])
            finally:
                self.computing = False
            if versions != [tensor._version for tensor in tensors]:
                raise TypeError(f"{target}: writes into its input")
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        self.values[proxy.node.name] = value
        return proxy

    def _known(self, part: Any) -> Any:
        return self.values[part.node.name] if isinstance(part, fx.Proxy) else part

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.computing:
            return forward(*args, **kwargs)
        if self.is_leaf_module(m, self.path_of_module(m)):
            return super().call_module(m, forward, args, kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # it cannot be traced and stays one node
            self.kept.append(self.path_of_module(m))
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


def _call(root: nn.Module, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
    if kind == "call_function":
        if "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}
        return target(*args, **kwargs)
    if kind == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if kind == "call_module":
        return root.get_submodule(target)(*args, **kwargs)
    if kind == "get_attr":
        return _attribute(root, target)
    raise TypeError(f"{kind}: is not a call")


def _kept_by(part: nn.Module) -> dict[str, Any]:
    """A module's attributes, and its buffers as they are now."""
    return {**vars(part), "_buffers": dict(part._buffers)}


def _restore(before: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Remove what tracing put into modules: constants, and proxies that a forward pass keeps for later."""
    for part, kept in before:
        part._buffers.update(kept.pop("_buffers"))
        own = vars(part)
        for name in [name for name in own if name not in kept and name != "_buffers"]:
            del own[name]
        own.update(kept)


def _attribute(root: nn.Module, path: str) -> Any:
    owner: Any = root
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner
