# SPDX-License-Identifier: Apache-2.0
"""Several processes that take a training step together, each with its own rows of one batch: what a loss needs of the others.

A loss that is a mean over the images needs nothing: the mean of the processes' gradients is that of the whole batch. One that
divides by a sum over the batch, or compares its images with each other, is computed of the whole batch in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import torch
from torch import Tensor
from torch import distributed as group

__all__ = ["averaged", "before", "gathered", "largest", "overall", "place", "sharing", "whole"]

_SHARED: ContextVar[bool] = ContextVar("shared", default=False)


@contextmanager
def sharing() -> Iterator[None]:
    """Within the block, the batch of this process is a part of one over all processes, and each of them does the same."""
    token = _SHARED.set(True)
    try:
        yield
    finally:
        _SHARED.reset(token)


def whole() -> bool:
    """Whether this process has the whole batch, as it has outside of shared steps.

    >>> whole()
    True
    """
    return not _SHARED.get()


def gathered(rows: Tensor) -> Tensor:
    """The rows (B, …) of all processes in their order, (P·B, …), through which gradients pass; B is equal in all of them.

    >>> gathered(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if whole():
        return rows
    made: Tensor = _Gather.apply(rows)
    return made


def averaged(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, through which gradients pass.

    >>> averaged(torch.tensor(2.0))
    tensor(2.)
    """
    if whole():
        return value
    made: Tensor = _Mean.apply(value)
    return made


def overall(number: int) -> int:
    """So many of this process's as a number over all processes, of which each has as many.

    >>> overall(8)
    8
    """
    return number if whole() else number * group.get_world_size()


def place(rows: int) -> int:
    """The position of this process's first row in the whole batch, of which each process has so many rows.

    >>> place(8)
    0
    """
    return 0 if whole() else rows * group.get_rank()


def largest(*numbers: int, device: torch.device | str = "cpu") -> tuple[int, ...]:
    """The largest of each of these numbers over all processes.

    >>> largest(3, 4)
    (3, 4)
    """
    if whole():
        return numbers
    found = torch.tensor(numbers, device=device)
    group.all_reduce(found, group.ReduceOp.MAX)
    return tuple(found.tolist())


def before(rows: Tensor) -> Tensor:
    """The row that comes before each of these (B, …) in the whole batch; before its first comes its last.

    >>> before(torch.tensor([1, 2, 3]))
    tensor([3, 1, 2])
    """
    rolled = rows.roll(1, 0)
    if whole() or not len(rows):
        return rolled
    last = gathered(rows[-1:])  # (P, …)
    return torch.cat([last[group.get_rank() - 1][None], rolled[1:]])


@final
class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(group.get_world_size())]
        group.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> Tensor:  # every process's loss depends on these rows
        slope = slopes[0].clone(memory_format=torch.contiguous_format)
        group.all_reduce(slope)
        return slope.chunk(group.get_world_size())[group.get_rank()]


@final
class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _mean(value)

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> Tensor:
        return _mean(slopes[0])


def _mean(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    group.all_reduce(total)
    return total / group.get_world_size()
