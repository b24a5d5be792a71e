# SPDX-License-Identifier: Apache-2.0
"""The row of a layer table for a torch layer: kernel, parameters with their formula, multiply–accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sympy
from torch import Tensor, nn

from pellucid.bridging.tracing import LayerCall
from pellucid.worked.layers.sizes import output_size_text
from pellucid.worked.layers.table import LayerRow

__all__ = ["channels_last", "row_of"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_OVER_LENGTH = (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.BatchNorm1d)
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


_CHANNELS_FIRST = (
    *(*_CONVOLUTIONS, *_TRANSPOSED, *_POOLS, nn.Upsample, nn.modules.batchnorm._BatchNorm),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d, nn.GroupNorm),
)


def channels_last(call: LayerCall, before: bool) -> bool:
    """Whether the channels of a map are the last axis behind a layer, as in Swin and ConvNeXt.

    >>> from pellucid.bridging.tracing import LayerCall
    >>> channels_last(LayerCall("mlp", nn.Linear(96, 384), (1, 56, 56, 96), (1, 56, 56, 384), ()), False)
    True

    Args:
        call: from `pellucid.bridging.tracing.trace`.
        before: whether they were before it.
    """
    if len(call.output) < 4 or isinstance(call.layer, _CHANNELS_FIRST):
        return before and len(call.output) < 4
    if isinstance(call.layer, nn.Linear) or type(call.layer) is nn.LayerNorm:  # of the last axis
        return True
    dims = getattr(call.layer, "dims", None) if type(call.layer).__name__ == "Permute" else None
    return before if dims is None else [*dims][-1] == 1


def row_of(call: LayerCall, fresh: Mapping[str, Tensor], repeated: bool = False, last: bool = False) -> LayerRow:
    """The row for one call of a layer.

    >>> from pellucid.bridging.tracing import LayerCall
    >>> layer = nn.Conv2d(2, 64, 3)
    >>> call = LayerCall("first", layer, (1, 2, 300, 200), (1, 64, 298, 198), ())
    >>> row_of(call, dict(layer.named_parameters())).formula
    '(3·3·2 + 1)·64'

    Args:
        call: from `pellucid.bridging.tracing.trace`.
        fresh: the layer's parameters by name, without those counted in an earlier row.
        repeated: whether some were counted earlier, so that the formula of the whole layer does not apply.
        last: whether the channels of its output are the last axis already.
    """
    layer = call.layer
    kernel, formula = "", ""
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        kernel, formula = _of_convolution(layer)
    elif isinstance(layer, _POOLS):
        kernel = "×".join(map(str, _wide(layer.kernel_size, len(call.output) - 2)))
    elif isinstance(layer, nn.Linear):
        inside = f"({layer.in_features:,} + 1)" if layer.bias is not None else f"{layer.in_features:,}"
        formula = f"{inside}·{layer.out_features:,}"
    elif isinstance(layer, nn.RNNBase):
        formula = _of_recurrent(layer)
    if (not formula or repeated) and fresh:
        formula = _of_shapes(fresh)
    return LayerRow(
        f"{call.name or 'module'}  {type(layer).__name__}",
        _size(layer, call.output, last),
        kernel,
        formula if fresh else "",
        sympy.Integer(sum(math.prod(parameter.shape) for parameter in fresh.values())),
        sympy.Integer(sum(parameter.numel() for name, parameter in fresh.items() if name.startswith("bias"))),
        sympy.Integer(_macs(call)),
        None
        if call.receptive_field is None
        else tuple(sympy.Rational(extent.numerator, extent.denominator) for extent in call.receptive_field),
        _arithmetic(call),
        statistics=sympy.Integer(_statistics(layer)),
        **_slide(call),
    )


def _statistics(layer: nn.Module) -> int:
    """The running mean and variance of a batch norm, which are buffers and no parameters."""
    kept = (getattr(layer, name, None) for name in ("running_mean", "running_var"))
    return sum(each.numel() for each in kept if isinstance(each, Tensor))


def _slide(call: LayerCall) -> dict[str, Any]:
    """The stride, padding, dilation and groups of a window, the same on all axes once."""
    layer, axes = call.layer, len(call.output) - 2
    if not isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, *_POOLS)):
        return {}

    def text(value: int | str | tuple[int, ...]) -> str:
        if isinstance(value, str):
            return value
        sizes = _wide(value, axes)
        return str(sizes[0]) if len({*sizes}) == 1 else "×".join(map(str, sizes))

    stride = layer.stride if layer.stride is not None else layer.kernel_size
    return {
        "stride": text(stride),
        "padding": text(layer.padding),
        "dilation": text(getattr(layer, "dilation", 1)),
        "groups": str(getattr(layer, "groups", "")),
    }


def _of_convolution(layer: nn.modules.conv._ConvNd) -> tuple[str, str]:
    """The kernel, 3×3×2, and the formula, (3·3·2 + 1)·64; with groups, each filter sees C/groups channels."""
    window = "·".join(map(str, layer.kernel_size))
    bias, filters = layer.bias is not None, f"{layer.out_channels:,}"
    depth = f"{layer.in_channels // layer.groups:,}"
    kernel = "×".join([*map(str, layer.kernel_size), depth])
    return kernel, f"({window}·{depth} + 1)·{filters}" if bias else f"{window}·{depth}·{filters}"


def _of_recurrent(layer: nn.RNNBase) -> str:
    """g·(in·h + h·h + 2·h) for each level and direction; levels of equal size are counted together."""
    gates, directions, hidden = _GATES[layer.mode.split("_")[0]], 2 if layer.bidirectional else 1, layer.hidden_size
    parts: dict[str, int] = {}
    out = layer.proj_size or hidden  # an LSTM may project its state to fewer values
    for level in range(layer.num_layers):
        inputs = layer.input_size if level == 0 else out * directions  # both directions of the level below
        inside = f"{inputs:,}·{hidden:,} + {out:,}·{hidden:,}" + (f" + 2·{hidden:,}" if layer.bias else "")
        one = f"{gates}·({inside})" if gates > 1 else inside
        if layer.proj_size:
            one += f" + {hidden:,}·{out:,}"
        if directions > 1:
            one = f"2·({one})" if gates == 1 or layer.proj_size else f"2·{one}"
        parts[one] = parts.get(one, 0) + 1
    return " + ".join(
        one
        if times == 1
        else f"{times}·{one}"
        if one[0].isdigit() and " + " not in one.split("(")[0]
        else f"{times}·({one})"
        for one, times in parts.items()
    )


def _of_shapes(parameters: Mapping[str, Tensor]) -> str:
    """The sum of the products of the shapes; equal ones are counted together."""
    shapes: dict[str, int] = {}
    for parameter in parameters.values():
        product = "·".join(f"{size:,}" for size in parameter.shape) or "1"
        shapes[product] = shapes.get(product, 0) + 1
    return " + ".join(product if times == 1 else f"{times}·{product}" for product, times in shapes.items())


def _macs(call: LayerCall) -> int:
    """The multiply–accumulates for one sample: every weight once at each position."""
    layer, samples = call.layer, max(call.output[0], 1)
    if isinstance(layer, _CONVOLUTIONS):
        return math.prod(call.output[2:]) * layer.weight.numel()
    if isinstance(layer, _TRANSPOSED):  # each input value is multiplied with the whole kernel
        return math.prod(call.given[2:]) * layer.weight.numel()
    if isinstance(layer, nn.Linear):
        return math.prod(call.output[:-1]) // samples * layer.weight.numel()
    if isinstance(layer, nn.RNNBase):
        steps = call.given[1 if layer.batch_first else 0] if len(call.given) == 3 else call.given[0]
        weights = (parameter for name, parameter in layer.named_parameters() if name.startswith("weight"))
        return steps * sum(weight.numel() for weight in weights)
    return 0


def _size(layer: nn.Module, output: tuple[int, ...], last: bool) -> tuple[sympy.Integer, ...]:
    """The size of the output without the batch, (C, H, W) as H×W×C unless the channels are last anyway."""
    size = output[1:]
    if isinstance(layer, nn.RNNBase) and not layer.batch_first and len(output) == 3:
        size = (output[0], output[2])
    elif (len(output) > 3 and not last) or (len(output) == 3 and isinstance(layer, _OVER_LENGTH)):
        size = (*output[2:], output[1])
    return tuple(map(sympy.Integer, size))


def _arithmetic(call: LayerCall) -> list[str]:
    """How the output size was computed, for a layer with a sliding window."""
    layer, axes = call.layer, len(call.output) - 2
    if not isinstance(layer, (*_CONVOLUTIONS, *_POOLS)) or isinstance(layer.padding, str):
        return []
    window, padding = _wide(layer.kernel_size, axes), _wide(layer.padding, axes)
    stride = _wide(layer.stride if layer.stride is not None else layer.kernel_size, axes)
    dilation = _wide(getattr(layer, "dilation", 1), axes)
    terms = [*zip(call.given[2:], window, stride, padding, dilation, strict=True)]
    ceil = bool(getattr(layer, "ceil_mode", False))
    if all(f == 1 and s == 1 and p == 0 for _, f, s, p, _ in terms):  # a 1×1 convolution keeps the size
        return []
    names = " and ".join(_AXES[axes])
    if len(set(terms)) == 1:
        return [f"{names} {output_size_text(*terms[0], ceil)}"]
    return [f"{name} {output_size_text(*term, ceil)}" for name, term in zip(_AXES[axes], terms, strict=True)]


def _wide(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * axes
