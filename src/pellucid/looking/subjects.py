# SPDX-License-Identifier: Apache-2.0
"""From a run, a ready model or a training that has not begun to a `Subject`: what a lens has to look at."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws, mix
from pellucid.data.given import UserImages, gather
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.inference import inputs, run_batches, unit
from pellucid.lenses import Labelled, Subject, Trial
from pellucid.models import _building
from pellucid.run import Run, short_names
from pellucid.tasks import AnyTask, TaskFamily
from pellucid.training.feed import Feed
from pellucid.training.folder import Folder
from pellucid.training.plan import Plan
from pellucid.training.recipe import Recipe
from pellucid.training.state import State
from pellucid.training.step import Learner, take_step

__all__ = ["of_module", "of_run", "of_training", "without_images"]

_EXAMPLES = 6  # test images that are looked at where none are named
_CHUNK = 32  # images that are decoded together


@final
class Later(Sequence[Tensor]):
    """Images (C, H, W) float32 in [0, 1] that are decoded, some at a time, when they are asked for."""

    def __init__(self, count: int, read: Callable[[Sequence[int]], Sequence[Tensor]]) -> None:
        self._count, self._read = count, read
        self._kept: tuple[int, Sequence[Tensor]] = (-1, ())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        at = place + self._count if place < 0 else place
        if not 0 <= at < self._count:
            raise IndexError(place)
        start = at - at % _CHUNK
        if self._kept[0] != start:
            self._kept = start, self._read(range(start, min(start + _CHUNK, self._count)))
        return self._kept[1][at - start]


def of_run(run: Run, images: Any = (), data: str | Path | Dataset | None = None) -> Subject:
    """All that a run has to look at; its model sees the named images, or a few of its own test images."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = run.model().to(device)
    opened = functools.cache(lambda: run.data(data))
    counts: Mapping[str, int] = run.info["data"]["images"]
    if data is not None:
        counts = {part: len(split) for part, split in opened().splits.items()}
    names, shown, faults = _examples(run.task, run, opened()) if nothing(images) else _named(run, gather(images))
    own = without_images(run)
    return dataclasses.replace(
        own,
        model=model,
        images=shown,
        names=names,
        unread=faults,
        evidence=run.task.evidence,
        counts=counts,
        batches=_batches_of(run, opened, device),
        evaluated=own.evaluated if data is None else "",  # the records are of the run's own data
        loss=_loss_of(run.task),
        untrained=_untrained_of(run.info["model"], model),
        trial=lambda **options: _trial_of(run, opened(), options),
    )


def without_images(run: Run) -> Subject:
    """What a run's folder tells without its data and its weights: history, classes and records."""
    return Subject(
        classes=run.classes,
        history=run.history,
        records=run.records(),
        evaluated=str((run.metrics or {}).get("split", "test")),
        metrics=run.metrics or {},
        trained_on=min(run.info["data"]["images"].get("train", 0), run.info["recipe"].get("limit") or 1 << 62),
        runs=lambda folders: _beside(run, folders),
        title=f"{run.info['model']['name']} for {run.info['task']['name']} on {Path(run.info['data']['what']).name}",
        seed=int(run.info["seed"]),
    )


def _beside(run: Run, folders: Sequence[str]) -> list[Subject]:
    """A run and others, each once, by names that tell them apart."""
    opened = {one.path.resolve(): one for one in (run, *map(Run, folders))}
    runs = [*opened.values()]
    return [
        dataclasses.replace(without_images(one), title=name) for one, name in zip(runs, short_names(runs), strict=True)
    ]


def of_module(model: nn.Module, images: Any, size: tuple[int, ...] | None = None) -> Subject:
    """A ready model sees images at the size that it was made for (`model.size`), the middle of them cut; else at their own."""
    asked = size or getattr(model, "size", None)
    wanted = None if asked is None else (int(asked[0]), int(asked[-1]))
    names: list[str] = []
    shown: Sequence[Tensor] | None = None
    faults: Sequence[str] = ()
    if not nothing(images):
        given = gather(images)
        places = sorted([*given.places, *given.floats])
        if not places:
            raise UsageError(next(iter(given.faults.values())))
        names, faults = [given.names[place] for place in places], list(given.faults.values())
        planes = _planes(model)
        row = {place: i for i, place in enumerate(given.places)}

        def read(chunk: Sequence[int]) -> Sequence[Tensor]:
            found = []
            for place in (places[i] for i in chunk):
                if place in row:
                    image = unit(torch.from_numpy(np.array(given.split.images.read(row[place], planes))))
                else:
                    image = _in_planes(given.floats[place], planes)
                found.append(image if wanted is None else middle(image, wanted))
            return found

        shown = Later(len(places), read)
    return Subject(
        model=model,
        images=shown,
        names=names,
        unread=faults,
        classes=getattr(model, "classes", ()),
        untrained=_reset_of(model),
        title=getattr(model, "title", "") or type(model).__name__,
    )


