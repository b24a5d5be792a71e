# SPDX-License-Identifier: Apache-2.0
"""cluster: which images belong together, without labels?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from pellucid.data.targets import Label
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import ModelMeasures, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.cluster import answers, baselines, metrics, model_measures, training
from pellucid.tasks.cluster.light import Light
from pellucid.tasks.cluster.methods import CRITERIA, assign
from pellucid.tasks.cluster.options import ClusterOptions
from pellucid.tasks.cluster.training import ClusterPrediction, Views

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cluster"]

_METHODS = ("kmeans", "mixture", "joint", "dec", "scan")


@final
@dataclass(frozen=True)
class Cluster(Task[Tensor, ClusterPrediction, Views]):
    """Which images belong together, without labels?

    An autoencoder learns codes from augmented images; clusters are groups of codes. Labels, where there are any, are used for
    measuring only.

    >>> task = Cluster(clusters=3, shift=0.0, augment=Augment())
    >>> batch = Batch(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), {}, torch.arange(2))
    >>> input, truth = task.prepare(batch, Draws.images(0, batch.index), training=False)
    >>> round(float(input.mean()), 3), truth.label.tolist()
    (0.2, [-1, -1])
    """

    method: Literal["kmeans", "mixture", "joint", "dec", "scan"] = "dec"
    """kmeans, mixture: k-means or a Gaussian mixture on the codes; joint: codes are also trained towards their centres (Song et al. 2013); dec: deep embedded clustering with augmentation; scan: images are also drawn to the clusters of their nearest neighbours (Van Gansbeke et al. 2020)"""  # noqa: E501
    clusters: int = 10
    """number of clusters; 0: chosen by the criterion"""
    criterion: Literal["silhouette", "gap", "bic"] = "silhouette"
    """criterion that chooses the number of clusters"""
    most: int = 20
    """largest number of clusters to try"""
    pretrain: float = 0.5
    """share of the epochs without the clustering loss, at the beginning (joint, dec, scan)"""
    pull: float | None = None
    """weight of the clustering loss, with 1 for the reconstruction; by default 10 for dec and scan, 1 for joint"""
    balance: float = 2.0
    """weight of clusters of equal size against agreement with the neighbours (scan)"""
    contrast: float | None = None
    """weight of the contrastive loss between two augmented views of each image (dec, scan: until the clustering loss sets in); by default 10 for dec and scan, else 0"""  # noqa: E501
    fit: Literal["squash", "crop"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; crop scales both alike and takes the middle"""
    shift: float = 0.09
    """shift training images at random by up to this share of their side"""
    augment: Augment = unfolded(
        Augment(rotate=15.0, scale=0.15), "flip", "rotate", "stretch", "slant", "erase", zoom="scale"
    )
    exposure: float | None = None
    """brighten or darken training images by up to this many photographic stops (factors of 2); by default as far as images that look alike differ"""  # noqa: E501
    shading: float | None = None
    """light training images unevenly, from side to side or from the middle out, by up to this many stops; by default as far as images that look alike differ"""  # noqa: E501
    image_contrast: float | None = None
    """raise or lower the contrast of training images by up to this share; by default as far as images that look alike differ"""
    unlike: float = 0.01
    """share of the training images that count as outliers, half by distance, half by reconstruction error"""

    found: Light | None = learned(None)  # in the training images, for the options of light that are None

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "thorough": {
            "method": "scan",
            "erase": 0.2,
            "widths": (32, 64, 128),
            "latent": 32,
            "batch_size": 256,
            "epochs": 16,
        }
    }
    example: ClassVar[str] = "glyphs"
    example_options: ClassVar[Mapping[str, Any]] = {"clusters": 36, "epochs": 30}
    default_model: ClassVar[str] = "embedding_autoencoder"
    evidence_title: ClassVar[str] = "mean value"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("reconstruction",)
    predict_options: ClassVar[type[PredictOptions]] = ClusterOptions
    keeps_size: ClassVar[bool] = False
    # selecting by labels would leak them, selecting by distances would favour collapse: the last weights are kept
    selects_checkpoint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("method", self.method, _METHODS)
        check_choice("fit", self.fit, ("squash", "crop"))  # padding would be reconstructed, and count
        check_choice("criterion", self.criterion, CRITERIA)
        if self.clusters < 0 or self.clusters == 1:
            raise UsageError(
                f"clusters={self.clusters}: must be at least 2, or 0 for the criterion to choose; give another number."
            )
        if self.most < 3:
            raise UsageError(f"most={self.most}: must be at least 3, so that there is a choice; give a larger number.")
        for name in ("pretrain", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)!r}: must lie in [0, 1); give another share.")
        for name in ("pull", "contrast"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name}={value!r}: is a weight; give 0 or more.")
        for name, most in (("exposure", 4), ("shading", 4), ("image_contrast", 0.95)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"{name}={value!r}: must lie in [0, {most}]; give another value.")
        if not 0 <= self.balance < math.inf:
            raise UsageError(f"balance={self.balance!r}: is a finite weight; give 0 or more.")
        if not 0 < self.unlike < 1:
            raise UsageError(f"unlike={self.unlike!r}: must lie between 0 and 1; give another share.")

    @property
    def fitting(self) -> Fit:
        return self.fit

    @property
    def soft(self) -> bool:
        """Whether images are drawn to soft assignments, which start from the clusters of contrastive codes."""
        return self.method in ("dec", "scan")

    @property
    def agreement(self) -> float:
        """The weight of the contrastive loss; where it is above 0, codes have length 1."""
        return self.contrast if self.contrast is not None else 10.0 * self.soft

    @property
    def faithfulness(self) -> float:
        """The weight of the reconstruction: less where views vary the light, which the picture to reconstruct shows."""
        return 0.1 if self.agreement and self.light.shading else 1.0

    @property
    def weight(self) -> float:
        """The weight of the clustering loss."""
        return self.pull if self.pull is not None else 10.0 if self.soft else 1.0

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        train, least = len(data.splits["train"]), max(self.clusters, 3)
        if 0 < train < least:
            raise UsageError(
                f"clusters={self.clusters}: is more than the {train} training images of data={data.name!r}; give fewer."
            )
        return data, self

    @property
    def light(self) -> Light:
        """How far training varies the light of images: as asked for, else as found."""
        found = self.found or Light()
        return Light(
            found.exposure if self.exposure is None else self.exposure,
            found.shading if self.shading is None else self.shading,
            found.contrast if self.image_contrast is None else self.image_contrast,
        )

    def learn(self, images: Store) -> Self:
        if None not in (self.exposure, self.shading, self.image_contrast):
            return self
        return replace(self, found=Light.of(images))

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"light": asdict(self.found)} if self.found else {}

    def recall(self, facts: Mapping[str, Any]) -> Self:
        return replace(self, found=Light(**facts["light"]) if "light" in facts else None)

    @property
    def findings(self) -> Sequence[str]:
        if self.found is None:
            return []
        if self.found == Light():
            return ["Images that look alike hardly differ in light, so training does not vary it."]
        light = self.light
        amounts = {"exposure": light.exposure, "shading": light.shading, "image-contrast": light.contrast}
        flags = " ".join(f"--{name} {amount:g}" for name, amount in amounts.items())
        return [f"Images that look alike differ in light; training varies it by {flags}."]

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Views]:
        clean = batch.images.float().div_(255)  # (B, C, H, W)
        place = batch.index.to(clean.device)
        if not training:
            known = batch.targets.get("label")
            label = known.index if isinstance(known, Label) else torch.full_like(place, -1)
            return clean, Views(clean, None, place, label)
        pixels = round(self.shift * min(clean.shape[2:]))
        light = self.light
        augment = replace(
            self.augment, crop=pixels, exposure=light.exposure, shading=light.shading, contrast=light.contrast
        )
        unmoved = Label(place)  # a target that does not move with the image
        view = augment(clean, unmoved, draws)[0]
        other = augment(clean, unmoved, draws)[0] if self.agreement else clean[:, :0]
        return view, Views(clean, other, place, torch.full_like(place, -1))  # labels would leak into training

    def loss(self, model: nn.Module, input: Tensor, truth: Views) -> dict[str, Tensor]:
        return training.losses(self, model, input, truth)

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        training.update_clusters(self, model, batches, epoch, epochs, seed)

    def predict(self, model: nn.Module, input: Tensor) -> ClusterPrediction:
        """The cluster of each image, its distance, and whether it is an outlier."""
        kept = unwrapped(model).kept
        if "centres" not in kept:
            raise UsageError("model: has no clusters yet; train it for at least one epoch.")
        code, picture = training.codes_and_pictures(model, input, self.agreement > 0)
        assigned = assign(code, kept)
        error = (picture - input).square().flatten(1).mean(1)
        outlier = (assigned.distance > kept["reach"][assigned.cluster]) | (error > kept["error_reach"])
        return ClusterPrediction(assigned.cluster, assigned.distance, assigned.silhouette, error, outlier)

    def score(self, input: Tensor, prediction: ClusterPrediction, truth: Views) -> dict[str, NDArray[Any]]:
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
        """Agreement with the labels where there are any, and accuracy decides; else the silhouette does."""
        return metrics.metrics(len(classes))

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The simplified silhouette."""
        return np.asarray(records["silhouette"], np.float64)

    def agree(self, one: Records, other: Records) -> float:
        """The adjusted Rand index of the clusters of two models."""
        return metrics.agreement(one, other)

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

    def write(
        self, prediction: ClusterPrediction, names: Sequence[str], classes: Sequence[str]
    ) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "cluster": cluster,
                "distance": round(distance, 5),
                "unlike": bool(outlier),
                "group": f"cluster {cluster}",
            }
            for name, cluster, distance, outlier in zip(
                names,
                prediction.cluster.tolist(),
                prediction.distance.tolist(),
                prediction.unlike.tolist(),
                strict=True,
            )
        ]

    def draw(
        self,
        input: Tensor,
        prediction: ClusterPrediction,
        truth: Views | None,
        names: Sequence[str],
        classes: Sequence[str],
    ) -> Figure:
        from pellucid.tasks.cluster import figures

        return figures.answers(input, prediction, truth, classes)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean absolute value of the reconstruction, in [0, 1] units."""
        return output.float().abs().flatten(1).mean(1)
