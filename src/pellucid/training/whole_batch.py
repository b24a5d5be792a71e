# SPDX-License-Identifier: Apache-2.0
"""A step of several processes that computes what one process would of the whole batch: its random numbers, its batch norm.

Torch's generator starts each step alike in all processes. Where a model, a loss or a user's function draws a row of numbers for
each image, the rows of the whole batch are drawn, and this process keeps its own; dropout and batch norm are treated in the same
way. So the results agree with those of one process up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pellucid._processes import gathered, sharing

__all__ = ["whole_batch"]

_SHAPED = {torch.rand, torch.randn, torch.randint}
_LIKE = {torch.rand_like, torch.randn_like}
_FILLING = {Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.exponential_}
_DROPOUT = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}


@contextmanager
def whole_batch(rows: slice, total: int) -> Iterator[None]:
    """Within the block, all processes take a step together.

    Args:
        rows: of the whole batch, this process's.
        total: images in the whole batch.
    """
    images = len(range(*rows.indices(total)))
    if images == total:
        yield
        return
    with sharing(), _WholeBatch(rows, images, total // images):
        yield


@final
class _WholeBatch(TorchFunctionMode):
    def __init__(self, rows: slice, images: int, processes: int) -> None:
        super().__init__()
        self._images, self._processes = images, processes
        # every P-th row, from the process's own number on; or its own run of rows
        self._every: int = rows.step or 0
        self._start: int = rows.start if rows.step else rows.start // images

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        if func is F.batch_norm:
            return _batch_norm(*args, **given)
        if given.get("generator") is None:
            if func in _SHAPED:
                return self._shaped(func, args, given)
            if func in _LIKE and self._of_images(args[0].shape):
                return self._own(func(self._larger(args[0]), *args[1:], **given))
            if func in _FILLING and self._of_images(args[0].shape):
                return args[0].copy_(self._own(func(self._larger(args[0]), *args[1:], **given)))
            if func in _DROPOUT:
                return self._dropout(func, *args, **given)
        return func(*args, **given)

    def _of_images(self, shape: torch.Size) -> bool:
        """Whether numbers of this shape are rows of the batch; where several players divide a batch, any are."""
        return bool(len(shape)) and shape[0] > 0 and (self._every > 0 or shape[0] % self._images == 0)

    def _own(self, rows: Tensor) -> Tensor:
        """This process's rows."""
        if self._every:
            return rows[self._start :: self._every]
        count = len(rows) // self._processes
        return rows[self._start * count : (self._start + 1) * count]

    def _larger(self, rows: Tensor) -> Tensor:
        """Room for the rows of the whole batch, in the same layout: numbers are drawn in the order of memory."""
        images = rows.ndim == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if images else torch.contiguous_format
        shape = (self._processes * len(rows), *rows.shape[1:])
        return torch.empty(shape, dtype=rows.dtype, device=rows.device, memory_format=layout)

    def _shaped(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        shape = func(*args, **{**given, "device": "meta"}).shape  # draws nothing
        if not self._of_images(shape):
            return func(*args, **given)
        bounds = [value for value in args if isinstance(value, int)] if func is torch.randint else []
        larger = (self._processes * shape[0], *shape[1:])
        return self._own(func(*bounds, larger, **{name: value for name, value in given.items() if name != "size"}))

    def _dropout(
        self, func: Callable[..., Tensor], input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0 or not self._of_images(input.shape):
            return func(input, p, training, inplace)
        return input * self._own(func(self._larger(input.detach()).fill_(1), p, True, False))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm by the mean and the variance of the whole batch (Ioffe & Szegedy 2015, alg. 1)."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    axes = [axis for axis in range(input.ndim) if axis != 1]
    number = math.prod(input.shape[axis] for axis in axes)  # of values in each channel, equal in all processes
    with torch.autocast(input.device.type, enabled=False):
        values = input.float()
        spread, middle = torch.var_mean(values, axes, correction=0)  # (C,) each
        told = gathered(torch.stack([middle, spread])[None])  # (P, 2, C)
        mean = told[:, 0].mean(0)
        variance = (told[:, 1] + (told[:, 0] - mean).square()).mean(0)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                all_values = number * len(told)
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_((variance * all_values / max(1, all_values - 1)).to(running_var), momentum)
        scale = torch.rsqrt(variance + eps) if weight is None else weight * torch.rsqrt(variance + eps)
        offset = -mean * scale if bias is None else bias - mean * scale
        shape = (1, -1, *[1] * (input.ndim - 2))
        return torch.addcmul(offset.view(shape), values, scale.view(shape)).to(input.dtype)
