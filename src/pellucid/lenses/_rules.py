# SPDX-License-Identifier: Apache-2.0
"""What each node of a network's graph does to a window: slides a kernel over it, maps each pixel, moves it, or needs all of it."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pellucid.lenses._graph import Graph

__all__ = ["Rule", "rules"]

_POINTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.ELU, nn.SELU,
    nn.CELU, nn.LeakyReLU, nn.Softplus, nn.Softsign, nn.Mish, nn.PReLU, nn.LogSigmoid, nn.Dropout, nn.Dropout2d,
    nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity, nn.BatchNorm2d,
)  # fmt: skip
_POINTWISE_FUNCTIONS = {
    F.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.hardsigmoid, F.hardtanh, F.sigmoid, F.tanh, F.elu, F.selu, F.celu,
    F.leaky_relu, F.softplus, F.mish, F.dropout, F.dropout2d, F.batch_norm, torch.relu, torch.sigmoid, torch.tanh,
    torch.add, torch.sub, torch.mul, torch.div, torch.clamp, torch.abs, torch.exp, torch.sqrt, torch.maximum, torch.minimum,
    operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pow,
}  # fmt: skip
_POINTWISE_METHODS = {
    "add", "sub", "mul", "div", "relu", "sigmoid", "tanh", "clamp", "clamp_min", "contiguous", "float", "abs", "exp", "clone",
}  # fmt: skip
_MEANS = (F.adaptive_avg_pool2d, torch.mean)

# slide: convolution or pooling; transpose: transposed convolution; move: zero padding or crop; edge: replicate padding;
# enlarge: nearest neighbour by whole factors; mean: over the whole map; whole: anything that mixes all places
Kind = Literal["pointwise", "slide", "transpose", "move", "edge", "enlarge", "mean", "whole"]


@final
@dataclass(frozen=True)
class Rule:
    """How a node treats a window of its input."""

    kind: Kind
    name: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    fill: float = 0.0  # value of the padding
    moved: tuple[int, int] = (0, 0)  # px by which rows and columns move
    weight: Tensor | None = None  # of a convolution, with the batch norm after it folded in
    bias: Tensor | None = None
    groups: int = 1
    slide: Literal["conv", "max", "mean"] = "conv"
    work: int = 0  # multiplications for one output pixel, over all channels


def rules(graph: Graph) -> tuple[dict[Any, Rule], set[Any]]:
    """The rule of each node with a tensor, and the batch norms that are folded into the convolution before them."""
    ruled: dict[Any, Rule] = {}
    folded: set[Any] = set()
    modules = dict(graph.root.named_modules())
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr", "output") or not isinstance(graph.values.get(node), Tensor):
            continue
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        rule = _known(graph, node, module)
        # a convolution that only a batch norm uses: one multiplication instead of two
        if rule.weight is not None and rule.kind == "slide" and len(node.users) == 1:
            follower = next(iter(node.users))
            statistics = _statistics(graph, follower, modules)
            if statistics is not None:
                fused = fuse_conv_bn_weights(rule.weight, rule.bias, *statistics)
                rule = Rule(**{**vars(rule), "weight": fused[0].detach(), "bias": fused[1].detach()})
                folded.add(follower)
        if rule.weight is not None:
            weight = rule.weight.contiguous(memory_format=torch.channels_last)
            rule = Rule(**{**vars(rule), "weight": weight})
        ruled[node] = rule
    return ruled, folded


def _known(graph: Graph, node: Any, module: nn.Module | None) -> Rule:
    """The rule of a node; "whole" for whatever is not known to work window by window."""
    name = str(node.target) if module is not None or node.op == "call_method" else getattr(node.target, "__name__", "")
    if module is not None and not _plain_forward(module):
        return Rule("whole", name)
    try:
        rule = _rule(graph, node, module, name)
        # a kernel made from the image differs from place to place
        given = [source for source in node.all_input_nodes if source in graph.depending]
        fixed = rule.kind in ("pointwise", "whole") or given == [node.args[0]]
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):  # e.g. as many groups as there are images
        fixed = False
    return rule if fixed else Rule("whole", name)


def _plain_forward(module: nn.Module) -> bool:
    """Whether a module does what its class in torch.nn does: no hook, no forward pass of its own."""
    kinds = [kind for kind in type(module).__mro__ if "forward" in vars(kind)]
    own = "forward" in vars(module) or not kinds[0].__module__.startswith("torch.nn.modules.")
    return not own and not module._forward_hooks and not module._forward_pre_hooks


def _rule(graph: Graph, node: Any, module: nn.Module | None, name: str) -> Rule:
    if isinstance(module, nn.Linear):
        return Rule("whole", name, work=module.weight.numel())
    if graph.values[node].ndim == 4:
        rule = _of_module(node, module, name, graph) if module is not None else _of_function(graph, node, name)
        if rule is not None:
            return rule
    if (node.op == "call_method" and node.target == "mean") or node.target is torch.mean:
        dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        source = node.args[0]
        if isinstance(source, fx.Node) and isinstance(dims, (tuple, list)):
            rank = getattr(graph.values[source], "ndim", 0)  # a mean over (H, W) of (B, C, H, W)
            if rank == 4 and sorted(dim % rank for dim in dims) == [2, 3]:
                return Rule("mean", name)
    return Rule("whole", name)


def _of_module(node: Any, module: nn.Module, name: str, graph: Graph) -> Rule | None:
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return _convolution(
            name, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups
        )
    if isinstance(module, nn.ConvTranspose2d) and set(module.output_padding) == {0}:
        return Rule(
            "transpose", name, _two(module.kernel_size), _two(module.stride), _two(module.padding), _two(module.dilation),
            weight=module.weight.detach(), bias=_plain(module.bias), groups=module.groups,
            work=module.weight[0].numel() * module.in_channels,
        )  # fmt: skip
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        kind: Literal["max", "mean"] = "max" if isinstance(module, nn.MaxPool2d) else "mean"
        options = {**vars(module), "dilation": getattr(module, "dilation", 1)}
        return _pool(name, kind, options, graph, node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _adaptive(name, graph, node)
    if isinstance(module, nn.Upsample):
        return _enlarge(name, module.mode, graph, node)
    if isinstance(module, nn.ZeroPad2d):
        left, _, top, _ = module.padding
        return Rule("move", name, moved=(int(top), int(left))) if min(module.padding) >= 0 else None
    if isinstance(module, nn.BatchNorm2d) and (module.running_mean is None or module.training):
        return None  # its statistics are those of the images themselves
    if isinstance(module, _POINTWISE_MODULES):
        return Rule("pointwise", name)
    return None


def _of_function(graph: Graph, node: Any, name: str) -> Rule | None:
    target, arguments = node.target, _bound(node)
    source = node.args[0] if node.args else None
    if target in (F.conv2d, torch.conv2d):
        weight, bias = (_value(graph, arguments.get(key)) for key in ("weight", "bias"))
        if isinstance(weight, Tensor) and not isinstance(arguments.get("padding", 0), str):
            return _convolution(
                name, weight, bias, arguments.get("stride", 1), arguments.get("padding", 0),
                arguments.get("dilation", 1), int(arguments.get("groups", 1)),
            )  # fmt: skip
    if target in (F.max_pool2d, torch.max_pool2d):
        return _pool(name, "max", arguments, graph, node)
    if target in (F.avg_pool2d, torch._C._nn.avg_pool2d):
        return _pool(name, "mean", arguments, graph, node)
    if target is F.adaptive_avg_pool2d:
        return _adaptive(name, graph, node)
    if target is F.interpolate:
        return _enlarge(name, str(arguments.get("mode", "nearest")), graph, node)
    if target is F.pad:
        pads = [int(pad) for pad in arguments["pad"]]
        mode = arguments.get("mode", "constant")
        if not any(pads):
            return Rule("pointwise", name)
        if len(pads) == 4 and min(pads) >= 0 and mode in ("constant", "replicate"):
            return Rule("move" if mode == "constant" else "edge", name, moved=(pads[2], pads[0]))
        return None
    if target is operator.getitem:
        return _crop(graph, node, name)
    if target is torch.cat:
        return Rule("pointwise", name) if arguments.get("dim", 0) in (1, -3) else None
    if target is F.batch_norm and (arguments.get("running_mean") is None or arguments.get("training", False)):
        return None
    if node.op == "call_function" and _hashed(target, _POINTWISE_FUNCTIONS):
        return Rule("pointwise", name)
    if node.op == "call_method" and target in _POINTWISE_METHODS and isinstance(source, fx.Node):
        return Rule("pointwise", name)
    return None


def _convolution(
    name: str, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Rule:
    return Rule(
        "slide", name, _two(weight.shape[2:]), _two(stride), _two(padding), _two(dilation), weight=weight.detach(),
        bias=_plain(bias), groups=groups, work=weight.numel(),
    )  # fmt: skip


def _pool(name: str, kind: Literal["max", "mean"], options: Mapping[str, Any], graph: Graph, node: Any) -> Rule | None:
    kernel = _two(options["kernel_size"])
    stride = _two(options.get("stride") or kernel)
    padding = _two(options.get("padding", 0))
    # means whose divisor depends on the place cannot run on a window alone
    if kind == "mean" and (options.get("divisor_override") or options.get("ceil_mode")):
        return None
    if kind == "mean" and any(padding) and not options.get("count_include_pad", True):
        return None
    fill = float("-inf") if kind == "max" else 0.0
    return Rule("slide", name, kernel, stride, padding, _two(options.get("dilation", 1)), fill, slide=kind)


def _adaptive(name: str, graph: Graph, node: Any) -> Rule | None:
    """Adaptive pooling to one pixel; to the map's own size it does nothing, but a window has another size."""
    return Rule("mean", name) if tuple(graph.values[node].shape[2:]) == (1, 1) else None


