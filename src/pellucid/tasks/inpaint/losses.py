# SPDX-License-Identifier: Apache-2.0
"""Losses that look at more than pixels: the features of a network that was trained on photographs, and a critic's opinion."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models import _building

__all__ = ["Features", "critic_loss", "features", "realness_loss"]

_PROBE = 64  # px, of the image that tells at which layers the resolution changes
_FINEST, _COARSEST = 2, 16  # of the feature maps that are compared: a half to a sixteenth of the image


class Features:
    """A ready network's last feature map at each scale from a half to a sixteenth of the image.

    Args:
        network: a ready classifier whose layers give maps (B, C, h, w).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)
        found: dict[int, nn.Module] = {}

        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                found[_PROBE // max(1, output.shape[2])] = module

        leaves = [module for module in network.modules() if not list(module.children())]
        hooks = [leaf.register_forward_hook(note) for leaf in leaves]
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, _PROBE, _PROBE))
        finally:
            for hook in hooks:
                hook.remove()
        self._layers = [module for scale, module in sorted(found.items()) if _FINEST <= scale <= _COARSEST]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The maps of images (B, 1 or 3, H, W) in [0, 1]; gradients go through."""
        maps: list[Tensor] = []
        hooks = [layer.register_forward_hook(lambda _m, _i, output: maps.append(output)) for layer in self._layers]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def distance(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Mean absolute difference of the maps, each in units of its mean absolute value (Johnson et al. 2016, eq. 2, with L1)."""
        with torch.no_grad():
            wanted = self(truth)
        parts = [
            F.l1_loss(mine.float(), theirs.float()) / theirs.float().abs().mean().clamp_min(1e-6)
            for mine, theirs in zip(self(answer), wanted, strict=True)
        ]
        return torch.stack(parts).mean()


@functools.lru_cache(maxsize=2)
def features(network: str, device: torch.device) -> Features:
    """The features of a ready classifier by name: "efficientnet_lite0", "torchvision/NAME" or "timm/NAME".

    Raises:
        UsageError: its weights cannot be had, or it has no maps of features.
    """
    ready = _building.load_external(network)
    found = Features(ready)
    if not found._layers:
        raise UsageError(
            f"network={network!r}: has no maps of features; choose a convolutional one, e.g. efficientnet_lite0."
        )
    ready.to(device)
    return found


def realness_loss(opinion: Tensor) -> Tensor:
    """What the picture's maker minimises: −D(fake), the hinge loss's other side (Lim & Ye 2017; Yu et al. 2019, eq. 5)."""
    return -opinion.float().mean()


def critic_loss(of_real: Tensor, of_fake: Tensor) -> dict[str, Tensor]:
    """What the critic minimises: max(0, 1 − D(real)) + max(0, 1 + D(fake)), and the mean opinion of each.

    >>> critic_loss(torch.tensor([2.0]), torch.tensor([-0.5]))["loss"]
    tensor(0.5000)
    """
    loss = F.relu(1 - of_real.float()).mean() + F.relu(1 + of_fake.float()).mean()
    return {"loss": loss, "of_real": of_real.float().mean().detach(), "of_fake": of_fake.float().mean().detach()}