@contextmanager
def of_training(
    task: str | AnyTask | TaskFamily, data: Any, model: str | None, options: Mapping[str, Any], images: Any = ()
) -> Iterator[Subject]:
    """A training that has not begun, in a folder that goes with it: its untrained model on a few of its training images."""
    plan = Plan.of(task, data, model, options)
    state = State.begin(plan)
    with TemporaryDirectory() as temporary:
        folder = Folder(plan, Path(temporary) / "run")
        with folder.open(state):  # it writes the record that a run is read from
            run = Run(folder.path)
        run.__dict__["task"] = plan.task  # the one that has read the data
        plain, dataset, seed = state.model, plan.dataset, plan.recipe.seed
        plain.eval()
        device = next(plain.parameters()).device
        untrained = _untrained_of(run.info["model"], plain)

        def trial(**options: Any) -> Trial:
            own = untrained(seed, **options) if options else copy.deepcopy(plain)
            return _trial(plan, state.feed, own)

        found = _examples(plan.task, run, dataset) if nothing(images) else _named(run, gather(images))
        yield Subject(
            model=plain,
            images=found[1],
            names=found[0],
            unread=found[2],
            classes=run.classes,
            evidence=plan.task.evidence,
            counts={part: len(split) for part, split in dataset.splits.items()},
            batches=_batches_of(run, lambda: dataset, device),
            loss=_loss_of(plan.task),
            untrained=untrained,
            trial=trial,
            title=f"{plan.settings.model} for {plan.settings.task_name} on {dataset.name}",
            seed=seed,
        )


def nothing(images: Any) -> bool:
    """Whether no image was named."""
    return images is None or (isinstance(images, (list, tuple)) and not images)


def middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) to (C, *size): the shorter side brought to size / 0.875, then the middle, as ImageNet models are tested.

    An image of just that size is taken as it is: a picture that was written at the model's size is the same when read back.
    """
    if tuple(image.shape[1:]) == size:
        return image
    scale = max(side / have for side, have in zip(size, image.shape[1:], strict=True)) / 0.875
    tall, wide = (max(side, round(have * scale)) for side, have in zip(size, image.shape[1:], strict=True))
    scaled = F.interpolate(image[None], (tall, wide), mode="bilinear", antialias=True)[0]
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return scaled[:, top : top + size[0], left : left + size[1]]


# -- the images of a run


def _examples(task: AnyTask, run: Run, dataset: Dataset) -> tuple[list[str], list[Tensor], list[str]]:
    """A few images spread over the test split, as evaluation sees them."""
    splits = dataset.splits
    test = next(splits[part] for part in ("test", "val", "train") if len(splits[part]))
    found: dict[int, Tensor] = {}
    for group in _labelled(task, run, test, _EXAMPLES, _EXAMPLES, torch.device("cpu")):
        found |= dict(zip(group.index.tolist(), group.images, strict=True))
    order = sorted(found)
    return [test.names[i] if test.names else f"image_{i}" for i in order], [found[i] for i in order], []


def _named(run: Run, given: UserImages) -> tuple[list[str], Sequence[Tensor], list[str]]:
    places = sorted([*given.places, *given.floats])
    if not places:
        raise UsageError(next(iter(given.faults.values())))
    row = {place: i for i, place in enumerate(given.places)}
    planes = int(run.info["model"]["channels"])

    def read(chunk: Sequence[int]) -> Sequence[Tensor]:
        chosen = [places[i] for i in chunk]
        stored = [place for place in chosen if place in row]
        part = UserImages(
            given.names,
            given.split.select([row[place] for place in stored]),
            stored,
            {place: given.floats[place] for place in chosen if place in given.floats},
        )
        found: dict[int, Tensor] = {}
        for at, batch in inputs(run, part, _CHUNK, torch.device("cpu")):
            if batch.shape[1] != planes:  # the task adds planes of its own, such as a mask
                pixels = (batch * 255).round().to(torch.uint8)
                places_of = torch.tensor(at)
                batch, _ = run.task.prepare(
                    Batch(pixels, {}, places_of), Draws.images(int(run.info["seed"]), places_of), training=False
                )
            found |= dict(zip(at, batch, strict=True))
        return [found[place] for place in chosen]

    return [given.names[place] for place in places], Later(len(places), read), list(given.faults.values())


def _labelled(
    task: AnyTask,
    run: Run,
    split: Split,
    size: int,
    limit: int | None,
    device: torch.device,
    places: Sequence[int] | None = None,
) -> Iterator[Labelled]:
    count = len(split) if limit is None else min(limit, len(split))
    spread = np.linspace(0, len(split) - 1, count).round() if places is None else np.asarray(places)
    chosen = np.unique(spread.astype(np.int64))
    own = torch.from_numpy(chosen)
    fewer = split if len(chosen) == len(split) else split.select(chosen)
    for batch in run_batches(run, fewer, size, device):
        at = own[batch.index]
        draws = Draws.images(int(run.info["seed"]), at, device)
        input, target = task.prepare(Batch(batch.images, batch.targets, at), draws, training=False)
        label = batch.targets.get("label")
        names = [split.names[int(i)] if split.names else f"image_{int(i)}" for i in at]
        yield Labelled(input, label.index if isinstance(label, Label) else None, names, at, target)


def _batches_of(run: Run, opened: Callable[[], Dataset], device: torch.device) -> Any:
    def batches(
        split: str, size: int = 64, limit: int | None = None, places: Sequence[int] | None = None
    ) -> Iterator[Labelled]:
        dataset = opened()
        if split not in dataset.splits or not len(dataset.splits[split]):
            raise UsageError(f"split={split!r}: of data={dataset.name!r} is empty; choose another split or other data.")
        return _labelled(run.task, run, dataset.splits[split], size, limit, device, places)

    return batches


def _loss_of(task: AnyTask) -> Callable[[nn.Module, Labelled], Tensor]:
    return lambda model, batch: task.loss(model, batch.images, batch.target)["loss"]


# -- models that are not trained yet


def _untrained_of(description: Mapping[str, Any], model: nn.Module) -> Callable[..., nn.Module]:
    """The described model with the weights that a training with this seed starts from, and the images' statistics."""

    def build(seed: int = 0, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(seed, 0))  # as a session does
            made: nn.Module = _building.build({**description, "options": {**description["options"], **options}})
        known = getattr(model, "normalize", None)
        if isinstance(known, nn.Module):
            made.normalize.load_state_dict(known.state_dict())  # type: ignore[union-attr]
        device = next(iter(model.parameters()), torch.zeros(())).device
        return made.to(device).eval()

    return build


