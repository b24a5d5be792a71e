# SPDX-License-Identifier: Apache-2.0
"""What is checked before a training writes anything: options, data, batches, the model, and the run to be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator
from torch import Tensor

from pellucid import _catalog, data
from pellucid.data.dataset import Dataset, Split
from pellucid.data.draws import mix
from pellucid.data.fitting import with_fit
from pellucid.data.limiting import limited
from pellucid.data.parts import Parts, in_parts
from pellucid.data.scales import FORMER
from pellucid.data.scaling import scaled
from pellucid.data.sizing import training_size
from pellucid.data.splitting import CUTS
from pellucid.describing import described
from pellucid.errors import DataError, PellucidError, PellucidWarning, RunError, UsageError
from pellucid.files import as_text, is_draft
from pellucid.models import _building
from pellucid.own.parts import find
from pellucid.run import Run
from pellucid.tasks import AnyTask, Metric, MultiPlayer, SuitsModel, TaskFamily
from pellucid.training.hooks import Hooks, changed
from pellucid.training.logs import check_installed
from pellucid.training.machine import accelerator
from pellucid.training.origin import Origin, model_of
from pellucid.training.recipe import Recipe
from pellucid.training.settings import Settings

__all__ = ["Plan", "earlier_record"]

# what may change when a run is resumed; the fingerprint identifies the data, however their problems are worded
# the content of weights is compared, wherever they lie
_FREE = {"checkpoint", "device", "compile", "problems", "cut", "weights", "log"}


@final
@dataclass(frozen=True)
class Plan:
    """A training that can begin: its options are sorted, its data fit the task, and its batches divide evenly.

    >>> plan = Plan.of("classify", "digits", "mlp", {"epochs": 2, "device": "cpu"})
    >>> plan.model["outputs"], plan.global_batch, plan.steps_per_epoch, plan.steps
    (10, 128, 10, 20)
    """

    settings: Settings
    task: AnyTask  # after it has read the data
    dataset: Dataset
    train: Split  # the training images, as many as the limits allow
    model: Mapping[str, Any]  # the description from which `models._building.build` makes it
    accelerator: Accelerator
    global_batch: int  # images a step, over all processes
    rows: slice  # of the global batch, this process's
    place: Path  # the run's folder
    origin: Origin | None  # the weights that the model starts from
    hooks: Hooks = field(default_factory=Hooks)  # functions of the user's own

    @classmethod
    def of(
        cls,
        task: str | AnyTask | TaskFamily,
        what: Any,
        model: str | None,
        options: Mapping[str, Any],
        out: str | Path | None = None,
        weights: Mapping[str, Tensor] | None = None,
        model_options: Mapping[str, Any] | None = None,
        hooks: Hooks | None = None,
    ) -> Plan:
        """Check everything that was asked for.

        Args:
            task: a name in the catalogue, or a task with its options.
            what: what `pellucid.data.open` takes, or a dataset; None for the task's embedded example.
            model: a name in the catalogue; None for the task's own.
            options: fields of the task, options of the model, and fields of `Recipe`, flat.
            out: the run's folder; a run in it decides how splits that the data lack are cut, and what is black and white.
            weights: a state dict that the model starts from.
            model_options: options of the model, whatever else has options of these names.
            hooks: functions of the user's own.

        Raises:
            UnknownNameError: a task, model or option that does not exist.
            UsageError: a value that its owner refuses, a device that is missing, or a batch that does not divide evenly.
            DataError: data that cannot be read, or that lack what the task needs.
        """
        model = model or model_of(options.get("weights"), out)
        settings = Settings.of(task, model, options, what is None, model_options)
        recipe = settings.recipe
        check_installed(recipe.log)
        earlier = Run(out) if out is not None and (Path(out) / "run.json").exists() else None
        cut = CUTS[0] if earlier is None else earlier.cut
        scale = recipe.range if recipe.range or earlier is None else earlier.scale
        source = what if what is not None else settings.task.example
        processes = accelerator(recipe.device)
        # the first process of each machine leaves what it has found in the cache
        with processes.local_main_process_first():
            opened = source if isinstance(source, Dataset) else data.open(source, scale, cut=cut)
        dataset, read = settings.task.read(scaled(opened, scale) if opened is source else opened)
        dataset = with_fit(dataset, read.fitting)
        train = _limited(dataset, recipe)
        size = training_size(dataset, recipe.size, read.crops, read.longest)
        # a run of an earlier version goes on with the middles that it began with
        train = in_parts(train, size) if read.crops and (earlier is None or "parts" in earlier.info) else train
        global_batch, rows = _division(len(train), recipe, processes, isinstance(read, MultiPlayer))
        # of what was asked for, not of what the weights imply: these may be gone once the run goes on
        hooks = hooks or Hooks()
        place = Path(out) if out is not None else _default_path(settings, dataset, hooks)
        begun = Run(place).info if recipe.weights is not None and (place / "run.json").exists() else None
        asked = settings.model_asked
        origin = Origin.of(weights, recipe.weights, settings.model, settings.task_name, asked, begun)
        if origin is not None:
            settings = replace(settings, model_options={**settings.model_options, **origin.implied(settings), **asked})
        suited = read.suited(train, size, settings.model) if isinstance(read, SuitsModel) else {}
        own = {**suited, **settings.model_options}
        description = described(settings.model, read, settings.task_name, dataset, size, own)
        hooks.check(read.metrics(dataset.classes))
        return cls(settings, read, dataset, train, description, processes, global_batch, rows, place, origin, hooks)

    @property
    def recipe(self) -> Recipe:
        """The options of the training itself."""
        return self.settings.recipe

    @property
    def main(self) -> Metric:
        """The validation measure that picks the best weights."""
        return self.task.metrics(self.dataset.classes)[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the training images in px."""
        height, width = self.model["size"]
        return height, width

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch. The remainder is left out: as each epoch has its own order, no image is left out for good."""
        return len(self.train) // self.global_batch

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies this training in run.json: it resumes a run only where all of this is equal."""
        own = find("tasks", self.settings.task_name)
        named = {"name": self.settings.task_name, "options": self.settings.task_options}
        return {
            "task": named if own is None else {**named, "own": dict(own.record)},
            "model": dict(self.model),
            "data": self.dataset.record,
            "recipe": dataclasses.asdict(self.recipe),
            **({"parts": len(self.train)} if isinstance(self.train.images, Parts) else {}),
            **({"hooks": self.hooks.record} if self.hooks.record else {}),
            "processes": self.accelerator.num_processes,
            "global_batch": self.global_batch,
        }

    def build(self, *, fetch: bool = True) -> Any:
        """The model with the weights that this seed gives; an `nn.Module` as `models._contract.Model` says.

        Args:
            fetch: load pretrained weights where its options ask for them.

        Raises:
            UsageError: an option that the model refuses, or an output that the task cannot use.
        """
        torch.manual_seed(mix(self.recipe.seed, 0))
        model = _building.build(self.model, fetch=fetch and self.origin is None)
        if model.output not in self.task.accepts:
            raise UsageError(
                f"model={self.settings.model!r}: gives a {model.output}, and {self.settings.task_name} needs "
                f"{' or '.join(self.task.accepts)}; choose another model."
            )
        return model

    def seed_torch(self, step: int) -> None:
        """Seed torch's own generator for a step: dropout draws from it, and a resumed training must draw the same.

        All processes have the same numbers, of which each keeps those of its rows, see `whole_batch`.
        """
        seed = mix(self.recipe.seed, 3, step, 0)
        # torch.manual_seed costs half a millisecond where CUDA is not started
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def _limited(dataset: Dataset, recipe: Recipe) -> Split:
    """The training images, or as many as the recipe's limits allow."""
    train = dataset.splits["train"]
    if not len(train):
        raise DataError(f"data={dataset.name!r}: the train split is empty; give at least one training image.")
    return limited(train, recipe.limit, recipe.limit_per_class, recipe.seed, dataset.classes)


