# SPDX-License-Identifier: Apache-2.0
"""Batch norm's statistics measured again: averaged weights have other ones than those that were trained (Izmailov et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pellucid.data.dataset import Batch

__all__ = ["remeasured", "spread"]


@contextmanager
def remeasured(module: nn.Module) -> Iterator[bool]:
    """Within the block, batch norms keep the mean of the statistics of all that passes through them, and of nothing before.

    Gives whether there are any: without them nothing need pass.

    >>> norm = nn.BatchNorm1d(1)
    >>> with remeasured(norm) as any_there:
    ...     _ = norm(torch.tensor([[1.0], [3.0]])), norm(torch.tensor([[5.0], [7.0]]))
    >>> any_there, norm.running_mean.item(), norm.momentum
    (True, 4.0, 0.1)
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta, mode = [norm.momentum for norm in norms], module.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    module.train()
    try:
        yield bool(norms)
    finally:
        module.train(mode)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def spread(batches: Iterable[Batch], most: int) -> Batch:
    """Between most/2 and most of the images of all batches, at equal distances; all of them where there are no more.

    Their targets are left out.

    >>> batches = [Batch(torch.zeros(4, 1, 1, 1), {}, torch.arange(4 * i, 4 * i + 4)) for i in range(3)]
    >>> spread(batches, 5).index.tolist()
    [0, 4, 8]
    """
    images, index, passed, step = [], [], 0, 1
    for batch in batches:
        for row in range(-passed % step, len(batch.index), step):
            images.append(batch.images[row])
            index.append(batch.index[row])
        passed += len(batch.index)
        while len(index) > most:
            images, index, step = images[::2], index[::2], 2 * step
    return Batch(torch.stack(images), {}, torch.stack(index))
