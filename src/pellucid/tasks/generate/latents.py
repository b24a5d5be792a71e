# SPDX-License-Identifier: Apache-2.0
"""What takes an encoder: the importance-sampled likelihood, reconstructions, and pictures along the latent dimensions."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._metrics import Measure, mean, summarise
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import figures
from pellucid.tasks.generate.likelihood import (
    COLLAPSED,
    PixelDistribution,
    Reconstruction,
    SeededImages,
    importance,
    latent_loss,
)

__all__ = ["VariationalTask", "code_figures", "likelihood"]

_WORK = 3e12  # multiplications that importance sampling may take: half a minute on two cores
_FEWEST = 50  # images, however large the decoder
_ENCODED = 512  # images whose codes are looked at
_STEPS = 10  # pictures of an interpolation, or of a traversal from −_REACH to _REACH standard deviations
_REACH = 3


class VariationalTask(Protocol):
    """The task of a variational autoencoder, as far as this file needs it."""

    @property
    def pixels(self) -> PixelDistribution: ...
    @property
    def importance(self) -> int: ...
    @property
    def summary(self) -> str: ...
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, SeededImages]: ...
    def predict(self, model: nn.Module, input: Tensor) -> Reconstruction: ...
    def decode_all(self, model: nn.Module, codes: Tensor) -> Tensor: ...


def likelihood(
    task: VariationalTask, model: nn.Module, held_out: Any, seed: int
) -> tuple[Measure, list[dict[str, Any]]]:
    """−log p in nats with its interval over the images, and a table row that says how it was estimated.

    Args:
        task: of the model.
        model: in eval mode.
        held_out: a store of images that the model was not trained on.
        seed: of the images' noise.
    """
    from pellucid._operations import Operations

    inner, device = unwrapped(model), next(model.parameters()).device
    with Operations() as counter:
        inner.decode(torch.zeros(1, inner.latent, device=device))
    per_image = max(1.0, counter.total) * task.importance
    count = int(min(len(held_out), max(_FEWEST, _WORK // per_image)))
    log_p, errors = [], []
    for index in torch.from_numpy(evenly_spread(count, len(held_out))).split(100):
        batch = held_out.batch(index, device)
        input, truth = task.prepare(batch, Draws.images(seed, batch.index, device), training=False)
        estimate, error, _ = importance(model, task.pixels, input, truth, task.importance)
        log_p.append(estimate.cpu())
        errors.append(error.cpu())
    values, errs = torch.cat(log_p).double().numpy(), torch.cat(errors).double().numpy()
    deviation = float(values.std(ddof=1)) if count > 1 else math.nan
    nll = summarise([mean("nll", "−log p", "nats", "lower")], {"nll": -values})["nll"]
    row = {
        "−log p, nats": round(nll.value, 3),
        "standard error over images": round(deviation / math.sqrt(count), 3),
        # the images' sampling errors are independent: variances of a sum add up
        "standard error of the sampling": round(float(np.sqrt((errs**2).sum())) / count, 4),
        "importance samples": task.importance,
        "images": count,
        "likelihood": task.summary,
    }
    return nll, [row]


def code_figures(task: VariationalTask, model: nn.Module, held_out: Any, seed: int) -> list[NamedFigure]:
    """Reconstructions, interpolations between images, the latent loss by dimension, and latent traversals."""
    device = next(model.parameters()).device
    index = torch.from_numpy(evenly_spread(min(len(held_out), _ENCODED), len(held_out)))
    batch: Batch = held_out.batch(index, device)
    input, _ = task.prepare(batch, Draws.images(seed, batch.index, device), training=False)
    means, log_variance = unwrapped(model).encode(input)  # (N, latent) each
    nats = latent_loss(means, log_variance).mean(0).cpu().numpy()
    collapsed = int((nats < COLLAPSED).sum())
    state = (
        f"{collapsed} of {len(nats)} have collapsed (below {COLLAPSED} nats they carry no information)"
        if collapsed
        else "none has collapsed"
    )
    shares = torch.linspace(0, 1, _STEPS, device=device)[:, None]
    pairs = [(1 - shares) * means[i] + shares * means[-1 - i] for i in range(min(4, len(means) // 2))]
    reach = torch.linspace(-_REACH, _REACH, _STEPS, device=device)
    order = np.argsort(-nats)[:6]  # the dimensions that carry the most information
    traversals = means[:1].repeat(len(order) * _STEPS, 1)  # (6·steps, latent)
    for row, dimension in enumerate(order):
        traversals[row * _STEPS : (row + 1) * _STEPS, int(dimension)] = reach
    pictures = [
        NamedFigure("reconstructions", "Reconstructions", "Held-out images, and the pictures of their mean codes.",
              figures.rows({"image": input[:16], "reconstructed": task.predict(model, input[:16]).pixels})),
        NamedFigure("latent", "Latent loss by dimension", f"Mean over {len(index)} held-out images, in nats; {state}.",
              figures.bars(nats, COLLAPSED)),
        NamedFigure("traversals", "Latent traversals",
              f"Each row varies one dimension of the first image's code from −{_REACH} to {_REACH}: "
              f"{', '.join(map(str, order))}, those with the largest latent loss.",
              figures.grid(task.decode_all(model, traversals), _STEPS)),
    ]  # fmt: skip
    if pairs:
        figure = figures.grid(task.decode_all(model, torch.cat(pairs)), _STEPS)
        words = "From one held-out image to another, in equal steps between their mean codes."
        pictures.insert(1, NamedFigure("interpolations", "Interpolations", words, figure))
    return pictures
