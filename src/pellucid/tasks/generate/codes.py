# SPDX-License-Identifier: Apache-2.0
"""What only a model with an encoder has: an importance-sampled likelihood, reconstructions, and pictures along its codes."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._metrics import Measure, mean, summarise
from pellucid.tasks.generate import figures
from pellucid.tasks.generate.likelihood import COLLAPSED, Drawn, Pixels, Reconstruction, importance, latent_loss, plain
from pellucid.tasks.generate.model_measures import evenly

__all__ = ["code_figures", "likelihood"]

_WORK = 3e12  # multiplications that importance sampling may take: half a minute on two cores


class Likelihood(Protocol):
    """The task of a variational autoencoder, as this file sees it."""

    @property
    def pixels(self) -> Pixels: ...
    @property
    def importance(self) -> int: ...
    @property
    def words(self) -> str: ...
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Drawn]: ...
    def predict(self, model: nn.Module, input: Tensor) -> Reconstruction: ...
    def made(self, model: nn.Module, drawn: Tensor) -> Tensor: ...


def likelihood(task: Likelihood, model: nn.Module, seen: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]]:
    """−log p in nats with its interval over the images, and a row on how it was computed.

    Args:
        task: of the model.
        model: in eval mode.
        seen: a store of held-out images.
        seed: of the images' noise.
    """
    from torch.utils.flop_counter import FlopCounterMode

    inner, device = plain(model), next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        inner.decode(torch.zeros(1, inner.latent, device=device))
    each = max(1.0, counter.get_total_flops() / 2) * task.importance
    count = int(min(len(seen), max(50, _WORK // each)))
    log_p, errors = [], []
    for index in torch.from_numpy(evenly(len(seen), count)).split(100):
        batch = seen.batch(index, device)
        input, truth = task.prepare(batch, Draws.images(seed, batch.index, device), training=False)
        found, error, _ = importance(model, task.pixels, input, truth, task.importance)
        log_p.append(found.cpu())
        errors.append(error.cpu())
    values, errs = torch.cat(log_p).double().numpy(), torch.cat(errors).double().numpy()
    deviation = float(values.std(ddof=1)) if count > 1 else math.nan
    nll = summarise([mean("nll", "−log p", "nats", "lower")], {"nll": -values})["nll"]
    row = {
        "−log p, nats": round(nll.value, 3),
        "standard error over images": round(deviation / math.sqrt(count), 3),
        "standard error of the sampling": round(float(np.sqrt((errs**2).sum())) / count, 4),
        "importance samples": task.importance,
        "images": count,
        "likelihood": task.words,
    }
    return nll, [row]


def code_figures(task: Likelihood, model: nn.Module, seen: Any, seed: int) -> list[NamedFigure]:
    """Reconstructions, interpolations between images, and what single numbers of the code mean."""
    device = next(model.parameters()).device
    index = torch.from_numpy(evenly(len(seen), min(len(seen), 512)))
    batch: Batch = seen.batch(index, device)
    input, _ = task.prepare(batch, Draws.images(seed, batch.index, device), training=False)
    means, log_variance = plain(model).encode(input)
    nats = latent_loss(means, log_variance).mean(0).cpu().numpy()
    dead = int((nats < COLLAPSED).sum())
    alarm = (
        f"{dead} of {len(nats)} have collapsed: below {COLLAPSED} nats they say nothing"
        if dead
        else "none has collapsed"
    )
    shares = torch.linspace(0, 1, 10, device=device)[:, None]
    pairs = [(1 - shares) * means[i] + shares * means[-1 - i] for i in range(min(4, len(means) // 2))]
    reach = torch.linspace(-3, 3, 10, device=device)
    order = np.argsort(-nats)[:6]
    walks = means[:1].repeat(len(order) * len(reach), 1)
    for k, dimension in enumerate(order):
        walks[k * len(reach) : (k + 1) * len(reach), int(dimension)] = reach
    telling = ", ".join(map(str, order))
    said = f"Each row varies one number of the first image's code from −3 to 3: {telling}, the most telling ones."
    shown = [
        NamedFigure("reconstructions", "Reconstructions", "Held-out images, and the pictures of their mean codes.",
              figures.rows({"image": input[:16], "again": task.predict(model, input[:16]).pixels})),
        NamedFigure("latent", "Latent loss by dimension", f"Mean over {len(index)} held-out images, in nats; {alarm}.",
              figures.bars(nats, COLLAPSED)),
        NamedFigure("traversals", "What the numbers of a code mean", said, figures.grid(task.made(model, walks), len(reach))),
    ]  # fmt: skip
    if pairs:
        figure = figures.grid(task.made(model, torch.cat(pairs)), 10)
        words = "From one held-out image to another by way of their mean codes, in equal steps."
        shown.insert(1, NamedFigure("interpolations", "Interpolations", words, figure))
    return shown
