# SPDX-License-Identifier: Apache-2.0
"""The losses of inpainting: of pixels, of their differences, of a pretrained network's features, and of a critic."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._processes import averaged
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks.inpaint.edges import gradient_sums

__all__ = ["Features", "critic_loss", "features", "generator_loss", "gradient_loss", "pixel_losses"]

_FLOOR = 1e-5  # mean squared error of 50 dB: nobody sees a difference below it
_PROBE = 64  # px, of the image that shows at which layers the resolution changes
_FINEST, _COARSEST = 2, 16  # of the feature maps that are compared: a half to a sixteenth of the image


def pixel_losses(error: str, answer: Tensor, truth: Tensor, filled: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The losses of the missing and of the known pixels, scalars.

    Args:
        error: "l1" or "mse": the mean over all missing pixels; "psnr": the geometric mean over the images of each hole's
            mean squared error over that of the fill, so that a smooth image counts as much as a busy one.
        answer: (B, C, H, W).
        truth: (B, C, H, W).
        filled: the model's input, (B, C, H, W), with the fill in the hole.
        mask: (B, 1, H, W), 1 = missing.
    """
    difference = answer - truth
    errors = difference.abs() if error == "l1" else difference.square()
    missing = mask.sum((1, 2, 3)) * truth.shape[1]  # (B,): numbers in the hole
    if error == "psnr":
        baseline = (filled - truth).square()
        ours, theirs = (
            ((part * mask).sum((1, 2, 3)) / missing.clamp_min(1) + _FLOOR).log() for part in (errors, baseline)
        )
        hole = averaged((ours - theirs).mean()).exp()  # a mean of logarithms, as the PSNR over images is
    else:
        hole = averaged((errors * mask).sum()) / averaged(missing.sum()).clamp_min(1)
    rest = averaged((errors * (1 - mask)).sum()) / averaged(truth.numel() - missing.sum()).clamp_min(1)
    return hole, rest


def gradient_loss(answer: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Σ |∇answer − ∇truth| / Σ |∇truth| over all neighbours of the batch of which one is missing; a scalar, 1 for even fills.

    Args:
        answer: (B, C, H, W), with the true values where pixels are known.
        truth: (B, C, H, W).
        mask: (B, 1, H, W), 1 = missing.
    """
    wrong, there, number = gradient_sums(answer, truth, mask)
    return averaged(wrong.sum()) / (averaged(there.sum()) + _FLOOR * averaged(number.sum())).clamp_min(1e-12)


class Features:
    """A pretrained network's last feature map at each scale from a half to a sixteenth of the image.

    Args:
        network: a classifier whose layers give maps (B, C, h, w).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)
        last: dict[int, nn.Module] = {}  # the last layer that gives a map, by scale

        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                last[_PROBE // max(1, output.shape[2])] = module

        leaves = [module for module in network.modules() if not list(module.children())]
        hooks = [leaf.register_forward_hook(note) for leaf in leaves]
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, _PROBE, _PROBE))
        finally:
            for hook in hooks:
                hook.remove()
        self.scales = [scale for scale in sorted(last) if _FINEST <= scale <= _COARSEST]
        self._layers = [last[scale] for scale in self.scales]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The maps of images (B, 1 or 3, H, W) in [0, 1], finest first; gradients pass through."""
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
            F.l1_loss(ours.float(), theirs.float()) / averaged(theirs.float().abs().mean()).clamp_min(1e-6)
            for ours, theirs in zip(self(answer), wanted, strict=True)
        ]
        return torch.stack(parts).mean()


@functools.lru_cache(maxsize=2)
def features(network: str, device: torch.device) -> Features:
    """The features of a pretrained classifier by name: "efficientnet_lite0", "torchvision/NAME" or "timm/NAME".

    Raises:
        UsageError: its weights are not available, or it has no feature maps.
    """
    pretrained = _building.load_external(network)
    maps = Features(pretrained)
    if not maps._layers:
        raise UsageError(
            f"network={network!r}: has no feature maps; choose a convolutional network, e.g. efficientnet_lite0."
        )
    pretrained.to(device)
    return maps


def generator_loss(of_fake: Tensor) -> Tensor:
    """The generator's adversarial loss from the critic's scores: −D(fake) (Lim & Ye 2017; Yu et al. 2019, eq. 5)."""
    return -of_fake.float().mean()


def critic_loss(of_real: Tensor, of_fake: Tensor) -> dict[str, Tensor]:
    """The critic's hinge loss, max(0, 1 − D(real)) + max(0, 1 + D(fake)), and the mean score of each.

    >>> critic_loss(torch.tensor([2.0]), torch.tensor([-0.5]))["loss"]
    tensor(0.5000)
    """
    loss = F.relu(1 - of_real.float()).mean() + F.relu(1 + of_fake.float()).mean()
    return {"loss": loss, "of_real": of_real.float().mean().detach(), "of_fake": of_fake.float().mean().detach()}
