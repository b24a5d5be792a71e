# SPDX-License-Identifier: Apache-2.0
"""What each pixel adds to a score: guided backprop by the autograd graph, and the methods of the library Captum."""

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

__all__ = ["METHODS", "Asked", "Method", "attributed", "guided", "reduced"]

Score = Callable[[Tensor], Tensor]  # images (B, C, H, W) to scores (B,), in the graph


@final
@dataclass(frozen=True)
class Method:
    """How a method is called, and how its values are shown."""

    title: str
    signed: bool  # for and against the score, else a strength
    fine: bool  # a value a pixel, else a coarse map over the image
    unit: str


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
class Asked:
    """What a method is told beside the image."""

    method: str
    steps: int  # of integrated gradients and SmoothGrad
    baseline: str  # of integrated gradients
    noise: float  # of SmoothGrad, as a share of the image's range
    layer: nn.Module | None  # of Grad-CAM
    seed: int
    batch: int  # images at once


def attributed(score: Score, image: Tensor, asked: Asked) -> Tensor:
    """(C, H, W), or (1, H, W) of Grad-CAM: what the method ascribes to an image (C, H, W).

    >>> how = Asked("guided_backprop", 1, "black", 0.0, None, 0, 1)
    >>> weights = torch.tensor([2.0, 0.0, -1.0])
    >>> attributed(lambda x: (x * weights.view(1, 1, 1, 3)).relu().sum((1, 2, 3)), torch.ones(1, 1, 3), how).tolist()
    [[[2.0, 0.0, -0.0]]]
    """
    given = image[None].detach().clone().requires_grad_()

    def safe(images: Tensor) -> Tensor:
        found = score(images * 1)  # a model may write into its input, but not into a leaf of the graph
        if not found.requires_grad:
            raise UsageError(
                "lens='attribution': follows the gradient, and the model's answer has none; look through occlusion."
            )
        return found

    with torch.enable_grad():
        if asked.method == "guided_backprop":
            return guided(safe, given)[0]
        attr = _captum()
        if asked.method == "saliency":
            found = attr.Saliency(safe).attribute(given, abs=False)
        elif asked.method == "input_x_gradient":
            found = attr.InputXGradient(safe).attribute(given)
        elif asked.method == "integrated_gradients":
            found = attr.IntegratedGradients(safe, multiply_by_inputs=True).attribute(
                given, baseline(image, asked.baseline)[None], n_steps=asked.steps, internal_batch_size=asked.batch
            )
        elif asked.method == "smooth_grad":
            spread = asked.noise * float(image.max() - image.min())
            with _drawing_from(asked.seed, image.device):
                found = attr.NoiseTunnel(attr.Saliency(safe)).attribute(
                    given, nt_type="smoothgrad", nt_samples=asked.steps, abs=False, stdevs=spread,
                    nt_samples_batch_size=min(asked.batch, asked.steps),
                )  # fmt: skip
        else:
            coarse = attr.LayerGradCam(safe, asked.layer).attribute(given, relu_attributions=True)
            found = F.interpolate(coarse, image.shape[1:], mode="bilinear")
    answer: Tensor = found[0].detach().float()
    return answer


def guided(score: Score, images: Tensor) -> Tensor:
    """Guided backprop of images (B, C, H, W): at each ReLU only a positive gradient passes (Springenberg et al. 2015, sec. 3.4).

    The ReLUs are found in the autograd graph, where a module, a function, an in-place one and one that is used again look
    alike; the graph goes with the answer, and nothing is attached to the model.

    >>> guided(lambda x: (-(x - 1).relu()).sum((1, 2, 3)), torch.full((1, 1, 1, 1), 3.0, requires_grad=True)).item()
    0.0

    Raises:
        UsageError: the score passes no ReLU.
    """
    total = score(images).sum()
    nodes = [node for node in _nodes(total.grad_fn) if _is_relu(node)]
    if not nodes:
        raise UsageError(
            "method='guided_backprop': changes the gradient at ReLUs, and the model has none; choose saliency or another."
        )
    for node in nodes:
        node.register_prehook(lambda gradients: tuple(None if g is None else g.clamp(min=0) for g in gradients))
    (found,) = torch.autograd.grad(total, images, allow_unused=True)
    return torch.zeros_like(images) if found is None else found.detach().float()


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
    """(C, H, W): where integrated gradients starts from: black, the image's mean colour, or the image out of focus."""
    if name == "black":
        return torch.zeros_like(image)
    if name == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image).clone()
    small = F.interpolate(image[None], [max(1, side // 16) for side in image.shape[1:]], mode="area")
    return F.interpolate(small, image.shape[1:], mode="bilinear")[0]


def reduced(values: Tensor, signed: bool) -> Tensor:
    """(H, W) of (C, H, W): the sum over the planes of what is for and against, the largest magnitude of what is strength."""
    return values.sum(0) if signed else values.abs().amax(0)


@contextmanager
def _drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generators stand at `seed` within the block, and as before after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _captum() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that it imports
            return importlib.import_module("captum.attr")
    except ImportError:
        raise UsageError(
            "lens='attribution': needs the library Captum for this method; install pellucid[attribution], "
            "or choose guided_backprop."
        ) from None
