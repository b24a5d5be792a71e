# SPDX-License-Identifier: Apache-2.0
"""Options given in one list, sorted into those of the task, of the model and of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from pellucid import _catalog
from pellucid._options import build, command_line, options_of, values_of
from pellucid._ready import aliased
from pellucid._values import check_kind
from pellucid.describing import task_name
from pellucid.errors import UnknownNameError, UsageError
from pellucid.models import _building
from pellucid.models._own import check_json
from pellucid.own.parts import find, is_own
from pellucid.tasks import AnyTask, TaskFamily
from pellucid.training.recipe import Recipe

__all__ = ["Settings"]

SINGLE = ("size", "betas", "range")  # options of the training that may be one number, or None


@final
@dataclass(frozen=True)
class Settings:
    """The options of a training, sorted and checked before any data are read.

    >>> settings = Settings.of("classify", model="mlp", options={"hidden": (64,), "epochs": 3})
    >>> settings.recipe.epochs, settings.model_options
    (3, {'hidden': (64,)})
    >>> Settings.of("classify", model="mlp", options={"epoch": 3})
    Traceback (most recent call last):
    pellucid.errors.UnknownNameError: option='epoch' is not known; did you mean 'epochs'? Known: ...
    """

    task_name: str
    task: AnyTask
    model: str
    model_options: Mapping[str, Any]
    recipe: Recipe
    model_defaults: Mapping[str, Any]  # options of the model that the task changes, as far as none was given

    @classmethod
    def of(
        cls,
        task: str | AnyTask | TaskFamily,
        model: str | None,
        options: Mapping[str, Any],
        example: bool = False,
        for_model_only: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Sort options by their owners.

        Args:
            task: a name in the catalogue, or a task with its options.
            model: a name in the catalogue, or timm/NAME or torchvision/NAME for one with its weights; None for the task's own.
            options: fields of the task, options of the model, and fields of `Recipe`, flat; and as "recipe" the name of some that go
                together, one of the task's `recipes`: those that are given besides win.
            example: whether it is the task's example that is trained on, which has options of its own.
            for_model_only: options of the model, whatever else has options of these names.

        Raises:
            UnknownNameError: a task, model or option that does not exist.
            UsageError: an option of a task that already has its options, or a value that its owner refuses.
        """
        name, for_model_only = task_name(task), for_model_only or {}
        kind: Any = _catalog.find("tasks", name)
        default = _sets(kind, options.get("recipe")).get("model", kind.default_model)
        chosen, implied = (model, {}) if model and is_own(model) else aliased(model or default)
        _catalog.find("models", chosen)
        options = _with_recipe(task, name, chosen, {**implied, **options})
        kinds_of_task = {key: option.kind for key, option in options_of(kind).items()}
        known = _building.options(chosen)
        for option in for_model_only:
            if option not in known:
                raise UnknownNameError("option", option, known)
        kinds_of_model = {key: one for key, (one, _, _) in known.items()}
        kinds_of_recipe = {key: option.kind for key, option in options_of(Recipe).items()}
        of_task, of_model, of_recipe = set(kinds_of_task), set(kinds_of_model), set(kinds_of_recipe)
        for option, value in options.items():
            if option not in of_task | of_model | of_recipe:
                raise UnknownNameError("option", option, of_task | of_model | of_recipe)
            for owner in (kinds_of_task, kinds_of_model, kinds_of_recipe):
                if option in owner and not (owner is kinds_of_recipe and option in SINGLE):
                    check_kind(option, value, owner[option])
        if is_own(chosen):  # its names may be those of the training: such options go into model_options
            check_json({**for_model_only, **{key: options[key] for key in of_model & set(options)}})
            of_model -= of_task | of_recipe
        if example:  # a task that was given has its options already
            usual = {
                key: value for key, value in kind.example_options.items() if isinstance(task, str) or key in of_recipe
            }
            options = {**usual, **options}
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        for_task = {key: value for key, value in given.items() if key in of_task}
        if isinstance(task, str):
            made = build(kind, for_task)
        elif for_task:
            raise UsageError(
                f"{next(iter(for_task))}={next(iter(for_task.values()))!r}: the task already has its options; set it there."
            )
        else:
            made = task
        for_recipe = kind.defaults(chosen) | {key: value for key, value in given.items() if key in of_recipe}
        for_model = {key: value for key, value in given.items() if key in of_model}
        for_model |= {key: tuple(value) if isinstance(value, list) else value for key, value in for_model_only.items()}
        changed = {key: value for key, value in kind.model_defaults(chosen).items() if key not in for_model}
        return cls(name, made.for_model(chosen), chosen, changed | for_model, Recipe(**for_recipe), changed)

    @property
    def model_asked(self) -> dict[str, Any]:
        """The options of the model that were asked for."""
        return {name: value for name, value in self.model_options.items() if name not in self.model_defaults}

    @property
    def task_options(self) -> dict[str, Any]:
        """The values of the task's options."""
        return self.task.options

    def command(self, data: str, out: str) -> str:
        """The command that gives the same training, with the options that differ from their defaults."""
        kind: Any = _catalog.find("tasks", self.task_name)
        plain, usual = Recipe(**kind.defaults(self.model)), kind().options
        of_task = {name: value for name, value in self.task.options.items() if value != usual[name]}
        changed = {**of_task, **self.model_options, **_changed(self.recipe, plain)}
        names = {"tasks": self.task_name, "models": self.model}
        owned = {folder: find(folder, name) for folder, name in names.items() if is_own(name)}
        general = {*usual, *options_of(Recipe)}
        shared = {key: value for key, value in self.model_options.items() if key in general and is_own(self.model)}
        if not shared and all(own is not None and own.reference for own in owned.values()):
            named = {
                folder: own.reference if (own := owned.get(folder)) is not None else name
                for folder, name in names.items()
            }
            return command_line("train", named["tasks"], data=data, model=named["models"], out=out, **changed)
        # what only Python can name: a line that says what is to be given again
        words = [own.title if (own := owned.get(folder)) is not None else repr(name) for folder, name in names.items()]
        values = {"out": out, **of_task, **_changed(self.recipe, plain)}
        values |= {key: value for key, value in self.model_options.items() if key not in shared}
        values |= {"model_options": shared} if shared else {}
        return (
            f"train({words[0]}, {data!r}, {words[1]}, {', '.join(f'{key}={value!r}' for key, value in values.items())})"
        )


