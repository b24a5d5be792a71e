# SPDX-License-Identifier: Apache-2.0
"""What is looked at: a run, a ready model or a training that has not begun, in the parts that lenses read."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

from pellucid.data.dataset import Dataset
from pellucid.data.draws import mix
from pellucid.errors import PellucidError, UsageError
from pellucid.files import as_text
from pellucid.lenses import (
    Evaluation,
    Labelled,
    Lens,
    Network,
    Pages,
    Part,
    Splits,
    Training,
    TrainingLog,
    Trial,
    View,
    guarded,
    parts_of,
)
from pellucid.looking import pages as by_page
from pellucid.looking.images import Shown, examples, labelled, named, nothing, of_ready_model
from pellucid.models import _building
from pellucid.run import Run, short_names
from pellucid.tasks import AnyTask, ChoosesEvidence, KnowsChance, ReadsPages, TaskFamily
from pellucid.training.feed import Feed
from pellucid.training.folder import Folder
from pellucid.training.plan import Plan
from pellucid.training.recipe import Recipe
from pellucid.training.state import State
from pellucid.training.step import Learner, take_step

__all__ = ["Subject", "of_module", "of_run", "of_training"]

P = TypeVar("P", bound=Part)


@final
class Subject:
    """What is looked at, in parts; each is made when a lens first reads it.

    >>> import numpy as np
    >>> subject = of_module(nn.Flatten(), np.zeros((2, 2)))
    >>> network, log = subject.part(Network), subject.part(TrainingLog)
    >>> len(network.images), log
    (1, None)
    """

    def __init__(self, made_by: Mapping[type[Part], Callable[[], Part | None]]) -> None:
        self._made_by = made_by
        self._made: dict[type[Part], Part | None] = {}

    def part(self, kind: type[P]) -> P | None:
        """A part, or None where this subject has none.

        Raises:
            PellucidError: it cannot be made, e.g. because a run's data or weights are gone.
        """
        if kind not in self._made:
            make = self._made_by.get(kind)
            self._made[kind] = None if make is None else make()
        made = self._made[kind]
        return made if isinstance(made, kind) else None

    def showing(self, images: Sequence[Tensor], names: Sequence[str], truth: Sequence[Any] = ()) -> Subject:
        """The same with other images (C, H, W), as the model takes them, and what is known of each of them."""

        def network() -> Network | None:
            own = self.part(Network)
            return None if own is None else dataclasses.replace(own, images=images, names=names, truth=truth, unread=())

        # the other parts are those of this subject, made once for both
        others = {kind: functools.partial(self.part, kind) for kind in self._made_by}
        return Subject({**others, Network: network})

    def look(self, lens: Lens[*tuple[Any, ...]], **asked: Any) -> View:
        """The view through a lens, of the parts that it reads.

        Args:
            lens: with its options.
            asked: fields that all parts share: seed, memory, note, progress.

        Raises:
            UsageError: a part that the lens needs is missing.
        """
        parts: list[Part | None] = []
        for kind, needed in parts_of(type(lens)):
            part = self.part(kind)
            if part is None and needed:
                name = type(lens).__module__.rpartition(".")[2]
                raise UsageError(f"lens={name!r}: needs {kind.needs}.")
            parts.append(part if part is None else dataclasses.replace(part, **asked, remarks=[]))
        seeing = [part for part in parts if isinstance(part, (Network, Pages))]
        with guarded(*(part.model for part in seeing)):
            view: View = lens.look(*parts)
        remarks = [sentence for part in parts if part is not None for sentence in part.remarks]
        if remarks:
            view = dataclasses.replace(view, words=" ".join([view.words, *dict.fromkeys(remarks)]))
        unread = [sentence for part in seeing for sentence in part.unread]
        return dataclasses.replace(view, words=f"{view.words} Left out: {' '.join(unread)}") if unread else view


def of_run(
    run: Run, images: Any = (), data: Any = None, letters: Sequence[int] = (), model: nn.Module | None = None
) -> Subject:
    """A run, whose model is shown the named images, or a few of its own test images.

    Args:
        run: the run.
        images: what it is shown.
        data: instead of the run's own; of a run that reads pages, also pages with texts.
        letters: numbers of letters, from 1, that it is shown of each page.
        model: the run's own, where it is in memory already; it is left as it was.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # opened when a part first reads them: curves of a run need neither its data nor its weights
    given = functools.cache(lambda: run.data(data))
    reads = isinstance(run.task, ReadsPages)

    @functools.cache
    def opened() -> Dataset:
        """Images such as the model takes; beside pages, the run's own letters."""
        return run.data() if reads and data is not None and by_page.are_pages(given()) else given()

    batches = _batches_of(run, opened, device)
    common: dict[str, Any] = {"title": _title(run), "seed": int(run.info["seed"])}

    def loaded() -> nn.Module:
        return run.model() if model is None else model

    def pages() -> Pages | None:
        if not reads:
            return None
        return by_page.pages(
            run, run.task, loaded().to(device), images, given() if nothing(images) else None, letters, **common
        )

    def network() -> Network:
        model = loaded().to(device)
        build = _builder(run.info["model"], model)
        if letters:
            found = pages()
            if found is None:
                raise _no_letters(letters)
            return by_page.letters(_network(model, Shown((), ()), run, run.task, build, **common), found)
        if nothing(images) and opened() is not given():
            raise UsageError(
                f"data={given().name!r}: are whole pages, and this lens is of a single letter; give --letter N for one of each."
            )
        shown = examples(run.task, run, opened()) if nothing(images) else named(run, images)
        if not nothing(images):
            by_page.warn_of_pages(run, model, images)
        return _network(model, shown, run, run.task, build, **common)

    def splits() -> Splits:
        counts: Mapping[str, int] = run.info["data"]["images"]
        if data is not None:
            counts = {part: len(split) for part, split in opened().splits.items()}
        return Splits(batches, counts, **common)

    def training() -> Training:
        return Training(
            lambda **options: _trial_of(run, opened(), options), _loss_of(run.task), bool(run.history), **common
        )

    def evaluation() -> Evaluation | None:
        if reads and data is not None and by_page.are_pages(given()):
            return by_page.confusions(run, loaded().to(device), given(), **common)
        records = run.records()
        if not records:
            return None
        measured: dict[str, Any] = run.metrics or {}
        split, rows = str(measured.get("split", "test")), len(next(iter(records.values())))
        if data is not None:
            opened()  # refuses what cannot be opened, though the records are of the run's own data
        # as many rows as images: an evaluation with a limit, or of other data, is not of these images
        at_hand = data is None and rows == run.info["data"]["images"].get(split) and _opens(opened)
        own = (lambda places: batches(split, places=places)) if at_hand else None
        return Evaluation(records, run.task.outcomes(run.classes), split, own, **common)

    return Subject(
        {
            Network: network,
            **({Pages: pages} if reads else {}),
            Splits: splits,
            Training: training,
            Evaluation: evaluation,
            TrainingLog: lambda: _log(run) if run.history else None,
        }
    )


