# SPDX-License-Identifier: Apache-2.0
"""cluster: which images belong together, without being told?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._options import unfolded
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._contract import ModelMeasures, PredictOptions, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks.cluster import answers, baselines, metrics, model_measures, training
from pellucid.tasks.cluster.methods import CRITERIA, assign
from pellucid.tasks.cluster.options import ClusterOptions
from pellucid.tasks.cluster.training import Assigned, Views

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cluster"]

_METHODS = ("kmeans", "mixture", "joint", "dec")


@final
@dataclass(frozen=True)
class Cluster(Task[Tensor, Assigned, Views]):
    """Which images belong together, without being told?

    An autoencoder learns codes from changed images; clusters are groups of codes. Labels, where there are any, only measure.

    >>> task = Cluster(clusters=3, shift=0.0, augment=Augment())
    >>> batch = Batch(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), {}, torch.arange(2))
    >>> input, truth = task.prepare(batch, Draws.images(0, batch.index), training=False)
    >>> round(float(input.mean()), 3), truth.label.tolist()
    (0.2, [-1, -1])
    """

    method: Literal["kmeans", "mixture", "joint", "dec"] = "dec"
    """kmeans or a Gaussian mixture on the codes; joint: codes are drawn to their centres (Song et al. 2013); dec: deep embedded clustering with augmentation"""  # noqa: E501
    clusters: int = 10
    """number of clusters; 0: chosen by the criterion"""
    criterion: Literal["silhouette", "gap", "bic"] = "silhouette"
    """what chooses the number of clusters"""
    most: int = 20
    """largest number of clusters that is tried"""
    pretrain: float = 0.5
    """share of the epochs before the codes are drawn to clusters (joint, dec)"""
    pull: float | None = None
    """weight of drawing codes to clusters, beside the reconstruction's 1; by default 10 for dec, 1 for joint"""
    contrast: float | None = None
    """weight of telling two changed views of an image from those of others, in dec before codes are drawn; by default 10 for dec, else 0"""
    shift: float = 0.09
    """shift training images by up to this share of their side"""
    augment: Augment = unfolded(Augment(rotate=15.0, scale=0.15), "rotate", zoom="scale")
    unlike: float = 0.01
    """share of the training images that would be flagged as unlike anything seen, half by distance, half by reconstruction"""

    example: ClassVar[str] = "digits"
    default_model: ClassVar[str] = "embedding_autoencoder"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("reconstruction",)
    predict_options: ClassVar[type[PredictOptions]] = ClusterOptions
    keeps_size: ClassVar[bool] = False
    # selecting by labels would leak them, selecting by distances would favour collapse: the last weights are kept
    selects_checkpoint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, known in (("method", _METHODS), ("criterion", CRITERIA)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)!r}: is not known; choose one of {', '.join(known)}.")
        if self.clusters < 0 or self.clusters == 1:
            raise UsageError(
                f"clusters={self.clusters}: must be at least 2, or 0 to have it chosen; give another number."
            )
        if self.most < 3:
            raise UsageError(f"most={self.most}: must be at least 3, for there to be a choice; give a larger number.")
        for name in ("pretrain", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name}={getattr(self, name)!r}: is a share; give a number from 0 up to, but not including, 1."
                )
        for name in ("pull", "contrast"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name}={value!r}: is a weight; give 0 or more.")
        if not 0 < self.unlike < 1:
            raise UsageError(f"unlike={self.unlike!r}: is a share; give a number between 0 and 1.")

    @property
    def agreement(self) -> float:
        """The weight of the contrast between views; codes have length 1 where there is any."""
        return self.contrast if self.contrast is not None else 10.0 * (self.method == "dec")

    @property
    def weight(self) -> float:
        """The weight of drawing codes to clusters."""
        return self.pull if self.pull is not None else 10.0 if self.method == "dec" else 1.0

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        train, least = len(data.splits["train"]), max(self.clusters, 3)
        if 0 < train < least:
            raise UsageError(
                f"clusters={self.clusters}: are more than the {train} training images of data={data.name!r}; give fewer."
            )
        return data, self

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Views]:
        clean = batch.images.float().div_(255)
        place = batch.index.to(clean.device)
        if not training:
            known = batch.targets.get("label")
            label = known.index if isinstance(known, Label) else torch.full_like(place, -1)
            return clean, Views(clean, None, place, label)
        reach = round(self.shift * min(clean.shape[2:]))
        change = replace(self.augment, crop=reach)
        none = Label(place)  # nothing that moves with the image
        one = change(clean, none, draws)[0]
        other = change(clean, none, draws)[0] if self.agreement else clean[:, :0]
        return one, Views(clean, other, place, torch.full_like(place, -1))  # labels would leak into training

    def loss(self, model: nn.Module, input: Tensor, truth: Views) -> dict[str, Tensor]:
        return training.losses(self, model, input, truth)

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        training.settle(self, model, batches, epoch, epochs, seed)

    def predict(self, model: nn.Module, input: Tensor) -> Assigned:
        """The cluster of each image, its distance, and whether it is unlike anything seen."""
        kept: Any = model.kept
        if "centres" not in kept:
            raise UsageError("model: has no clusters yet; train it for an epoch at least.")
        code, picture = training.through(model, input, self.agreement > 0)
        found = assign(code, kept)
        error = (picture - input).square().flatten(1).mean(1)
        strange = (found.distance > kept["reach"][found.cluster]) | (error > kept["error_reach"])
        return Assigned(found.cluster, found.distance, found.silhouette, error, strange)

    def score(self, input: Tensor, prediction: Assigned, truth: Views) -> dict[str, NDArray[Any]]:
        columns = {
            "cluster": prediction.cluster,
            "label": truth.label,
            "distance": prediction.distance,
            "silhouette": prediction.silhouette,
            "error": prediction.error,
            "unlike": prediction.unlike,
        }
        return {name: value.cpu().numpy() for name, value in columns.items()}

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """Agreement with the labels where there are any, of which accuracy decides; else the silhouette."""
        return metrics.metrics(len(classes))

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The simplified silhouette."""
        return np.asarray(records["silhouette"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        assert size is not None, "cluster resizes"
        return baselines.measured(train, test, size, self.clusters or 10, seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        assert size is not None, "cluster resizes"
        return model_measures.measure_model(self, model, train, test, size, seed)

    def answer(
        self, model: nn.Module, images: Any, options: ClusterOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        if options.hierarchy == "none" and not options.sort_into:
            return None
        return answers.answer(self, model, images, options)

    def write(self, prediction: Assigned, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "cluster": cluster, "distance": round(distance, 5), "unlike": bool(strange)}
            for name, cluster, distance, strange in zip(
                names,
                prediction.cluster.tolist(),
                prediction.distance.tolist(),
                prediction.unlike.tolist(),
                strict=True,
            )
        ]

    def draw(
        self, input: Tensor, prediction: Assigned, truth: Views | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks.cluster import figures

        return figures.answers(input, prediction, truth, classes)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean absolute value of the reconstruction, in [0, 1] units."""
        return output.float().abs().flatten(1).mean(1)
