# SPDX-License-Identifier: Apache-2.0
"""landmarks: where are the points of an object?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._options import learned, unfolded
from pellucid.data.batches import Store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.targets import Points, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, PellucidWarning, UsageError, check_choice
from pellucid.models import Frozen, OutputKind, _building
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import NamedFigure, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._views import View, Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.landmarks import answers, baselines, evidence, losses, metrics, reading
from pellucid.tasks.landmarks.faces import LINES
from pellucid.tasks.landmarks.framing import FRAMES, Frame
from pellucid.tasks.landmarks.normalisers import BOX, Normaliser, normaliser_of, of_face, title
from pellucid.tasks.landmarks.places import Placed, certainty, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Landmarks"]


@final
@dataclass(frozen=True)
class Landmarks(Task[Tensor, Placed, Placed]):
    """Where are the points of an object?

    The model gives a heat map for each point, or two numbers. Points that are not visible count neither in the loss nor in the
    measures.

    >>> from pellucid.data import open
    >>> data, task = Landmarks().for_model("heatmap").read(open("scenes"))
    >>> task.outputs(data, (64, 64)), task.metrics(())[0].title
    (3, 'NME by the diagonal of the box around the points')
    """

    point_loss: losses.PointLoss = "wing"
    """loss of the places, in 256ths of the longer side: the squared or the absolute error, smooth L1 (Girshick 2015), or the wing loss, to which small errors count more (Feng et al. 2018)"""  # noqa: E501
    map_weight: float = 10.0
    """weight of the divergence of heat maps from Gaussians around the true points beside the loss of the places"""
    normaliser: tuple[str, ...] = ()
    """distance by which errors are divided: outer_eyes, pupils, box, or the numbers of two points; by default outer_eyes for the 68 points of a face, else box"""  # noqa: E501
    partners: str = ""
    """file with a pair of points in each line that a mirror exchanges, by name or number; by default as names, annotations or the mean shape tell"""  # noqa: E501
    frame: Frame = "whole"
    """what is seen of each image: all of it, or a square around its box or around its points; predict needs --crop or --boxes then"""
    around: float = 0.25
    """with frame box or points: how much is seen around the box, in shares of its longer side"""
    both_ways: bool = False
    """answer with the mean of the answers for the image and for its mirror image"""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; crop scales both alike and takes the middle; pad scales both alike and adds the median colour of the border"""  # noqa: E501
    augment: Augment = unfolded(
        Augment(), "flip", "rotate", "scale", "stretch", "slant",
        "exposure", "shading", "contrast", "noise", "erase", shift="crop",
    )  # fmt: skip

    kind: str = learned("heatmap")  # of the model's output
    count: int = learned(0)  # points an image
    names: tuple[str, ...] = learned(())
    mirror: tuple[int, ...] | None = learned(None)
    lines: tuple[tuple[int, int], ...] = learned(())  # pairs of points that a line joins
    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "scenes"
    example_options: ClassVar[Mapping[str, Any]] = {
        "flip": True, "rotate": 20, "scale": 0.1, "epochs": 10, "batch_size": 32,
    }  # fmt: skip
    default_model: ClassVar[str] = "heatmap"
    evidence_title: ClassVar[str] = "certainty of all points"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("heatmap", "vector", "dense")
    keeps_size: ClassVar[bool] = False
    view_kinds: ClassVar[Sequence[str]] = ("flip",)
    feature_images: ClassVar[int] = 2000
    predict_options: ClassVar[type[PredictOptions]] = answers.LandmarkOptions

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        return {"batch_size": 32}

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        known: dict[str, dict[str, Any]] = {  # models that average over the image do not know the place
            "convnet": {"widths": (32, 64, 128), "batch_norm": True, "stride": 2, "heads": 16},
            **{name: {"heads": 16} for name in ("resnet", "mobilenet_v2", "efficientnet_lite0")},
        }
        return known.get(model, {})

    def __post_init__(self) -> None:
        asked: Any = self.normaliser
        object.__setattr__(self, "normaliser", (asked,) if isinstance(asked, str) else tuple(map(str, asked)))
        check_choice("fit", self.fit, ("squash", "crop", "pad"))
        check_choice("point_loss", self.point_loss, losses.POINT_LOSSES)
        if not 0 <= self.map_weight < float("inf"):
            raise UsageError(f"map_weight={self.map_weight!r}: must not be negative; give another value.")
        normaliser_of(self.normaliser)
        check_choice("frame", self.frame, FRAMES)
        if not 0 <= self.around <= 4:
            raise UsageError(f"around={self.around!r}: must lie in [0, 4]; give another value.")

    # -- the data

    @property
    def fitting(self) -> Fit:
        return self.fit

    def for_model(self, model: str) -> Self:
        return replace(self, kind=_building.output_of(model, "vector"))

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        points = reading.points_of(data)
        count = next((own.xy.shape[1] for own in points.values()), 0)
        if self.count and count != self.count:
            raise DataError(
                f"data={data.name!r}: has {count} points an image, not the run's {self.count}; give the same points."
            )
        mirror = next((own.mirror for own in points.values() if own.mirror is not None), None)
        if self.partners:
            mirror = reading.mirror_from(self.partners, data.point_names, count)
        face = reading.is_face(count, mirror)
        asked = normaliser_of(self.normaliser)
        if asked is not None and (
            (of_face(asked) and not face) or (not isinstance(asked, str) and max(asked) >= count)
        ):
            raise UsageError(
                f"normaliser={' '.join(self.normaliser)!r}: is not among the {count} points of data={data.name!r}; give box, or the "
                "numbers of two of them."
            )
        self.augment.check(Points(torch.zeros(0, count, 2), mirror))
        if self.both_ways:
            Augment(flip=True).check(Points(torch.zeros(0, count, 2), mirror))
        lines = data.skeleton or (LINES if face else ())
        task = replace(self, count=count, names=tuple(data.point_names), mirror=mirror, lines=tuple(lines))
        return reading.usable(data, mirror, self.frame, self.around), task

    def learn(self, images: Store) -> Self:
        return self

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was read from the data, which answers to other images need too."""
        mirror = None if self.mirror is None else list(self.mirror)
        return {
            "points": self.count,
            "names": list(self.names),
            "mirror": mirror,
            "lines": [list(one) for one in self.lines],
        }

    def recall(self, facts: Mapping[str, Any]) -> Self:
        if not facts:
            return self
        mirror = None if facts["mirror"] is None else tuple(facts["mirror"])
        lines = tuple((one, other) for one, other in facts["lines"])
        return replace(self, count=facts["points"], names=tuple(facts["names"]), mirror=mirror, lines=lines)

    @property
    def findings(self) -> Sequence[str]:
        return [f"Errors are divided by the {title(self.by)}."]

    @property
    def face(self) -> bool:
        """Whether the points are the 68 of a face."""
        return reading.is_face(self.count, self.mirror)

    @property
    def by(self) -> Normaliser:
        """What errors are divided by."""
        return normaliser_of(self.normaliser) or ("outer_eyes" if self.face else BOX)

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return self.count * (1 if self.kind == "heatmap" else 2)

    # -- the way of a batch

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Placed]:
        input = batch.images.float().div_(255)  # (B, C, H, W)
        if "landmarks" not in batch.targets:  # images that a lens is shown
            none = input.new_full((len(input), max(1, self.count), 2), torch.nan)
            return input, Placed(none, input.new_ones(len(input), 2))
        truth = target_of(batch.targets, "landmarks", Placed)
        if training and self.fit == "crop":  # points that were cut off are not visible
            truth = truth.clipped(_frame(input))
        return self.augment(input, truth, draws) if training else (input, truth)

    def loss(self, model: nn.Module, input: Tensor, truth: Placed) -> dict[str, Tensor]:
        return losses.losses(model(input), truth, _frame(input), self.point_loss, self.map_weight)

    def predict(self, model: nn.Module, input: Tensor) -> Placed:
        """The points in px of the frame, and how certain they are where heat maps tell."""
        size = _frame(input)
        outputs: list[Tensor] = []  # of the image as it is, and of other views

        def answered(images: Tensor) -> Tensor:  # (B, K, 2)
            outputs.append(model(images))
            return read(outputs[-1], size)

        def back(xy: Tensor, view: View) -> Tensor:
            matrix = xy.new_tensor([[-1.0, 0, size[1]], [0, 1, 0]]).expand(len(xy), 2, 3)
            return Points(xy, self.mirror).moved(matrix, lambda pixels, fill: pixels).xy if view.mirrored else xy

        # kept features are those of the images as they are
        views = Views(flip=True) if self.both_ways and not _replayed(model) else self.views
        xy = views.mean(answered, input, back=back)
        score = certainty(outputs[0], xy, size) if outputs[0].ndim == 4 else None
        return Placed(xy, xy.new_ones(len(xy), 2), score, mirror=self.mirror)

    def viewed(self, views: Views) -> Self:
        if self.both_ways:
            raise UsageError("views='flip': the run answers with the mean over mirrored images already; leave it out.")
        Augment(flip=True).check(Points(torch.zeros(0, self.count, 2), self.mirror))
        return replace(self, views=views)

    def score(self, input: Tensor, prediction: Placed, truth: Placed) -> dict[str, Any]:
        return metrics.columns(prediction, truth, self._normalisers)

    @property
    def _normalisers(self) -> list[Normaliser]:
        return list(dict.fromkeys((self.by, *(("outer_eyes", "pupils") if self.face else ()), BOX)))

    # -- measures

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.metrics(self.by, self.face)

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, self.by, self.names, self.face)

    def draw_records(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        from pellucid.tasks.landmarks import curves

        return curves.pictures({"model": records, **baselines}, self.by, self.names, self.lines)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The negative error by the normaliser, or where there is none by the px."""
        return -metrics.nme(records, self.by)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        assert size is not None, "landmarks resizes"
        if not len(train):  # all of them learn from training images
            return {}
        found, shown, index = baselines.answers(train, test, size)
        truth = baselines.truth_of(shown, size)
        some = f" (on {len(index)} test images)" if len(index) < len(test) else ""
        return {
            name + some: {**metrics.columns(answer, truth, self._normalisers), "index": index}
            for name, answer in found.items()
        }

    def feature_baselines(
        self,
        train: NDArray[np.float32],
        test: NDArray[np.float32],
        known: Split,
        held_out: Split,
        size: tuple[int, int],
    ) -> dict[str, Records]:
        if self.fit == "squash":
            size = (256, 256)  # ridge regression is the same in any frame that all images are scaled to alike
        answer = baselines.on_features(train, test, known, held_out, size)
        name = baselines.ON_MAPS if self.kind == "heatmap" else baselines.ON_FEATURES
        return {name: metrics.columns(answer, baselines.truth_of(held_out, size), self._normalisers)}

    # -- answers

    def write(self, prediction: Placed, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        return answers.rows(prediction, names, metrics.numbered(self.names, prediction.xy.shape[1]))

    def nothing(self, name: str, why: str) -> dict[str, Any]:
        return answers.blank(name, why, metrics.numbered(self.names, self.count))

    def answer(
        self, model: nn.Module, images: Any, options: answers.LandmarkOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """None: images are answered one by one; where boxes are expected and none are given, a warning says so."""
        if self.frame != "whole" and not (options.crop or options.boxes):
            warnings.warn(
                f"frame={self.frame!r}: the run was trained on parts of images, and these are seen whole; give --crop or --boxes, "
                "unless they are such parts.",
                PellucidWarning,
                stacklevel=2,
            )
        return None

    def files(
        self,
        rows: Sequence[Mapping[str, Any]],
        titles: Sequence[str],
        sizes: Sequence[tuple[int, int]],
        options: answers.LandmarkOptions,
    ) -> dict[str, bytes]:
        return answers.files(rows, titles, sizes, options, metrics.numbered(self.names, self.count), self.lines)

    def draw(
        self, input: Tensor, prediction: Placed, truth: Placed | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks.landmarks import figures

        return figures.figure(input, prediction, truth, names, self.by, self.lines)

    def drawn(self, image: NDArray[np.uint8], prediction: Placed, classes: Sequence[str]) -> NDArray[np.uint8]:
        from pellucid.tasks.landmarks import figures

        return figures.drawn(image, prediction.xy[0].numpy(), self.lines)

    def evidence(self, output: Tensor) -> Tensor:
        """How certain the heat maps are, or how large the shape is that the numbers tell."""
        return evidence.overall(output)

    def followable(self, classes: Sequence[str]) -> Mapping[str, Callable[[Any], Tensor]]:
        return evidence.followable(metrics.numbered(self.names, self.count), self.kind)


def _frame(input: Tensor) -> tuple[int, int]:
    return input.shape[2], input.shape[3]


def _replayed(model: nn.Module) -> bool:
    """Whether a frozen backbone of the model shows kept features instead of seeing its input."""
    return any(
        isinstance(module, Frozen) and module.replay.features is not None for module in unwrapped(model).modules()
    )