def _no_letters(letters: Sequence[int]) -> UsageError:
    return UsageError(f"letter={letters[0]}: applies to a run that reads pages; leave it out.")


def of_module(model: nn.Module, images: Any, size: tuple[int, ...] | None = None) -> Subject:
    """A ready model, which is shown the named images at `size`, at the size that it was made for, or at their own."""

    def network() -> Network | None:
        if nothing(images):
            return None
        shown = of_ready_model(model, images, size)
        title = getattr(model, "title", "") or type(model).__name__
        classes = getattr(model, "classes", ())
        return Network(model, shown.images, shown.names, classes, unread=shown.unread, title=title)

    return Subject({Network: network})


@contextmanager
def of_training(
    task: str | AnyTask | TaskFamily,
    data: Any,
    model: str | None,
    options: Mapping[str, Any],
    images: Any = (),
    letters: Sequence[int] = (),
) -> Iterator[Subject]:
    """A training that has not begun, in a temporary folder; its untrained model is shown a few of its test images."""
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
        build = _builder(run.info["model"], plain)
        title = f"{plan.settings.model} for {plan.settings.task_name} on {as_text(dataset.name)}"
        common: dict[str, Any] = {"title": title, "seed": seed}

        def pages() -> Pages | None:
            return by_page.pages(run, plan.task, plain, images, dataset, letters, **common)

        def network() -> Network:
            if letters:
                found = pages()
                if found is None:
                    raise _no_letters(letters)
                return by_page.letters(_network(plain, Shown((), ()), run, plan.task, build, **common), found)
            shown = examples(plan.task, run, dataset) if nothing(images) else named(run, images)
            return _network(plain, shown, run, plan.task, build, **common)

        def splits() -> Splits:
            counts = {part: len(split) for part, split in dataset.splits.items()}
            return Splits(_batches_of(run, lambda: dataset, device), counts, **common)

        def start(**options: Any) -> Trial:
            return _trial(plan, state.feed, build(seed, **options) if options else copy.deepcopy(plain))

        def training() -> Training:
            return Training(start, _loss_of(plan.task), **common)

        made_by: dict[type[Part], Callable[[], Part | None]] = {
            Network: network,
            Splits: splits,
            Training: training,
        }
        if isinstance(plan.task, ReadsPages):
            made_by[Pages] = pages
        yield Subject(made_by)


