# SPDX-License-Identifier: Apache-2.0
"""occlusion: what happens to the answer when a part of the image is covered (Zeiler & Fergus 2014, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._images import Known, stacked
from pellucid.lenses._layers import guarded
from pellucid.lenses.occlusion.covered import outputs
from pellucid.lenses.occlusion.figure import Found, figure

__all__ = ["Occlusion"]

_COMPARED = 200  # places that bf16 is compared with fp32 on
_AXES = {
    "drop": ("image", "row", "column"),
    "score_at": ("image", "row", "column"),
    "winner": ("image", "row", "column"),
    "map": ("image", "y", "x"),
    "top": ("image", "row"),
    "left": ("image", "column"),
    "size": ("image", "height and width"),
    **dict.fromkeys(("class", "score", "patch", "stride", "fp32_rank_correlation"), ("image",)),
}


@final
@dataclass(frozen=True)
class Occlusion(Lens):
    """A patch slides over the image; the map shows how much the followed score drops where it covers.

    For an answer of scores (B, K) the softmax probability of the uncovered image's top class (or of a named one) is followed,
    for any other answer the task's evidence. `drop` and `score_at` (image, row, column) have a value for each position of the
    patch, whose upper left corners stand at `top` and `left` px, and `winner` the class that is then most probable; `map`
    (image, y, x) is in the image's own pixels, the mean drop over the positions that cover a pixel.

    >>> class Bright(torch.nn.Module):  # sees only the upper left quarter
    ...     def forward(self, x): return torch.stack([x[:, 0, :4, :4].sum((1, 2)), x[:, 0, 0, 0] * 0], 1)
    >>> view = Occlusion(patch=4, stride=4, fill="zero").look(Subject(model=Bright(), images=torch.ones(1, 1, 8, 8)))
    >>> view["drop"][0].round(2).tolist(), view["map"].shape
    ([[0.5, 0.0], [0.0, 0.0]], (1, 8, 8))
    """

    patch: int | None = None
    """side of the patch, px; by default a fifth of the shorter side"""
    stride: int | None = None
    """step of the patch, px; by default a quarter of the patch"""
    fill: Literal["mean", "zero", "blur", "noise"] = "mean"
    """what covers: the image's mean colour, black, the blurred image, or noise"""
    follow: str | None = None
    """the class whose probability is followed, by name or number; by default each image's top one"""
    whole: bool = False
    """compute every covered image from the start, instead of what the patch can reach; slower, and the same"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is faster and can change the map: its rank correlation with fp32 on some of the places is told"""

    def __post_init__(self) -> None:
        if self.fill not in ("mean", "zero", "blur", "noise"):
            raise UsageError(f"fill={self.fill!r}: is not known; choose mean, zero, blur or noise.")
        if self.precision not in ("fp32", "bf16"):
            raise UsageError(f"precision={self.precision!r}: is not known; choose fp32 or bf16.")
        for name, value in (("patch", self.patch), ("stride", self.stride)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: must be at least 1 px; give another.")

    @torch.no_grad()
    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='occlusion': needs a model and at least one image; name an image file.")
        alone = len(subject.images) == 1
        with guarded(subject.model):  # in-place activations would write into what is kept of the uncovered image
            found = [self._one(subject, image, alone) for image in subject.progress(subject.images, "covering")]
        numbers: dict[str, NDArray[Any]] = {
            "drop": stacked([one.drop for one in found]),
            "score_at": stacked([one.score - one.drop for one in found]),
            "winner": stacked([one.winner for one in found]),  # -1: evidence was followed, and no class
            "map": stacked([one.map for one in found]),
            "top": stacked([np.array(one.tops) for one in found]),
            "left": stacked([np.array(one.lefts) for one in found]),
            "size": np.array([one.map.shape for one in found]),
            "class": np.array([one.followed for one in found]),
            "score": np.array([one.score for one in found]),
            "patch": np.array([one.patch for one in found]),
            "stride": np.array([one.stride for one in found]),
        }
        if self.precision == "bf16":
            numbers["fp32_rank_correlation"] = np.array([one.agreement for one in found])
        return View(figure(subject, found), numbers, _words(subject, found), {name: _AXES[name] for name in numbers})

    def _one(self, subject: Subject, image: Tensor, alone: bool) -> Found:
        """What covering does to one image."""
        assert subject.model is not None
        side = min(image.shape[1:])
        patch = self.patch if self.patch is not None else max(1, round(side / 5))
        stride = self.stride if self.stride is not None else max(1, patch // 4)
        if patch > side:
            raise UsageError(f"patch={patch}: is larger than an image's shorter side, {side} px; give a smaller one.")
        tops, lefts = (_positions(length, patch, stride) for length in image.shape[1:])
        image = image.to(subject.device)
        whole = subject.model(image[None])
        followed, score = self._followed(subject, whole)
        base = float(score(whole)[0])
        cover = self._cover(image, subject.seed)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            count, parts = outputs(subject, image, cover, tops, lefts, patch, score, self.whole)
            drop = np.zeros((len(tops), len(lefts)))
            winner = np.full(drop.shape, -1)
            for part in subject.progress(Known(parts, count), "covering") if alone else parts:
                shape = len(part.rows), len(part.columns)
                at = np.ix_(part.rows, part.columns)
                drop[at] = base - score(part.output).double().reshape(shape).cpu().numpy()
                shares = subject.probabilities(part.output)
                if shares is not None:
                    winner[at] = shares.argmax(1).reshape(shape).cpu().numpy()
        agreement = None
        if self.precision == "bf16":
            agreement = self._agreement(subject, image, cover, (tops, lefts, patch), score, base - drop)
        spread = _spread(drop, tops, lefts, patch, image.shape[1:])
        return Found(image.cpu(), tops, lefts, patch, stride, followed, base, drop, winner, spread, agreement)

    def _agreement(
        self, subject: Subject, image: Tensor, cover: Tensor, grid: Any, score: Callable[[Any], Tensor], found: Any
    ) -> float:
        """Rank correlation (Spearman) of the scores with those in fp32, over some of the rows of places."""
        from scipy.stats import spearmanr

        tops, lefts, patch = grid
        rows = np.unique(
            np.linspace(0, len(tops) - 1, min(len(tops), max(2, _COMPARED // len(lefts)))).round().astype(int)
        )
        _, parts = outputs(subject, image, cover, [tops[row] for row in rows], lefts, patch, score, self.whole)
        true = np.zeros((len(rows), len(lefts)))
        for part in parts:
            at = np.ix_(part.rows, part.columns)
            true[at] = score(part.output).double().reshape(len(part.rows), len(part.columns)).cpu().numpy()
        if np.ptp(true) == 0 or np.ptp(found[rows]) == 0:
            return float("nan")
        return float(spearmanr(true.ravel(), found[rows].ravel()).statistic)

    def _followed(self, subject: Subject, whole: Any) -> tuple[int, Callable[[Any], Tensor]]:
        """The class that is followed, -1 for none, and the score (B,) of an output."""
        shares = subject.probabilities(whole)
        if shares is None:
            if self.follow is not None:
                raise UsageError(f"follow={self.follow!r}: the model's answer is no vector of classes; leave it out.")
            if subject.evidence is None:
                raise UsageError(
                    "lens='occlusion': follows a class or a task's evidence, and this model has neither; look at a run."
                )
            return -1, subject.evidence
        index = int(shares[0].argmax()) if self.follow is None else subject.class_of(self.follow)
        if index >= shares.shape[1]:
            raise UsageError(f"follow={self.follow!r}: the model has {shares.shape[1]} classes; give a lower number.")
        return index, lambda output: output.float().softmax(1)[:, index]

    def _cover(self, image: Tensor, seed: int) -> Tensor:
        if self.fill == "zero":
            return torch.zeros_like(image)
        if self.fill == "mean":
            return image.mean((1, 2), keepdim=True).expand_as(image)
        if self.fill == "noise":
            return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        height, width = image.shape[1:]
        small = F.interpolate(image[None], (max(1, height // 16), max(1, width // 16)), mode="area")
        return F.interpolate(small, (height, width), mode="bilinear")[0]


def _positions(length: int, patch: int, stride: int) -> list[int]:
    """Where the patch starts, px; the last one ends at the border, whatever the stride."""
    return sorted({*range(0, length - patch, stride), length - patch})


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


def _words(subject: Subject, found: Sequence[Found]) -> str:
    """The image that a patch changes most, and how far bf16 can be trusted."""
    said = _finding(subject, found)
    known = [one.agreement for one in found if one.agreement is not None]
    if not known:
        return said
    return f"{said} In bf16: the rank correlation with fp32 is {np.nanmin(known):.3f}{' at least' if len(known) > 1 else ''}."


def _finding(subject: Subject, found: Sequence[Found]) -> str:
    place = int(np.argmax([one.drop.max() for one in found]))
    one = found[place]
    patch, drop, score = one.patch, float(one.drop.max()), one.score
    if drop <= 0:
        return f"Covering {patch}×{patch} px lowers no score, wherever it is."
    y, x = np.unravel_index(int(one.drop.argmax()), one.drop.shape)
    where = f"at row {one.tops[int(y)]}, column {one.lefts[int(x)]} px"
    start = f"Covering {patch}×{patch} px changes most in {subject.name(place)}, {where}"
    if one.followed < 0:
        return f"{start}: the score falls from {score:.3g} to {score - drop:.3g}."
    winner = int(one.winner[y, x])
    over = "" if winner == one.followed else f", and {subject.label(winner)} takes over"
    return (
        f"{start}: the probability of {subject.label(one.followed)} falls "
        f"from {100 * score:.1f} % to {max(0.0, 100 * (score - drop)):.1f} %{over}."
    )