def _division(images: int, recipe: Recipe, processes: Accelerator, several: bool = False) -> tuple[int, slice]:
    """The size of the global batch, and this process's rows of it.

    Several players may divide a batch among their updates: then each process has every P-th row, so that its parts are parts of
    these.
    """
    world, wanted = processes.num_processes, min(recipe.batch_size, images)
    if recipe.batch_size % world or wanted < world:
        raise UsageError(
            f"batch_size={recipe.batch_size}: cannot be divided evenly over {world} processes; give a multiple of {world}."
        )
    share, place = wanted // world, processes.process_index
    if several and world > 1:
        return share * world, slice(place, share * world, world)
    return share * world, slice(place * share, (place + 1) * share)


def _default_path(settings: Settings, dataset: Dataset, hooks: Hooks) -> Path:
    """runs/TASK-DATA-MODEL-HASH: the same command finds its run again, another one gets a folder of its own."""
    name = "".join(c if c.isalnum() else "_" for c in Path(dataset.name).name)
    owned = [find(folder, part) for folder, part in (("tasks", settings.task_name), ("models", settings.model))]
    more = [f"{own.key}-{own.record.get('start', '')}" for own in owned if own is not None]
    more += [hooks.record["augment"]["digest"]] if hooks.augment is not None else []
    asked = settings.command(as_text(dataset.name), "") + dataset.fingerprint + "".join(more)
    key = hashlib.sha256(asked.encode()).hexdigest()[:6]
    task, model = (part.replace(":", "_") for part in (settings.task_name, settings.model))
    return Path("runs") / f"{task}-{name}-{model}-{key}"


