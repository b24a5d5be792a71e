# SPDX-License-Identifier: Apache-2.0
"""What a frozen backbone computes of images: the features that simple methods can be compared on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import weights
from pellucid.answering import run_batches
from pellucid.data.dataset import Split
from pellucid.data.disk import Kept
from pellucid.data.draws import Draws
from pellucid.models import Frozen
from pellucid.run import Run

__all__ = ["frozen_backbone", "frozen_features"]

Features = NDArray[np.float32]


def frozen_backbone(run: Run, model: nn.Module) -> Frozen | None:
    """The backbone of a run's model, if it has just one and no part of it was trained."""
    found = [module for module in model.modules() if isinstance(module, Frozen)]
    trained = run.info["recipe"].get("unfreeze", "never") != "never"
    return None if trained or len(found) != 1 or found[0].several else found[0]


def frozen_features(
    run: Run, model: nn.Module, backbone: Frozen, split: Split, batch_size: int, device: torch.device, key: str = ""
) -> Features:
    """The backbone's answers to a split's images as `evaluate` shows them, (N, F): a map's mean over its places.

    Args:
        run: the run of the model.
        model: in eval mode, on `device`.
        backbone: a module of it.
        split: the images.
        batch_size: images at a time.
        device: of the model.
        key: identifies the images, so that their features are kept in the user's cache; "" keeps nothing.
    """

    def fill(into: NDArray[Any], start: int) -> None:
        own = split.select(np.arange(start, start + len(into)))
        for batch in run_batches(run, own, batch_size, device, seen=True):
            draws = Draws.images(int(run.info["seed"]), batch.index + start, device)
            input, _ = run.task.prepare(batch, draws, training=False)
            into[batch.index.cpu().numpy()] = _seen(model, backbone, input)

    shape = (len(split), _width(run, model, backbone, split, device))
    if key:
        name = next(own for own, module in model.named_modules() if module is backbone)
        before = {n: t.cpu() for n, t in model.state_dict().items() if n.startswith((f"{name}.", "normalize."))}
        described = [
            "frozen features 1",
            key,
            weights.digest(before),
            list(run.size),
            run.task.fitting,
            run.channels,
            str(device),
        ]
        kept = Kept.made([*described, torch.__version__], shape, np.float32, fill)
        if kept is not None:
            kept.check(np.arange(len(split)))
            return np.array(kept.array)
    features = np.empty(shape, np.float32)
    fill(features, 0)
    return features


def _width(run: Run, model: nn.Module, backbone: Frozen, split: Split, device: torch.device) -> int:
    """The number of features, from the first image."""
    [batch] = run_batches(run, split.select([0]), 1, device, seen=True)
    input, _ = run.task.prepare(batch, Draws.images(0, batch.index, device), training=False)
    return int(_seen(model, backbone, input).shape[1])


@torch.no_grad()
def _seen(model: nn.Module, backbone: Frozen, input: Any) -> Features:
    seen: list[Tensor] = []
    hook = backbone.register_forward_hook(lambda module, images, features: seen.append(features))
    try:
        model(input)
    finally:
        hook.remove()
    features = seen[0].float()
    pooled = features.mean((2, 3)) if features.ndim == 4 else features.flatten(1)  # (B, F, H, W) or (B, F) -> (B, F)
    array: Features = pooled.cpu().numpy()
    return array
