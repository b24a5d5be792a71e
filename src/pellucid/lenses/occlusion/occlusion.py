# SPDX-License-Identifier: Apache-2.0
"""occlusion: what happens to the answer when a part of the image is covered (Zeiler & Fergus 2014, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._coupling import coupling
from pellucid._following import Followed
from pellucid._spread import evenly_spread
from pellucid.errors import UsageError, check_choice
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import Counted, blurred, stacked
from pellucid.lenses._layers import guarded
from pellucid.lenses._parts import Network
from pellucid.lenses.occlusion.covered import Covering, outputs
from pellucid.lenses.occlusion.figure import NOISE, Occluded, figure, points

__all__ = ["Occlusion"]

_COMPARED = 200  # places at which bf16 is compared with fp32
_AXES = {
    "drop": ("image", "row", "column"),
    "score_at": ("image", "row", "column"),
    "winner": ("image", "row", "column"),
    "map": ("image", "y", "x"),
    "top": ("image", "row"),
    "left": ("image", "column"),
    "size": ("image", "height and width"),
    "box": ("image", "x0 y0 x1 y1"),
    **dict.fromkeys(("class", "score", "patch", "stride", "fp32_rank_correlation"), ("image",)),
}


@final
@dataclass(frozen=True)
class Occlusion(Lens[Network]):
    """A patch slides over the image; the map shows how far the score falls where it covers.

    Of a classifier the softmax probability of the uncovered image's top class (or of a named one) is followed, of any other task
    its evidence. `drop` and `score_at` (image, row, column) have a value for each position of the patch, whose upper left corners
    are at `top` and `left` px, and `winner` the class that is then most probable; `map` (image, y, x) is in the image's own pixels,
    the mean drop over the positions that cover a pixel.

    >>> class Bright(torch.nn.Module):  # sees only the upper left quarter
    ...     def forward(self, x): return torch.stack([x[:, 0, :4, :4].sum((1, 2)), x[:, 0, 0, 0] * 0], 1)
    >>> view = Occlusion(patch=4, stride=4, fill="zero").look(Network(Bright(), torch.ones(1, 1, 8, 8)))
    >>> view["drop"][0].round(2).tolist(), view["map"].shape
    ([[0.5, 0.0], [0.0, 0.0]], (1, 8, 8))
    """

    patch: int | None = None
    """side of the patch, px; by default a fifth of the shorter side"""
    stride: int | None = None
    """step of the patch, px; by default a quarter of the patch"""
    fill: Literal["mean", "zero", "blur", "noise"] = "mean"
    """what covers the image: its mean colour, black, the blurred image, or noise"""
    follow: str | None = None
    """class whose probability is followed, by name or number, by default each image's top one; of a run that does more than classify, another score of its task, such as a side of the box, or of a detector a detection by class, rank or place"""  # noqa: E501
    whole: bool = False
    """compute every covered image from the start rather than only what the patch reaches; slower, same result"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is faster but can change the map; its rank correlation with fp32 is reported"""

    def __post_init__(self) -> None:
        check_choice("fill", self.fill, ("mean", "zero", "blur", "noise"))
        check_choice("precision", self.precision, ("fp32", "bf16"))
        for name, value in (("patch", self.patch), ("stride", self.stride)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: must be at least 1 px; give a larger one.")

    @torch.no_grad()
    def look(self, network: Network) -> View:
        alone = len(network.images) == 1
        with guarded(network.model):  # in-place activations would overwrite what is kept of the uncovered image
            images = network.progress(network.images, "covering")
            apart: dict[Any, bool] = {}  # by size: whether covered images are computed one by one
            occluded = [self._one(network, image, alone, apart) for image in images]
        numbers: dict[str, NDArray[Any]] = {
            "drop": stacked([one.drop for one in occluded]),
            "score_at": stacked([one.score - one.drop for one in occluded]),
            "winner": stacked([one.winner for one in occluded]),  # -1: evidence was followed, and no class
            "map": stacked([one.map for one in occluded]),
            "top": stacked([np.array(one.tops) for one in occluded]),
            "left": stacked([np.array(one.lefts) for one in occluded]),
            "size": np.array([one.map.shape for one in occluded]),
            "class": np.array([one.followed for one in occluded]),
            "score": np.array([one.score for one in occluded]),
            "patch": np.array([one.patch for one in occluded]),
            "stride": np.array([one.stride for one in occluded]),
        }
        boxes = [one.chosen.box for one in occluded if one.chosen is not None and one.chosen.box is not None]
        if len(boxes) == len(occluded):
            numbers["box"] = np.array(boxes)
        if self.precision == "bf16":
            numbers["fp32_rank_correlation"] = np.array([one.agreement for one in occluded])
        words = _words(network, occluded)
        return View(figure(network, occluded), numbers, words, {name: _AXES[name] for name in numbers})

    def _one(self, network: Network, image: Tensor, alone: bool, apart: dict[Any, bool]) -> Occluded:
        """What covering does to one image."""
        side = min(image.shape[1:])
        patch = self.patch if self.patch is not None else max(1, round(side / 5))
        stride = self.stride if self.stride is not None else max(1, patch // 4)
        if patch > side:
            raise UsageError(f"patch={patch}: is larger than an image's shorter side, {side} px; give a smaller one.")
        tops, lefts = (_positions(length, patch, stride) for length in image.shape[1:])
        image = image.to(network.device)
        covering = Covering(image, self._cover(image, network.seed), tops, lefts, patch)
        uncovered = network.model(image[None])  # (1, K) scores, or a task's own output
        followed = network.followed(uncovered, self.follow)
        chosen: Followed | None = None
        if followed is None:
            chosen = network.chosen(uncovered, self.follow, (int(image.shape[1]), int(image.shape[2])))
            score = chosen.score
        else:
            score = _score(network, followed)
        base = float(score(uncovered)[0])
        if image.shape not in apart:
            found = coupling(network.model, image[None], covering.most())
            network.remark(found.sentence)
            apart[image.shape] = found.alone
        way = {"whole": self.whole, "alone": apart[image.shape]}
        if chosen is not None:
            network = replace(network, model=chosen.narrowed(network.model))
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            count, blocks = outputs(network, covering, score, **way)
            drop = np.zeros((len(tops), len(lefts)))
            winner = np.full(drop.shape, -1)
            for block in network.progress(Counted(blocks, count), "covering") if alone else blocks:
                shape = len(block.rows), len(block.columns)
                at = np.ix_(block.rows, block.columns)
                drop[at] = base - score(block.output).double().reshape(shape).cpu().numpy()
                shares = network.probabilities(block.output)  # (R·C, K)
                if shares is not None:
                    winner[at] = shares.argmax(1).reshape(shape).cpu().numpy()
        agreement = self._agreement(network, covering, score, base - drop, way) if self.precision == "bf16" else None
        spread = _spread(drop, tops, lefts, patch, image.shape[1:])
        index = -1 if followed is None else followed
        return Occluded(image.cpu(), tops, lefts, patch, stride, index, base, drop, winner, spread, agreement, chosen)

    def _agreement(
        self,
        network: Network,
        covering: Covering,
        score: Callable[[Any], Tensor],
        rough: NDArray[np.float64],
        way: Mapping[str, bool],
    ) -> float:
        """Spearman's rank correlation of bf16 scores with those in fp32, over some rows of places."""
        from scipy.stats import spearmanr

        tops, lefts = covering.tops, covering.lefts
        rows = evenly_spread(max(2, _COMPARED // len(lefts)), len(tops))
        few = replace(covering, tops=[tops[row] for row in rows])
        exact = np.zeros((len(rows), len(lefts)))
        for block in outputs(network, few, score, **way)[1]:
            shape = len(block.rows), len(block.columns)
            exact[np.ix_(block.rows, block.columns)] = score(block.output).double().reshape(shape).cpu().numpy()
        if np.ptp(exact) == 0 or np.ptp(rough[rows]) == 0:
            return float("nan")  # constant scores have no ranks
        return float(spearmanr(exact.ravel(), rough[rows].ravel()).statistic)

    def _cover(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W): what the patch shows at each place."""
        if self.fill == "zero":
            return torch.zeros_like(image)
        if self.fill == "mean":
            return image.mean((1, 2), keepdim=True).expand_as(image)
        if self.fill == "noise":
            return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return blurred(image)


def _score(network: Network, followed: int) -> Callable[[Any], Tensor]:
    """The score (B,) of an output: the probability of the followed class."""
    return lambda output: _shares(network, output)[:, followed]


def _shares(network: Network, output: Any) -> Tensor:
    shares = network.probabilities(output)
    assert shares is not None  # a class is followed
    return shares


def _positions(length: int, patch: int, stride: int) -> list[int]:
    """Where the patch starts, px; the last one ends at the border, whatever the stride."""
    return sorted({*range(0, length - patch, stride), length - patch})


def _spread(
    drop: NDArray[np.float64], tops: Sequence[int], lefts: Sequence[int], patch: int, size: Sequence[int]
) -> NDArray[np.float64]:
    """(H, W): the mean drop over the positions that cover each pixel; 0 where none does (a stride above the patch)."""
    # whether a position covers a row or a column of pixels: (positions, H) and (positions, W)
    rows, columns = (
        np.array([[start <= i < start + patch for i in range(length)] for start in starts], np.float64)
        for starts, length in ((tops, size[0]), (lefts, size[1]))
    )
    covers: NDArray[np.float64] = np.outer(rows.sum(0), columns.sum(0))
    total: NDArray[np.float64] = rows.T @ drop @ columns  # a patch is separable, so no loop over positions is needed
    return total / np.maximum(covers, 1)


def _words(network: Network, occluded: Sequence[Occluded]) -> str:
    """The image that a patch changes most, and how far bf16 can be trusted."""
    finding = _finding(network, occluded)
    known = [one.agreement for one in occluded if one.agreement is not None]
    if not known:
        return finding
    least = f"{np.nanmin(known):.3f}{' or more' if len(known) > 1 else ''}"
    return f"{finding} Computed in bf16, whose rank correlation with fp32 is {least}."


def _finding(network: Network, occluded: Sequence[Occluded]) -> str:
    # the image that reacts most: of many images the others are in the numbers
    place = int(np.argmax([one.drop.max() for one in occluded]))
    one = occluded[place]
    patch, drop, score = one.patch, float(one.drop.max()), one.score
    quiet = [other for other in occluded if other.noise]
    if len(quiet) == len(occluded):
        return _noise(network, quiet)
    if drop <= 0:
        return f"Covering {patch}×{patch} px lowers the score nowhere."
    y, x = np.unravel_index(int(one.drop.argmax()), one.drop.shape)
    where = f"at row {one.tops[int(y)]}, column {one.lefts[int(x)]} px"
    start = f"Covering {patch}×{patch} px changes most in {network.name(place)}, {where}"
    if one.followed < 0:
        return f"{start}: {one.what} falls from {score:.3g} to {score - drop:.3g}."
    winner = int(one.winner[y, x])
    over = "" if winner == one.followed else f", and {network.label(winner)} takes over"
    words = (
        f"{start}: the probability of {network.label(one.followed)} falls "
        f"from {100 * score:.1f} % to {max(0.0, 100 * (score - drop)):.1f} %{over}."
    )
    if quiet:
        words += f" In {len(quiet)} of {len(occluded)} images no window changes it by more than {points(NOISE)} points."
    return words


def _noise(network: Network, occluded: Sequence[Occluded]) -> str:
    """That nothing happens, in words."""
    one = max(occluded, key=lambda other: float(np.abs(other.drop).max()))
    most, window = float(np.abs(one.drop).max()), f"No {one.patch}×{one.patch} px window changes"
    if one.followed < 0:
        return f"{window} {one.what} of {one.score:.3g} by more than {most:.2g}: the map shows noise."
    what = (
        f"the probability of {network.label(one.followed)} ({100 * one.score:.1f} %)"
        if len(occluded) == 1
        else f"the probability in any of the {len(occluded)} images"
    )
    return f"{window} {what} by more than {points(most)} points: the map shows noise."