def _reset_of(model: nn.Module) -> Callable[..., nn.Module]:
    """A copy of a model whose every layer draws its weights anew, in the way that its own class does."""

    def build(seed: int = 0, **options: Any) -> nn.Module:
        if options:
            raise UsageError(
                f"{next(iter(options))}={next(iter(options.values()))!r}: a ready model has no options; look at a run or a task."
            )
        made = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part in made.modules():
                reset = getattr(part, "reset_parameters", None)
                if callable(reset):
                    reset()
        return made.eval()

    return build


def _trial(plan: Plan, feed: Feed, model: nn.Module) -> Trial:
    """The training's own steps on this model, with a learning rate of the caller's choice."""
    learner = Learner(plan, model.train())
    steps = itertools.count()

    def step(rate: float) -> float:
        at = next(steps)
        with torch.random.fork_rng():
            torch.manual_seed(mix(plan.recipe.seed, 3, at))  # dropout draws from torch's own generator
            updates = take_step(learner, *feed.batch(at), rate)
        return sum(float(update.losses["loss"]) for update in updates)

    return Trial(model, float(plan.recipe.peak), plan.steps, step, tuple(learner.optimizers))


def _trial_of(run: Run, dataset: Dataset, others: Mapping[str, Any]) -> Trial:
    """A run's training from its first step, with other options of its model if there are any; nothing is written."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    recipe = {name: value for name, value in run.info["recipe"].items() if name in known}
    options = {**run.info["model"]["options"], **others, **recipe, "device": "auto"}
    with torch.random.fork_rng():
        state = State.begin(Plan.of(run.task, dataset, run.info["model"]["name"], options))
        state.update_buffers()
    return _trial(state.plan, state.feed, state.model)


# -- the images of a ready model


def _planes(model: nn.Module) -> int:
    """3 or 1: what the model's first convolution takes; a model that turns grey into colour itself has no say here."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    return 1 if first is not None and first.in_channels == 1 else 3


def _in_planes(image: Tensor, planes: int) -> Tensor:
    if len(image) == planes:
        return image
    if planes == 3:
        return image.expand(3, -1, -1)
    return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