def _enlarge(name: str, mode: str, graph: Graph, node: Any) -> Rule | None:
    """Upsampling that repeats each pixel a whole number of times."""
    small, large = (graph.values[one].shape[2:] for one in (node.args[0], node))
    factors = tuple(b // a for a, b in zip(small, large, strict=True))
    exact = all(a * f == b for a, b, f in zip(small, large, factors, strict=True))
    return Rule("enlarge", name, stride=_two(factors)) if mode == "nearest" and exact else None


def _crop(graph: Graph, node: Any, name: str) -> Rule | None:
    """`x[:, :, a:b, c:d]` with numbers and steps of one, which moves the map."""
    index: Any = node.args[1]
    if not isinstance(index, tuple) or len(index) != 4 or not all(isinstance(part, slice) for part in index):
        return None
    source = graph.values[node.args[0]]
    if not isinstance(source, Tensor) or source.ndim != 4 or any(isinstance(part.start, fx.Node) for part in index):
        return None
    if index[0] != slice(None, None, None) or index[1] != slice(None, None, None):
        return None
    rows, columns = (part.indices(length) for part, length in zip(index[2:], source.shape[2:], strict=True))
    return Rule("move", name, moved=(-rows[0], -columns[0])) if rows[2] == columns[2] == 1 else None


def _statistics(graph: Graph, node: Any, modules: Mapping[str, nn.Module]) -> Sequence[Any] | None:
    """Mean, variance, ε, weight and bias of a batch norm in eval mode."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.training:
        return module.running_mean, module.running_var, module.eps, module.weight, module.bias
    if node.op == "call_function" and node.target is F.batch_norm:
        arguments = {key: _value(graph, part) for key, part in _bound(node).items()}
        if arguments.get("running_mean") is not None and not arguments.get("training", False):
            return (
                arguments["running_mean"], arguments["running_var"], arguments.get("eps", 1e-5),
                arguments.get("weight"), arguments.get("bias"),
            )  # fmt: skip
    return None


# the parameters of functions in their order, for arguments that are passed by position
_NAMES: dict[Any, tuple[str, ...]] = {
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    F.pad: ("input", "pad", "mode", "value"),
    F.interpolate: ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias"),
    F.adaptive_avg_pool2d: ("input", "output_size"),
    torch.cat: ("tensors", "dim"),
    **dict.fromkeys((F.conv2d, torch.conv2d), ("input", "weight", "bias", "stride", "padding", "dilation", "groups")),
    **dict.fromkeys(
        (F.max_pool2d, torch.max_pool2d), ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    ),
    F.avg_pool2d: ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
}


def _bound(node: Any) -> dict[str, Any]:
    """A call's arguments by name."""
    names = _NAMES.get(node.target, ()) if _hashed(node.target, _NAMES) else ()
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _hashed(target: Any, table: Any) -> bool:
    """Whether a target is in a table; some targets cannot be hashed."""
    try:
        return target in table
    except TypeError:
        return False


def _value(graph: Graph, part: Any) -> Any:
    return graph.values.get(part) if isinstance(part, fx.Node) else part


def _plain(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _two(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    sides = [int(side) for side in value]
    return sides[0], sides[-1]
