# SPDX-License-Identifier: Apache-2.0
"""From images to codes that form clusters: the losses of a training step, and the clusters that are fitted between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._processes import averaged, gathered, overall, whole
from pellucid._spread import evenly_spread
from pellucid.data.dataset import Batch
from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.cluster import methods, scan
from pellucid.tasks.cluster.options import ClusterTask
from pellucid.tasks.cluster.soft import by_place, log_shares, move_centres, squared_distances
from pellucid.tasks.cluster.spectral import spectral

__all__ = ["ClusterPrediction", "Views", "codes_and_pictures", "codes_of", "losses", "partition", "update_clusters"]

_SAMPLE = 10_000  # training images that clusters are fitted to between epochs
_TEMPERATURE = 0.3  # of the contrastive loss
_LLOYD_RESTARTS = 3  # between epochs; at the end there are more


@final
@dataclass(frozen=True)
class ClusterPrediction(Target):
    """The cluster of each image, and how well the image fits there."""

    cluster: Tensor  # (N,) int64
    distance: Tensor  # (N,) float32
    silhouette: Tensor  # (N,) float32, simplified
    error: Tensor  # (N,) float32, mean squared error of the reconstruction
    unlike: Tensor  # (N,) bool: an outlier


@final
@dataclass(frozen=True)
class Views(Target):
    """What training compares an image with, itself and a second augmented view; and the labels that evaluation compares with."""

    clean: Tensor  # (N, C, H, W) float32 in [0, 1]
    other: Tensor | None  # the same; without channels where training needs no second view; None in evaluation
    place: Tensor  # (N,) int64, position in the split
    label: Tensor  # (N,) int64; -1 where it is not known, and always in training


def codes_and_pictures(
    model: nn.Module, images: Tensor, unit: bool, shown: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The codes (B, D) of images and their reconstructions (B, C, H, W), in one pass; `shown`: the codes that are decoded."""
    # a hook, since a model that is distributed over processes must be called as a whole
    caught: list[Tensor] = []
    encoder = unwrapped(model).encoder

    def catch(_: nn.Module, __: object, code: Tensor) -> Tensor:
        caught.append(code)
        return code if shown is None else shown(code)

    hook = encoder.register_forward_hook(catch)
    try:
        picture = model(images)
    finally:
        hook.remove()
    return _flat(caught[0], unit), picture.float()


def codes_of(model: nn.Module, images: Tensor, unit: bool) -> Tensor:
    """The codes (B, D) of images (B, C, H, W), of length 1 where `unit`."""
    return _flat(unwrapped(model).encode(images), unit)


def _flat(codes: Tensor, unit: bool) -> Tensor:
    flat = codes.float().flatten(1)
    return F.normalize(flat, dim=1) if unit else flat


def losses(task: ClusterTask, model: nn.Module, input: Tensor, truth: Views) -> dict[str, Tensor]:
    """The reconstruction of the unaugmented image, the contrastive and the clustering loss; none depends on the data's scale."""
    inner, unit = unwrapped(model), task.agreement > 0
    if truth.other is None:  # validation
        code, picture = codes_and_pictures(model, input, unit)
        reconstruction = _relative_error(picture, input)
        return {"loss": reconstruction, "reconstruction": reconstruction}

    def first_view(code: Tensor) -> Tensor:
        """Half of the views teach a decoder as well, in half of the time; once clusters are drawn, they are not drawn to it."""
        return code[: len(input)].detach() if "drawn" in inner.kept else code[: len(input)]

    views = torch.cat([input, truth.other]) if unit else input
    code, picture = codes_and_pictures(model, views, unit, first_view if task.method == "scan" else None)
    # similar codes differ in digits that bf16 products would round away
    with torch.autocast(input.device.type, enabled=False):
        return _training_losses(task, inner, code, picture, truth)


