# SPDX-License-Identifier: Apache-2.0
"""The proof that what is frozen stays so: a digest of every frozen tensor before the first step and after the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pellucid import weights
from pellucid.errors import TrainingError, UsageError
from pellucid.models import Frozen
from pellucid.training.recipe import Recipe

__all__ = ["after", "before", "first_filters", "stage", "thaw"]


def stage(model: nn.Module, recipe: Recipe) -> None:
    """Choose what of a frozen backbone is trained later.

    Raises:
        UsageError: nothing is frozen.
    """
    if recipe.unfreeze == "never":
        return
    frozen = [module for module in model.modules() if isinstance(module, Frozen)]
    if not frozen:
        raise UsageError(
            f"unfreeze={recipe.unfreeze!r}: has no effect on a model without a frozen backbone; add --frozen."
        )
    for module in frozen:
        module.stage(recipe.unfreeze)


def thaw(model: nn.Module) -> None:
    """Train what was chosen, from now on; a second call changes nothing."""
    for module in model.modules():
        if isinstance(module, Frozen) and not module.thawed:
            module.thaw()


def before(model: nn.Module) -> dict[str, Any] | None:
    """What run.json says of a model's frozen part before its training; None where nothing is frozen.

    >>> model = nn.Sequential(Frozen(nn.Linear(3, 2)), nn.Linear(2, 1))
    >>> found = before(model)
    >>> found["tensors"], found["fixed"], found["trained"], sorted(found["each"])
    (2, 8, 3, ['0.body.bias', '0.body.weight'])

    "each" has the digest of every frozen tensor by its name in the weights, batch-norm statistics included, "before" and
    "after" those of all of them together; "fixed" and "trained" are numbers of parameters; those that are
    trained later count as trained, and have no digest.
    """
    tensors = _tensors(model)
    if not tensors:
        return None
    fixed = sum(p.numel() for name, p in model.named_parameters() if name in tensors)
    trained = sum(p.numel() for p in model.parameters()) - fixed
    each = {name: weights.digest({name: value}) for name, value in tensors.items()}
    return {
        "tensors": len(each),
        "before": weights.digest(tensors),
        "after": None,
        "each": each,
        "fixed": fixed,
        "trained": trained,
    }


def after(model: nn.Module, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record once the training has ended.

    >>> model = nn.Sequential(Frozen(nn.Linear(3, 2)), nn.Linear(2, 1))
    >>> record = before(model)
    >>> after(model, record)["after"] == record["before"]
    True

    Raises:
        TrainingError: a frozen tensor is not what it was, in any bit.
    """
    tensors = _tensors(model)
    each = record["each"]
    now = {name: weights.digest({name: value}) for name, value in tensors.items()}
    if changed := [name for name, digest in each.items() if now.get(name) != digest]:
        raise TrainingError(
            f"frozen=True: {len(changed):,} of {len(each):,} frozen tensors changed in training ({changed[0]} is the first), "
            "which is a fault of pellucid's or of the model's; do not use this run."
        )
    return {**record, "after": weights.digest(tensors)}


def first_filters(model: nn.Module) -> dict[str, Tensor]:
    """The filters (K, C, h, w) of the first convolution by their name in the weights; {} where the model has none.

    >>> list(first_filters(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))))
    ['0.weight']
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return {f"{name}.weight" if name else "weight": module.weight.detach().cpu()}
    return {}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The frozen tensors by their names in the model's state, on the CPU."""
    inside = {
        f"{own}.{name}" if own else name
        for own, module in model.named_modules()
        if isinstance(module, Frozen)
        for name in module.state_dict()
        if name not in module.later
    }
    return {name: value.detach().cpu() for name, value in model.state_dict().items() if name in inside}
