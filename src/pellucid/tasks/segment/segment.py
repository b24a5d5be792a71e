# SPDX-License-Identifier: Apache-2.0
"""segment: to which class does each pixel belong?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._options import learned, unfolded
from pellucid._spread import evenly_spread
from pellucid.data.batches import Store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.fitting import fit_maps
from pellucid.data.scales import Scale
from pellucid.data.targets import VOID, Mask, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._contract import ModelMeasures, Task
from pellucid.tasks._exporting import named_output
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._views import Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.segment import baselines, losses, metrics, model_measures, objects, tiles
from pellucid.tasks.segment.options import FORMS, SegmentOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Segment"]

_FORMER: Mapping[str, Fit] = {"resize": "squash"}  # words of runs of earlier versions
_WHOLE = 2_000_000  # px of an image, from which it goes through the model in tiles
_COUNTED = 2000  # training images whose pixels are counted for the weights of classes, at most


@final
@dataclass(frozen=True)
class Segment(Task[Tensor, Mask, Mask]):
    """To which class does each pixel belong?

    The model gives a score for each class at each pixel. Void pixels (255) count nowhere. Measures and answers are of the
    images at their own size, whatever the size of the training images.

    >>> from pellucid.data import open
    >>> data, task = Segment().read(open("scenes"))
    >>> task.outputs(data, (64, 64)), data.classes[:3]
    (9, ('background', 'circle', 'ring'))
    """

    balance: Literal["none", "median_frequency"] = "none"
    """weights of the classes in the loss: equal, or the median of their frequencies over their own (Eigen & Fergus 2015)"""
    focus: float = 0.0
    """exponent of the focal loss, which spares pixels that are right already (Lin et al. 2017); 0 for cross-entropy"""
    dice: float = 0.0
    """weight of the Dice loss beside that of the pixels (Milletari et al. 2016)"""
    fit: Literal["squash", "crop", "pad", "resize"] = "squash"
    """how images come to the size of the training, and answers back: squash (once named resize) scales height and width apart; pad scales both alike and adds void pixels; crop scales nothing: it trains on the middle of each image and takes others whole"""  # noqa: E501
    augment: Augment = unfolded(
        Augment(), "crop", "flip", "turn", "rotate", "scale", "stretch", "slant",
        "exposure", "shading", "contrast", "noise", "erase",
    )  # fmt: skip

    weights: tuple[float, ...] = learned(())  # of the classes
    names: tuple[str, ...] = learned(())  # of the classes
    colours: tuple[int, ...] = learned(())  # in which the data show them, 0xRRGGBB; (): nothing tells
    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "scenes"
    example_options: ClassVar[Mapping[str, Any]] = {
        "widths": (16, 32, 64, 128), "dice": 1.0, "flip": True, "crop": 6, "lr": 0.006, "epochs": 14, "batch_size": 16,
    }  # fmt: skip
    default_model: ClassVar[str] = "unet"
    evidence_title: ClassVar[str] = "mean log-odds"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("map",)
    keeps_size: ClassVar[bool] = True
    view_kinds: ClassVar[Sequence[str]] = ("flip", "turn", "scale")
    predict_options: ClassVar[type[SegmentOptions]] = SegmentOptions

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        # scores of classes are no picture to which the image could be added
        return {"unet": {"residual": False, "batch_norm": True}}.get(model, {})

    def __post_init__(self) -> None:
        check_choice("balance", self.balance, ("none", "median_frequency"))
        check_choice("fit", self.fit, ("squash", "crop", "pad", *_FORMER))
        object.__setattr__(self, "fit", _FORMER.get(self.fit, self.fit))
        for name, most in (("focus", 10.0), ("dice", 1000.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UsageError(f"{name}={value!r}: must lie in [0, {most:g}]; give another value.")

    @property
    def crops(self) -> bool:
        return self.fit == "crop"

    @property
    def fitting(self) -> Fit:
        return _FORMER.get(self.fit) or cast(Fit, self.fit)

    def read(self, data: Dataset) -> tuple[Dataset, Segment]:
        if not data.mask_classes or not all("mask" in split.targets for split in data.splits.values() if len(split)):
            raise DataError(
                f"data={data.name!r}: has no masks, which segment needs; give images with masks of the same name in a folder "
                "beside them, or with outlines as COCO writes them."
            )
        if len(data.mask_classes) < 2:
            raise DataError(
                f"data={data.name!r}: all pixels of its masks are {data.mask_classes[0]!r}; give masks with two classes."
            )
        splits = {  # classes are those of pixels from here on: a label would be read as one of them
            name: replace(split, targets={kind: own for kind, own in split.targets.items() if kind == "mask"})
            for name, split in data.splits.items()
        }
        return data.replace(splits=splits, classes=data.mask_classes), replace(
            self, names=data.mask_classes, colours=data.mask_colours
        )

    def learn(self, images: Store) -> Segment:
        if self.balance == "none":
            return self
        return replace(self, weights=losses.median_frequency(_counts(images)))

    @property
    def facts(self) -> Mapping[str, Any]:
        known = {"weights": self.weights, "names": self.names, "colours": self.colours}
        return {name: list(value) for name, value in known.items() if value}

    def recall(self, facts: Mapping[str, Any]) -> Segment:
        weights, names, colours = (tuple(facts.get(name, ())) for name in ("weights", "names", "colours"))
        return replace(self, weights=weights, names=names, colours=colours)

    @property
    def findings(self) -> Sequence[str]:
        if not self.weights:
            return ()
        return (f"Classes are weighted by {min(self.weights):.2g} to {max(self.weights):.2g}.",)

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(data.classes)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Mask]:
        input = batch.images.float().div_(255)  # (B, C, H, W)
        if "mask" not in batch.targets:  # images that a lens is shown
            return input, Mask(torch.full((len(input), *input.shape[2:]), VOID, dtype=torch.uint8, device=input.device))
        truth = target_of(batch.targets, "mask", Mask)
        return self.augment(input, truth, draws) if training else (input, truth)

    def loss(self, model: nn.Module, input: Tensor, truth: Mask) -> dict[str, Tensor]:
        if self.balance != "none" and not self.weights:
            raise UsageError(
                f"balance={self.balance!r}: the weights come from the training images; use the task that learn(images) returns."
            )
        logits = model(input).float()  # bf16 would round the loss
        weights = logits.new_tensor(self.weights) if self.weights else None
        return losses.losses(logits, truth.classes, weights, self.focus, self.dice)

    def predict(self, model: nn.Module, input: Tensor) -> Mask:
        """The most probable class of each pixel; probabilities are interpolated where the model sees images at another size."""
        seen = self._seen(model)
        resized = seen is not None and seen != tuple(input.shape[2:])

        def answered(images: Tensor) -> Tensor:  # (B, K, H, W)
            logits: Tensor = model(images)
            return logits.float().softmax(1)

        def whole(images: Tensor) -> Tensor:
            large = not resized and images.shape[2] * images.shape[3] > _WHOLE
            return tiles.in_tiles(answered, images, tiles.reach(model, images.shape[1])) if large else answered(images)

        if resized and seen is not None and self.fit == "pad":
            frame, (rows, columns) = fit_maps(input, seen)
            shares = self.views.mean(whole, frame)[:, :, rows, columns]  # (B, K, h, w)
            shares = F.interpolate(shares, (input.shape[2], input.shape[3]), mode="bilinear")
        else:
            shares = self.views.mean(whole, input, seen)
        return Mask(shares.max(1).indices.to(torch.uint8), shares)  # argmax takes 4 × as long

    def named_output(self, model: nn.Module, logits: bool) -> tuple[nn.Module, str]:
        return named_output(model, logits)

    def viewed(self, views: Views) -> Segment:
        return replace(self, views=views)

    def _seen(self, model: nn.Module) -> tuple[int, int] | None:
        """(H, W) of the images as the model sees them; None for their own size."""
        described = getattr(unwrapped(model), "description", None)
        if self.fit == "crop" or described is None:
            return None
        height, width = described["size"]
        return int(height), int(width)

    def score(self, input: Tensor, prediction: Mask, truth: Mask) -> dict[str, Any]:
        assert prediction.probabilities is not None, "an answer has them"
        return metrics.columns(prediction.classes, truth.classes, prediction.probabilities.shape[1])

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.METRICS

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The mean IoU of the image."""
        return metrics.ranking(records)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return baselines.measured(train, test, seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """How well the objects in the answers are counted and outlined."""
        described, device = unwrapped(model).description, next(model.parameters()).device
        return model_measures.measured(
            lambda images: self.predict(model, images), test, self.names, described["channels"], device, self.colours
        )

    def write(self, prediction: Mask, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        from pellucid.tasks.segment import forms

        return [
            forms.row(name, mask, classes, self.colours)
            for name, mask in zip(names, prediction.classes.cpu().numpy(), strict=True)
        ]

    def answer(
        self, model: nn.Module, images: Any, options: SegmentOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """None, as images are answered one by one; a class that does not exist is refused here."""
        options.chosen(classes)
        return None

    def forms(self, options: SegmentOptions) -> Mapping[str, str]:
        return {form: FORMS[form] for form in options.also}

    def tables(self, options: SegmentOptions) -> Mapping[str, Sequence[str]]:
        return {objects.TABLE: objects.columns(options.pixel_size)} if options.objects else {}

    def written(
        self,
        input: Tensor,
        prediction: Mask,
        names: Sequence[str],
        classes: Sequence[str],
        options: SegmentOptions,
        scales: Sequence[Scale | None],
    ) -> list[dict[str, Any]]:
        from pellucid.tasks.segment import forms

        assert prediction.probabilities is not None, "an answer has them"
        arrays = (part.cpu().numpy() for part in (input, prediction.classes, prediction.probabilities))
        return [
            forms.written(image, mask, shares, name, classes, options, scale, self.colours)
            for image, mask, shares, name, scale in zip(*arrays, names, scales, strict=True)
        ]

    def draw(
        self, input: Tensor, prediction: Mask, truth: Mask | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks.segment import figures

        return figures.figure(input, prediction, truth, names, classes, self.colours)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean over the pixels of how much more the most probable class is expected than all others (log-odds)."""
        return losses.lead(output.float()).flatten(1).mean(1)

    def followable(self, classes: Sequence[str]) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return losses.Followable(classes)


def _counts(images: Store) -> NDArray[np.int64]:
    """(N, K): the pixels of each class in training images, spread evenly where there are very many."""
    chosen = torch.from_numpy(evenly_spread(min(len(images), _COUNTED), len(images)))
    masks = (target_of(images.batch(part).targets, "mask", Mask).classes for part in chosen.split(256))
    return metrics.tally(torch.cat(list(masks)))
