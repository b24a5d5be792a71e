# SPDX-License-Identifier: Apache-2.0
"""What a training sets out from: a file of weights, another run, or a state dict; read, put into the model and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor

from pellucid import weights
from pellucid.errors import RunError, UsageError
from pellucid.measures import WEIGHTS
from pellucid.models import _building, _pretrained
from pellucid.models._own import OwnModel
from pellucid.run import Run
from pellucid.training import fitting, weight_files
from pellucid.training.settings import Settings

__all__ = ["Origin", "Said", "model_of"]

_FREEZING = {"frozen", "frozen_stages"}  # options that leave a model's layers as they are
_OF_HEAD = {
    "heads",
    "dropout",
    "hidden",
}  # options of what comes after the body: of a run of another task they are not taken
_PUBLISHERS = {"timm": "timm's", "efficientnet_lite0": "timm's tf_efficientnet_lite0"}  # else torchvision's


def model_of(path: str | None, out: str | Path | None = None) -> str | None:
    """The model of a run whose weights a path names, or of the run in `out` where they are gone; None where it names no run.

    >>> model_of("weights.pth") is None
    True
    """
    if path is None:
        return None
    found = _run(path)
    if found is None and out is not None and not Path(path).exists() and (Path(out) / "run.json").exists():
        return Run(out).model_name
    return None if found is None else found[0].model_name


class Said(NamedTuple):
    """Sentences about weights that were put into a model."""

    notes: tuple[str, ...] = ()
    warning: str = ""  # which tensors did not fit


@final
@dataclass(frozen=True)
class Origin:
    """Weights that a model starts from.

    >>> Origin.of({"layers.1.bias": torch.zeros(10)}, None, "mlp", "classify", {}, None).record(Said())["path"] is None
    True
    """

    path: str | None  # as it was given; None for a state dict
    digest: str  # of the tensors
    options: Mapping[str, Any]  # of the model, which the weights ask for
    tensors: Mapping[str, Tensor] | None = None  # None: a run goes on, and needs none
    run: Run | None = None
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None  # timm's, beside the file

    @classmethod
    def of(
        cls,
        given: Mapping[str, Tensor] | None,
        path: str | None,
        model: str,
        task: str,
        asked: Mapping[str, Any],
        earlier: Mapping[str, Any] | None,
    ) -> Origin | None:
        """Read what was given; None where nothing was.

        Args:
            given: a state dict.
            path: of a file or of a run.
            model: the name of the model that starts from it.
            task: the name of the task that it is trained for.
            asked: the options of the model, as far as they were asked for.
            earlier: run.json of the folder that is trained in; a run goes on though the file that it began with is gone.

        Raises:
            UsageError: there is no such file, it cannot be read, or it is a run of another model.
        """
        if given is not None and path is not None:
            raise UsageError(f"weights={path!r}: a state dict was given too; leave out one of the two.")
        if given is not None:
            if not given or not all(isinstance(value, Tensor) for value in given.values()):
                raise UsageError("weights={…}: must be tensors by name; give a model's state dict, a file or a run.")
            return cls(None, weights.digest(_on_cpu(given)), {}, given)
        if path is None:
            return None
        recorded = (earlier or {}).get("weights") or {}
        if not Path(path).exists() and recorded.get("path") == path:
            options = {name: tuple(v) if isinstance(v, list) else v for name, v in recorded["options"].items()}
            return cls(path, recorded["digest"], options)
        if (found := _run(path)) is not None:
            return cls._of_run(path, model, task, *found)
        read = weight_files.read(Path(path))
        _check_variant(path, model, read.config)
        implied = _implied(model, read.tensors, asked)
        return cls(path, weights.digest(read.tensors), implied, read.tensors, None, read.notes, read.config)

    @classmethod
    def _of_run(cls, path: str, model: str, task: str, run: Run, which: Literal["best", "last"]) -> Origin:
        described = run.info["model"]
        if described["name"] != model:
            raise UsageError(
                f"weights={path!r}: is a run of model={described['name']!r}, not {model!r}; leave out --model, or give weights "
                f"of {model}."
            )
        trained, digest = run.trained(which)
        own = trained.state_dict()
        tensors = {name: own[mine] for name, mine in fitting.canonical(trained).items()}
        same = run.info["task"]["name"] == task
        full = {name: default for name, (_, default, _) in _building.options(model).items()} | described["options"]
        options = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in full.items()
            if name not in _FREEZING and (same or name not in _OF_HEAD)
        }
        return cls(path, digest, options, tensors, run)

    def implied(self, settings: Settings) -> dict[str, Any]:
        """The options that differ from those that the model would have without these weights."""
        plain = {name: default for name, (_, default, _) in _building.options(settings.model).items()}
        plain |= settings.model_options
        return {name: value for name, value in self.options.items() if value != plain[name]}

    @property
    def what(self) -> str:
        """The weights in a sentence."""
        return self.path if self.path is not None else "a state dict"

    def fit(self, model: Any, task: str, classes: tuple[str, ...]) -> Said:
        """Put the weights into a model.

        Args:
            model: as it was built.
            task: the name of the task that it is trained for.
            classes: of the data.

        Raises:
            UsageError: most of the model's body is not among them.
        """
        if self.tensors is None:
            raise UsageError(
                f"weights={self.path!r}: there is no such file or run, and the run has no state to go on from; put it back."
            )
        tensors = _inside(model, self.tensors)
        same = None
        if self.run is not None:
            same = self.run.info["task"]["name"] == task and self.run.classes == classes
        fitted = fitting.fit(model, tensors, self.what, named=self.run is not None, head=same)
        notes = (*self.notes, *fitted.notes, self._normalise(model, fitted))
        return Said(tuple(f"weights={self.what!r}: {note}" for note in notes), fitted.warning)

    def _normalise(self, model: Any, fitted: fitting.Fitted) -> str:
        """Give the model the normalisation that belongs to the weights; returns what was done."""
        layer = model.normalize
        if fitted.normalized:
            return "images are normalised as in their training."
        if fitted.named != "published" or layer.mean.shape[1] != 3:
            return "nothing says how their images were normalised; the statistics of the training images are taken."
        cfg = (self.config or {}).get("pretrained_cfg", {})
        name = _building.describe(model)["name"]
        stated: Any = _statistics(cfg)
        whose = "the config.json beside them says"
        if stated is None:
            whose = (
                f"{_PUBLISHERS.get(name, 'torchvision' + chr(39) + 's')} weights need it; the file itself does not say"
            )
            stated = None if layer.pretrained else _pretrained.IMAGENET
        if stated is not None:
            for buffer, values in zip((layer.mean, layer.std), stated, strict=True):
                buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))
            layer.pretrained = True
        mean, std = ("(" + ", ".join(f"{v:.3f}" for v in b.flatten().tolist()) + ")" for b in (layer.mean, layer.std))
        return f"images are normalised with mean {mean} and deviation {std}, as {whose}."

    def record(self, said: Said) -> dict[str, Any]:
        """What run.json says of it.

        Args:
            said: the sentences of `fit`.
        """
        return {
            "path": self.path,
            "digest": self.digest,
            "options": dict(self.options),
            "said": [*said.notes, *filter(None, [said.warning])],
        }

    def check(self, record: Mapping[str, Any], out: Path) -> None:
        """Refuse to go on with a run that set out from other weights.

        Raises:
            RunError: run.json names weights of another content.
        """
        if "weights" not in record and self.path is None:
            return  # an earlier version wrote nothing of a state dict
        began = record.get("weights")
        if began is None:
            raise RunError(
                f"out={str(out)!r}: holds a run that did not begin with weights={self.what!r}; name another folder."
            )
        if began["digest"] != self.digest:
            raise RunError(
                f"out={str(out)!r}: holds a run that began with weights={began['path']!r} of another content (digest "
                f"{began['digest'][:12]}, not {self.digest[:12]}); put back the file that it began with, or name another folder."
            )


def _inside(model: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors by their names in a model; those of a module of the user's own may bear the names that they have in it alone."""
    if not isinstance(model, OwnModel) or {*tensors} & {*model.state_dict()}:
        return tensors
    return {f"net.{name}": value for name, value in tensors.items()}