def _training_losses(task: ClusterTask, inner: Any, code: Tensor, picture: Tensor, truth: Views) -> dict[str, Tensor]:
    """From codes (B, D) and reconstructions (B, C, H, W), of 2·B rows where there are two views."""
    clean, unit, clustering = truth.clean, task.agreement > 0, "drawn" in inner.kept
    # a view must reconstruct the unaugmented image, so the code can forget the augmentation
    parts = {"reconstruction": _relative_error(picture, clean.repeat(len(picture) // len(clean), 1, 1, 1))}
    total = task.faithfulness * parts["reconstruction"]
    if unit and not (clustering and task.soft):  # it pushes images of one cluster apart
        parts["contrast"] = _contrastive_loss(code, len(clean))
        total = total + task.agreement * parts["contrast"]
    if clustering:
        if task.method == "scan":
            parts["clusters"], parts["unequal"] = scan.losses(inner, code, truth.place, unit)
            total = total + task.weight * task.balance * parts["unequal"]
        elif task.method == "dec":
            parts["clusters"] = _assignment_loss(inner, code, truth.place, unit)
        else:
            parts["clusters"] = _centre_loss(inner, code, unit)
        total = total + task.weight * parts["clusters"]
    if hasattr(inner, "penalty") and inner.sparsity:
        parts["sparsity"] = inner.penalty(code)
        total = total + parts["sparsity"]
    return {"loss": total, **parts}


def _relative_error(picture: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error over the variance of the truth, a scalar."""
    variance = truth.var()
    if not whole():
        number = overall(truth.numel())
        variance = averaged((truth - averaged(truth.mean())).square().mean()) * (number / (number - 1))
    return F.mse_loss(picture, truth) / variance.clamp_min(1e-6)


def _contrastive_loss(code: Tensor, images: int) -> Tensor:
    """The cross-entropy of finding an image's other view among all views (Chen et al. 2020, eq. 1); codes (2·B, D) of length 1."""
    code, images = torch.cat([gathered(code[:images]), gathered(code[images:])]), overall(images)
    similarity = code @ code.T / _TEMPERATURE  # (2·B, 2·B)
    similarity = similarity.masked_fill(torch.eye(len(code), dtype=torch.bool, device=code.device), -torch.inf)
    # row i and row i + B are views of one image
    return F.cross_entropy(similarity, torch.arange(len(code), device=code.device).roll(images))


def _centre_loss(inner: Any, code: Tensor, unit: bool) -> Tensor:
    """The squared distances to the nearest centres (Song et al. 2013, eq. 2), over the variance of the codes.

    We deviate from the paper in dividing by the variance: without it, the loss is lowest where all codes collapse to a point.
    Within an epoch the centres follow the codes as running means; after it they are fitted again.
    """
    centres, every = inner.kept["centres"], gathered(code)
    nearest = squared_distances(code, centres).amin(1)
    if inner.training:
        with torch.no_grad():
            own = F.one_hot(squared_distances(every, centres).argmin(1), len(centres))
            move_centres(inner.kept, own.to(code.dtype), every, unit)
    return nearest.mean() / every.var(0, unbiased=False).sum().clamp_min(1e-12)


def _assignment_loss(inner: Any, code: Tensor, places: Tensor, unit: bool) -> Tensor:
    """The cross-entropy of the views' soft assignments with their images' targets (Xie et al. 2016, eq. 2)."""
    logs = log_shares(code, inner.kept, unit)  # (views·B, k)
    target: Tensor = inner.kept["shares"][places]  # (B, k)
    return -(target.repeat(len(code) // len(places), 1) * logs).sum(1).mean()


def update_clusters(
    task: ClusterTask, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
) -> None:
    """Fit the clusters to the codes of the training images, with the thresholds beyond which an image is an outlier."""
    kept, unit = unwrapped(model).kept, task.agreement > 0
    soft = task.soft  # the soft assignments of every image are needed
    first = round(task.pretrain * epochs) if soft or task.method == "joint" else epochs  # the clustering loss sets in
    last = epoch == epochs
    whole = last or (soft and epoch >= first)
    codes, places = _all_codes(model, batches, unit, None if whole else _SAMPLE)
    array = codes.cpu().numpy()
    _check_different(array, task.clusters or 2)
    k = task.clusters
    if not k:
        most = min(task.most, len(array) - 1)
        if epoch in (0, first):  # later, codes that were drawn to k clusters would choose k again
            k, values = methods.choose(array, most, task.criterion, seed)
            kept.put(criterion=torch.from_numpy(np.asarray(values, np.float32)))
        else:
            k = len(kept["centres"])
    clustering = "drawn" in kept and epoch > first
    if clustering:  # go on from the centres of the last epoch, so that clusters keep their numbers
        start = kept["centres"]
        fitted = {"centres": start} if soft else methods.kmeans(array, k, seed, start=start.cpu().numpy())
    else:
        restarts = methods.RESTARTS if last or epoch == first else _LLOYD_RESTARTS
        fitted = partition(task, array, k, seed, restarts, start=soft and epoch == first)
    kept.put(**{name: value.to(codes.device) for name, value in fitted.items()})
    if (soft or task.method == "joint") and epoch == first and not last:
        kept.put(drawn=torch.ones(1, device=codes.device))
    if task.method == "dec" and "drawn" in kept:
        _update_targets(kept, codes, places, unit, last)
    if task.method == "scan" and last:
        kept.drop("near", "shares")
    assigned = methods.assign(codes, kept)
    kept.put(
        scale=assigned.distance.square().mean().clamp_min(1e-12),
        reach=methods.reaches(assigned, k, task.unlike / 2).to(codes.device),
        error_reach=torch.quantile(_all_errors(model, batches, None if last else _SAMPLE), 1 - task.unlike / 2),
        sizes=torch.bincount(assigned.cluster, minlength=k),
    )
    if task.method == "scan" and "drawn" in kept and not last:
        scan.update_table(kept, codes, places, unit)


def _check_different(codes: methods.Codes, clusters: int) -> None:
    """Refuse codes (N, D) that cannot form clusters."""
    if not np.isfinite(codes).all():
        raise UsageError("codes: are not finite; train with a lower lr.")
    count = len({code.tobytes() for code in codes + 0.0})  # -0.0 + 0.0 is 0.0
    if count < min(clusters, len(codes)):
        different = (
            "are all equal" if count == 1 else f"have {count} different values, fewer than the {clusters} clusters"
        )
        raise UsageError(
            f"codes: those of the {len(codes):,} training images {different}; train with a lower lr or another activation "
            "if units are dead, or with fewer clusters."
        )


def _update_targets(kept: Any, codes: Tensor, places: Tensor, unit: bool, last: bool) -> None:
    """Compute the soft assignments that each training image should have in the coming epoch, and the centres that follow.

    An image's assignment is the mean of its own and its nearest neighbours' (Van Gansbeke et al. 2020, sec. 2.2: neighbours
    mostly belong together, while an image alone may lie at the edge of a wrong cluster), sharpened and balanced: p ∝ q²/Σq
    with the sum over all images (Xie et al. 2016, eq. 3). A centre is the mean code, weighted by these assignments.
    """
    near = torch.from_numpy(methods.neighbours(codes.cpu().numpy())).to(codes.device)  # (N, 11)
    scale = codes.var(0).sum() if not unit and "scale" not in kept else None
    shares = log_shares(codes, kept, unit, scale).exp()  # (N, k)
    shares = shares[near].mean(1)
    shares = shares.square() / shares.sum(0).clamp_min(1e-6)
    shares = shares / shares.sum(1, keepdim=True)
    means = shares.T @ codes / shares.sum(0)[:, None].clamp_min(1e-6)
    kept.put(centres=F.normalize(means, dim=1) if unit else means)
    kept.drop("shares")
    if not last:
        # by the image's position in the training data, where a step looks it up
        kept.put(shares=by_place(shares, places))


def partition(
    task: ClusterTask, codes: methods.Codes, k: int, seed: int, restarts: int, start: bool = False
) -> dict[str, Tensor]:
    """Clusters fitted to codes (N, D) alone, by the task's method; `start`: the clusters that dec and scan start from."""
    if not np.isfinite(codes).all():
        raise UsageError("codes: are not finite; train with a lower lr.")
    if start:
        rows = evenly_spread(_SAMPLE, len(codes), floor=True)
        found = spectral(codes[rows], k, seed)
        return {**found, "centres": F.normalize(found["centres"], dim=1)} if task.agreement else found
    fitted = methods.kmeans(codes, k, seed, restarts=restarts)
    return methods.mixture(codes, k, seed, fitted["centres"].numpy()) if task.method == "mixture" else fitted


def _all_codes(
    model: nn.Module, batches: Callable[[], Iterator[Batch]], unit: bool, most: int | None
) -> tuple[Tensor, Tensor]:
    """Codes (N, D) and positions (N,) of the training images, or of `most` evenly spread ones."""
    with _evaluating(model):
        pairs = [(codes_of(model, input, unit), place) for input, place in _inputs(batches, most)]
    codes, places = zip(*pairs, strict=True)
    return torch.cat(codes), torch.cat(places)


def _all_errors(model: nn.Module, batches: Callable[[], Iterator[Batch]], most: int | None) -> Tensor:
    """The mean squared errors (N,) of the reconstructions of the training images, or of `most` evenly spread ones."""
    with _evaluating(model):
        errors = [(model(input).float() - input).square().flatten(1).mean(1) for input, _ in _inputs(batches, most)]
    return torch.cat(errors)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    mode = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(mode)


def _inputs(batches: Callable[[], Iterator[Batch]], most: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Training images (B, C, H, W) in [0, 1] and their positions (B,): all of them, or `most` evenly spread ones."""
    step, images = 1 if most is None else max(1, -(-sum(len(batch) for batch in batches()) // most)), 0
    for batch in batches():
        chosen = slice((-images) % step, None, step)  # every step-th image over all batches, not within each
        images += len(batch)
        input = batch.images[chosen].float().div_(255)
        if len(input):
            yield input, batch.index[chosen].to(input.device)