def _with_recipe(task: str | AnyTask | TaskFamily, name: str, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of the recipe that they name, which is a word of theirs no more.

    Raises:
        UsageError: the task has no recipe of that name, or the recipe sets what this training does not have.
    """
    kind: Any = _catalog.find("tasks", name)
    known = _building.options(model)
    if "recipe" not in options or "recipe" in known:  # an option of a model of the user's own
        return dict(options)
    rest = {key: value for key, value in options.items() if key != "recipe"}
    asked = options["recipe"]
    if asked is None:
        return rest
    if not kind.recipes:
        raise UsageError(f"recipe={asked!r}: {name} has none; leave it out.")
    if asked not in kind.recipes:
        raise UnknownNameError("recipe", str(asked), kind.recipes)
    sets = dict(kind.recipes[asked])
    own = sets.pop("model", model)
    if own != model:
        raise UsageError(f"recipe={asked!r}: is for model={own!r}, not {model}; leave out one of the two.")
    of_task = options_of(kind)
    for option, value in sets.items():
        if option in of_task and not isinstance(task, str):
            raise UsageError(
                f"recipe={asked!r}: sets {option}={value!r}, and the task already has its options; give its name, {name!r}, instead."
            )
        if option not in {*of_task, *known, *options_of(Recipe)}:
            raise UsageError(
                f"recipe={asked!r}: sets {option}={value!r}, which {model} does not have; leave it out, or choose {kind.default_model}."
            )
    return {**sets, **rest}


def _sets(kind: Any, recipe: Any) -> Mapping[str, Any]:
    """What a recipe of a task sets; nothing where there is none of this name."""
    found: Mapping[str, Any] = kind.recipes.get(recipe, {}) if isinstance(recipe, str) else {}
    return found


def _changed(owner: Any, plain: Any = None) -> dict[str, Any]:
    """The options that differ from those of `plain`, or from their defaults."""
    defaults = {name: option.default for name, option in options_of(type(owner)).items()}
    if plain is not None:
        defaults = values_of(plain)
    return {name: value for name, value in values_of(owner).items() if value != defaults[name]}
