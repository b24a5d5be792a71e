# SPDX-License-Identifier: Apache-2.0
"""Which trainings a sweep makes: every combination of models, cases and values, all of them checked before the first."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final, get_origin

import torch

from pellucid import data as datasets
from pellucid._ready import aliased
from pellucid.comparison.table import text
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks import AnyTask, TaskFamily
from pellucid.training import freezing
from pellucid.training.plan import Plan, earlier_record
from pellucid.training.remembering import check_backbone
from pellucid.training.settings import Settings

__all__ = ["Training", "axis_of", "checked", "default_folder", "grid"]

Cases = Mapping[str, Mapping[str, Any]]


@final
@dataclass(frozen=True)
class Training:
    """One combination of a sweep."""

    name: str  # of its folder
    model: str
    options: Mapping[str, Any]
    varied: Mapping[str, Any]  # what tells it from the others: the case or model, and the options with several values

    def line(self, axis: str | None) -> str:
        """What is the same for all values of the swept number and for all seeds, as words."""
        words = [
            text(value) if name in ("case", "model") else f"{name}={text(value)}"
            for name, value in self.varied.items()
            if name not in (axis, "seed")
        ]
        return ", ".join(words) or self.model


def grid(
    task: str | AnyTask | TaskFamily, models: Sequence[str], options: Mapping[str, Any], cases: Cases
) -> list[Training]:
    """Every combination, with its options sorted and checked.

    >>> [training.name for training in grid("classify", ["mlp"], {"lr": [0.1, 0.01], "epochs": 3}, {})]
    ['mlp,lr=0.1', 'mlp,lr=0.01']
    >>> [training.name for training in grid("classify", ["mlp"], {"seed": [0, 1]}, {"small": {"hidden": (8,)}, "plain": {}})]
    ['small,seed=0', 'small,seed=1', 'plain,seed=0', 'plain,seed=1']

    Args:
        task: a name in the catalogue, or a task with its options.
        models: names in the catalogue; none for the task's own.
        options: a value, or a list of values to try, of each option.
        cases: options that go together, by the name of the case; they win over single values in `options`.

    Raises:
        UnknownNameError: a model or an option that does not exist.
        UsageError: a value that its owner refuses, an option that both is swept and belongs to a case, or a single combination.
    """
    lists = {name: [*value] if isinstance(value, (list, tuple)) else [value] for name, value in options.items()}
    settings = Settings.of(task, None, {})
    usual = [*models] or [settings.model]
    chosen = [(case, model) for case in cases or ("",) for model in _models(cases.get(case, {}), usual)]
    own = {model: _building.options(aliased(model)[0]) for _, model in chosen}
    general = {*settings.task.options, *(field.name for field in dataclasses.fields(settings.recipe))}
    found: dict[str, Training] = {}
    for case, model in chosen:
        fixed = {name: value for name, value in cases.get(case, {}).items() if name != "model"}
        # an option that only another model of the sweep has says nothing about this one
        foreign = {name for other in own.values() for name in other} - set(own[model]) - general
        mine = {name: values for name, values in lists.items() if name not in foreign}
        for name, values in mine.items():
            sequences = name in own[model] and get_origin(own[model][name][0]) is tuple
            _check_values(name, options[name], values, sequences)
            if name in fixed and len(values) > 1:
                raise UsageError(
                    f"{name}={options[name]!r}: is swept and also set by the case {case!r}; leave out one of the two."
                )
        shown = {"case": case} if case else {"model": model}
        if case and len(_models(cases[case], usual)) > 1:
            shown["model"] = model
        for values_of_each in itertools.product(*mine.values()):
            combination = dict(zip(mine, values_of_each, strict=True)) | fixed
            Settings.of(task, model, combination)
            varied = {name: value for name, value in combination.items() if len(mine.get(name, ())) > 1}
            label = [*shown.values(), *(f"{name}={text(value)}" for name, value in varied.items())]
            name = _folder_name(",".join(label))
            found[name] = Training(name, model, combination, shown | varied)
    if len(found) < 2:
        raise UsageError(
            f"sweep={[*found]}: one combination leaves nothing to compare; give an option two values or more."
        )
    trainings = [*found.values()]
    single = {name for name in ("case", "model") if len({training.varied.get(name) for training in trainings}) == 1}
    return [
        dataclasses.replace(
            training, varied={name: value for name, value in training.varied.items() if name not in single}
        )
        for training in trainings
    ]


def axis_of(trainings: Sequence[Training]) -> str | None:
    """The swept number that a figure is drawn against: the option with the most values, None where no number is swept.

    >>> axis_of(grid("classify", ["mlp"], {"lr": [0.1, 0.01], "limit": [50, 100, 200], "seed": [0, 1, 2, 3]}, {}))
    'limit'
    """
    values: dict[str, set[Any]] = {}
    for training in trainings:
        for name, value in training.varied.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name not in ("seed", "case", "model") and number:
                values.setdefault(name, set()).add(value)
    several = {name: len(own) for name, own in values.items() if len(own) > 1}
    return max(several, key=several.__getitem__, default=None)


def checked(
    task: str | AnyTask | TaskFamily, data: str | Path | Dataset | None, trainings: Sequence[Training], folder: Path
) -> list[tuple[Training, Plan]]:
    """Each training with its plan: data, devices, models and folders fit; nothing is written.

    Raises:
        UsageError: something asked for cannot be, in any of the trainings.
        RunError: a folder holds another run.
    """
    with torch.random.fork_rng(devices=[]):
        return [*_plans(task, data, trainings, folder)]


def _plans(task: Any, data: Any, trainings: Sequence[Training], folder: Path) -> Iterator[tuple[Training, Plan]]:
    opened: dict[str, Dataset] = {}  # by the range of values, which decides how the data are read
    built: set[str] = set()
    for training in trainings:
        path, key = folder / training.name, repr(training.options.get("range"))
        source = data
        if data is not None and not isinstance(data, Dataset) and not (path / "run.json").exists():
            if key not in opened:
                opened[key] = datasets.open(data, training.options.get("range") or None)
            source = opened[key]
        plan = Plan.of(task, source, training.model, training.options, path)
        earlier_record(plan, path)
        model = json.dumps([plan.model, plan.recipe.unfreeze, plan.recipe.variants, plan.recipe.compile], default=str)
        if model not in built:
            module = plan.build()
            freezing.stage(module, plan.recipe)
            check_backbone(plan, module)
            built.add(model)
        yield training, plan


def default_folder(
    task: str | AnyTask | TaskFamily, data: str | Path | Dataset | None, trainings: Sequence[Training]
) -> Path:
    """runs/sweep-TASK-DATA-HASH: the same request finds its runs again."""
    settings = Settings.of(task, None, {})
    what = data.name if isinstance(data, Dataset) else str(data or settings.task.example)
    short = "".join(c if c.isalnum() else "_" for c in Path(what).name)
    asked = [(training.model, dict(training.options), training.name) for training in trainings]
    key = hashlib.sha256(repr((settings, what, asked)).encode()).hexdigest()[:6]
    return Path("runs") / f"sweep-{settings.task_name}-{short}-{key}"


def _models(case: Mapping[str, Any], usual: Sequence[str]) -> list[str]:
    """The models of a case: its own, or those of the sweep."""
    own = case.get("model")
    return [own] if own is not None else [name if "/" in name else name.replace("-", "_") for name in usual]


def _check_values(name: str, given: Any, values: Sequence[Any], sequences: bool) -> None:
    if not values:
        raise UsageError(f"{name}={given!r}: holds no value to try; give one or more.")
    if sequences and not all(isinstance(value, (list, tuple)) for value in values):
        raise UsageError(
            f"{name}={given!r}: each value to try is a sequence; for a single one give {name}=[{given!r}]."
        )


def _folder_name(label: str) -> str:
    """A label as the name of a folder on any system.

    >>> _folder_name("timm/resnet18,lr=0.1"), _folder_name("../from: scratch")
    ('timm_resnet18,lr=0.1', '_from_ scratch')
    """
    return re.sub(r"[^\w ,=.+-]", "_", label).lstrip(". ") or "_"
