# SPDX-License-Identifier: Apache-2.0
"""attribution: what each pixel adds to the answer, by the gradient of the input; and whether the map can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._images import stacked
from pellucid.lenses._layers import last_convolution, recorded
from pellucid.lenses.attribution.checks import cascade, deletion, similarity
from pellucid.lenses.attribution.figure import Mapped, figure, words
from pellucid.lenses.attribution.maps import METHODS, Asked, attributed, reduced

__all__ = ["Attribution"]

_BYTES = 800.0 * 4  # a value of an image, on its way through a network and back

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
    **dict.fromkeys(("class", "score"), ("image",)),
    **dict.fromkeys(("tested", "deletion_area", "deletion_area_random", "deletion_area_shifted"), ("tested",)),
}


@final
@dataclass(frozen=True)
class Attribution(Lens):
    """The score of a class goes back to the pixels; beside each map stand two tests of it.

    `values` (image, channel, y, x) are what the method ascribes, `map` (image, y, x) their sum over the channels, or their
    largest magnitude where the method knows no sign. The tests: the map is made again while the layers are drawn anew one
    after another from the output down (Adebayo et al. 2018), and compared with the first (`ssim`, `rank_correlation`): a map
    that stays does not show what the network has learnt. And the image is deleted in the map's order (Petsiuk et al. 2018):
    the score (`deletion`) should fall faster than in random orders, and than by the map shifted elsewhere.

    >>> class Left(nn.Module):  # sees only the left half
    ...     def forward(self, x): return torch.stack([x[..., :4].sum((1, 2, 3)), x.sum((1, 2, 3)) * 0], 1)
    >>> view = Attribution(method="guided_backprop").look(Subject(model=nn.Sequential(nn.ReLU(), Left()), images=torch.ones(1, 1, 8, 8)))
    >>> view["map"][0, 0].tolist(), view.axes["map"]
    ([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], ('image', 'y', 'x'))
    """

    method: Literal[
        "integrated_gradients", "saliency", "input_x_gradient", "smooth_grad", "grad_cam", "guided_backprop"
    ] = "integrated_gradients"
    """how the score is brought back to the pixels"""
    follow: str | None = None
    """the class whose score is followed, by name or number; by default each image's top one"""
    layer: str | None = None
    """of Grad-CAM: its layer, by default the last convolution; else the layer whose mean output is followed, not a class"""
    filter: int | None = None
    """the filter of the layer whose strongest output is followed, not a class"""
    steps: int = 32
    """steps of integrated gradients, samples of SmoothGrad"""
    baseline: Literal["black", "mean", "blur"] = "black"
    """where integrated gradients starts from: black, the image's mean colour, or the image out of focus"""
    noise: float = 0.15
    """of SmoothGrad: standard deviation, as a share of the image's range"""
    depths: int = 8
    """depths down to which the layers are drawn anew for the test by weights; 0 for no such test"""
    tested: int = 6
    """images that are tested, spread evenly; of the others there is the map alone"""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method={self.method!r}: is not known; choose one of {', '.join(METHODS)}.")
        if self.baseline not in ("black", "mean", "blur"):
            raise UsageError(f"baseline={self.baseline!r}: is not known; choose black, mean or blur.")
        for name, value, least in (("steps", self.steps, 1), ("depths", self.depths, 0), ("tested", self.tested, 0)):
            if value < least:
                raise UsageError(f"{name}={value}: must be at least {least}; give another.")
        if not self.noise > 0:
            raise UsageError(f"noise={self.noise:g}: must be above 0; give another, e.g. 0.15.")
        if self.filter is not None and (self.layer is None or self.method == "grad_cam"):
            raise UsageError(
                f"filter={self.filter}: goes with a layer's name, and not with grad_cam; give --layer and another method."
            )
        if self.follow is not None and self.layer is not None and self.method != "grad_cam":
            raise UsageError(
                f"follow={self.follow!r}: goes with the model's answer, not with a layer's; leave one out."
            )

    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='attribution': needs a model and at least one image; name an image file.")
        layer = self._grad_cam_layer(subject) if self.method == "grad_cam" else self.layer
        if self.method == "grad_cam":
            subject.note(f"Grad-CAM looks at the layer {layer}")
        count = len(subject.images)
        chosen = set(np.unique(np.linspace(0, count - 1, min(count, self.tested)).round().astype(int)).tolist())
        found = []
        for place, image in enumerate(subject.progress(subject.images, "following the gradient")):
            found.append(self._one(subject, place, image.to(subject.device), layer, place in chosen))
        tested = [found[place] for place in sorted(chosen)]
        depths = self._randomise(subject, tested, layer) if self.depths and tested else []
        empty = np.full((len(depths), 1, 1), np.nan)
        none = np.full(len(depths), np.nan)
        numbers: dict[str, NDArray[Any]] = {
            "map": stacked([one.map for one in found]),
            "values": stacked([one.values for one in found]),
            "size": np.array([one.image.shape[1:] for one in found]),
            "class": np.array([one.followed for one in found]),
            "score": np.array([one.score for one in found]),
        }
        if depths:
            numbers |= {
                "randomised": stacked([np.stack(one.randomised) if one.randomised else empty for one in found]),
                "ssim": np.array([[pair[0] for pair in one.similar] or none for one in found]),
                "rank_correlation": np.array([[pair[1] for pair in one.similar] or none for one in found]),
                "layers_randomised": np.array([depth for depth, _, _ in depths]),
            }
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
        return View(
            figure(subject, found, depths, method, what), numbers, words(subject, found, depths, method, what), axes
        )

    def _what(self, layer: str | None) -> str:
        """What is followed, or looked at, beside the class, in words."""
        if self.method == "grad_cam":
            return f"at {layer}"
        if layer is None:
            return ""
        return f"layer {layer}" if self.filter is None else f"filter {self.filter} of {layer}"

    def _grad_cam_layer(self, subject: Subject) -> str:
        assert subject.model is not None and subject.images is not None
        image = subject.images[0].to(subject.device)
        name, part = last_convolution(subject.model, image, self.layer)
        with recorded([part]) as seen, torch.no_grad():
            subject.model(image[None])
        if not seen or seen[0][-1].ndim != 4:
            raise UsageError(f"layer={name!r}: has no map (B, C, H, W) that Grad-CAM could weigh; name a convolution.")
        return name

    def _one(self, subject: Subject, place: int, image: Tensor, layer: str | None, tested: bool) -> Mapped:
        assert subject.model is not None
        with torch.no_grad():
            followed = self._followed(subject, subject.model(image[None]))
            shown = self._height(subject, subject.model, followed, layer)
            before = float(shown(image[None])[0])
        values, flat = self._map(subject, subject.model, image, followed, layer)
        curve = deletion(shown, image, flat, subject.seed + place, self._batch(subject, image)) if tested else None
        return Mapped(place, image.cpu(), followed, before, values, flat, curve)

    def _map(
        self, subject: Subject, model: nn.Module, image: Tensor, followed: int, layer: str | None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        asked = Asked(
            self.method, self.steps, self.baseline, self.noise,
            dict(model.named_modules())[str(layer)] if self.method == "grad_cam" else None,
            subject.seed, self._batch(subject, image),
        )  # fmt: skip
        values = attributed(self._score(subject, model, followed, layer), image, asked)
        return values.cpu().numpy(), reduced(values, METHODS[self.method].signed).cpu().numpy()

    def _batch(self, subject: Subject, image: Tensor) -> int:
        return subject.room(_BYTES * image.numel(), most=64)

    def _followed(self, subject: Subject, output: Any) -> int:
        """The class that is followed; -1 the task's evidence, -2 a layer."""
        if self.layer is not None and self.method != "grad_cam":
            return -2
        shares = subject.probabilities(output)
        if shares is None:
            if self.follow is not None:
                raise UsageError(f"follow={self.follow!r}: the model's answer is no vector of classes; leave it out.")
            if subject.evidence is None:
                raise UsageError(
                    "lens='attribution': follows a class or a task's evidence, and this model has neither; look at a run."
                )
            return -1
        index = int(shares[0].argmax()) if self.follow is None else subject.class_of(self.follow)
        if index >= shares.shape[1]:
            raise UsageError(f"follow={self.follow!r}: the model has {shares.shape[1]} classes; give a lower number.")
        return index

    def _score(
        self, subject: Subject, model: nn.Module, followed: int, layer: str | None
    ) -> Callable[[Tensor], Tensor]:
        """(B, C, H, W) to (B,): a class's logit, for a sure probability has no gradient; else evidence, or a layer's output."""
        if followed == -2:
            return lambda images: self._of_layer(model, images, str(layer))
        if followed == -1:
            assert subject.evidence is not None
            evidence = subject.evidence
            return lambda images: evidence(model(images))
        return lambda images: model(images)[:, followed]

    def _height(
        self, subject: Subject, model: nn.Module, followed: int, layer: str | None
    ) -> Callable[[Tensor], Tensor]:
        """(B, C, H, W) to (B,): what is shown of the score: a class's probability, else the same."""
        if followed < 0:
            return self._score(subject, model, followed, layer)
        return lambda images: model(images).float().softmax(1)[:, followed]

    def _of_layer(self, model: nn.Module, images: Tensor, layer: str) -> Tensor:
        _, part = last_convolution(model, images[0], layer)
        with recorded([part]) as seen:
            model(images)
        if not seen:
            raise UsageError(f"layer={layer!r}: no tensor passes it; name another layer.")
        output = seen[0][-1]
        if self.filter is None:
            return output.flatten(1).mean(1)
        places = output.movedim(1, -1) if output.ndim == 4 else output  # filters last, as in (B, tokens, D) and (B, D)
        if not 0 <= self.filter < places.shape[-1]:
            raise UsageError(
                f"filter={self.filter}: layer {layer} has {places.shape[-1]} filters; give a lower number."
            )
        return places[..., self.filter].flatten(1).amax(1)

    def _randomise(self, subject: Subject, tested: Sequence[Mapped], layer: str | None) -> list[tuple[int, int, str]]:
        """The maps again while the layers are drawn anew from the output down: filled into `tested`; the depths."""
        model, first, depths = subject.copied(), tested[0].image.to(subject.device), []
        for depth in cascade(model, first, self.depths, subject.seed):
            depths.append(depth)
            subject.note(f"{depth[0]} of {depth[1]} layers drawn anew, down to {depth[2]}")
            for one in tested:
                _, flat = self._map(subject, model, one.image.to(subject.device), one.followed, layer)
                one.randomised.append(flat)
                one.similar.append(similarity(one.map, flat))
        return depths
