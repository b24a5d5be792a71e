# SPDX-License-Identifier: Apache-2.0
"""A torch module followed once: the sizes its layers give, what a value sees of the input, which parameters take part.

The module is called with tensors that have a size and no contents (device `meta`), so that a large model costs neither memory nor
time, and is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pellucid.errors import DataError

__all__ = ["Call", "Trace", "trace"]

Sees = tuple[Fraction, ...] | None


@dataclass(frozen=True)
class Call:
    """One call of a layer that has no layers inside.

    Args:
        name: of the layer in the module.
        layer: itself.
        given: the shape of its first input.
        output: the shape of its first output.
        sees: the receptive field of one of its values along each axis; None for the whole input, empty where there are no axes.
    """

    name: str
    layer: nn.Module
    given: tuple[int, ...]
    output: tuple[int, ...]
    sees: Sees


@dataclass(frozen=True)
class Trace:
    """What one forward pass shows.

    Args:
        calls: the layers in the order in which they are called; a layer that is called twice stands there twice.
        unused: names of parameters that the output does not depend on.
        macs: multiply–accumulates of all matrix products and convolutions, inside layers or not.
    """

    calls: tuple[Call, ...]
    unused: frozenset[str]
    macs: int


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> Trace:
    """Follow a module once, in eval mode, for inputs of these shapes.

    >>> found = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (torch.zeros(1, 1, 8, 8),))
    >>> [(call.name, call.output) for call in found.calls]
    [('0', (1, 2, 6, 6)), ('1', (1, 2, 6, 6))]

    Raises:
        DataError: the module does not take these inputs.
    """
    given = tuple(each.to("meta") for each in inputs)
    parameters = {name: torch.empty_like(each, device="meta") for name, each in module.named_parameters()}
    for each in parameters.values():
        each.requires_grad_(each.is_floating_point())
    state = parameters | {name: torch.empty_like(each, device="meta") for name, each in module.named_buffers()}
    calls: list[Call] = []
    fields = _Fields(given[0])

    def called(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            before, after = _first(args), _first(output)
            if after is not None:
                shape = tuple(before.shape) if before is not None else ()
                calls.append(Call(name, layer, shape, tuple(after.shape), fields.of(after)))

        return hook

    with _evaluating(module), FlopCounterMode(display=False) as flops:
        handles = [
            layer.register_forward_hook(called(name)) for name, layer in module.named_modules() if _is_leaf(layer)
        ]
        try:
            with torch.no_grad(), fields:
                torch.func.functional_call(module, state, given)
        except Exception as fault:
            shapes = ", ".join(str(tuple(each.shape)) for each in inputs)
            raise DataError(f"inputs={shapes}: the module does not take them ({fault}); give another size.") from fault
        finally:
            for handle in handles:
                handle.remove()
        macs = flops.get_total_flops() // 2
    with _evaluating(module):
        outputs = [
            each for each in tree_leaves(torch.func.functional_call(module, state, given)) if _differentiable(each)
        ]
    learned = [name for name, each in parameters.items() if each.requires_grad]
    slopes = (
        torch.autograd.grad(
            sum(each.sum() for each in outputs), [parameters[name] for name in learned], allow_unused=True
        )
        if outputs and learned
        else [None] * len(learned)
    )
    unused = frozenset(name for name, slope in zip(learned, slopes, strict=True) if slope is None)
    return Trace(tuple(calls), unused, macs)


class _Fields(TorchDispatchMode):
    """The receptive field of every tensor of a forward pass, with the distance between two neighbours in the input."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes = given.ndim - 2 if given.ndim > 2 and given.is_floating_point() else 0
        self.windows = False  # whether a convolution or a pooling was met: without them there is no field to speak of
        self.known: dict[int, tuple[Sees, tuple[Fraction, ...]]] = {}
        self.kept: list[Tensor] = [given]  # an id is a tensor's only while it lives
        self.known[id(given)] = ((Fraction(1),) * self.axes, (Fraction(1),) * self.axes)

    def of(self, tensor: Tensor) -> Sees:
        return self.known.get(id(tensor), (None, ()))[0] if self.axes and self.windows else ()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        before = [each for each in tree_leaves(args) if isinstance(each, Tensor) and id(each) in self.known]
        if self.axes and before:
            after = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
            for each in after:
                self.known[id(each)] = self._step(function._schema.name.split("::")[1], args, before, each)
                self.kept.append(each)
        return output

    def _step(
        self, name: str, args: tuple[Any, ...], before: list[Tensor], after: Tensor
    ) -> tuple[Sees, tuple[Fraction, ...]]:
        all_sees, all_jumps = zip(*(self.known[id(each)] for each in before), strict=True)
        if any(sees is None for sees in all_sees) or after.ndim != self.axes + 2:
            return None, ()
        sees = tuple(map(max, zip(*all_sees, strict=True)))
        jumps = tuple(map(max, zip(*all_jumps, strict=True)))
        window = self._window(name, args, before[0])
        if window:
            self.windows = True
            size, stride, dilation, transposed = window
            if transposed:
                jumps = tuple(j / s for j, s in zip(jumps, stride, strict=True))
                reach = [(-(-f // s) - 1) * s for f, s in zip(size, stride, strict=True)]
                return tuple(r + w * j for r, w, j in zip(sees, reach, jumps, strict=True)), jumps
            sees = tuple(r + d * (f - 1) * j for r, d, f, j in zip(sees, dilation, size, jumps, strict=True))
            return sees, tuple(j * s for j, s in zip(jumps, stride, strict=True))
        was, now = before[0].shape[2:], after.shape[2:]
        if was != now and "upsample" in name:
            jumps = tuple(j * Fraction(a, b) for j, a, b in zip(jumps, was, now, strict=True))
            if "nearest" not in name:  # two neighbours are mixed
                sees = tuple(r + j * Fraction(b, a) for r, j, a, b in zip(sees, jumps, was, now, strict=True))
        elif was != now and (
            "mean" in name or "adaptive" in name or "view" in name or "reshape" in name or "permute" in name
        ):
            return None, ()
        return sees, jumps

    def _window(self, name: str, args: tuple[Any, ...], given: Tensor) -> Any:
        """Size, stride and dilation of a sliding window along each axis, and whether it is transposed."""

        def wide(value: Any, default: Any = 1) -> list[int]:
            found = list(value) if isinstance(value, (list, tuple)) else [value]
            found = found or ([default] if isinstance(default, int) else list(default))
            return found * self.axes if len(found) == 1 else found

        if name == "convolution":
            return [*args[1].shape[2:]], wide(args[3]), wide(args[5]), bool(args[6])
        if name.startswith(("max_pool", "avg_pool")):
            size = wide(args[1])
            stride = wide(args[2], size) if len(args) > 2 else size
            dilation = wide(args[4]) if name.startswith("max_pool") and len(args) > 4 else wide(1)
            return size, stride, dilation, False
        if "adaptive" in name or name == "mean":
            return None
        return None


def _is_leaf(layer: nn.Module) -> bool:
    return next(layer.children(), None) is None


def _first(value: Any) -> Tensor | None:
    return next((each for each in tree_leaves(value) if isinstance(each, Tensor)), None)


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while, each layer's own mode afterwards."""
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