def _run(path: str) -> tuple[Run, Literal["best", "last"]] | None:
    """The run in a folder, or the one whose file of weights this is."""
    place = Path(path)
    if (place / "run.json").exists():
        return Run(place), "best"
    if place.name in WEIGHTS.values() and (place.parent / "run.json").exists():
        return Run(place.parent), "last" if place.name == WEIGHTS["last"] else "best"
    return None


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in tensors.items()}


def _implied(model: str, tensors: Mapping[str, Tensor], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which a model has the first convolution that published weights have: colour or grey, large or small."""
    known = _building.options(model)
    if "pretrained" not in known or any(name.endswith("normalize.mean") for name in tensors):
        return {}
    square = [value.shape for value in tensors.values() if value.ndim == 4]
    colour = next((shape for shape in square if shape[1] == 3), None)
    options: dict[str, Any] = {
        "pretrained": colour is not None and asked.get("stem") != "small" and not asked.get("plain")
    }
    first = colour or next((shape for shape in square if shape[1] == 1), None)
    if "stem" in known and first is not None:
        small = first[2] == 3
        options = {"pretrained": options["pretrained"] and not small, "stem": "small" if small else "large"}
    return options


def _check_variant(path: str, model: str, config: Mapping[str, Any]) -> None:
    """Refuse the variant of EfficientNet-Lite0 that pads and normalises differently, under the same names and shapes."""
    if model == "efficientnet_lite0" and config.get("architecture") == "efficientnet_lite0":
        raise UsageError(
            f"weights={path!r}: are of timm's efficientnet_lite0, and this model is its tf_efficientnet_lite0, which pads "
            "differently; train them with --model timm --name efficientnet_lite0."
        )


def _statistics(config: Any) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of timm's configuration, if they are there."""
    found = [config.get(part) for part in ("mean", "std")]
    good = all(
        isinstance(values, list) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values)
        for values in found
    )
    return (found[0], found[1]) if good else None
