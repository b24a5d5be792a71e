# SPDX-License-Identifier: Apache-2.0
"""The moments at which sizes are measured: before a training, in the course of one, and after it."""

from __future__ import annotations

import copy
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

from pellucid.errors import UsageError
from pellucid.lenses._contract import Labelled, Subject, Trial
from pellucid.lenses.flow.sizes import Profile, measured, prepared

__all__ = ["Course", "Moment", "Question", "followed", "question"]

_PROBED = 2  # images by which the memory that one takes is measured
_NEEDED = 3  # times what the graph keeps: gradients, and what is in the making


@final
@dataclass(frozen=True)
class Moment:
    """The sizes in a model at one time, and what the next step of its training changed."""

    name: str
    step: int | None  # None where no training was followed
    profile: Profile
    update: NDArray[np.float64] | None = None  # by layer: the size of a step's change over that of the weights


@final
@dataclass(frozen=True)
class Course:
    """Moments of a training that was followed, and its loss before every step."""

    moments: tuple[Moment, ...]
    losses: NDArray[np.float64]


@final
@dataclass(frozen=True)
class Question:
    """On which images sizes are measured, and by which loss."""

    batches: Sequence[Labelled]
    loss: Callable[[nn.Module, Any], Tensor]
    drawn: bool  # whether the classes were drawn, since none are known
    seed: int

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(map(len, self.batches))

    def of(self, model: nn.Module) -> Profile:
        """The sizes in a model, measured on a copy."""
        with _several(self.images):
            return measured(prepared(copy.deepcopy(model)), self.batches, self.loss, self.seed)


def question(subject: Subject, limit: int) -> Question:
    """Training images with the task's loss, or images alone with the cross-entropy of classes that are drawn.

    Raises:
        UsageError: there is no model, no image, or nothing that could be a loss.
    """
    if subject.model is None:
        raise UsageError("lens='flow': needs a model; look at a run, a task or a torch model.")
    if subject.batches is not None and subject.loss is not None:
        [first] = [batch for _, batch in zip(range(1), subject.batches("train", _PROBED, _PROBED), strict=False)]
        size = subject.room(_bytes(subject.model, first, subject.loss), _PROBED, limit)
        batches = list(subject.batches("train", size, limit))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # a batch of one has no statistics of its own
        return Question(batches, subject.loss, False, subject.seed)
    if subject.images is None or not len(subject.images):
        raise UsageError("lens='flow': needs images to send through the model; name some, or look at a run or a task.")
    with torch.no_grad():
        shares = subject.probabilities(subject.model(subject.images[0][None].to(subject.device)))
    if shares is None:
        raise UsageError("lens='flow': needs a loss, and this model's answer is no vector of classes; look at a run.")
    groups = list(_grouped(subject, shares.shape[1], min(limit, len(subject.images))))
    probe = _cut(groups[0], 0, _PROBED)
    size = subject.room(_bytes(subject.model, probe, _drawn), _PROBED, limit)
    parts = [_cut(group, at, size) for group in groups for at in range(0, len(group), size)]
    return Question(parts, _drawn, True, subject.seed)


def followed(trial: Trial, steps: int, moments: int, asked: Question, track: Callable[..., Any]) -> Course:
    """Take steps of a training, with sizes at moments evenly spread over them, the first before all and the last after.

    The learning rate rises over the first quarter to the training's own and stays there. A loss that is no longer finite ends
    it, and is the last moment.
    """
    places = sorted({round(k * steps / (moments - 1)) for k in range(moments)})
    found: list[Moment] = []
    losses: list[float] = []
    pairs: dict[str, Any] = {}
    for step in track(range(steps), "training"):
        profile = asked.of(trial.model) if step in places else None
        before = _weights(trial.model)
        losses.append(trial.step(trial.rate * min(1.0, (step + 1) / max(1.0, steps / 4))))
        pairs = {"before": before, "after": _weights(trial.model)} if profile or step == steps - 1 else {}
        if profile is not None:
            found.append(Moment(f"step {step}", step, profile, _update(profile, **pairs)))
        if not math.isfinite(losses[-1]):
            break
    last = asked.of(trial.model)
    # of the last moment the step before is known, and not the one after
    found.append(Moment(f"step {len(losses)}", len(losses), last, _update(last, **pairs) if pairs else None))
    return Course(tuple(found), np.array(losses))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if name.endswith("weight")}


def _update(profile: Profile, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """By layer: the root mean square of the weights' change over that of the weights, NaN where they are not known by name."""
    found = []
    for name in profile.names:
        key = f"{name.partition(' ')[0]}.weight"
        if key not in before:
            found.append(float("nan"))
            continue
        size = float(before[key].double().square().mean().sqrt())
        change = float((after[key].double() - before[key].double()).square().mean().sqrt())
        found.append(change / size if size else float("nan"))
    return np.array(found)


def _bytes(model: nn.Module, batch: Labelled, loss: Callable[[nn.Module, Any], Tensor]) -> float:
    """What a pass forwards and back takes for each image."""
    kept = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal kept
        if not isinstance(tensor, nn.Parameter):
            kept += tensor.numel() * tensor.element_size()
        return tensor

    noting = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), noting, _several(len(batch)):
        loss(prepared(copy.deepcopy(model)), batch)
    return _NEEDED * kept / len(batch)


@contextmanager
def _several(images: int) -> Iterator[None]:
    """Say in a sentence what torch says of a batch norm that has nothing to take a mean over."""
    try:
        yield
    except ValueError as fault:
        if "more than 1 value per channel" not in str(fault):
            raise
        raise UsageError(
            f"images={images}: batch norm takes the statistics of several here; give more images."
        ) from fault


def _drawn(model: nn.Module, batch: Labelled) -> Tensor:
    return F.cross_entropy(model(batch.images).float(), batch.target)


def _grouped(subject: Subject, classes: int, count: int) -> Iterator[Labelled]:
    """Images of one size together, each with a class that is drawn."""
    assert subject.images is not None
    drawn = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(subject.seed))
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in range(count):
        groups.setdefault(tuple(subject.images[place].shape), []).append(place)
    for places in groups.values():
        images = torch.stack([subject.images[place] for place in places]).to(subject.device)  # (B, C, H, W)
        index = torch.tensor(places)
        yield Labelled(images, None, [subject.name(place) for place in places], index, drawn[index].to(subject.device))


def _cut(batch: Labelled, start: int, count: int) -> Labelled:
    part = slice(start, start + count)
    return Labelled(batch.images[part], None, batch.names[part], batch.index[part], batch.target[part])
