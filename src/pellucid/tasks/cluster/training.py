# SPDX-License-Identifier: Apache-2.0
"""From images to codes that fall into clusters: the losses of a step, and what is settled between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.dataset import Batch
from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.tasks.cluster import methods
from pellucid.tasks.cluster.options import Clustering

__all__ = ["Assigned", "Views", "codes_of", "losses", "partition", "settle", "through"]

_SAMPLE = 10_000  # training images that centres are fitted to between epochs
_TEMPERATURE = 0.3  # of the contrast between views
_SHARPNESS = 0.1  # temperature of the shares in clusters, for codes of length 1
_MOMENTUM = 0.05  # of the centres' running means
_LLOYD_RESTARTS = 3  # between epochs; at the end there are more


@final
@dataclass(frozen=True)
class Assigned(Target):
    """One cluster an image."""

    cluster: Tensor  # (N,) int64
    distance: Tensor  # (N,) float32
    silhouette: Tensor  # (N,) float32, simplified
    error: Tensor  # (N,) float32, mean squared error of the reconstruction
    unlike: Tensor  # (N,) bool


@final
@dataclass(frozen=True)
class Views(Target):
    """What training compares an image with, itself and a second changed view, and what evaluation compares its cluster with."""

    clean: Tensor  # (N, C, H, W) float32 in [0, 1]
    other: Tensor | None  # the same; no channels where training needs none; None in evaluation
    place: Tensor  # (N,) int64, position in the split
    label: Tensor  # (N,) int64; -1 where it is not known, and always in training


def through(model: nn.Module, images: Tensor, unit: bool) -> tuple[Tensor, Tensor]:
    """The codes (B, D) of images and their reconstructions, in one pass.

    The code is caught where it leaves the encoder: a model that is spread over processes must be called as a whole.
    """
    caught: list[Tensor] = []
    encoder = _inner(model).encoder
    hook = encoder.register_forward_hook(lambda _, __, answer: caught.append(answer))
    try:
        picture = model(images)
    finally:
        hook.remove()
    return _flat(caught[0], unit), picture.float()


def codes_of(model: nn.Module, images: Tensor, unit: bool) -> Tensor:
    """The codes (B, D) of images (B, C, H, W), of length 1 where `unit`."""
    return _flat(_inner(model).encode(images), unit)


def _flat(codes: Tensor, unit: bool) -> Tensor:
    flat = codes.float().flatten(1)
    return F.normalize(flat, dim=1) if unit else flat


def _inner(model: nn.Module) -> Any:
    """The model itself, where it is wrapped for several processes."""
    return getattr(model, "module", model)


def losses(task: Clustering, model: nn.Module, input: Tensor, truth: Views) -> dict[str, Tensor]:
    """The reconstruction of the unchanged image, and what draws codes together; every part is free of the data's scale."""
    inner, unit = _inner(model), task.agreement > 0
    if truth.other is None:  # validation
        code, picture = through(model, input, unit)
        found = {"reconstruction": _unexplained(picture, input)}
        return {"loss": found["reconstruction"], **found}
    code, picture = through(model, torch.cat([input, truth.other]) if unit else input, unit)
    with torch.autocast(
        input.device.type, enabled=False
    ):  # products of codes in bf16 would round what tells them apart
        return _training(task, inner, code, picture, truth)


def _training(task: Clustering, inner: Any, code: Tensor, picture: Tensor, truth: Views) -> dict[str, Tensor]:
    clean, unit, drawn = truth.clean, task.agreement > 0, "drawn" in inner.kept
    found = {"reconstruction": _unexplained(picture, torch.cat([clean, clean]) if unit else clean)}
    total = found["reconstruction"]
    if unit and not (drawn and task.method == "dec"):  # it drives images of a cluster apart
        found["contrast"] = _contrast(code, len(clean))
        total = total + task.agreement * found["contrast"]
    if drawn:
        dec = task.method == "dec"
        found["clusters"] = _divergence(inner, code, truth.place, unit) if dec else _scatter(inner, code, unit)
        total = total + task.weight * found["clusters"]
    if hasattr(inner, "penalty") and inner.sparsity:
        found["sparsity"] = inner.penalty(code)
        total = total + found["sparsity"]
    return {"loss": total, **found}


