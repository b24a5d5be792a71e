# SPDX-License-Identifier: Apache-2.0
"""detect: which objects does an image show, and where?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import _boxes
from pellucid._following import Followed
from pellucid._options import learned, unfolded
from pellucid.data.annotations.records import Instance
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.mosaics import mosaic
from pellucid.data.targets import Boxes, Frames, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError, check_choice
from pellucid.models import OutputKind, Regions
from pellucid.tasks._answering import PredictOptions, Threshold
from pellucid.tasks._contract import NamedFigure, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks._views import Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.detect import answers, baselines, exported, following, forms, losses, metrics, search, shapes
from pellucid.tasks.detect.objects import Detected, Sought, detections, padded, suppressed
from pellucid.tasks.detect.options import DetectOptions
from pellucid.tasks.detect.sampling import Sampler
from pellucid.tasks.detect.several import mean_over

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Detect"]

_NEAR = 4  # boxes near each object, as further examples
_MOST_NEAR = 64  # in an image
_SHIFT, _STRETCH = 0.15, 0.2  # how far they are from it: shares of its sides, and of the logarithm of them


@final
@dataclass(frozen=True)
class Detect(Task[Tensor, Detected, Sought]):
    """Which objects does an image show, and where?

    >>> from pellucid.data import open
    >>> data, task = Detect(regions=32).read(open("scenes"))
    >>> task.outputs(data, (64, 64))
    8
    """

    box_loss: losses.BoxLoss = "smooth_l1"
    """loss of a region's box: smooth L1 of its offsets (Girshick 2015, eq. 3), or 1 − GIoU (Rezatofighi et al. 2019)"""
    box_weight: float = 1.0
    """weight of the loss of the regions' boxes beside the other parts"""
    regions: int = 64
    """regions of each training image that are scored"""
    positives: float = 0.25
    """share of these regions that have an object, where there are so many"""
    source: search.Source = "learned"
    """where regions come from: the model's own proposals, or selective search (Uijlings et al. 2013), once for each image"""
    overlap: float = 0.5
    """IoU above which a better detection of the same class suppresses another one"""
    soft: bool = False
    """lower the scores of such detections instead, the more the larger the IoU (Bodla et al. 2017)"""
    fit: Literal["squash", "pad"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; pad scales both alike and adds the median colour of the border"""  # noqa: E501
    mosaic: float = 0.0
    """put this share of the training images together from parts of four images of their batch (Bochkovskiy et al. 2020)"""
    augment: Augment = unfolded(
        Augment(), "crop", "flip", "turn", "rotate", "scale", "stretch", "slant",
        "exposure", "shading", "contrast", "noise", "erase",
    )  # fmt: skip

    example: ClassVar[str] = "scenes"
    example_options: ClassVar[Mapping[str, Any]] = {"flip": True, "epochs": 16, "batch_size": 16}
    default_model: ClassVar[str] = "fast_rcnn"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("regions",)
    keeps_size: ClassVar[bool] = False
    default_threshold: ClassVar[float] = 0.5
    predict_options: ClassVar[type[PredictOptions]] = DetectOptions
    listed: ClassVar[str] = forms.LISTED
    exported: ClassVar[Sequence[str]] = exported.NAMES

    longest: ClassVar[int] = 320  # of small objects, too little would be left otherwise

    view_kinds: ClassVar[tuple[str, ...]] = ("flip", "turn", "scale")
    views: Views = learned(Views())  # whose mean is answered

    own_size: tuple[float, float] = learned((0.0, 0.0))  # (H, W) px of the training images as given, in the median
    own_share: float = learned(0.0)  # the larger side of most of their objects, as a share of the image's

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        return {"batch_size": 8, "clip": 10.0, "epochs": 30}

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("squash", "pad"))  # a crop would hide the objects at the edges
        check_choice("box_loss", self.box_loss, losses.BOX_LOSSES)
        check_choice("source", self.source, search.SOURCES)
        if self.regions < 1:
            raise UsageError(f"regions={self.regions}: must be at least 1; give a larger number.")
        if not 0 < self.box_weight < float("inf"):
            raise UsageError(f"box_weight={self.box_weight!r}: must be above 0; give another value.")
        if not 0 <= self.mosaic <= 1:
            raise UsageError(f"mosaic={self.mosaic!r}: is a share; give a number from 0 to 1.")
        for name in ("positives", "overlap"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)!r}: must lie in (0, 1]; give another value.")

    @property
    def fitting(self) -> Fit:
        return self.fit

    def read(self, data: Dataset) -> tuple[Dataset, Detect]:
        if not data.classes or not all("boxes" in split.targets for split in data.splits.values() if len(split)):
            raise DataError(
                f"data={data.name!r}: has no boxes, which detect needs; give annotated images, as COCO, Pascal VOC or YOLO "
                "write them."
            )
        train = data.splits["train"]
        if len(train) and not any(len(own) for own in target_of(train.targets, "boxes", Boxes).counting):
            raise DataError(
                f"data={data.name!r}: no training image has an object; give images with boxes around their objects."
            )
        sizes = train.images.sizes
        own = np.median(sizes, 0) if len(train) else np.zeros(2)
        share = answers.share_of(target_of(train.targets, "boxes", Boxes), sizes) if len(train) else 0.0
        return data, replace(self, own_size=(float(own[0]), float(own[1])), own_share=share)

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(data.classes)

    def suited(self, train: Split, size: tuple[int, int], model: str) -> Mapping[str, Any]:
        """The sizes and shapes of the boxes among which the model finds its proposals."""
        return shapes.suited(train, size) if model == "fast_rcnn" else {}

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Sought]:
        input = batch.images.float().div_(255)  # (B, C, H, W)
        size = (input.shape[2], input.shape[3])
        if "boxes" in batch.targets:
            boxes = target_of(batch.targets, "boxes", Boxes)
        else:  # images that a lens is shown
            none = input.new_zeros(0, 4)
            boxes = Boxes([none] * len(input), [none[:, 0].long()] * len(input))
        if self.source == "search":
            boxes = search.beside(boxes, search.searched(batch.images, search.CONSIDERED))
        if training:
            input, boxes = self.augment(input, boxes, draws)
            input, boxes = mosaic(input, boxes, draws, self.mosaic)
        boxes, proposals = search.apart(boxes) if self.source == "search" else (boxes, [])
        corners = [_boxes.clip(own.float(), size) for own in boxes.corners]
        ignored = boxes.ignored or [torch.zeros_like(own, dtype=torch.bool) for own in boxes.labels]
        near = [_boxes.clip(own, size) for own in proposals] or [own[:0] for own in corners]
        if self.source == "learned" and training:  # also without any object: other processes draw these numbers too
            noise = draws.normal(_MOST_NEAR, 4)
            near = [
                _near(own[~crowd], numbers, size) for own, crowd, numbers in zip(corners, ignored, noise, strict=True)
            ]
        frame = batch.targets.get("frame")
        whole = frame.corners if isinstance(frame, Frames) and not training else None
        return input, Sought(corners, boxes.labels, ignored, near, draws.uniform(), whole)

    @property
    def mixes(self) -> bool:
        """Whether training images are put together from others of their batch."""
        return self.mosaic > 0

    def loss(self, model: nn.Module, input: Tensor, truth: Sought) -> dict[str, Tensor]:
        objects = padded(truth)
        sampler = Sampler(truth, objects, self.regions, self.positives)
        regions: Regions = model(input, sampler if self.source == "learned" else search.without(sampler))
        assert sampler.chosen is not None, "the model asks which regions it is to score"
        found = losses.losses(regions, sampler.chosen, objects, self.box_loss, self.box_weight)
        if self.source == "learned":
            return found
        own = found.pop("objectness") + found.pop("proposal_box")  # of proposals that nobody uses
        return {**found, "loss": found["loss"] - own}

    def predict(self, model: nn.Module, input: Tensor) -> Detected:
        threshold = _threshold(model, input)
        if len(self.views) > 1:
            return suppressed(*mean_over(model, input, self.views), self.overlap, self.soft, threshold)
        size = (input.shape[2], input.shape[3])
        return detections(model(input), size, self.overlap, self.soft, threshold)

    def viewed(self, views: Views) -> Detect:
        return replace(self, views=views)

    def choose_threshold(self, records: Records | None) -> Threshold:
        if records is None:
            return Threshold(self.default_threshold)
        return answers.chosen(records) or Threshold(self.default_threshold, images=rows_of(records))

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """The size of the training images, at which `predict` cuts larger ones into tiles, and where regions come from."""
        height, width = self.own_size
        if self.fit == "pad" and height and width:  # a tile is as large as a padded image of the training, at its scale
            size = unwrapped(model).description["size"]
            scale = min(size[0] / height, size[1] / width)
            height, width = size[0] / scale, size[1] / scale
        model.get_buffer("own_size").copy_(torch.tensor((height, width)))
        model.get_buffer("own_share").fill_(self.own_share)
        model.get_buffer("searching").fill_(self.source == "search")

    def answer(
        self, model: nn.Module, images: Any, options: DetectOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        answers.prepare(model, options)
        return None

    def in_parts(self, options: DetectOptions) -> bool:
        return options.tile

    def answer_parts(self, model: nn.Module, image: Tensor, options: DetectOptions) -> Detected:
        return answers.in_tiles(lambda tiles: self.predict(model, tiles), model, image, options)

    def datasets(self, options: DetectOptions) -> Sequence[str]:
        return options.forms

    def annotations(self, row: Mapping[str, Any]) -> tuple[Instance, ...]:
        return forms.instances(row)

    def exportable(self, model: nn.Module) -> nn.Module:
        if self.source == "search":
            raise UsageError(
                "source='search': selective search cannot be part of an exported file; train with --source learned."
            )
        return exported.Exported(model, self.overlap, self.soft)

    def described(self, module: nn.Module) -> Mapping[str, str]:
        return exported.meaning(self.overlap, float(module.get_buffer("model.threshold")))

    def disagreement(self, wanted: Sequence[Tensor], got: Sequence[Tensor]) -> str | None:
        return exported.disagreement(wanted, got)

    def score(self, input: Tensor, prediction: Detected, truth: Sought) -> dict[str, Any]:
        return metrics.columns(prediction.within(truth.frame), truth.boxes)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.metrics(classes)

    def outcomes(self, classes: Sequence[str]) -> Sequence[str]:
        return metrics.outcomes(classes)

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The F1 of each image's answers."""
        return metrics.quality(records)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        assert size is not None, "detect resizes"
        return baselines.measured(train, test, size, seed)

    def write(self, prediction: Detected, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        return forms.rows(prediction, names, classes)

    def boxes_of(self, prediction: Detected) -> Boxes:
        """The detections that are answered, with their scores."""
        return prediction.answered

    def drawn(self, image: NDArray[np.uint8], prediction: Detected, classes: Sequence[str]) -> NDArray[np.uint8]:
        from pellucid.tasks.detect import drawing

        return drawing.drawn(image, prediction, classes)

    def draw(
        self, input: Tensor, prediction: Detected, truth: Sought | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks.detect import figures

        if truth is None:
            return figures.figure(input, prediction, None, names, classes)
        return figures.figure(input, prediction.within(truth.frame), truth.boxes, names, classes)

    def draw_records(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        from pellucid.tasks.detect import curves

        return curves.drawn(records, baselines, classes)

    def evidence(self, output: Regions) -> Tensor:
        """The log-odds of the surest class of any region."""
        return following.evidence(output)

    def chosen(self, output: Regions, named: str | None, size: tuple[int, int], classes: Sequence[str]) -> Followed:
        """One detection, of which a lens follows the class's log-odds."""
        found = detections(output, size, self.overlap, self.soft, output.logits.new_zeros(()))
        return following.followed(output, found, named, size, classes)


def _near(corners: Tensor, noise: Tensor, size: tuple[int, int]) -> Tensor:
    """(m, 4): boxes about as right as good proposals: shifted and stretched copies of objects, `noise` (n, 4) normal."""
    if not len(corners):
        return corners
    rows = torch.arange(min(len(corners) * _NEAR, len(noise)), device=corners.device) % len(corners)
    chosen, noise = corners[rows], noise[: len(rows)]
    offsets = torch.cat([_SHIFT * noise[:, :2], _STRETCH * noise[:, 2:]], 1)
    return _boxes.clip(_boxes.decode(offsets / offsets.new_tensor([0.1, 0.1, 0.2, 0.2]), chosen), size)


def _threshold(model: nn.Module, input: Tensor) -> Tensor:
    """The model's own threshold; several processes wrap it."""
    found: Any = getattr(getattr(model, "module", model), "threshold", None)
    return found if isinstance(found, Tensor) else input.new_tensor(0.5)
