# SPDX-License-Identifier: Apache-2.0
"""The gradients of several processes, averaged by hand after each backward pass: the same way for one player and for several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch import distributed as group

__all__ = ["average"]

_BUCKET = 1 << 23  # numbers that are sent at a time


def average(parameters: Iterable[Tensor], losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each parameter the mean of its gradients over all processes; returns the mean losses.

    A gradient that one process lacks counts as 0, and one that all lack stays missing: an optimiser leaves such a parameter
    alone. Since the losses are those of all, one that is not finite stops all processes at the same step.
    """
    own = [parameter for parameter in parameters if parameter.requires_grad]
    processes = group.get_world_size()
    device = next(iter(losses.values())).device
    there = torch.tensor([float(parameter.grad is not None) for parameter in own], device=device)
    told = torch.cat([torch.stack([value.detach().float() for value in losses.values()]), there])
    group.all_reduce(told)
    means, counts = told[: len(losses)] / processes, told[len(losses) :].tolist()
    moved = [parameter for parameter, count in zip(own, counts, strict=True) if count]
    sent = []
    for bucket in _buckets(moved):
        flat = torch.cat([_slope(parameter).reshape(-1) for parameter in bucket])
        sent.append((bucket, flat, group.all_reduce(flat, async_op=True)))
    for bucket, flat, work in sent:
        if work is not None:
            work.wait()
        flat /= processes
        for parameter, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(
                part.view(parameter.shape)
            )  # in its own layout: a fused optimiser reads memory in order
    return dict(zip(losses, means.unbind(), strict=True))


def _slope(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of one type, so many at a time that a message is neither small nor large."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        if bucket and (
            bucket[0].dtype != parameter.dtype or sum(each.numel() for each in bucket) + parameter.numel() > _BUCKET
        ):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
