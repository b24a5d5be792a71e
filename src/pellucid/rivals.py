# SPDX-License-Identifier: Apache-2.0
"""What a run's baselines learn from: the images that its model saw, and what its frozen backbone computes of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pellucid.data.dataset import Dataset, Split
from pellucid.data.limiting import chosen
from pellucid.errors import PellucidError
from pellucid.features import frozen_backbone, frozen_features
from pellucid.run import Run
from pellucid.tasks import BaselinesOnFeatures, Records

__all__ = ["learned_from", "on_features", "own_letters"]

_AT_ONCE = 64  # images whose features are computed together


def learned_from(run: Run, dataset: Dataset) -> NDArray[np.int64]:
    """The positions of the training images that the model saw: the baselines see no others."""
    recipe = run.info["recipe"]
    limits = recipe.get("limit"), recipe.get("limit_per_class")
    return chosen(dataset.splits["train"], *limits, int(run.info["seed"]), dataset.classes)


def own_letters(run: Run) -> Split | None:
    """The training images of a run whose own data are letters; None where they are not at hand."""
    try:
        own = run.data()
    except PellucidError:
        return None
    return own.splits["train"].select(learned_from(run, own))


def on_features(
    run: Run, model: nn.Module, dataset: Dataset, places: NDArray[np.int64], split: str, device: torch.device
) -> dict[str, Records]:
    """What simple methods make of a frozen backbone's features; {} where the task has none, or nothing stayed frozen."""
    backbone = frozen_backbone(run, model)
    if backbone is None or not isinstance(run.task, BaselinesOnFeatures) or not len(places):
        return {}
    most, train, held_out = run.task.feature_images, dataset.splits["train"], dataset.splits[split]

    def features(images: Split, part: str) -> NDArray[np.float32]:
        key = f"{dataset.fingerprint}-{dataset.cut}-{part}" if dataset.fingerprint and part else ""
        return frozen_features(run, model, backbone, images, _AT_ONCE, device, key)

    known = places[chosen(train.select(places), most, seed=int(run.info["seed"]))]
    # of a small set all features are kept: they serve every limit and seed
    seen = features(train, "train")[known] if len(train) <= most else features(train.select(known), "")
    return run.task.feature_baselines(seen, features(held_out, split), train.select(known), held_out, run.size)