def _unexplained(picture: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error as a share of the pictures' variance."""
    return F.mse_loss(picture, truth) / truth.var().clamp_min(1e-6)


def _contrast(code: Tensor, images: int) -> Tensor:
    """The cross-entropy of finding an image's other view among all (Chen et al. 2020, eq. 1); codes have length 1."""
    alike = code @ code.T / _TEMPERATURE
    alike = alike.masked_fill(torch.eye(len(code), dtype=torch.bool, device=code.device), -torch.inf)
    return F.cross_entropy(alike, torch.arange(len(code), device=code.device).roll(images))


def _scatter(inner: Any, code: Tensor, unit: bool) -> Tensor:
    """The squared distances to the nearest centres (Song et al. 2013, eq. 2), as a share of the codes' own variance.

    As it stands in the paper the term is least where all codes shrink to a point; as a share it has no such way out. Within
    an epoch the centres follow the codes as running means; after it they are fitted anew.
    """
    centres = inner.kept["centres"]
    nearest, own = _squared(code, centres).min(1)
    if inner.training:
        with torch.no_grad():
            _follow(inner, F.one_hot(own, len(centres)).to(code.dtype), code.detach(), unit)
    return nearest.mean() / code.var(0, unbiased=False).sum().clamp_min(1e-12)


def _divergence(inner: Any, code: Tensor, places: Tensor, unit: bool) -> Tensor:
    """The cross-entropy of the changed views' shares with the shares that their images are to have (Xie et al. 2016, eq. 2)."""
    logs = _shares(code, inner.kept["centres"], _scale(inner.kept, unit))
    target: Tensor = inner.kept["shares"][places]
    return -(target.repeat(len(code) // len(places), 1) * logs).sum(1).mean()


def _follow(inner: Any, target: Tensor, code: Tensor, unit: bool) -> None:
    """Move the centres towards the mean codes (B, D) of a batch, weighted by its shares (B, k) in the clusters."""
    centres, weight, sums = inner.kept["centres"], target.sum(0), target.T @ code
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(weight)
        torch.distributed.all_reduce(sums)
    means = torch.where(weight[:, None] > 0.5, sums / weight.clamp_min(0.5)[:, None], centres)
    moved = torch.lerp(centres, means, _MOMENTUM)
    inner.kept.put(centres=F.normalize(moved, dim=1) if unit else moved)


def _scale(kept: Any, unit: bool) -> Tensor:
    """The squared distance that the temperature is a share of."""
    return torch.ones((), device=kept["centres"].device) if unit else kept["scale"]


def _shares(code: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """log q (B, k): the soft-max of −d²/2, over the temperature."""
    return (-_squared(code, centres) / (2 * _SHARPNESS * scale)).log_softmax(1)


def _squared(code: Tensor, centres: Tensor) -> Tensor:
    """(B, k) squared distances."""
    return (code.square().sum(1, keepdim=True) - 2 * code @ centres.T + centres.square().sum(1)).clamp_min(0)


def settle(
    task: Clustering, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
) -> None:
    """Fit the clusters to the codes of the training images, and keep them with what tells a strange image."""
    kept, unit = _inner(model).kept, task.agreement > 0
    first = round(task.pretrain * epochs) if task.method in ("joint", "dec") else epochs
    last = epoch == epochs
    whole = last or (task.method == "dec" and epoch >= first)  # every image gets shares in the clusters
    codes, errors, places = _all_codes(model, batches, unit, None if whole else _SAMPLE)
    array = codes.cpu().numpy()
    k = task.clusters
    if not k:
        most = min(task.most, len(array) - 1)
        if epoch in (0, first):  # codes that were drawn to k clusters would choose k again
            k, values = methods.choose(array, most, task.criterion, seed)
            kept.put(criterion=torch.from_numpy(np.asarray(values, np.float32)))
        else:
            k = len(kept["centres"])
    going_on = "drawn" in kept and epoch > first
    if going_on:
        start = kept["centres"]
        found = (
            {"centres": start} if task.method == "dec" else methods.kmeans(array, k, seed, start=start.cpu().numpy())
        )
    else:
        found = partition(task, array, k, seed, restarts=methods.RESTARTS if last or epoch == first else _LLOYD_RESTARTS,
                          start=task.method == "dec" and epoch == first)  # fmt: skip
    kept.put(**{name: value.to(codes.device) for name, value in found.items()})
    if task.method in ("joint", "dec") and epoch == first and not last:
        kept.put(drawn=torch.ones(1, device=codes.device))
    if task.method == "dec" and "drawn" in kept:
        _aim(kept, codes, places, unit, last)
    assigned = methods.assign(codes, kept)
    kept.put(
        scale=assigned.distance.square().mean().clamp_min(1e-12),
        reach=methods.reaches(assigned, k, task.unlike / 2).to(codes.device),
        error_reach=torch.quantile(errors, 1 - task.unlike / 2),
        sizes=torch.bincount(assigned.cluster, minlength=k),
    )


def _aim(kept: Any, codes: Tensor, places: Tensor, unit: bool, last: bool) -> None:
    """Keep the shares in the clusters that each training image is to have in the coming epoch, and the centres of these.

    An image's shares are the mean of its own and its nearest neighbours' (Van Gansbeke et al. 2020, sec. 2.2: neighbours
    mostly belong together, where an image alone may lie at the edge of a wrong cluster), sharpened and evened out: p ∝ q²/Σq
    with the sum over all images (Xie et al. 2016, eq. 3). A centre is the mean code by these shares.
    """
    near = torch.from_numpy(methods.neighbours(codes.cpu().numpy())).to(codes.device)
    scale = codes.var(0).sum() if not unit and "scale" not in kept else _scale(kept, unit)
    shares = _shares(codes, kept["centres"], scale).exp()
    shares = shares[near].mean(1)
    shares = shares.square() / shares.sum(0).clamp_min(1e-6)
    shares = shares / shares.sum(1, keepdim=True)
    means = shares.T @ codes / shares.sum(0)[:, None].clamp_min(1e-6)
    kept.put(centres=F.normalize(means, dim=1) if unit else means)
    kept.drop("shares")
    if not last:  # by the image's place in the training data
        kept.put(
            shares=torch.zeros(int(places.max()) + 1, shares.shape[1], device=codes.device).index_copy(
                0, places, shares
            )
        )


def partition(
    task: Clustering, codes: methods.Codes, k: int, seed: int, restarts: int, start: bool = False
) -> dict[str, Tensor]:
    """Clusters fitted to codes (N, D) alone, as the task's method does; `start`: those that dec sets out from."""
    if not np.isfinite(codes).all():
        raise UsageError("codes: are not finite; train with a lower lr.")
    if start:
        rows = np.linspace(0, len(codes) - 1, min(len(codes), _SAMPLE)).astype(np.int64)
        found = methods.spectral(codes[rows], k, seed)
        return {"centres": F.normalize(found["centres"], dim=1) if task.agreement else found["centres"]}
    found = methods.kmeans(codes, k, seed, restarts=restarts)
    return methods.mixture(codes, k, seed, found["centres"].numpy()) if task.method == "mixture" else found


def _all_codes(
    model: nn.Module, batches: Callable[[], Iterator[Batch]], unit: bool, most: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The codes (N, D) of the training images, or of evenly spread ones, their reconstruction errors (N,) and places (N,)."""
    codes, errors, places, images = [], [], [], 0
    mode = model.training
    model.eval()
    try:
        step = 1
        if most is not None:
            total = sum(len(batch) for batch in batches())
            step = max(1, -(-total // most))
        for batch in batches():
            first = (-images) % step
            chosen = batch.images[first::step]
            images += len(batch)
            if len(chosen):
                input = chosen.float().div_(255)
                code, picture = through(model, input, unit)
                codes.append(code)
                errors.append((picture - input).square().flatten(1).mean(1))
                places.append(batch.index[first::step].to(code.device))
    finally:
        model.train(mode)
    return torch.cat(codes), torch.cat(errors), torch.cat(places)