# -- parts


def _network(
    model: nn.Module, shown: Shown, run: Run, task: AnyTask, build: Callable[..., nn.Module], **common: Any
) -> Network:
    classes = run.classes
    choose = functools.partial(task.chosen, classes=classes) if isinstance(task, ChoosesEvidence) else None
    if isinstance(task, ReadsPages):
        classes = tuple(task.named_outputs(classes))
    return Network(
        model, shown.images, shown.names, classes, task.evidence, task.followable(classes), choose=choose,
        answer=task.predict, truth=shown.truth, build=build, evidence_title=task.evidence_title, unread=shown.unread, **common,
    )  # fmt: skip


def _batches_of(run: Run, opened: Callable[[], Dataset], device: torch.device) -> Any:
    def batches(
        split: str, size: int = 64, limit: int | None = None, places: Sequence[int] | None = None
    ) -> Iterator[Labelled]:
        dataset = opened()
        if split not in dataset.splits or not len(dataset.splits[split]):
            raise UsageError(f"split={split!r}: is empty in data={dataset.name!r}; choose another split or other data.")
        return labelled(run.task, run, dataset.splits[split], size, limit, device, places)

    return batches


def _opens(opened: Callable[[], Dataset]) -> bool:
    """Whether a run's data can still be opened; a run may have been moved away from them."""
    try:
        opened()
    except PellucidError:
        return False
    return True


def _loss_of(task: AnyTask) -> Callable[[nn.Module, Labelled], Tensor]:
    return lambda model, batch: task.loss(model, batch.images, batch.target)["loss"]


def _title(run: Run) -> str:
    return (
        f"{run.info['model']['name']} for {run.info['task']['name']} on {as_text(Path(run.info['data']['what']).name)}"
    )


def _log(run: Run, title: str = "") -> TrainingLog:
    trained_on = min(run.info["data"]["images"].get("train", 0), run.info["recipe"].get("limit") or 1 << 62)
    counts = list(run.info["data"].get("counts", {}).get("train", {}).values())
    chance = run.task.chance(counts) if isinstance(run.task, KnowsChance) and any(counts) else None
    return TrainingLog(
        run.history,
        run.metrics or {},
        trained_on,
        chance,
        lambda folders: _beside(run, folders),
        title=title or _title(run),
    )


def _beside(run: Run, folders: Sequence[str]) -> list[TrainingLog]:
    """The logs of a run and of others, each once, with titles that tell them apart."""
    by_path = {one.path.resolve(): one for one in (run, *map(Run, folders))}
    runs = [*by_path.values()]
    return [_log(one, title) for one, title in zip(runs, short_names(runs), strict=True)]


# -- models that are not trained yet


def _builder(description: Mapping[str, Any], model: nn.Module) -> Callable[..., nn.Module]:
    """Builds the described model with the weights from which a training with this seed starts, and the images' statistics."""

    def build(seed: int = 0, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(seed, 0))  # as a session does
            made: nn.Module = _building.build({**description, "options": {**description["options"], **options}})
        for computed in ("normalize", "whitening"):  # from the training images, before the first step
            known, own = getattr(model, computed, None), getattr(made, computed, None)
            if isinstance(known, nn.Module) and isinstance(own, nn.Module):
                own.load_state_dict(known.state_dict())
        device = next(iter(model.parameters()), torch.zeros(())).device
        return made.to(device).eval()

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
        state = State.begin(Plan.of(run.task, dataset, run.model_name, options))
        state.update_buffers()
    return _trial(state.plan, state.feed, state.model)
