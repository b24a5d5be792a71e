# SPDX-License-Identifier: Apache-2.0
"""The batches of a training: images decoded once, shuffled in every epoch, divided among processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pellucid.data.batches import Store, Way, store
from pellucid.data.dataset import Batch, Split
from pellucid.data.draws import Draws, mix
from pellucid.data.parts import Parts, in_parts
from pellucid.tasks import ReadsPages
from pellucid.training.plan import Plan

__all__ = ["Feed"]


class Feed:
    """The images of a plan, decoded at its size. A batch depends only on the seed and the step.

    >>> feed = Feed(Plan.of("classify", "digits", "mlp", {"batch_size": 4, "device": "cpu"}))
    >>> batch, draws = feed.batch(step=0)
    >>> batch.images.shape, len(draws)
    (torch.Size([4, 1, 8, 8]), 4)
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))  # of the latest epoch
        fit: Way = "middle" if plan.task.crops else plan.task.fitting
        if isinstance(plan.task, ReadsPages):
            fit = "letter"  # a letter keeps its shape, as one that is cut out of a page does
        channels, fingerprint, deep = plan.dataset.channels, plan.dataset.fingerprint, plan.task.restores
        part = plan.recipe.part
        self.train: Store = store(
            plan.train,
            plan.size,
            channels,
            fit=fit,
            deep=deep,
            fingerprint=f"{fingerprint}-train{part}{_cut(plan.train)}",
        )
        val = plan.dataset.splits["val"]
        val = in_parts(val, plan.size) if isinstance(plan.train.images, Parts) else val
        self.val: Store | None = (
            store(val, plan.size, channels, fit=fit, deep=deep, fingerprint=f"{fingerprint}-val{_cut(val)}")
            if len(val)
            else None
        )

    def order(self, epoch: int) -> Tensor:
        """The order of the training images in an epoch, (N,) int64."""
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self._plan.recipe.seed, 2, epoch))
            self._order = epoch, torch.randperm(len(self.train), generator=generator)
        return self._order[1]

    def batch(self, step: int) -> tuple[Batch, Draws]:
        """This process's rows of a step's global batch, with the random numbers that a single process would draw for them."""
        plan, device = self._plan, self._plan.accelerator.device
        epoch, place = divmod(step, plan.steps_per_epoch)
        index = self.order(epoch)[place * plan.global_batch :][: plan.global_batch]
        draws = Draws.step(plan.recipe.seed, step, plan.rows, len(index), device)
        return self.train.batch(index[plan.rows], device), draws

    @contextmanager
    def replaying(self, batch: Batch) -> Iterator[None]:
        """A frozen backbone computes what it sees; see `Remembered`."""
        yield

    def once(self) -> Iterator[Batch]:
        """All training images once, in the order of the split."""
        return self.train.batches(self._plan.global_batch, self._plan.accelerator.device)

    def validation(self) -> Iterator[Batch] | None:
        """The validation images; None where there are none. Of several processes, each has whole batches of its own."""
        if self.val is None:
            return None
        processes = self._plan.accelerator
        own = range(processes.process_index, self.validation_batches, processes.num_processes)
        return self.val.batches(self._plan.recipe.batch_size, processes.device, own)

    @property
    def validation_batches(self) -> int:
        """Batches of validation images, over all processes."""
        return -(-len(self.val or ()) // self._plan.recipe.batch_size)


def _cut(split: Split) -> str:
    """What tells parts of images from their middles in the cache."""
    return f"-parts{len(split)}" if isinstance(split.images, Parts) else ""
