# SPDX-License-Identifier: Apache-2.0
"""attribution: what each pixel adds to the answer, by the gradient of the input; and whether the map can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._following import Followed
from pellucid._spread import evenly_spread
from pellucid.errors import UsageError, check_choice
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import stacked
from pellucid.lenses._layers import CONVOLUTIONS, last_convolution, recorded
from pellucid.lenses._parts import Network
from pellucid.lenses.attribution.checks import Depth, cascade, deletion, similarity
from pellucid.lenses.attribution.figure import Mapped, figure, words
from pellucid.lenses.attribution.maps import METHODS, Settings, attributed, reduced

__all__ = ["Attribution"]

_BYTES = 800.0 * 4  # of a pass forwards and back, for each value of an image
_EVIDENCE, _LAYER = -1, -2  # instead of a class: the task's evidence, or a layer

_AXES = {
    "map": ("image", "y", "x"),
    "values": ("image", "channel", "y", "x"),
    "randomised": ("image", "layers", "y", "x"),
    "ssim": ("image", "layers"),
    "rank_correlation": ("image", "layers"),
    "layers_randomised": ("layers",),
    "deletion_share": ("tested", "share"),
    "deletion": ("tested", "share"),
    "deletion_random": ("tested", "order", "share"),
    "deletion_shifted": ("tested", "order", "share"),
    "size": ("image", "height and width"),
    "box": ("image", "x0 y0 x1 y1"),
    **dict.fromkeys(("class", "score"), ("image",)),
    **dict.fromkeys(("tested", "deletion_area", "deletion_area_random", "deletion_area_shifted"), ("tested",)),
}


@final
@dataclass(frozen=True)
class Attribution(Lens[Network]):
    """The score of a class goes back to the pixels; beside each map are two tests of it.

    `values` (image, channel, y, x) are what the method ascribes, `map` (image, y, x) their sum over the channels, or their
    largest magnitude where the method has no sign. Two tests tell whether to believe a map. The layers are randomised one after
    another from the output down and the map is made again (Adebayo et al. 2018): one that stays similar (`ssim`,
    `rank_correlation`) does not show what the network has learned. And the image is deleted in the map's order (Petsiuk et al.
    2018): the score (`deletion`) should fall faster than in random orders, and than in the order of the map shifted elsewhere.

    >>> class Left(nn.Module):  # sees only the left half
    ...     def forward(self, x): return torch.stack([x[..., :4].sum((1, 2, 3)), x.sum((1, 2, 3)) * 0], 1)
    >>> network = Network(nn.Sequential(nn.ReLU(), Left()), torch.ones(1, 1, 8, 8))
    >>> view = Attribution(method="guided_backprop").look(network)
    >>> view["map"][0, 0].tolist(), view.axes["map"]
    ([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], ('image', 'y', 'x'))
    """

    method: Literal[
        "integrated_gradients", "saliency", "input_x_gradient", "smooth_grad", "grad_cam", "guided_backprop"
    ] = "integrated_gradients"
    """how the score is attributed to the pixels"""
    follow: str | None = None
    """class whose score is followed, by name or number, by default each image's top one; of a run that does more than classify, another score of its task, such as a side of the box, or of a detector a detection by class, rank or place"""  # noqa: E501
    layer: str | None = None
    """for grad_cam its layer, by default the last convolution; else a layer whose mean output is followed instead of a class"""
    filter: int | None = None
    """filter of that layer whose strongest output is followed instead of a class"""
    steps: int = 32
    """steps of integrated gradients, samples of SmoothGrad"""
    baseline: Literal["black", "mean", "blur"] = "black"
    """start of integrated gradients: a black image, the image's mean colour, or the blurred image"""
    noise: float = 0.15
    """standard deviation of SmoothGrad's noise, as a share of the image's range"""
    depths: int = 8
    """depths down to which the layers are randomised for the test by weights; 0 skips this test"""
    tested: int = 6
    """images that are tested, spread evenly; of the others only the map is made"""

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("baseline", self.baseline, ("black", "mean", "blur"))
        for name, value, least in (("steps", self.steps, 1), ("depths", self.depths, 0), ("tested", self.tested, 0)):
            if value < least:
                raise UsageError(f"{name}={value}: must be at least {least}; give a larger number.")
        if not self.noise > 0:
            raise UsageError(f"noise={self.noise:g}: must be above 0; give e.g. 0.15.")
        if self.filter is not None and (self.layer is None or self.method == "grad_cam"):
            raise UsageError(
                f"filter={self.filter}: needs a layer and a method other than grad_cam; give --layer and another method."
            )
        if self.follow is not None and self.layer is not None and self.method != "grad_cam":
            raise UsageError(
                f"follow={self.follow!r}: cannot be combined with a layer that is followed itself; leave one of the two out."
            )

    def look(self, network: Network) -> View:
        layer = self._grad_cam_layer(network) if self.method == "grad_cam" else self.layer
        if self.method == "grad_cam":
            network.note(f"Grad-CAM looks at the layer {layer}")
        chosen = set(evenly_spread(self.tested, len(network.images)).tolist())
        images = network.progress(network.images, "following the gradient")
        mapped = [
            self._one(network, place, image.to(network.device), layer, place in chosen)
            for place, image in enumerate(images)
        ]
        tested = [mapped[place] for place in sorted(chosen)]
        depths = self._randomise(network, tested, layer) if self.depths and tested else []
        # images that were not tested have rows of NaN
        empty = np.full((len(depths), 1, 1), np.nan)
        none = np.full(len(depths), np.nan)
        numbers: dict[str, NDArray[Any]] = {
            "map": stacked([one.map for one in mapped]),
            "values": stacked([one.values for one in mapped]),
            "size": np.array([one.image.shape[1:] for one in mapped]),
            "class": np.array([one.followed for one in mapped]),
            "score": np.array([one.score for one in mapped]),
        }
        if depths:
            numbers |= {
                "randomised": stacked([np.stack(one.randomised) if one.randomised else empty for one in mapped]),
                "ssim": np.array([[pair[0] for pair in one.similar] or none for one in mapped]),
                "rank_correlation": np.array([[pair[1] for pair in one.similar] or none for one in mapped]),
                "layers_randomised": np.array([depth.count for depth in depths]),
            }
        boxes = [one.chosen.box for one in mapped if one.chosen is not None and one.chosen.box is not None]
        if len(boxes) == len(mapped):
            numbers["box"] = np.array(boxes)
        curves = [one.deletion for one in tested if one.deletion is not None]
        if curves:
            numbers |= {
                "deletion_share": stacked([curve.shares for curve in curves]),
                "deletion": stacked([curve.score for curve in curves]),
                "deletion_random": stacked([curve.random for curve in curves]),
                "deletion_shifted": stacked([curve.shifted for curve in curves]),
                "deletion_area": np.array([curve.area for curve in curves]),
                "deletion_area_random": np.array([curve.areas("random").mean() for curve in curves]),
                "deletion_area_shifted": np.array([curve.areas("shifted").mean() for curve in curves]),
                "tested": np.array([one.place for one in tested]),
            }
        method, axes = METHODS[self.method], {name: names for name, names in _AXES.items() if name in numbers}
        what = self._what(layer)
        drawing = partial(figure, network, mapped, depths, method, what)
        return View(drawing, numbers, words(network, mapped, depths, method, what), axes)

    def _what(self, layer: str | None) -> str:
        """The layer that is looked at or followed, in words."""
        if self.method == "grad_cam":
            return f"at {layer}"
        if layer is None:
            return ""
        return f"layer {layer}" if self.filter is None else f"filter {self.filter} of {layer}"

    def _grad_cam_layer(self, network: Network) -> str:
        image = network.images[0].to(network.device)
        name, part = last_convolution(network.model, image, self.layer)
        if self.layer is None:
            name, part = self._reached(network, image) or (name, part)
        with recorded([part]) as seen, torch.no_grad():
            network.model(image[None])
        if not seen or seen[0][-1].ndim != 4:
            raise UsageError(f"layer={name!r}: has no map (B, C, H, W) for Grad-CAM to weight; name a convolution.")
        return name

    def _reached(self, network: Network, image: Tensor) -> tuple[str, nn.Module] | None:
        """The last convolution on which the score depends; a later one may serve another part of the answer."""
        parts = {name: part for name, part in network.model.named_modules() if isinstance(part, CONVOLUTIONS)}
        with torch.enable_grad(), recorded(parts) as seen:
            output = network.model(image[None].clone().requires_grad_())
            followed = self._followed(network, output)
            score = self._chosen(network, output, followed, image)
            value = network.class_score(output, followed) if score is None else score.score(output)
            if not value.requires_grad:
                return None
            last = {name: tensors[-1] for name, tensors in seen.items()}
            maps = {name: own for name, own in last.items() if own.requires_grad and max(own.shape[2:]) > 1}
            slopes = torch.autograd.grad(value.sum(), [*maps.values()], allow_unused=True)
        names = [name for name, slope in zip(maps, slopes, strict=True) if slope is not None]
        return (names[-1], parts[names[-1]]) if names else None

    def _one(self, network: Network, place: int, image: Tensor, layer: str | None, tested: bool) -> Mapped:
        with torch.no_grad():
            output = network.model(image[None])
            followed = self._followed(network, output)
            chosen = self._chosen(network, output, followed, image)
            shown = self._shown(network, network.model, followed, chosen, layer)
            before = float(shown(image[None])[0])
        values, flat = self._map(network, network.model, image, followed, chosen, layer)
        # a seed of its own for each image, so that the random orders do not depend on which images are tested
        curve = deletion(shown, image, flat, network.seed + place, self._batch(network, image)) if tested else None
        return Mapped(place, image.cpu(), followed, before, values, flat, curve, chosen)

    def _map(
        self,
        network: Network,
        model: nn.Module,
        image: Tensor,
        followed: int,
        chosen: Followed | None,
        layer: str | None,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """What the method ascribes, (C, H, W), and the map of it, (H, W)."""
        settings = Settings(
            self.method, self.steps, self.baseline, self.noise,
            dict(model.named_modules())[str(layer)] if self.method == "grad_cam" else None,
            network.seed, self._batch(network, image),
        )  # fmt: skip
        values = attributed(self._score(network, model, followed, chosen, layer), image, settings)
        return values.cpu().numpy(), reduced(values, METHODS[self.method].signed).cpu().numpy()

    def _batch(self, network: Network, image: Tensor) -> int:
        return network.at_once(_BYTES * image.numel(), 64)

    def _followed(self, network: Network, output: Any) -> int:
        """The class that is followed, or _EVIDENCE or _LAYER."""
        if self.layer is not None and self.method != "grad_cam":
            return _LAYER
        index = network.followed(output, self.follow)
        return _EVIDENCE if index is None else index

    def _chosen(self, network: Network, output: Any, followed: int, image: Tensor) -> Followed | None:
        """What is followed where it is the task's evidence, from the output for the image (C, H, W) alone."""
        if followed != _EVIDENCE:
            return None
        return network.chosen(output, self.follow, (int(image.shape[1]), int(image.shape[2])))

    def _score(
        self, network: Network, model: nn.Module, followed: int, chosen: Followed | None, layer: str | None
    ) -> Callable[[Tensor], Tensor]:
        """Images (B, C, H, W) to (B,): a class's logit, the task's evidence, or a layer's output.

        The logit rather than the probability: near 1 a probability has next to no gradient.
        """
        if followed == _LAYER:
            return lambda images: self._of_layer(model, images, str(layer))
        if chosen is not None:
            narrowed = chosen.narrowed(model)
            return lambda images: chosen.score(narrowed(images))
        return lambda images: network.class_score(model(images), followed)

    def _shown(
        self, network: Network, model: nn.Module, followed: int, chosen: Followed | None, layer: str | None
    ) -> Callable[[Tensor], Tensor]:
        """Images (B, C, H, W) to (B,): the score that people read: a class's probability, else that which is followed."""
        if followed < 0:
            return self._score(network, model, followed, chosen, layer)
        return lambda images: network.logits(model(images)).softmax(1)[:, followed]

    def _of_layer(self, model: nn.Module, images: Tensor, layer: str) -> Tensor:
        """(B,): a layer's mean output, or the strongest of a filter."""
        _, part = last_convolution(model, images[0], layer)
        with recorded([part]) as seen:
            model(images)
        if not seen:
            raise UsageError(f"layer={layer!r}: no tensor passes it; name another layer.")
        output = seen[0][-1]  # (B, F, H, W), (B, tokens, D) or (B, D)
        if self.filter is None:
            return output.flatten(1).mean(1)
        places = output.movedim(1, -1) if output.ndim == 4 else output  # filters last
        if not 0 <= self.filter < places.shape[-1]:
            raise UsageError(
                f"filter={self.filter}: layer {layer} has {places.shape[-1]} filters; give a lower number."
            )
        return places[..., self.filter].flatten(1).amax(1)

    def _randomise(self, network: Network, tested: Sequence[Mapped], layer: str | None) -> list[Depth]:
        """Make the maps again while a copy's layers are randomised from the output down; filled into `tested`."""
        model, image, depths = network.copied(), tested[0].image.to(network.device), []
        for depth in cascade(model, image, self.depths, network.seed):
            depths.append(depth)
            network.note(f"{depth.count} of {depth.of} layers randomised, down to {depth.layer}")
            for one in tested:
                _, flat = self._map(network, model, one.image.to(network.device), one.followed, one.chosen, layer)
                one.randomised.append(flat)
                # magnitudes are compared: a map whose signs flip shows the same places
                one.similar.append(similarity(one.map, flat))
        return depths
