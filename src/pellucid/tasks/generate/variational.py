# SPDX-License-Identifier: Apache-2.0
"""The task of a variational autoencoder: a lower bound of the images' likelihood (Kingma & Welling 2014)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._processes import averaged
from pellucid.data.dataset import Batch, Dataset
from pellucid.data.draws import Draws
from pellucid.models import OutputKind
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._metrics import Measure, Metric, mean
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import latents, mixtures, seeded
from pellucid.tasks.generate.figures import as_bytes
from pellucid.tasks.generate.generative import Generative, as_columns
from pellucid.tasks.generate.likelihood import (
    COLLAPSED,
    PixelDistribution,
    Reconstruction,
    SeededImages,
    bound,
    latent_loss,
    prior_over_posterior,
    weighted_bound,
)
from pellucid.tasks.generate.statistics import remeasured, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Variational"]

_MEASURED = 4000  # images on which batch statistics are measured, at most
_AT_ONCE = 500
_LARGEST_TREE = 1600  # pixels: a tree of pixels compares all pairs
_STATIC = 0x5EED  # seed of static binarisation; fixed, so that there is one such dataset
_METRICS = (
    mean("elbo", "ELBO", "nats"),
    mean("reconstruction", "reconstruction loss", "nats", "lower"),
    mean("latent", "latent loss", "nats", "neither"),
)


@final
@dataclass(frozen=True)
class Variational(Generative[Reconstruction]):
    """What would more pictures like these look like, by a model of their likelihood?

    >>> task = Variational(PixelDistribution("bernoulli", None))
    >>> batch = Batch(torch.full((2, 1, 8, 8), 128, dtype=torch.uint8), {}, torch.arange(2))
    >>> sorted(set(task.prepare(batch, Draws.images(0, batch.index), training=False)[0].flatten().tolist()))
    [0.0, 1.0]
    """

    pixels: PixelDistribution
    beta: float = 1.0
    kl_warmup: float = 0.0
    importance: int = 200
    binarise: str = "dynamic"
    bound_samples: int = 1

    default_model: ClassVar[str] = "vae"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("distribution",)

    @property
    def summary(self) -> str:
        """The distribution of the pixels, in a few words."""
        if self.pixels.kind == "bernoulli":
            drawn = "again in every epoch" if self.binarise == "dynamic" else "once"
            return f"Bernoulli, of images binarised {self.binarise}ally (drawn {drawn}; in evaluation fixed by the image's position)"
        variance = self.pixels.variance
        return f"Gaussian density of pixels in [0, 1], variance {'learned' if variance is None else variance}"

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return self.pixels.outputs(data.channels)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, SeededImages]:
        images = batch.images.float().div_(255)  # (B, C, H, W)
        if self.pixels.kind == "bernoulli":
            if self.binarise == "static":  # by position, so that an image is the same in every epoch
                thresholds = seeded.uniform(batch.index + _STATIC, images[0].numel()).view_as(images)
            else:
                thresholds = draws.uniform(*images.shape[1:])
            images = (thresholds < images).float()
        return images, SeededImages(images, draws.integers(0, 2**24))

    def loss(self, model: nn.Module, input: Tensor, truth: SeededImages) -> dict[str, Tensor]:
        """−ELBO with the weighted latent loss, both parts in nats per image, and the number of collapsed dimensions.

        With several samples per image the loss is minus the importance-weighted bound; the parts remain those of the ELBO.
        """
        inner = unwrapped(model)
        noise = self._noise(inner, truth, model.training)
        decoded, mean, log_variance = model(input, noise)
        images = truth.pixels if noise.ndim == 2 else truth.pixels[:, None]
        log_p = self.pixels.log_probability(decoded, images)  # (B,), or (B, K)
        reconstruction = -log_p.mean()
        by_dimension = averaged(latent_loss(mean, log_variance).mean(0))  # (latent,)
        latent = by_dimension.sum()
        loss = reconstruction + inner.kl_weight * latent
        if noise.ndim == 3:
            loss = -weighted_bound(log_p + inner.kl_weight * prior_over_posterior(mean, log_variance, noise)).mean()
        collapsed = (by_dimension < COLLAPSED).sum().float()
        return {"loss": loss, "reconstruction": reconstruction, "latent": latent, "collapsed": collapsed}

    def _noise(self, inner: Any, truth: SeededImages, training: bool) -> Tensor:
        """(B, latent), or (B, K, latent) where the bound takes several samples."""
        each, images = self.bound_samples, len(truth.seeds)
        if training:  # torch's own generator is seeded at every step
            shape = (images, inner.latent) if each == 1 else (images, each, inner.latent)
            return torch.randn(shape, device=truth.seeds.device)
        noise = seeded.normal(truth.seeds, each * inner.latent)
        return noise if each == 1 else noise.view(images, each, inner.latent)

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Set the weight of the latent loss for the coming epoch: β·(epoch + 1)/(warm-up + 1), at most β; measure batch norm again."""
        inner = unwrapped(model)
        inner.kl_weight.fill_(self.beta * min(1.0, (epoch + 1) / (self.kl_warmup + 1)))
        with remeasured(inner) as needed:
            if needed:
                chosen = spread(batches(), _MEASURED)
                order = torch.randperm(
                    len(chosen.index), device=chosen.index.device
                )  # images may be sorted by their class
                images, truth = self.prepare(chosen, Draws.images(seed, chosen.index), training=False)
                for part in order.split(_AT_ONCE):
                    inner(images[part], seeded.normal(truth.seeds[part], inner.latent))

    def decode(self, model: nn.Module, codes: Tensor) -> Tensor:
        """Mean pictures."""
        return self.pixels.pictures(unwrapped(model).decode(codes))

    def encode(self, model: nn.Module, images: Tensor) -> Tensor:
        mean: Tensor = unwrapped(model).encode(images)[0]
        return mean

    def predict(self, model: nn.Module, input: Tensor) -> Reconstruction:
        """The picture of the mean code."""
        inner = unwrapped(model)
        mean, log_variance = inner.encode(input)
        return Reconstruction(self.pixels.pictures(inner.decode(mean)), mean, torch.exp(0.5 * log_variance))

    def score(self, input: Tensor, prediction: Reconstruction, truth: SeededImages) -> dict[str, Any]:
        """The mean squared error of the reconstruction."""
        return as_columns({"mse": (prediction.pixels - truth.pixels).square().flatten(1).mean(1)})

    def measure(self, model: nn.Module, input: Tensor, truth: SeededImages) -> dict[str, Any]:
        """The bound and its two parts in nats, from one z per image, and the latent loss by dimension."""
        inner = unwrapped(model)
        decoded, mean, log_variance = inner(input, seeded.normal(truth.seeds, inner.latent))
        reconstruction = -self.pixels.log_probability(decoded, truth.pixels)
        by_dimension = latent_loss(mean, log_variance)  # (B, latent)
        latent = by_dimension.sum(1)
        parts = {"elbo": -reconstruction - latent, "reconstruction": reconstruction, "latent": latent}
        if self.bound_samples > 1:
            parts |= {self._bound: bound(model, self.pixels, input, truth, self.bound_samples)}
        scored = self.score(input, self.predict(model, input), truth)
        return scored | as_columns(parts | {"latent_by_dimension": by_dimension})

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """The bound that is maximised, which decides, the ELBO and its parts."""
        if self.bound_samples == 1:
            return _METRICS
        return (mean(self._bound, f"bound of {self.bound_samples} samples", "nats"), *_METRICS)

    @property
    def _bound(self) -> str:
        """The name of the bound that is maximised: bounds of other numbers of samples are other measures."""
        return "elbo" if self.bound_samples == 1 else f"bound_{self.bound_samples}"

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        """The distribution of the pixels, the collapsed dimensions, and each dimension's latent loss."""
        by_dimension = np.asarray(records["latent_by_dimension"], np.float64).mean(0)  # (latent,)
        collapsed = np.flatnonzero(by_dimension < COLLAPSED)
        listed = ", ".join(map(str, collapsed[:20])) + (" …" if len(collapsed) > 20 else "")
        warning = (
            f"{len(collapsed)} of {len(by_dimension)} dimensions carry no information (below {COLLAPSED} nats): {listed}"
            if len(collapsed)
            else "none"
        )
        several = self.bound_samples > 1
        maximised = {"bound": f"importance-weighted, {self.bound_samples} samples per image"} if several else {}
        order = np.argsort(-by_dimension, kind="stable")
        return {
            "likelihood": [{"likelihood": self.summary, **maximised, "collapsed dimensions": warning}],
            "latent_dimensions": [
                {"dimension": int(i), "latent loss, nats": round(float(by_dimension[i]), 4),
                 "state": "collapsed" if by_dimension[i] < COLLAPSED else "active"}
                for i in order
            ],
        }  # fmt: skip

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The bound."""
        return np.asarray(records[self._bound], np.float64)

    def array_baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """Exact likelihoods under simple distributions, of the very inputs that the model is measured on."""
        known, held_out = (part.flatten(1).cpu().numpy() for part in (train, test))  # (M, C·H·W), (N, C·H·W)
        binary = self.pixels.kind == "bernoulli"
        mixture = mixtures.bernoullis if binary else mixtures.gaussians
        log_p = {"independent pixels": mixture(known, held_out, 1, seed)}
        for k in (10, 50):
            log_p[f"mixture of {k}"] = mixture(known, held_out, min(k, len(known)), seed)
        if not binary:
            log_p["probabilistic PCA"] = mixtures.principal(known, held_out, 50)
        elif known.shape[1] <= _LARGEST_TREE:
            log_p["tree of pixels"] = mixtures.chow_liu(known, held_out)
        unknown = np.full(len(held_out), np.nan)
        parts = {"reconstruction": unknown, "latent": unknown}  # an exact likelihood has no parts
        return {name: {"elbo": column, self._bound: column, **parts} for name, column in log_p.items()}

    def likelihood(self, model: nn.Module, held_out: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]] | None:
        return latents.likelihood(self, model, held_out, seed) if self.importance else None

    def code_figures(self, model: nn.Module, held_out: Any, seed: int) -> Sequence[NamedFigure]:
        return latents.code_figures(self, model, held_out, seed)

    def write(self, prediction: Reconstruction, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """The reconstruction, its code, and the latent loss in nats."""
        nats = latent_loss(prediction.mean, 2 * prediction.deviation.log()).sum(1).tolist()
        pictures = as_bytes(prediction.pixels)
        means = prediction.mean.float().cpu().numpy().round(4).tolist()
        rows = zip(names, nats, means, pictures, strict=True)
        return [{"name": name, "latent": round(n, 4), "code": code, "picture": p} for name, n, code, p in rows]

    def draw(
        self,
        input: Tensor,
        prediction: Reconstruction,
        truth: SeededImages | None,
        names: Sequence[str],
        classes: Sequence[str],
    ) -> Figure:
        """Images beside their reconstructions."""
        from pellucid.tasks import _figures

        return _figures.pictures({"image": input, "reconstruction": prediction.pixels}, None, names)
