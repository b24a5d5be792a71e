# SPDX-License-Identifier: Apache-2.0
"""Trace one forward pass of a torch module: output sizes, receptive fields, which parameters are used.

The module runs on tensors with a shape but no data (device `meta`), so that even a large model takes neither memory nor time. It is
left unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pellucid._operations import Operations, Watching
from pellucid.errors import DataError
from pellucid.models._convolutional import Unpool

__all__ = ["LayerCall", "Trace", "trace"]

Extent = tuple[Fraction, ...] | None
"""A receptive field along each axis, in pixels of the input; None for the whole input. Upsampling makes fractions."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer without sublayers.

    Args:
        name: its name in the module.
        layer: the layer itself.
        given: the shape of its first input.
        output: the shape of its first output.
        receptive_field: of one output value along each axis; None for the whole input, empty without axes.
    """

    name: str
    layer: nn.Module
    given: tuple[int, ...]
    output: tuple[int, ...]
    receptive_field: Extent


@dataclass(frozen=True)
class Trace:
    """The result of tracing one forward pass.

    Args:
        calls: in order; a layer that is called twice has two entries.
        unused: names of the parameters that the output does not depend on.
        macs: multiply–accumulates of all matrix products and convolutions, in layers or outside.
    """

    calls: tuple[LayerCall, ...]
    unused: frozenset[str]
    macs: int


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> Trace:
    """Trace a module once, in eval mode, for inputs of these shapes.

    >>> traced = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (torch.zeros(1, 1, 8, 8),))
    >>> [(call.name, call.output) for call in traced.calls]
    [('0', (1, 2, 6, 6)), ('1', (1, 2, 6, 6))]

    Raises:
        DataError: inputs that the module does not accept.
    """
    given = tuple(tensor.to("meta") for tensor in inputs)
    parameters = {name: torch.empty_like(tensor, device="meta") for name, tensor in module.named_parameters()}
    for parameter in parameters.values():
        parameter.requires_grad_(parameter.is_floating_point())
    state = parameters | {name: torch.empty_like(tensor, device="meta") for name, tensor in module.named_buffers()}
    calls: list[LayerCall] = []
    fields = _ReceptiveFields(given[0])

    def called(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            before, after = _first(args), _first(output)
            if before is not None and after is not None and isinstance(layer, (nn.MaxUnpool2d, Unpool)):
                fields.unpool(before, after)
            if after is not None:
                shape = tuple(before.shape) if before is not None else ()
                calls.append(LayerCall(name, layer, shape, tuple(after.shape), fields.of(after)))

        return hook

    with _evaluating(module), Operations() as operations:
        handles = [
            layer.register_forward_hook(called(name)) for name, layer in module.named_modules() if _is_leaf(layer)
        ]
        try:
            with torch.no_grad(), fields:
                torch.func.functional_call(module, state, given)
        except Exception as fault:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
            raise DataError(
                f"inputs={shapes}: the module does not accept them ({fault}); give another size."
            ) from fault
        finally:
            for handle in handles:
                handle.remove()
        macs = operations.total
    # a parameter is unused if autograd finds no way from it to the output
    with _evaluating(module):
        leaves = tree_leaves(torch.func.functional_call(module, state, given))
        outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    learned = [name for name, parameter in parameters.items() if parameter.requires_grad]
    slopes = (
        torch.autograd.grad(
            [output.sum() for output in outputs], [parameters[name] for name in learned], allow_unused=True
        )
        if outputs and learned
        else [None] * len(learned)
    )
    unused = frozenset(name for name, slope in zip(learned, slopes, strict=True) if slope is None)
    return Trace(tuple(calls), unused, macs)


class _ReceptiveFields(Watching):
    """The receptive field r of every tensor in a forward pass, and the jump j, the distance of two neighbours in the input.

    Every tensor operation passes through `__torch_dispatch__`, also those outside of layers. A window of f values with stride s and
    dilation d gives r + d(f − 1)·j and j·s (Araujo et al. 2019); where tensors meet, the largest counts.
    """

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.axes = given.ndim - 2 if given.ndim > 2 and given.is_floating_point() else 0
        self.windows = False  # a network without convolution and pooling has no receptive fields
        self.known: dict[int, tuple[Extent, tuple[Fraction, ...]]] = {}  # id of a tensor -> r, j
        self.kept: list[Tensor] = [given]  # an id is unique only while its tensor lives
        self.known[id(given)] = ((Fraction(1),) * self.axes, (Fraction(1),) * self.axes)

    def of(self, tensor: Tensor) -> Extent:
        return self.known.get(id(tensor), (None, ()))[0] if self.axes and self.windows else ()

    def unpool(self, before: Tensor, after: Tensor) -> None:
        """Each value stays what it is, and its neighbour comes nearer."""
        field, jumps = self.known.get(id(before), (None, ()))
        sides = zip(jumps, before.shape[2:], after.shape[2:], strict=False)
        self.known[id(after)] = (field, tuple(jump * Fraction(was, now) for jump, was, now in sides))

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        before = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor) and id(leaf) in self.known]
        if self.axes and before:
            after = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            for tensor in after:
                self.known[id(tensor)] = self._step(function._schema.name.split("::")[1], args, before, tensor)
                self.kept.append(tensor)
        return output

    def _step(
        self, name: str, args: tuple[Any, ...], before: list[Tensor], after: Tensor
    ) -> tuple[Extent, tuple[Fraction, ...]]:
        """r and j of the output of one operation."""
        all_fields, all_jumps = zip(*(self.known[id(tensor)] for tensor in before), strict=True)
        if any(field is None for field in all_fields) or after.ndim != self.axes + 2:
            return None, ()
        fields = tuple(map(max, zip(*all_fields, strict=True)))
        jumps = tuple(map(max, zip(*all_jumps, strict=True)))
        window = self._window(name, args)
        if window:
            self.windows = True
            size, stride, dilation, transposed = window
            if transposed:
                # ⌈f/s⌉ input values contribute to an output value, each j·s away from the next
                jumps = tuple(j / s for j, s in zip(jumps, stride, strict=True))
                reach = [(-(-f // s) - 1) * s for f, s in zip(size, stride, strict=True)]
                return tuple(r + w * j for r, w, j in zip(fields, reach, jumps, strict=True)), jumps
            fields = tuple(r + d * (f - 1) * j for r, d, f, j in zip(fields, dilation, size, jumps, strict=True))
            return fields, tuple(j * s for j, s in zip(jumps, stride, strict=True))
        was, now = before[0].shape[2:], after.shape[2:]
        if was != now and "upsample" in name:
            jumps = tuple(j * Fraction(a, b) for j, a, b in zip(jumps, was, now, strict=True))
            if "nearest" not in name:  # interpolation mixes two neighbours
                fields = tuple(r + j * Fraction(b, a) for r, j, a, b in zip(fields, jumps, was, now, strict=True))
        elif was != now and (
            "mean" in name or "adaptive" in name or "view" in name or "reshape" in name or "permute" in name
        ):
            return None, ()  # pooled or mixed over the whole axis
        return fields, jumps

    def _window(self, name: str, args: tuple[Any, ...]) -> tuple[list[int], list[int], list[int], bool] | None:
        """Size, stride and dilation of a sliding window along each axis, and whether it is transposed."""

        def per_axis(value: Any, default: Any = 1) -> list[int]:
            numbers = list(value) if isinstance(value, (list, tuple)) else [value]
            numbers = numbers or ([default] if isinstance(default, int) else list(default))
            return numbers * self.axes if len(numbers) == 1 else numbers

        # the positions of the arguments are those of ATen's native_functions.yaml
        if name == "convolution":
            return [*args[1].shape[2:]], per_axis(args[3]), per_axis(args[5]), bool(args[6])
        if name.startswith(("max_pool", "avg_pool")):
            size = per_axis(args[1])
            stride = per_axis(args[2], size) if len(args) > 2 else size
            dilation = per_axis(args[4]) if name.startswith("max_pool") and len(args) > 4 else per_axis(1)
            return size, stride, dilation, False
        return None


def _is_leaf(layer: nn.Module) -> bool:
    return next(layer.children(), None) is None


def _first(value: Any) -> Tensor | None:
    return next((leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)), None)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to eval mode, and back to each layer's own mode afterwards."""
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
