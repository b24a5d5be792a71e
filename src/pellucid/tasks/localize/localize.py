# SPDX-License-Identifier: Apache-2.0
"""localize: which object does an image show, and where, if it shows one?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import _boxes
from pellucid._options import learned, unfolded
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.targets import Boxes, Frames, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._contract import Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._views import View, Views
from pellucid.tasks.localize import baselines, choosing, losses, metrics
from pellucid.tasks.localize.objects import Located, largest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Localize"]


@final
@dataclass(frozen=True)
class Localize(Task[Tensor, Located, Located]):
    """Which object does an image show, and where, if it shows one?

    The model gives 1 + K + 4 numbers: the logit of an object, a score for each class, and the box. Where an image has several
    objects, the largest counts.

    >>> from pellucid.data import open
    >>> data, task = Localize(box_loss="giou").read(open("scenes"))
    >>> task.outputs(data, (64, 64)), data.notes[-1]
    (13, 'Images with several objects: 1,916; the largest object of each counts.')
    """

    box_loss: losses.BoxLoss = "squared"
    """loss of the box: the squared differences of its centre, height and width, smooth L1 of them (Girshick 2015), or 1 − GIoU (Rezatofighi et al. 2019)"""  # noqa: E501
    box_weight: float | None = None
    """weight of the loss of the box beside those of the object and the class; by default 20 for squared, 5 for smooth_l1, 2 for giou"""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; crop scales both alike and takes the middle; pad scales both alike and adds the median colour of the border"""  # noqa: E501
    augment: Augment = unfolded(
        Augment(), "crop", "flip", "turn", "rotate", "scale", "stretch", "slant",
        "exposure", "shading", "contrast", "noise", "erase",
    )  # fmt: skip

    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "scenes"
    example_options: ClassVar[Mapping[str, Any]] = {
        "box_loss": "giou", "flip": True, "crop": 6, "epochs": 20, "batch_size": 32,
    }  # fmt: skip
    default_model: ClassVar[str] = "convnet"
    evidence_title: ClassVar[str] = "logit of an object"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("vector", "dense")
    keeps_size: ClassVar[bool] = False
    view_kinds: ClassVar[Sequence[str]] = ("flip",)

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {  # models that average over the image do not know the place
            "convnet": {"widths": (32, 64, 128), "batch_norm": True, "stride": 2, "heads": 16},
            "resnet": {"heads": 8},
        }
        return known.get(model, {})

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("squash", "crop", "pad"))
        check_choice("box_loss", self.box_loss, losses.BOX_LOSSES)
        if self.box_weight is not None and not 0 < self.box_weight < float("inf"):
            raise UsageError(f"box_weight={self.box_weight!r}: must be above 0; give another value.")

    @property
    def fitting(self) -> Fit:
        return self.fit

    def read(self, data: Dataset) -> tuple[Dataset, Localize]:
        if not data.classes or not all("boxes" in split.targets for split in data.splits.values() if len(split)):
            raise DataError(
                f"data={data.name!r}: has no boxes, which localize needs; give annotated images, as COCO, Pascal VOC or YOLO "
                "write them."
            )
        return choosing.usable(data), self

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return 1 + len(data.classes) + 4

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Located]:
        input = batch.images.float().div_(255)  # (B, C, H, W)
        if "boxes" not in batch.targets:  # images that a lens is shown
            none = input.new_zeros(len(input), 4)
            return input, Located(none[:, 0], none[:, 0].long(), none)
        boxes, frame = target_of(batch.targets, "boxes", Boxes), batch.targets.get("frame")
        if not training and isinstance(frame, Frames):  # measures are of the whole image, also of what was cut off
            return input, largest(boxes, (input.shape[2], input.shape[3]), frame.corners)
        if self.fit == "crop":
            boxes = boxes.clipped((input.shape[2], input.shape[3]))
        if training:  # before the largest is chosen: an object may leave the frame, and another stay
            input, boxes = self.augment(input, boxes, draws)
        return input, largest(boxes, (input.shape[2], input.shape[3]))

    def loss(self, model: nn.Module, input: Tensor, truth: Located) -> dict[str, Tensor]:
        size = (input.shape[2], input.shape[3])
        weight = losses.WEIGHTS[self.box_loss] if self.box_weight is None else self.box_weight
        return losses.losses(model(input), truth, size, self.box_loss, weight)

    def predict(self, model: nn.Module, input: Tensor) -> Located:
        """The object that there would be, and the probability that there is one; boxes are cut to the image."""
        height, width = input.shape[2:]

        def answered(images: Tensor) -> Tensor:  # (B, 1 + K + 4): probabilities, and the box's corners in shares
            answer = losses.read(model(images))
            parts = [answer.object.sigmoid()[:, None], answer.classes.softmax(1), losses.corners_of(answer.box)]
            return torch.cat(parts, 1)

        def back(found: Tensor, view: View) -> Tensor:
            x0, y0, x1, y1 = found[:, -4:].unbind(1)
            mirrored = torch.stack([1 - x1, y0, 1 - x0, y1], 1)
            return torch.cat([found[:, :-4], mirrored], 1) if view.mirrored else found

        found = self.views.mean(answered, input, back=back)
        probabilities, corners = found[:, 1:-4], found[:, -4:] * found.new_tensor([width, height, width, height])
        inside = _boxes.clip(corners, (height, width))
        return Located(found[:, 0], probabilities.argmax(1), inside, probabilities)

    def viewed(self, views: Views) -> Localize:
        return replace(self, views=views)

    def score(self, input: Tensor, prediction: Located, truth: Located) -> dict[str, Any]:
        return metrics.columns(prediction, truth, (input.shape[2], input.shape[3]))

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.METRICS

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes)

    def outcomes(self, classes: Sequence[str]) -> Sequence[str]:
        return metrics.outcomes(classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The quality, and of equal ones the probability of the true answer."""
        share = records["probabilities"][np.arange(len(records["true"])), records["true"]]
        return np.asarray(metrics.quality(records) + 1e-3 * share, np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        assert size is not None, "localize resizes"
        return baselines.measured(train, test, size, seed)

    def write(self, prediction: Located, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        assert prediction.probabilities is not None
        rows = []
        for name, share, index, corners, shares, found in zip(
            names, prediction.present.tolist(), prediction.index.tolist(), prediction.corners.tolist(),
            prediction.probabilities.tolist(), prediction.found.tolist(), strict=True,
        ):  # fmt: skip
            rows.append(
                {
                    "name": name,
                    "object": round(share, 6),
                    "label": classes[index] if found else None,
                    "box": {
                        side: round(place, 2) if found else None
                        for side, place in zip(("x0", "y0", "x1", "y1"), corners, strict=True)
                    },
                    "probabilities": {title: round(one, 6) for title, one in zip(classes, shares, strict=True)},
                }
            )
        return rows

    def boxes_of(self, prediction: Located) -> Boxes:
        """The box of each image with an object, its score the probability of one."""
        corners = [
            box[None][: 1 if there else 0]
            for box, there in zip(prediction.corners, prediction.found.tolist(), strict=True)
        ]
        counts = [len(own) for own in corners]
        labels = [own[None][:n] for own, n in zip(prediction.index, counts, strict=True)]
        scores = [own[None][:n] for own, n in zip(prediction.present, counts, strict=True)]
        return Boxes(corners, labels, scores)

    def drawn(self, image: NDArray[np.uint8], prediction: Located, classes: Sequence[str]) -> NDArray[np.uint8]:
        from pellucid.tasks.localize import figures

        return figures.drawn(image, prediction, classes)

    def draw(
        self, input: Tensor, prediction: Located, truth: Located | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks.localize import figures

        seen = prediction if truth is None else prediction.within(truth.frame)
        return figures.figure(input, seen, truth, names, classes)

    def evidence(self, output: Tensor) -> Tensor:
        """c₀, the logit of an object."""
        return losses.read(output).object

    def followable(self, classes: Sequence[str]) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return losses.followable(classes)
