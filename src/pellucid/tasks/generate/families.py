# SPDX-License-Identifier: Apache-2.0
"""The two families of generative models as one interface: a bound of the likelihood, and a game of two players."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.tasks import _bootstrap
from pellucid.tasks._contract import Measure, Records
from pellucid.tasks.generate import chance, mixtures
from pellucid.tasks.generate import energy as _energy
from pellucid.tasks.generate.game import Game, Verdict
from pellucid.tasks.generate.likelihood import COLLAPSED, Drawn, Pixels, Reconstruction, latent_loss, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Adversarial", "Variational", "as_bytes", "check_choice", "codes"]

_CHOICES = {
    "family": ("auto", "vae", "gan"),
    "likelihood": ("bernoulli", "gaussian"),
    "binarise": ("dynamic", "static"),
    "objective": ("non_saturating", "least_squares", "wasserstein"),
}
_AT_ONCE = 500  # pictures made at a time
_MEASURED = 4000  # pictures that batch statistics are measured on
_TREE = 1600  # pixels: a tree weighs all pairs


@final
@dataclass(frozen=True)
class Variational:
    """What `generate` does with a model whose output is a distribution."""

    pixels: Pixels
    beta: float
    kl_warmup: float
    importance: int
    binarise: str
    main: str = "elbo"

    @property
    def words(self) -> str:
        """What the likelihood is of."""
        if self.pixels.kind == "bernoulli":
            drawn = "anew in every epoch" if self.binarise == "dynamic" else "once and for all"
            return f"Bernoulli, of images binarised {self.binarise}ally (drawn {drawn}; in evaluation fixed by the image's place)"
        known = self.pixels.variance
        return f"Gaussian density of pixels in [0, 1], variance {'learned' if known is None else known}"

    def outputs(self, channels: int) -> int:
        """Maps of a decoder."""
        return self.pixels.outputs(channels)

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """One: encoder and decoder together."""
        return {"model": model}

    def steps(self, model: nn.Module, input: Tensor, target: Drawn) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """One update."""
        yield model, self.loss(model, input, target)

    def loss(self, model: nn.Module, input: Tensor, target: Drawn) -> dict[str, Tensor]:
        """−ELBO with the weighted latent loss, both parts in nats an image, and how many dimensions say nothing."""
        inner = plain(model)
        noise = self._noise(inner, target, model.training)
        decoded, mean, log_variance = model(input, noise)
        reconstruction = -self.pixels.log_probability(decoded, target.pixels).mean()
        by_dimension = latent_loss(mean, log_variance).mean(0)  # (latent,)
        latent = by_dimension.sum()
        loss = reconstruction + inner.kl_weight * latent
        collapsed = (by_dimension < COLLAPSED).sum().float()
        return {"loss": loss, "reconstruction": reconstruction, "latent": latent, "collapsed": collapsed}

    def _noise(self, inner: Any, target: Drawn, training: bool) -> Tensor:
        if training:  # torch's own generator is seeded at every step
            return torch.randn(len(target.seeds), inner.latent, device=target.seeds.device)
        return chance.normal(target.seeds, inner.latent)

    def update_buffers(self, model: nn.Module, epoch: int) -> None:
        """The weight of the latent loss in the coming epoch: β·(epoch + 1)/(warm-up + 1), at most β."""
        plain(model).kl_weight.fill_(self.beta * min(1.0, (epoch + 1) / (self.kl_warmup + 1)))

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor:
        """Mean pictures (N, C, H, W) of codes drawn from the prior."""
        inner = plain(model)
        return self.made(model, codes(inner, count, seed))

    def made(self, model: nn.Module, drawn: Tensor) -> Tensor:
        """Mean pictures (N, C, H, W) in [0, 1] of codes (N, latent)."""
        inner = plain(model)
        with torch.no_grad():
            return torch.cat([self.pixels.pictures(inner.decode(part)) for part in drawn.split(_AT_ONCE)])

    def predict(self, model: nn.Module, input: Tensor) -> Reconstruction:
        """The picture of the mean code."""
        inner = plain(model)
        mean, log_variance = inner.encode(input)
        return Reconstruction(self.pixels.pictures(inner.decode(mean)), mean, torch.exp(0.5 * log_variance))

    def score(self, prediction: Target, target: Drawn) -> dict[str, Tensor]:
        """The mean squared error of the reconstruction."""
        assert isinstance(prediction, Reconstruction)
        return {"mse": (prediction.pixels - target.pixels).square().flatten(1).mean(1)}

    def measure(self, model: nn.Module, input: Tensor, target: Drawn) -> dict[str, Tensor]:
        """Both parts of the bound in nats, with one z an image, and the latent part by dimension."""
        inner = plain(model)
        decoded, mean, log_variance = inner(input, self._noise(inner, target, training=False))
        reconstruction = -self.pixels.log_probability(decoded, target.pixels)
        by_dimension = latent_loss(mean, log_variance)  # (B, latent)
        latent = by_dimension.sum(1)
        parts = {"elbo": -reconstruction - latent, "reconstruction": reconstruction, "latent": latent}
        return parts | {"latent_by_dimension": by_dimension}

    def summary(self, records: Records, seed: int) -> dict[str, Measure]:
        """The bound and its parts."""
        return {
            "elbo": _mean(records["elbo"], seed, "nats"),
            "reconstruction": _mean(records["reconstruction"], seed, "nats", "lower"),
            "latent": _mean(records["latent"], seed, "nats", "neither"),
        }

    def details(self, records: Records) -> dict[str, Any]:
        """What the likelihood is of, and each dimension's latent loss with its alarm."""
        by_dimension = np.asarray(records["latent_by_dimension"], np.float64).mean(0)
        dead = np.flatnonzero(by_dimension < COLLAPSED)
        named = ", ".join(map(str, dead[:20])) + (" …" if len(dead) > 20 else "")
        alarm = (
            f"{len(dead)} of {len(by_dimension)} dimensions say nothing (below {COLLAPSED} nats): {named}"
            if len(dead)
            else "none"
        )
        order = np.argsort(-by_dimension, kind="stable")
        return {
            "likelihood": [{"likelihood": self.words, "collapsed dimensions": alarm}],
            "latent_dimensions": [
                {"dimension": int(i), "latent loss, nats": round(float(by_dimension[i]), 4),
                 "state": "collapsed" if by_dimension[i] < COLLAPSED else "active"}
                for i in order
            ],
        }  # fmt: skip

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The bound."""
        return np.asarray(records["elbo"], np.float64)

    def baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """Exact likelihoods of simple distributions, of the very images that the model is measured on."""
        known, seen = (part.flatten(1).cpu().numpy() for part in (train, test))
        binary = self.pixels.kind == "bernoulli"
        mixture = mixtures.bernoullis if binary else mixtures.gaussians
        found = {"independent pixels": mixture(known, seen, 1, seed)}
        for k in (10, 50):
            found[f"mixture of {k}"] = mixture(known, seen, min(k, len(known)), seed)
        if not binary:
            found["probabilistic PCA"] = mixtures.principal(known, seen, 50)
        elif known.shape[1] <= _TREE:
            found["tree of pixels"] = mixtures.chow_liu(known, seen)
        nothing = np.full(len(seen), np.nan)
        rest = {"reconstruction": nothing, "latent": nothing}
        return {name: {"elbo": log_p, **rest} for name, log_p in found.items()}

    def write(self, prediction: Target, names: Sequence[str]) -> list[dict[str, Any]]:
        """The reconstruction, with its code and how far that is from saying nothing, in nats."""
        assert isinstance(prediction, Reconstruction)
        nats = latent_loss(prediction.mean, 2 * prediction.deviation.log()).sum(1).tolist()
        pictures = as_bytes(prediction.pixels)
        means = prediction.mean.float().cpu().numpy().round(4).tolist()
        rows = zip(names, nats, means, pictures, strict=True)
        return [{"name": name, "latent": round(n, 4), "code": code, "picture": p} for name, n, code, p in rows]

    def draw(self, input: Tensor, prediction: Target, names: Sequence[str]) -> Figure:
        """Images beside their reconstructions."""
        from pellucid.tasks import _figures

        assert isinstance(prediction, Reconstruction)
        return _figures.pictures({"image": input, "reconstruction": prediction.pixels}, None, names)


@final
@dataclass(frozen=True)
class Adversarial:
    """What `generate` does with a model of two adversaries."""

    game: Game
    main: str = "energy"

    @property
    def words(self) -> str:
        """What the players play for."""
        smoothing = f", real = {1 - self.game.smoothing:g}" if self.game.smoothing else ""
        penalty = f", gradient penalty {self.game.penalty:g}" if self.game.penalty else ""
        ratio = f", {self.game.updates[0]}:{self.game.updates[1]} updates"
        return f"{self.game.objective.replace('_', ' ')}{smoothing}{penalty}{ratio}"

    def outputs(self, channels: int) -> int:
        """Channels of a made picture."""
        return channels

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """The two, in the order of their turns."""
        inner: Any = plain(model)
        mixing = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in inner.discriminator.modules())
        if self.game.penalty and mixing:
            raise UsageError(
                f"penalty={self.game.penalty:g}: is on each image's own gradient, and batch norm mixes a batch's; "
                "give --norm none or --norm spectral, or --penalty 0."
            )
        return {"discriminator": inner.discriminator, "generator": inner.generator}

    def steps(self, model: nn.Module, input: Tensor, target: Drawn) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """Each player's updates."""
        return self.game.steps(model, input)

    def loss(self, model: nn.Module, input: Tensor, target: Drawn) -> dict[str, Tensor]:
        """Both players' losses, without a step."""
        return self.game.losses(model, input, target)

    def update_buffers(self, model: nn.Module, epoch: int) -> None:
        """The generator's batch statistics, measured anew: averaged weights have others (Izmailov et al. 2018, sec. 3.2)."""
        inner: Any = plain(model)
        norms = [m for m in inner.generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta, mode = [norm.momentum for norm in norms], inner.generator.training
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        inner.generator.train()
        if norms:
            for part in codes(inner, _MEASURED, 0).split(_AT_ONCE):
                inner.generator(part)
        inner.generator.train(mode)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor:
        """Pictures (N, C, H, W) of noise."""
        return self.made(model, codes(plain(model), count, seed))

    def made(self, model: nn.Module, drawn: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] of codes (N, latent)."""
        inner = plain(model)
        with torch.no_grad():
            return torch.cat([inner.generator(part).float() for part in drawn.split(_AT_ONCE)])

    def predict(self, model: nn.Module, input: Tensor) -> Verdict:
        """How real the discriminator takes images to be."""
        return Verdict(self.game.opinion(plain(model).discriminator(input).float())[:, 0])

    def score(self, prediction: Target, target: Drawn) -> dict[str, Tensor]:
        """D(x)."""
        assert isinstance(prediction, Verdict)
        return {"D_real": prediction.real}

    def measure(self, model: nn.Module, input: Tensor, target: Drawn) -> dict[str, Tensor]:
        """The energy score of the image under a thousand samples, and the distance to the nearest of them."""
        inner = plain(model)
        gallery = _energy.gallery(model, lambda seeds: self.made(model, chance.normal(seeds, inner.latent)))
        energy, nearest = gallery.score(target.pixels)
        return {"energy": energy, "nearest": nearest}

    def summary(self, records: Records, seed: int) -> dict[str, Measure]:
        """The energy score and the nearest sample, RMS a pixel in [0, 1] units, and D(x)."""
        found = {name: _mean(records[name], seed, "", "lower") for name in ("energy", "nearest")}
        return found | {"D_real": _mean(records["D_real"], seed, "", "neither")}

    def details(self, records: Records) -> dict[str, Any]:
        """What was played for."""
        return {"objective": [{"objective": self.words}]}

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """Minus the energy score."""
        return -np.asarray(records["energy"], np.float64)

    def baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """Samples of simple distributions, and real images as the floor, held against the same images in the same way."""
        rng, copies = np.random.default_rng(seed), _energy.SAMPLES
        known = train[torch.from_numpy(rng.permutation(len(train))[: 2 * copies])].flatten(1)
        count = min(copies, len(known))
        centred = known - known.mean(0)
        weights = torch.from_numpy(rng.standard_normal((copies, len(known))).astype(np.float32))
        shuffled = rng.integers(0, len(known), (copies, known.shape[1]))
        sets = {
            "training images": known[:count],
            "Gaussian": (known.mean(0) + weights @ centred / math.sqrt(max(1, len(known) - 1))).clamp(0, 1),
            "independent pixels": known.gather(0, torch.from_numpy(shuffled)),
            "one training image": known[:1].expand(count, -1),
        }
        nothing = np.full(len(test), np.nan)
        found: dict[str, Records] = {}
        for name, rows in sets.items():
            energy, nearest = _energy.Gallery.of(rows.reshape(-1, *train.shape[1:])).scores(test)
            found[name] = {"energy": energy.numpy(), "nearest": nearest.numpy(), "D_real": nothing}
        return found

    def write(self, prediction: Target, names: Sequence[str]) -> list[dict[str, Any]]:
        """D(x) of each image."""
        assert isinstance(prediction, Verdict)
        return [{"name": name, "D_real": round(v, 5)} for name, v in zip(names, prediction.real.tolist(), strict=True)]

    def draw(self, input: Tensor, prediction: Target, names: Sequence[str]) -> Figure:
        """Images with D(x)."""
        from pellucid.tasks import _figures

        assert isinstance(prediction, Verdict)
        told = [f"{name}: D(x) {v:.2f}" for name, v in zip(names, prediction.real.tolist(), strict=True)]
        return _figures.pictures({"image": input}, None, told)


def check_choice(name: str, value: str) -> None:
    """Refuse a value that an option does not know."""
    if value not in _CHOICES[name]:
        raise UsageError(f"{name}={value!r}: is not known; choose {', '.join(_CHOICES[name])}.")


def as_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [0, 1] as uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def codes(inner: Any, count: int, seed: int) -> Tensor:
    """(N, latent) standard normal, the first the same however many there are."""
    device = next(inner.parameters()).device
    seeds = torch.arange(count, device=device) + (seed << 32)
    return chance.normal(seeds, inner.latent)


def _mean(column: NDArray[Any], seed: int, unit: str = "", better: str = "higher") -> Measure:
    """The mean with its interval; nothing where a baseline has no such thing."""
    if np.isnan(column).all():
        return Measure(math.nan, math.nan, math.nan, unit, better)
    return Measure(*_bootstrap.of_mean(column, seed), unit, better)