def earlier_record(plan: Plan, path: Path) -> dict[str, Any] | None:
    """The content of run.json where the folder holds a run of this very training, None where it is new or empty.

    Raises:
        RunError: the folder holds another run, or something that is not a run.
    """
    if not (path / "run.json").exists():
        if path.exists() and not (path.is_dir() and _vacant(path)):
            raise RunError(f"out={str(path)!r}: exists and is not a run; name a folder that is new or empty.")
        return None
    record = Run(path).info
    # an earlier version's record lacks the options that were added since: they had their defaults then
    recorded = {
        "task": {"name": record["task"]["name"], "options": _task_options(plan, record["task"])},
        "model": {
            **_without_own(record["model"]),
            "options": _model_options(record["model"]["name"], record["model"]["options"]),
        },
        "data": record["data"],
        "recipe": {**dataclasses.asdict(Recipe()), **record["recipe"]},
    }
    now, scale = plan.identity, plan.dataset.scale
    for part in ("task", "model"):
        _check_own(now[part].pop("own", None), record[part].get("own"), part, path)
    if (what := changed(plan.hooks.record, record.get("hooks", {}))) is not None:
        raise RunError(f"out={str(path)!r}: holds a run {what}; give the same to resume it, or another folder.")
    if (named := plan.hooks.record.get("augment")) and not named["digest"]:
        what = "has a source that cannot be read, so that nothing says whether it is still the same"
        warnings.warn(f"out={str(path)!r}: augment={named['name']} {what}.", PellucidWarning, stacklevel=3)
    if "range" not in record["data"]:
        former = now["data"]["range"] if now["data"]["floats"] or scale is None else [FORMER.low, FORMER.high]
        recorded["data"] = {**record["data"], "range": former, "floats": now["data"]["floats"]}
    now["model"]["options"] = _model_options(plan.settings.model, now["model"]["options"])
    # whether it is another task or model comes first: their options differ too
    for part in ("task", "model", "data", "recipe"):
        for name, new, old in _differences(now[part], recorded[part]):
            if name not in _FREE:
                raise RunError(
                    f"out={str(path)!r}: holds a run with {name}={_short(old)}, not {_short(new)}; "
                    "give the same options to resume it, or another folder."
                )
    if plan.origin is not None:
        plan.origin.check(record, path)
    elif record.get("weights") is not None:
        raise RunError(
            f"out={str(path)!r}: holds a run that began with weights={record['weights']['path']!r}; give them to resume it, or "
            "name another folder."
        )
    return record


def _without_own(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "own"}


def _check_own(now: Mapping[str, Any] | None, then: Mapping[str, Any] | None, part: str, path: Path) -> None:
    """Refuse to go on with another class than the run's, or with one that was changed since.

    Raises:
        RunError: the two differ, or nothing says that they do not.
    """
    if now is None or then is None or now["class"] != then["class"]:
        return  # their names differ too
    if not now["digest"] or not then["digest"]:
        what = f"{then['class']} has a source that cannot be read, so that nothing says whether it is still the same"
        warnings.warn(f"out={str(path)!r}: {part} {what}.", PellucidWarning, stacklevel=3)
    if now.get("start") != then.get("start"):
        what = "the weights that it is given with now are not those that it began with, and count for nothing"
        warnings.warn(f"out={str(path)!r}: holds a run of {then['class']}; {what}.", PellucidWarning, stacklevel=3)
    for entry, what in (
        ("digest", "of another source"),
        ("settings", "with other settings"),
        ("how", "given in another way"),
    ):
        if now[entry] != then[entry]:
            digests = f" (digest {str(now[entry])[:12]}, was {str(then[entry])[:12]})" if entry == "digest" else ""
            raise RunError(
                f"out={str(path)!r}: holds a run of {part} {then['class']} {what}{digests}; put back that class to resume it, whose "
                "source is in its run.json, or name another folder."
            )


def _vacant(path: Path) -> bool:
    """Whether a folder holds nothing but what a training leaves that was killed at once: its lock, and drafts."""
    inner = path / "state"
    return all(
        is_draft(file.name)
        or (file == inner and all(is_draft(own.name) or own.name == "lock" for own in inner.iterdir()))
        for file in path.iterdir()
    )


def _task_options(plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a recorded task, of one of the plan's name as this version reads them."""
    kind: Any = _catalog.find("tasks", plan.settings.task_name)
    task: AnyTask = kind().for_model(plan.settings.model)
    options = {**task.options, **record["options"]}
    if record["name"] == plan.settings.task_name and options.get("fit") != plan.task.options.get("fit"):
        with contextlib.suppress(PellucidError, TypeError):  # of another version
            known: AnyTask = kind(fit=options["fit"]).for_model(plan.settings.model)
            options["fit"] = known.options["fit"]  # which may have had another word
    return options


def _model_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a model: those that are given, and the defaults of the others."""
    try:
        known = _building.options(name)
    except UsageError:  # a model of another version
        return dict(given)
    return {**{option: default for option, (_, default, _) in known.items()}, **given}


def _differences(now: Any, then: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(option, value now, value then) wherever two records differ; JSON turned tuples into lists."""
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for key in {**now, **then}:
            yield from _differences(now.get(key), then.get(key), str(key))
    elif (list(now) if isinstance(now, tuple) else now) != (list(then) if isinstance(then, tuple) else then):
        yield name, now, then


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
