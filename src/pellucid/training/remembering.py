# SPDX-License-Identifier: Apache-2.0
"""Features of a frozen backbone, computed once for all images, and shown to the model in place of the backbone's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import weights
from pellucid.data.batches import Store
from pellucid.data.dataset import Batch
from pellucid.data.disk import Kept, free_disk
from pellucid.data.draws import Draws, mix
from pellucid.errors import UsageError
from pellucid.models import Frozen, Normalize
from pellucid.training.feed import Feed
from pellucid.training.machine import evaluating
from pellucid.training.plan import Plan
from pellucid.training.step import Learner

__all__ = ["check_backbone", "check_variants", "remembered"]

_PURPOSE = 5  # of the random numbers that make variants
_PIXELS = 4 * 224 * 224  # of the images that go through the backbone at a time
_SHARE = 0.25  # of the free memory, or of the free disk, that features may take


def check_backbone(plan: Plan, model: nn.Module) -> None:
    """Refuse variants for a model without one frozen backbone whose features could be kept.

    Raises:
        UsageError: there is none.
    """
    if plan.recipe.variants is not None and _backbone(plan, model) is None:
        raise UsageError(
            f"variants={plan.recipe.variants}: needs a model with one frozen backbone, in one process and not compiled; "
            "leave it out, or add --frozen."
        )


def check_variants(feed: Feed, plan: Plan, model: nn.Module) -> None:
    """Refuse variants where they would have no effect.

    Raises:
        UsageError: the model has no frozen backbone to remember, or nothing random is done to the training images.
    """
    check_backbone(plan, model)
    asked = plan.recipe.variants
    if asked and plan.hooks.augment is not None:
        raise UsageError(
            f"variants={asked}: would keep features of images that augment= has not changed; leave out one of the two."
        )
    if asked and getattr(plan.task, "mixes", False):  # with others of their batch, as classify can
        raise UsageError(
            f"variants={asked}: would keep features of images, which are mixed differently in every batch; leave it out."
        )
    if asked is not None and asked > 1 and not _random(plan, feed.train):
        raise UsageError(
            f"variants={asked}: nothing changes the training images, so all variants would be equal; leave it out."
        )


def remembered(feed: Feed, plan: Plan, learner: Learner, model: nn.Module) -> Feed:
    """The feed with features that are computed once, where the model has one frozen backbone; else the feed as it is.

    The features of validation images are always kept. Those of training images are kept where nothing random is done to
    them, or for as many variants as `variants` says. A compiled model, and several processes, compute them in every step.
    """
    frozen = _backbone(plan, model)
    if frozen is None:
        return feed
    answers = _Answers(plan, learner, model, frozen)
    answers.spare_images(feed.train)
    random, asked = _random(plan, feed.train), plan.recipe.variants
    count = asked if asked is not None else int(not random)
    train = answers.kept(feed.train, "train", count, random) if count else None
    val = answers.kept(feed.val, "val", 1, None) if feed.val is not None else None
    return _Remembered(feed, plan, frozen, train, val, count if random else 0)


def _backbone(plan: Plan, model: nn.Module) -> Frozen | None:
    frozen = [module for module in model.modules() if isinstance(module, Frozen)]
    alone = plan.accelerator.num_processes == 1 and not plan.recipe.compile
    return frozen[0] if len(frozen) == 1 and alone and not frozen[0].several else None


def _random(plan: Plan, store: Store) -> bool:
    """Whether the task draws random numbers for training images."""
    if plan.hooks.augment is not None:
        return True
    batch = store.batch(torch.arange(min(2, len(store))), plan.accelerator.device)
    draws = _draws(plan, batch, 0)
    plan.task.prepare(batch, draws, training=True)
    return draws.used


@final
class _Kept:
    """The features of `count` images, in memory or in a file of the user's cache."""

    def __init__(self, array: NDArray[Any], dtype: torch.dtype, count: int, kept: Kept | None) -> None:
        self._array, self._dtype, self._count, self._kept = array, dtype, count, kept

    def rows(self, index: Tensor, variant: int = 0) -> Tensor:
        """The features of images at these positions."""
        places = index.cpu().numpy() + variant * self._count
        if self._kept is not None:
            self._kept.check(places)
        return torch.from_numpy(self._array[places]).view(self._dtype)


@final
class _Remembered(Feed):
    """A feed whose images a frozen backbone has seen already."""

    def __init__(
        self, feed: Feed, plan: Plan, frozen: Frozen, train: _Kept | None, val: _Kept | None, variants: int
    ) -> None:
        self.__dict__.update(feed.__dict__)
        self._frozen, self._replay, self._features, self._val_features = frozen, frozen.replay, train, val
        self._variants = variants  # 0: nothing random is done to the images
        self._variant = 0  # of the latest batch

    def batch(self, step: int) -> tuple[Batch, Draws]:
        batch, draws = super().batch(step)
        if self._features is not None and self._variants and not self._frozen.thawed:
            self._variant = step // self._plan.steps_per_epoch % self._variants
            draws = _draws(self._plan, batch, self._variant)  # what is done to an image is done to its truth
        return batch, draws

    @contextmanager
    def replaying(self, batch: Batch) -> Iterator[None]:
        """While the model sees this batch, its frozen backbone gives the features that are kept."""
        if self._features is None or self._frozen.thawed:  # once trained, a backbone answers otherwise
            yield
            return
        self._replay.features = self._features.rows(batch.index, self._variant).to(batch.images.device)
        try:
            yield
        finally:
            self._replay.features = None

    def validation(self) -> Iterator[Batch] | None:
        batches = super().validation()
        if batches is None or self._val_features is None or self._frozen.thawed:
            return batches
        return self._shown(batches, self._val_features)

    def _shown(self, batches: Iterator[Batch], features: _Kept) -> Iterator[Batch]:
        for batch in batches:
            self._replay.features = features.rows(batch.index).to(batch.images.device)
            try:
                yield batch
            finally:
                self._replay.features = None


