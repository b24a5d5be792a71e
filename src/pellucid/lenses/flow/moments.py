# SPDX-License-Identifier: Apache-2.0
"""Measuring sizes at moments: before a training, during one, and after it."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.errors import UsageError
from pellucid.lenses._parts import Labelled, Network, Splits, Training, Trial
from pellucid.lenses.flow.sizes import Profile, measured, prepared

__all__ = ["Followed", "Moment", "Probe", "follow", "probe_for", "warmed_up"]

_PROBED = 2  # images by which the memory for one is measured
_NEEDED = 3  # times what the graph keeps: for gradients and intermediate results


@final
@dataclass(frozen=True)
class Moment:
    """The sizes in a model at one time, and how much the next step of its training changed the weights."""

    name: str
    step: int | None  # None if no training was followed
    profile: Profile
    update: NDArray[np.float64] | None = None  # (L,) the size of a step's change over that of the weights


@final
@dataclass(frozen=True)
class Followed:
    """A training that was followed: some moments, and its loss before every step."""

    moments: tuple[Moment, ...]
    losses: NDArray[np.float64]  # (steps,)


@final
@dataclass(frozen=True)
class Probe:
    """The images and the loss by which sizes are measured."""

    batches: Sequence[Labelled]
    loss: Callable[[nn.Module, Any], Tensor]
    drawn: bool  # whether the classes are random, because none are known
    seed: int

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(map(len, self.batches))

    def profile(self, model: nn.Module) -> Profile:
        """The sizes in a model, measured on a copy."""
        with _one_sentence(self.images):
            return measured(prepared(copy.deepcopy(model)), self.batches, self.loss, self.seed)


def probe_for(network: Network, splits: Splits | None, training: Training | None, limit: int) -> Probe:
    """Training images with the task's loss; else the images alone, with the cross-entropy of random classes.

    Raises:
        UsageError: the model's output cannot have a loss.
    """
    if splits is not None and training is not None:
        [first] = [batch for _, batch in zip(range(1), splits.batches("train", _PROBED, _PROBED), strict=False)]
        size = network.room(_bytes(network.model, first, training.loss), _PROBED, limit)
        batches = list(splits.batches("train", size, limit))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # batch norm has no statistics over a single image
        return Probe(batches, training.loss, False, network.seed)
    with torch.no_grad():
        shares = network.probabilities(network.model(network.images[0][None].to(network.device)))
    if shares is None:
        raise UsageError(
            "lens='flow': needs a loss, and this model's output is not a vector of classes; look at a run."
        )
    loss = functools.partial(_random_classes, network)
    groups = list(_of_one_size(network, shares.shape[1], min(limit, len(network.images))))
    size = network.room(_bytes(network.model, _cut(groups[0], 0, _PROBED), loss), _PROBED, limit)
    parts = [_cut(group, at, size) for group in groups for at in range(0, len(group), size)]
    return Probe(parts, loss, True, network.seed)


def warmed_up(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step: it rises over the first quarter of the steps, then stays.

    >>> [warmed_up(0.1, step, 8) for step in (0, 1, 7)]
    [0.05, 0.1, 0.1]
    """
    return rate * min(1.0, (step + 1) / max(1.0, steps / 4))


def follow(trial: Trial, steps: int, moments: int, probe: Probe, track: Callable[..., Any]) -> Followed:
    """Take steps of a training, and measure sizes at moments evenly spread over them, the first and the last included.

    A loss that is no longer finite ends the training, and that is the last moment.
    """
    places = evenly_spread(moments, steps + 1).tolist()
    measured_at: list[Moment] = []
    losses: list[float] = []
    pairs: dict[str, Any] = {}
    for step in track(range(steps), "training"):
        profile = probe.profile(trial.model) if step in places else None
        before = _weights(trial.model)
        losses.append(trial.step(warmed_up(trial.rate, step, steps)))
        pairs = {"before": before, "after": _weights(trial.model)} if profile or step == steps - 1 else {}
        if profile is not None:
            measured_at.append(Moment(f"step {step}", step, profile, _update(profile, **pairs)))
        if not math.isfinite(losses[-1]):
            break
    last = probe.profile(trial.model)
    # no step follows the last moment; its update is that of the step before
    measured_at.append(Moment(f"step {len(losses)}", len(losses), last, _update(last, **pairs) if pairs else None))
    return Followed(tuple(measured_at), np.array(losses))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights by name, without biases and normalisations' offsets."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if name.endswith("weight")}


def _update(profile: Profile, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """(L,): the root mean square of the weights' change over that of the weights, NaN for weights without a name."""
    shares = []
    for name in profile.names:
        key = f"{name.partition(' ')[0]}.weight"  # a second call of a layer is named "NAME (2)"
        if key not in before:
            shares.append(float("nan"))
            continue
        size = float(before[key].double().square().mean().sqrt())
        change = float((after[key].double() - before[key].double()).square().mean().sqrt())
        shares.append(change / size if size else float("nan"))
    return np.array(shares)


def _bytes(model: nn.Module, batch: Labelled, loss: Callable[[nn.Module, Any], Tensor]) -> float:
    """Bytes for each image of a pass forwards and back, by what autograd saves."""
    kept = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal kept
        if not isinstance(tensor, nn.Parameter):
            kept += tensor.numel() * tensor.element_size()
        return tensor

    noting = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), noting, _one_sentence(len(batch)):
        loss(prepared(copy.deepcopy(model)), batch)
    return _NEEDED * kept / len(batch)


@contextmanager
def _one_sentence(images: int) -> Iterator[None]:
    """Turns torch's complaint that a batch norm has a single value into a sentence for users."""
    try:
        yield
    except ValueError as fault:
        if "more than 1 value per channel" not in str(fault):
            raise
        raise UsageError(f"images={images}: too few for the statistics of batch norm; give more images.") from fault


def _random_classes(network: Network, model: nn.Module, batch: Labelled) -> Tensor:
    return F.cross_entropy(network.logits(model(batch.images)), batch.target)


def _of_one_size(network: Network, classes: int, count: int) -> Iterator[Labelled]:
    """Images of one size together, each with a random class."""
    drawn = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(network.seed))
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in range(count):
        groups.setdefault(tuple(network.images[place].shape), []).append(place)
    for places in groups.values():
        images = torch.stack([network.images[place] for place in places]).to(network.device)  # (B, C, H, W)
        index = torch.tensor(places)
        yield Labelled(images, None, [network.name(place) for place in places], index, drawn[index].to(network.device))


def _cut(batch: Labelled, start: int, count: int) -> Labelled:
    part = slice(start, start + count)
    return Labelled(batch.images[part], None, batch.names[part], batch.index[part], batch.target[part])
