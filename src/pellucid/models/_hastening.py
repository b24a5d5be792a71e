# SPDX-License-Identifier: Apache-2.0
"""A trained model made faster for answers alone: batch norm folded into the convolutions before it, weights in the faster layout."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["convolves", "folded", "gains_from_channels_last", "hastened"]

_TOLERANCE = 1e-4  # of an answer's largest value: sums in another order differ by about 1e-6


@runtime_checkable
class _NormsSums(Protocol):
    """A module in which a batch norm takes the sum of convolutions, with nothing between but what keeps constants."""

    @property
    def normed_sums(self) -> Sequence[tuple[Sequence[str], str]]:
        """The names of the convolutions, and of the batch norm."""


def hastened(
    model: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    fold: bool = True,
    channels_last: bool | None = None,
) -> nn.Module:
    """A copy of a model, on a device, that gives the same answers up to rounding in less time.

    Batch norm costs as much time as a small convolution, and on many processors convolutions are faster where the channels of a
    pixel lie side by side.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> hastened(model, (1, 8, 8), torch.device("cpu"))
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )

    Args:
        model: in eval mode; it stays as it is.
        shape: (C, H, W) of an image that it takes.
        device: of the copy.
        fold: batch norm too. One image cannot show that a forward pass of unknown code takes the same way for all of them.
        channels_last: the layout; by default channels-last where the processor's instructions speak for it.
    """
    model = model.to(device)
    quick = folded(model, shape) if fold else model
    last = gains_from_channels_last(device) if channels_last is None else channels_last
    if convolves(quick) and last:
        quick = quick if quick is not model else copy.deepcopy(model)
        quick = quick.to(memory_format=torch.channels_last)
    return quick


@torch.no_grad()
def folded(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy of a model whose batch norms with stored statistics are part of the convolutions before them.

    With y = (W·x + b − μ)/√(σ² + ε)·γ + β, the weights become W·γ/√(σ² + ε), and the bias (b − μ)·γ/√(σ² + ε) + β (Jacob et al. 2018,
    section 3.2). An image of noise shows which batch norm takes the output of which convolution, and that the copy's answer is that
    of the model. Where it is not, because a convolution's output is used elsewhere too, the model itself comes back; so it does where
    nothing can be folded. Statistics of the batch, as in training, cannot be folded.

    Args:
        model: in eval mode; it stays as it is.
        shape: (C, H, W) of an image that it takes.
    """
    if not any(_foldable(module) for module in model.modules()):
        return model
    some = next(value for value in (*model.parameters(), *model.buffers()) if value.is_floating_point())
    image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).to(some)
    try:
        pairs, wanted = _pairs(model, image)
    except Exception:  # a model that takes other images will fail where it is used, in its own words
        return model
    if not pairs:
        return model
    copied = copy.deepcopy(model)
    for convolutions, norm in pairs:
        for number, convolution in enumerate(convolutions):
            _fold(copied.get_submodule(convolution), copied.get_submodule(norm), shifts=number == 0)
        owner, _, name = norm.rpartition(".")
        setattr(copied.get_submodule(owner), name, _behind(copied.get_submodule(norm)))
    return copied if _equal(wanted, list(_tensors(copied(image * 1)))) else model


def convolves(model: nn.Module) -> bool:
    """Whether a model has 2-D convolutions, which can gain from channels_last and bf16."""
    return any(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in model.modules())


def gains_from_channels_last(device: torch.device) -> bool:
    """Whether convolutions on a device are faster in channels_last: with AVX2 alone large images take up to 2.3 × as long."""
    # processors with AMX have AVX-512 too
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def _foldable(module: nn.Module) -> bool:
    """A batch norm that uses stored statistics; timm's class adds an activation behind it."""
    known = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
    return known and not module.training and module.running_mean is not None


def _pairs(model: nn.Module, image: Tensor) -> tuple[list[tuple[Sequence[str], str]], list[Tensor]]:
    """The names of convolutions and of the batch norms that take their output, or their sum, and the model's answer."""
    # tensors are kept, so that no other takes one's place in memory; their version tells whether they were changed in place
    outputs: list[tuple[str, Tensor, int]] = []
    inputs: list[tuple[str, Tensor, int]] = []

    def note(into: list[tuple[str, Tensor, int]], name: str, tensor: Tensor) -> None:
        into.append((name, tensor, tensor._version))

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and "weight" in module._parameters:
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: note(outputs, name, out)))
        elif _foldable(module):
            hooks.append(module.register_forward_pre_hook(lambda _, given, name=name: note(inputs, name, given[0])))
    try:
        wanted = list(_tensors(model(image * 1)))  # · 1: a model may write into its input
    finally:
        for hook in hooks:
            hook.remove()
    owners = {(id(output), version): name for name, output, version in outputs}
    calls = Counter(name for name, _, _ in (*outputs, *inputs))
    pairs = [(owners[id(given), version], norm) for norm, given, version in inputs if (id(given), version) in owners]
    shared = Counter(convolution for convolution, _ in pairs)
    once: list[tuple[Sequence[str], str]] = [
        ((own,), norm) for own, norm in pairs if calls[own] == calls[norm] == shared[own] == 1
    ]
    for place, module in model.named_modules():
        before = f"{place}." if place else ""
        for convolutions, norm in module.normed_sums if isinstance(module, _NormsSums) else ():
            names = [before + name for name in (*convolutions, norm)]
            if all(calls[name] == 1 for name in names):
                once.append((names[:-1], names[-1]))
    return once, wanted


def _fold(convolution: Any, norm: Any, shifts: bool) -> None:
    """Put a batch norm into a convolution, in float64; of several whose sum it takes, one shifts and all are scaled."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()  # (C,)
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    shift = shift if norm.bias is None else shift + norm.bias.double()
    shift = shift if shifts else torch.zeros_like(shift)
    weight = convolution.weight.double()
    if isinstance(convolution, nn.ConvTranspose2d):  # (inputs, outputs/groups, h, w): the channels of a group lie apart
        groups = convolution.groups
        parts = weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, 1, 1)
        weight = parts.flatten(0, 1)
    else:
        weight = weight * scale[:, None, None, None]
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    kind = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.to(kind), requires_grad=False)
    if shifts or convolution.bias is not None:
        convolution.bias = nn.Parameter(shift.to(kind), requires_grad=False)


def _behind(norm: Any) -> nn.Module:
    """What a batch norm does beside normalising: timm's has a dropout and an activation."""
    parts = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    left = [part for part in parts if not isinstance(part, nn.Identity)]
    return nn.Sequential(*left).eval() if len(left) > 1 else left[0] if left else nn.Identity()


def _tensors(output: Any) -> Iterator[Tensor]:
    """The floating-point tensors of an answer, which may have several parts."""
    for part in pytree.tree_leaves(output):
        if isinstance(part, Tensor):
            if part.is_floating_point():
                yield part
        elif hasattr(part, "__dict__"):
            yield from (own for value in vars(part).values() for own in _tensors(value))


def _equal(wanted: list[Tensor], got: list[Tensor]) -> bool:
    """Whether two answers are the same up to rounding."""
    return len(wanted) == len(got) and all(
        one.shape == other.shape
        and torch.allclose(
            one, other, rtol=0, atol=_TOLERANCE * max(float(one.abs().max()) if one.numel() else 0, 1e-6)
        )
        for one, other in zip(wanted, got, strict=True)
    )
