# SPDX-License-Identifier: Apache-2.0
"""Functions of the user's own in a training: on each batch, on the validation's records, and after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError, brief
from pellucid.own import sources
from pellucid.tasks import AnyTask, Metric, OwnMeasure, check_measures
from pellucid.training.machine import evaluating

__all__ = ["Hooks", "changed"]

_BEYOND = 0.5  # how far values may lie outside of [0, 1], which noise brings about


@final
@dataclass(frozen=True)
class Hooks:
    """What a user hands to `train` beside options.

    >>> Hooks(augment=torch.flip).record["augment"]["name"]
    'flip'
    """

    augment: Callable[[Tensor, Any], Any] | None = None
    measures: Mapping[str, OwnMeasure] = field(default_factory=dict)
    callback: Callable[[int, Mapping[str, Any], nn.Module], Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says of them: name, source and digest of each; {} without any."""
        record: dict[str, Any] = {
            name: _described(function)
            for name in ("augment", "callback")
            if (function := getattr(self, name)) is not None
        }
        if self.measures:
            record["measures"] = {name: _described(function) for name, function in self.measures.items()}
        return record

    def check(self, declared: Sequence[Metric]) -> None:
        """Refuse what is no function, and measures whose names are taken.

        Raises:
            UsageError: one of these.
        """
        for name in ("augment", "callback"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise UsageError(f"{name}={given!r}: is no function; give one, or leave it out.")
        check_measures(self.measures, declared)

    def prepared(self, task: AnyTask, batch: Batch, draws: Draws) -> tuple[Any, Any]:
        """Input and truth of a training batch: as the task prepares them, and then as `augment` changes them.

        Raises:
            UsageError: what `augment` gave is no batch of such images.
        """
        input, truth = task.prepare(batch, draws, training=True)
        if self.augment is None:
            return input, truth
        title = f"augment={_name(self.augment)}"
        if not isinstance(input, Tensor):
            raise UsageError(f"{title}: this task gives its model more than images; use the task's own options.")
        made = self.augment(input, truth)
        images, target = made if isinstance(made, tuple) and len(made) == 2 else (made, truth)
        if not isinstance(images, Tensor) or images.shape != input.shape or images.dtype != input.dtype:
            got = (
                f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
            )
            raise UsageError(
                f"{title}: gives {got} for images {tuple(input.shape)} {input.dtype}; return images of that shape and type, "
                "alone or with their targets."
            )
        if type(target) is not type(truth) or len(target) != len(truth):
            raise UsageError(
                f"{title}: gives targets of the type {type(target).__name__} for a {type(truth).__name__} of {len(truth)} images; return "
                "the targets that it was given, changed or not."
            )
        return images, target

    def tried(self, task: AnyTask, batch: Batch, draws: Draws) -> None:
        """Refuse an `augment` whose images have values that no images of a model's door have.

        Raises:
            UsageError: they lie far outside of [0, 1], are not finite, or it fails.
        """
        if self.augment is None:
            return
        title = f"augment={_name(self.augment)}"
        try:
            with torch.random.fork_rng():
                images, _ = self.prepared(task, batch, draws)
        except UsageError:
            raise
        except Exception as fault:
            raise UsageError(
                f"{title}: fails on a batch ({type(fault).__name__}: {brief(fault)}); it takes images (N, C, H, W) in [0, 1] and targets."
            ) from fault
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -_BEYOND and high <= 1 + _BEYOND):
            raise UsageError(
                f"{title}: gives values from {low:.3g} to {high:.3g}; images lie in [0, 1], and the model normalises them."
            )

    def ends(self, epoch: int, row: Mapping[str, Any], model: nn.Module) -> bool:
        """Call back after an epoch; whether the training is to end, because the answer is False."""
        if self.callback is None:
            return False
        with torch.no_grad(), evaluating(model) as quiet:
            return self.callback(epoch, dict(row), quiet) is False


def changed(now: Mapping[str, Any], then: Mapping[str, Any]) -> str | None:
    """How the `augment` of a run differs from the one that is given now, as "with …"; None where it does not."""
    one, other = now.get("augment"), then.get("augment")
    if one is None and other is None:
        return None
    if one is None or other is None:
        return (
            f"with augment={other['name']}, and none is given now"
            if other
            else "without augment=, and one is given now"
        )
    if one["digest"] != other["digest"] or one["name"] != other["name"]:
        return f"with augment={other['name']} of another source (digest {str(other['digest'])[:12]}, not {one['digest'][:12]})"
    return None


def _described(function: Any) -> dict[str, str]:
    own = function if hasattr(function, "__qualname__") else type(function)
    source = sources.source_of(own)
    return {"name": _name(function), "source": source, "digest": sources.digest_of(source)}


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
