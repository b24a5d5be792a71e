# SPDX-License-Identifier: Apache-2.0
"""occlusion: what happens to the answer when a part of the image is covered (Zeiler & Fergus 2014, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Sight, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Occlusion"]

_MOST_IMAGES = 12
_ACROSS = 3  # images side by side in the figure
_FAINT = 1e-3  # a drop of the probability that is drawn fully red; smaller ones stay pale


@final
@dataclass(frozen=True)
class Occlusion(Lens):
    """A patch slides over the image; the map shows how much the followed score drops where it covers.

    For an answer of scores (B, K) the softmax probability of the uncovered image's top class is followed, for any other
    answer the task's evidence. `drop` (N, rows, columns) has a value for each position of the patch, whose upper left
    corners stand at `top` (rows,) and `left` (columns,) px; `map` (N, H, W) is in the image's own pixels, the mean drop over
    the positions that cover a pixel.

    >>> class Bright(torch.nn.Module):  # sees only the upper left quarter
    ...     def forward(self, x): return torch.stack([x[:, 0, :4, :4].sum((1, 2)), x[:, 0, 0, 0] * 0], 1)
    >>> view = Occlusion(patch=4, stride=4, fill="zero").look(Sight(model=Bright(), images=torch.ones(1, 1, 8, 8)))
    >>> view.numbers["drop"][0].round(2).tolist(), view.numbers["map"].shape
    ([[0.5, 0.0], [0.0, 0.0]], (1, 8, 8))
    """

    patch: int | None = None
    """side of the patch, px; by default a fifth of the shorter side"""
    stride: int | None = None
    """step of the patch, px; by default a quarter of the patch"""
    fill: Literal["mean", "zero", "blur", "noise"] = "mean"
    """what covers: the image's mean colour, black, the blurred image, or noise"""
    batch: int = 128
    """covered images at a time"""

    def __post_init__(self) -> None:
        if self.fill not in ("mean", "zero", "blur", "noise"):
            raise UsageError(f"fill={self.fill!r}: is not known; choose mean, zero, blur or noise.")
        if self.batch < 1:
            raise UsageError(f"batch={self.batch}: must be at least 1; give another.")

    @torch.no_grad()
    def look(self, sight: Sight) -> View:
        if sight.model is None or sight.images is None or not len(sight.images):
            raise UsageError("lens='occlusion': needs a model and at least one image; name an image file.")
        images = sight.images[:_MOST_IMAGES]
        side = min(images.shape[2:])
        patch = self.patch if self.patch is not None else max(1, round(side / 5))
        stride = self.stride if self.stride is not None else max(1, patch // 4)
        if not 1 <= patch <= side or stride < 1:
            raise UsageError(
                f"patch={patch}, stride={stride}: must be at least 1, and the patch at most {side} px; give others."
            )
        tops, lefts = (_positions(length, patch, stride) for length in images.shape[2:])
        found = [self._one(sight, image, patch, tops, lefts) for image in images]
        drops = np.stack([drop for drop, _, _ in found])
        numbers = {
            "drop": drops,
            "map": np.stack([_spread(drop, tops, lefts, patch, images.shape[2:]) for drop in drops]),
            "top": np.array(tops),
            "left": np.array(lefts),
            "class": np.array([top for _, top, _ in found]),  # -1: evidence was followed, and no class
            "score": np.array([score for _, _, score in found]),
            "patch": np.array(patch),
        }
        labels = [_label(sight.classes, int(followed)) for followed in numbers["class"]]
        return View(_figure(images, labels, numbers), numbers, _words(labels, numbers, sight.names))

    def _one(
        self, sight: Sight, image: Tensor, patch: int, tops: Sequence[int], lefts: Sequence[int]
    ) -> tuple[NDArray[np.float64], int, float]:
        """The drop of the score at each position (rows, columns), the class that is followed (-1: none), and its score."""
        assert sight.model is not None
        whole = sight.model(image[None])
        followed, score = _followed(sight, whole)
        base = float(score(whole)[0])
        cover = self._cover(image)
        places = [(y, x) for y in tops for x in lefts]
        found = []
        for start in range(0, len(places), self.batch):
            part = places[start : start + self.batch]
            covered = image[None].repeat(len(part), 1, 1, 1)  # (B, C, H, W)
            for k, (y, x) in enumerate(part):
                covered[k, :, y : y + patch, x : x + patch] = cover[:, y : y + patch, x : x + patch]
            found.append(base - score(sight.model(covered)).double())
        return torch.cat(found).reshape(len(tops), len(lefts)).cpu().numpy(), followed, base

    def _cover(self, image: Tensor) -> Tensor:
        if self.fill == "zero":
            return torch.zeros_like(image)
        if self.fill == "mean":
            return image.mean((1, 2), keepdim=True).expand_as(image)
        if self.fill == "noise":
            return torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        height, width = image.shape[1:]
        small = F.interpolate(image[None], (max(1, height // 16), max(1, width // 16)), mode="area")
        return F.interpolate(small, (height, width), mode="bilinear")[0]


def _positions(length: int, patch: int, stride: int) -> list[int]:
    """Where the patch starts, px; the last one ends at the border, whatever the stride."""
    return sorted({*range(0, length - patch, stride), length - patch})


def _followed(sight: Sight, whole: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """The class that is followed, -1 for none, and the score (B,) of an output."""
    if isinstance(whole, Tensor) and whole.ndim == 2:
        top = int(whole[0].argmax())
        return top, lambda output: output.float().softmax(1)[:, top]
    if sight.evidence is None:
        raise UsageError(
            "lens='occlusion': follows a class or a task's evidence, and this model has neither; look at a run."
        )
    return -1, sight.evidence


def _spread(
    drop: NDArray[np.float64], tops: Sequence[int], lefts: Sequence[int], patch: int, size: Sequence[int]
) -> NDArray[np.float64]:
    """The mean drop over the positions that cover each pixel, (H, W); 0 where none does (a stride above the patch)."""
    rows, columns = (
        np.array([[start <= i < start + patch for i in range(length)] for start in starts], np.float64)
        for starts, length in ((tops, size[0]), (lefts, size[1]))
    )
    covers: NDArray[np.float64] = np.outer(rows.sum(0), columns.sum(0))
    total: NDArray[np.float64] = rows.T @ drop @ columns
    return total / np.maximum(covers, 1)


def _figure(images: Tensor, labels: Sequence[str], numbers: dict[str, NDArray[np.float64]]) -> Figure:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    n, (height, width) = len(images), images.shape[2:]
    across = min(_ACROSS, n)
    rows = -(-n // across)
    tall = 1.5 * height / width
    figure = Figure(figsize=(3.1 * across + 0.8, (tall + 0.3) * rows + 0.1), dpi=150, layout="constrained")
    grid = figure.subplots(rows, 2 * across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    maps, scores, followed = numbers["map"], numbers["score"], numbers["class"]
    for i, image in enumerate(images):
        flat = image.float().clamp(0, 1).cpu().numpy()
        flat = flat[0] if len(flat) == 1 else flat.transpose(1, 2, 0)
        own, beside = grid[i // across, 2 * (i % across) : 2 * (i % across) + 2]
        for axes in (own, beside):
            axes.imshow(flat, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if max(flat.shape) <= 96 else None)
        # a scale for each image, since a sure answer drops by a hundredth of what an unsure one does
        share = maps[i] / max(_FAINT if followed[i] >= 0 else 1e-12, float(np.abs(maps[i]).max()))
        # as opaque as the drop is large: the image stays to be seen where covering it changes nothing
        beside.imshow(share, cmap="RdBu_r", vmin=-1, vmax=1, alpha=0.9 * np.abs(share) ** 0.7, interpolation="nearest")
        shown = f"{labels[i]}: {100 * scores[i]:.1f} %" if followed[i] >= 0 else f"{labels[i]}: {scores[i]:.3g}"
        most = max(0.0, float(numbers["drop"][i].max()))
        drop = f"{100 * most:.2g} points" if followed[i] >= 0 else f"{most:.2g}"
        own.set_title(shown, fontsize=7.5, pad=3, parse_math=False)
        beside.set_title(f"drops by up to {drop}", fontsize=7.5, pad=3, color="0.4")
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), "RdBu_r"), ax=grid, aspect=22, shrink=0.9, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["rises", "stays", "drops"], fontsize=7)
    bar.set_label("score when covered, each image in its own scale", fontsize=7)
    return figure


def _label(classes: Sequence[str], followed: int) -> str:
    if followed < 0:
        return "score"
    return classes[followed][:18] if followed < len(classes) else f"class {followed}"


def _words(labels: Sequence[str], numbers: dict[str, NDArray[np.float64]], names: Sequence[str]) -> str:
    """The image that a patch changes most."""
    i = int(np.argmax([drop.max() for drop in numbers["drop"]]))
    where = names[i] if i < len(names) else f"image {i + 1}"
    patch = int(numbers["patch"])
    drop, score = float(numbers["drop"][i].max()), float(numbers["score"][i])
    if drop <= 0:
        return f"Covering {patch}×{patch} px lowers no score, wherever it is."
    if numbers["class"][i] < 0:
        return f"Covering {patch}×{patch} px changes most in {where}: the score falls from {score:.3g} to {score - drop:.3g}."
    return (
        f"Covering {patch}×{patch} px changes most in {where}: the probability of {labels[i]} falls "
        f"from {100 * score:.1f} % to {max(0.0, 100 * (score - drop)):.1f} %."
    )
