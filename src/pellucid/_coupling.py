# SPDX-License-Identifier: Apache-2.0
"""Does a model answer an image by itself, or does the answer depend on the other images of its batch?

Batch statistics in evaluation, a division by the largest value of the batch, or weights made from its mean let images change each
other's answers. A lens that computes several images at once would then show what no single image has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Coupling", "coupling", "keep", "together"]

_TOLERANCE = 1e-4  # of the largest value: sums in another order differ by less
_FEW = 8  # images that are always answered one by one: as fast as to find out
_HALF = 0.05  # the same for 16-bit numbers


@final
@dataclass(frozen=True)
class Coupling:
    """How much an answer changes with the other images of the batch, and from one call to the next, relative to its size."""

    batch: float = 0.0  # inf: the model takes one image at a time
    repeated: float = 0.0
    limit: float = _TOLERANCE

    @property
    def alone(self) -> bool:
        """Whether images have to be computed one by one."""
        return self.batch > max(self.limit, 2 * self.repeated)

    @property
    def sentence(self) -> str:
        """What was found, in words; empty for a model that answers each image by itself."""
        if self.repeated > self.limit:
            return (
                "The model's answer to the same image changes from call to call "
                f"(by {self.repeated:.2g} of its size): all values here carry this noise."
            )
        if not self.alone:
            return ""
        if self.batch == float("inf"):
            return "The model takes one image at a time, so images are computed one by one."
        return "The model's answer to an image depends on the other images of its batch, so images are computed one by one."


_KEPT: WeakKeyDictionary[nn.Module, Coupling | None] = WeakKeyDictionary()  # None: not measured yet


@torch.no_grad()
def coupling(model: nn.Module, one: Tensor, other: Tensor | None = None) -> Coupling:
    """Compare the answers to two images, each alone, with those in a batch that black, white and noise share.

    >>> class Mixed(nn.Module):
    ...     def forward(self, x): return (x / x.max()).flatten(1)
    >>> image = torch.rand(1, 1, 2, 2)
    >>> coupling(Mixed(), image).alone, coupling(nn.Flatten(), image).alone
    (True, False)

    Args:
        model: in evaluation mode.
        one: (1, C, H, W).
        other: (1, C, H, W), a different image; by default the negative.
    """
    noise = torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
    second = 1 - one if other is None else other
    if torch.equal(one, second):  # an image of one grey
        second = noise.flip(2)
    # one first and the other last, since the first or the last image may be the one that all depend on
    batch = torch.cat([one, torch.ones_like(one), noise, torch.zeros_like(one), second])
    # · 1: a model may write into its input
    with _exactly(one.device):
        alone, again, last = (_numbers(model(image * 1)) for image in (one, one, second))
    small = any(part.dtype in (torch.float16, torch.bfloat16) for part in alone)
    limit, repeated = _HALF if small else _TOLERANCE, _gap(alone, again)
    try:
        with _exactly(one.device):
            together = _numbers(model(batch * 1))
        ends = [[part[at : at + 1] for part in together] for at in (0, len(batch) - 1)]
        whole = all(len(part) == len(batch) for part in together)
    except Exception:  # a model that takes one image at a time fails in its own way
        whole = False
    if not whole:
        return Coupling(float("inf"), repeated, limit)
    return Coupling(max(_gap(alone, ends[0]), _gap(last, ends[1])), repeated, limit)


def together(model: nn.Module, shape: tuple[int, int, int], batch_size: int, count: int) -> int:
    """How many of `count` images (C, H, W) a model answers together: one where they would change each other's answers.

    >>> together(nn.Flatten(), (1, 4, 4), batch_size=64, count=100)
    64
    """
    if count <= (1 if model in _KEPT else _FEW):
        return 1
    found = _KEPT.get(model) or _measured(model, shape)
    if model in _KEPT:
        _KEPT[model] = found
    if found.sentence:
        warnings.warn(found.sentence, stacklevel=3)
    return 1 if found.alone else batch_size


def keep(model: nn.Module) -> None:
    """Ask a model only once, as long as it is in memory: its weights stay as they are."""
    _KEPT.setdefault(model, None)


def _measured(model: nn.Module, shape: tuple[int, int, int]) -> Coupling:
    """The coupling of images of noise (C, H, W)."""
    weight = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    noise = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).to(weight.device)
    mode = model.training
    found = coupling(model.eval(), noise)
    model.train(mode)
    return found


def _exactly(device: torch.device) -> AbstractContextManager[Any]:
    """Convolutions without TF32, whose rounding on GPUs depends on the size of the batch."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, allow_tf32=False
    )
    return flags


def _numbers(output: Any) -> list[Tensor]:
    """The floating-point tensors in an output, with a dimension for the batch; of ranked ones, what they were ranked by."""
    output = getattr(output, "steady", output)  # two scores that are nearly equal change places at the least difference
    return [
        part if part.ndim else part[None]
        for part in pytree.tree_leaves(output)
        if isinstance(part, Tensor) and (part.is_floating_point() or part.is_complex())
    ]


def _gap(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference of two answers, relative to the largest value of each part."""
    if [part.shape for part in one] != [part.shape for part in other]:
        return float("inf")
    gaps = [0.0]
    for a, b in zip(one, other, strict=True):
        if a.numel():
            difference = torch.where(a.isnan() & b.isnan(), torch.zeros_like(a), a - b).abs().max()
            gaps.append(float(difference.nan_to_num(torch.inf)) / max(float(a.abs().nan_to_num().max()), 1e-12))
    return max(gaps)