@final
class _Answers:
    """What a frozen backbone answers to images as a task prepares them."""

    def __init__(self, plan: Plan, learner: Learner, model: nn.Module, frozen: Frozen) -> None:
        self.plan, self.learner, self.model, self.frozen = plan, learner, model, frozen

    def kept(self, store: Store, part: str, variants: int, random: bool | None) -> _Kept | None:
        """The features of a split's images; None where neither memory nor disk has room for them.

        Args:
            store: the images.
            part: the split's name.
            variants: how many of each image.
            random: whether something random is done to them; None for images in validation.
        """
        if not len(store):
            return None
        first = self._features(store, range(1), 0, random is not None)
        dtype, held = first.dtype, _numbers(first)
        shape = (variants * len(store), *held.shape[1:])
        needed = int(np.prod(shape, dtype=np.int64)) * held.dtype.itemsize

        def fill(into: NDArray[Any], start: int) -> None:
            row, end = start, start + len(into)
            while row < end:
                variant, place = divmod(row, len(store))
                stop = min(place + self.plan.recipe.batch_size, len(store), place + end - row)
                features = self._features(store, range(place, stop), variant, random is not None)
                into[row - start : row - start + len(features)] = _numbers(features)
                row += len(features)

        plan = self.plan
        if plan.dataset.fingerprint and needed <= _SHARE * free_disk():
            # another processor, or another precision, gives slightly other numbers
            machine = [
                torch.__version__,
                torch.backends.cpu.get_cpu_capability(),
                str(dtype),
                str(plan.accelerator.device),
            ]
            made = [plan.settings.task_name, plan.task.options, plan.recipe.seed] if random else []
            limit = plan.recipe.part if part == "train" else ""
            tensors = weights.digest(
                {n: t.detach().cpu() for n, t in self.model.state_dict().items() if self._before_head(n)}
            )
            key = [
                "features 1",
                tensors,
                plan.dataset.fingerprint,
                part,
                limit,
                plan.size,
                plan.task.fitting,
                plan.dataset.cut,
                made,
                variants,
                machine,
            ]
            kept = Kept.made([*key, plan.recipe.batch_size, str(plan.dataset.scale)], shape, held.dtype, fill)
            if kept is not None:
                return _Kept(kept.array, dtype, len(store), kept)
        if needed > _SHARE * psutil.virtual_memory().available:
            return None
        array = np.empty(shape, held.dtype)
        fill(array, 0)
        return _Kept(array, dtype, len(store), None)

    @torch.no_grad()
    def spare_images(self, store: Store) -> None:
        """Leave images as they are while features are shown, if the model's answer then does not depend on them."""
        normalize = self.model.get_submodule("normalize") if hasattr(self.model, "normalize") else None
        if not isinstance(normalize, Normalize) or not len(store):
            return
        batch = store.batch(torch.arange(1), self.plan.accelerator.device)
        draws = Draws.images(self.plan.recipe.seed, batch.index, batch.images.device)
        input, _ = self.plan.task.prepare(batch, draws, training=False)
        if not isinstance(input, Tensor):
            return
        replay = self.frozen.replay
        replay.features = self._features(store, range(1), 0, training=False)
        try:
            with evaluating(self.model), self.learner.autocast():
                seen, unseen = self.model(input), self.model(torch.full_like(input, torch.nan))
        finally:
            replay.features = None
        if isinstance(seen, Tensor) and torch.equal(seen, unseen):
            normalize.replay = replay

    def _before_head(self, name: str) -> bool:
        frozen = next(own for own, module in self.model.named_modules() if module is self.frozen)
        return name.startswith((f"{frozen}.", "normalize."))

    @torch.no_grad()
    def _features(self, store: Store, places: range, variant: int, training: bool) -> Tensor:
        """The backbone's answers to some images, as the model comes to see them in training or in validation."""
        batch = store.batch(torch.arange(places.start, places.stop), self.plan.accelerator.device)
        seed = self.plan.recipe.seed
        draws = _draws(self.plan, batch, variant) if training else Draws.images(seed, batch.index, batch.images.device)
        input, _ = self.plan.task.prepare(batch, draws, training=training)
        if isinstance(input, Tensor):
            input = input.contiguous(memory_format=self.learner.memory_format)
        # the maps of a few images at a time stay in the processor's cache: up to 1.7 × as fast as a whole batch
        few = max(1, _PIXELS // (batch.images.shape[-2] * batch.images.shape[-1]))
        parts = input.split(few) if isinstance(input, Tensor) else [input]
        seen: list[Tensor] = []
        hook = self.frozen.register_forward_hook(lambda module, images, features: seen.append(features))
        try:
            with evaluating(self.model), self.learner.autocast():
                for part in parts:
                    self.model(part)
        finally:
            hook.remove()
        return torch.cat(seen) if len(seen) > 1 else seen[0]


def _draws(plan: Plan, batch: Batch, variant: int) -> Draws:
    return Draws.images(mix(plan.recipe.seed, _PURPOSE, variant), batch.index, batch.images.device)


def _numbers(features: Tensor) -> NDArray[Any]:
    """Features as NumPy holds them: the bits of bf16, which it does not know, as whole numbers."""
    own = features.detach().cpu().contiguous()
    array: NDArray[Any] = (own.view(torch.int16) if own.dtype == torch.bfloat16 else own).numpy()
    return array
