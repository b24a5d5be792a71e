# SPDX-License-Identifier: Apache-2.0
"""What each pixel adds to a score: guided backprop on the autograd graph, and the methods of the library Captum."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._images import blurred

__all__ = ["METHODS", "Method", "Settings", "attributed", "guided", "reduced"]

Score = Callable[[Tensor], Tensor]  # images (B, C, H, W) to scores (B,), in the graph


@final
@dataclass(frozen=True)
class Method:
    """A method's name in words, and how its values are drawn."""

    title: str
    signed: bool  # positive and negative contributions, else magnitudes
    fine: bool  # a value for each pixel, else a coarse map drawn over the image
    unit: str  # of a value


METHODS = {
    "saliency": Method("saliency", False, True, "|gradient|, score per unit of a pixel"),
    "input_x_gradient": Method("input × gradient", True, True, "score"),
    "integrated_gradients": Method("integrated gradients", True, True, "score"),
    "smooth_grad": Method("SmoothGrad", False, True, "|mean gradient|, score per unit of a pixel"),
    "grad_cam": Method("Grad-CAM", False, False, "weighted activation"),
    "guided_backprop": Method("guided backprop", False, True, "|guided gradient|"),
}


@final
@dataclass(frozen=True)
class Settings:
    """What a method takes beside the score and the image."""

    method: str
    steps: int  # of integrated gradients and SmoothGrad
    baseline: str  # of integrated gradients
    noise: float  # of SmoothGrad, as a share of the image's range
    layer: nn.Module | None  # of Grad-CAM
    seed: int
    batch: int  # images that pass the model at once


def attributed(score: Score, image: Tensor, settings: Settings) -> Tensor:
    """(C, H, W), or (1, H, W) for Grad-CAM: what the method ascribes to an image (C, H, W).

    >>> settings = Settings("guided_backprop", 1, "black", 0.0, None, 0, 1)
    >>> weights = torch.tensor([2.0, 0.0, -1.0])
    >>> attributed(lambda x: (x * weights.view(1, 1, 1, 3)).relu().sum((1, 2, 3)), torch.ones(1, 1, 3), settings).tolist()
    [[[2.0, 0.0, -0.0]]]
    """
    given = image[None].detach().clone().requires_grad_()

    def safe(images: Tensor) -> Tensor:
        scores = score(images * 1)  # a model may write into its input, but not into a leaf of the graph
        if not scores.requires_grad:
            raise UsageError(
                "lens='attribution': needs a gradient, and the model's output has none; look through occlusion."
            )
        return scores

    with torch.enable_grad():
        if settings.method == "guided_backprop":
            return guided(safe, given)[0]
        attr = _captum()
        if settings.method == "saliency":
            ascribed = attr.Saliency(safe).attribute(given, abs=False)
        elif settings.method == "input_x_gradient":
            ascribed = attr.InputXGradient(safe).attribute(given)
        elif settings.method == "integrated_gradients":
            ascribed = attr.IntegratedGradients(safe, multiply_by_inputs=True).attribute(
                given,
                baseline(image, settings.baseline)[None],
                n_steps=settings.steps,
                internal_batch_size=settings.batch,
            )
        elif settings.method == "smooth_grad":
            spread = settings.noise * float(image.max() - image.min())
            with _drawing_from(settings.seed, image.device):
                ascribed = attr.NoiseTunnel(attr.Saliency(safe)).attribute(
                    given, nt_type="smoothgrad", nt_samples=settings.steps, abs=False, stdevs=spread,
                    nt_samples_batch_size=min(settings.batch, settings.steps),
                )  # fmt: skip
        else:
            coarse = attr.LayerGradCam(safe, settings.layer).attribute(given, relu_attributions=True)
            ascribed = F.interpolate(coarse, image.shape[1:], mode="bilinear")
    values: Tensor = ascribed[0].detach().float()
    return values


def guided(score: Score, images: Tensor) -> Tensor:
    """Guided backprop of images (B, C, H, W): at each ReLU only a positive gradient passes (Springenberg et al. 2015, sec. 3.4).

    The ReLUs are found in the autograd graph, where modules, functions, in-place and re-used ones look alike. The graph is freed
    with the result, and nothing is attached to the model.

    >>> guided(lambda x: (-(x - 1).relu()).sum((1, 2, 3)), torch.full((1, 1, 1, 1), 3.0, requires_grad=True)).item()
    0.0

    Raises:
        UsageError: the score passes no ReLU.
    """
    total = score(images).sum()
    nodes = [node for node in _nodes(total.grad_fn) if _is_relu(node)]
    if not nodes:
        raise UsageError(
            "method='guided_backprop': changes the gradient at ReLUs, and the model has none; choose saliency or another method."
        )
    for node in nodes:
        node.register_prehook(lambda gradients: tuple(None if g is None else g.clamp(min=0) for g in gradients))
    (gradient,) = torch.autograd.grad(total, images, allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient.detach().float()


def _nodes(root: Any) -> Iterator[Any]:
    """The nodes of an autograd graph, each once."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(following for following, _ in node.next_functions)


def _is_relu(node: Any) -> bool:
    """Whether a node is max(x, 0), under whichever of its names, or ReLU6."""
    kind = node.name().removesuffix("0").removesuffix("1").removesuffix("Backward")
    if kind == "Relu":
        return True
    if kind in ("Clamp", "ClampMin"):
        return bool(node._saved_min == 0)
    if kind == "Hardtanh":
        return bool(node._saved_min_val == 0)
    return kind == "Threshold" and bool(node._saved_threshold == 0)


def baseline(image: Tensor, name: str) -> Tensor:
    """(C, H, W): the start of integrated gradients: black, the image's mean colour, or the blurred image."""
    if name == "black":
        return torch.zeros_like(image)
    if name == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image).clone()
    return blurred(image)


def reduced(values: Tensor, signed: bool) -> Tensor:
    """(H, W) of (C, H, W): the sum over the planes of signed values, else the largest magnitude."""
    return values.sum(0) if signed else values.abs().amax(0)


@contextmanager
def _drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generators, from which Captum draws, at `seed` within the block and restored after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _captum() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the libraries that it imports
            return importlib.import_module("captum.attr")
    except ImportError:
        raise UsageError(
            "lens='attribution': needs the library Captum for this method; install pellucid[attribution], "
            "or choose guided_backprop."
        ) from None
