# SPDX-License-Identifier: Apache-2.0
"""Two tests of a map: does it depend on the weights, and does deleting in its order lower the score faster than at random?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.lenses._layers import layers_in_order

__all__ = ["Deletion", "Depth", "cascade", "deletion", "rank_correlation", "redraw", "similarity", "weighted_layers"]

_ORDERS = 6  # random orders, and as many shifted ones, to compare a map's order with
_CELLS = 14  # squares along the shorter side; each is deleted as a whole


@final
@dataclass(frozen=True)
class Depth:
    """How far the layers of a model have been randomised."""

    count: int  # layers from the output down
    of: int  # layers in all
    layer: str  # the name of the last one


def weighted_layers(model: nn.Module, image: Tensor) -> list[list[str]]:
    """The layers with weights in the order of the forward pass, each with the normalisation that follows it.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)).eval()
    >>> weighted_layers(model, torch.zeros(1, 3, 3))
    [['0', '1'], ['4']]
    """
    groups: list[list[str]] = []
    for name, part, _ in layers_in_order(model, image):
        own = list(part.parameters(recurse=False))
        if any(weight.ndim > 1 for weight in own) or (own and not groups):
            groups.append([name])
        elif own:
            groups[-1].append(name)
    return groups


@torch.no_grad()
def redraw(part: nn.Module, generator: torch.Generator) -> None:
    """Randomise a layer: each filter's weights are drawn with its own mean square, one number a channel (bias) is shuffled.

    So every channel keeps its scale, and a network of which some layers are random neither dies nor saturates.

    >>> layer = nn.Linear(3, 2)
    >>> before = layer.weight.clone()
    >>> redraw(layer, torch.Generator().manual_seed(0))
    >>> bool((layer.weight == before).any())
    False
    """
    for weight in part.parameters(recurse=False):
        if weight.ndim > 1:
            drawn = torch.randn(weight.shape, generator=generator).to(weight)
            scale = weight.float().flatten(1).square().mean(1).sqrt()  # (F,)
            # a filter of zeros, as some initialisations leave it, takes He's scale
            scale = scale.where(scale > 0, torch.full_like(scale, (2 / weight[0].numel()) ** 0.5))
            weight.copy_(drawn * scale.to(weight).view(-1, *[1] * (weight.ndim - 1)))
        else:
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order.to(weight.device)].view_as(weight))


def cascade(model: nn.Module, image: Tensor, most: int, seed: int) -> Iterator[Depth]:
    """Randomise a model's layers from the output down, stopping at up to `most` depths, evenly spread.

    The cascading randomisation of Adebayo et al. 2018 (section 3.1). The model is changed; after the last depth none of its
    weights is left.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = weighted_layers(model, image)[::-1]
    parts = dict(model.named_modules())
    # numbers of layers, from 1: other halves are rounded up than for positions from 0
    stops = set(np.linspace(1, len(layers), min(most, len(layers))).round().astype(int).tolist())
    done: set[int] = set()
    for count, names in enumerate(layers, 1):
        for name in names:
            redraw(parts[name], generator)
            done.add(id(parts[name]))
        if count == len(layers):
            # weights of modules that are never called themselves: a class token, those of an attention
            for part in parts.values():
                if id(part) not in done:
                    redraw(part, generator)
        if count in stops:
            yield Depth(count, len(layers), names[0])


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant, NaN where both are.

    >>> rank_correlation(np.array([1, 2, 3]), np.array([1, 4, 9])), rank_correlation(np.array([1, 2]), np.array([3, 3]))
    (1.0, 0.0)
    """
    ranks = _ranks(one.ravel()), _ranks(other.ravel())
    flat = [bool(np.ptp(values) == 0) for values in ranks]
    if any(flat):
        return float("nan") if all(flat) else 0.0
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """The rank of each of (N,) values from 1 on, equal ones at their mean; importing SciPy's statistics takes half a second.

    >>> _ranks(np.array([5, 2, 5, 9])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def similarity(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """SSIM and rank correlation of two maps' magnitudes (H, W), each scaled to 0 … 1 by its 99th percentile.

    >>> ramp = np.arange(64.0).reshape(8, 8)
    >>> [round(value, 3) for value in similarity(ramp, 3 * ramp)]
    [1.0, 1.0]
    """
    from skimage.metrics import structural_similarity

    magnitudes = [np.abs(values).astype(np.float64) for values in (one, other)]
    side = min(magnitudes[0].shape)
    window = min(7, side if side % 2 else side - 1)  # SSIM's default window, odd, and no larger than the map
    if window < 3:
        return float("nan"), rank_correlation(*magnitudes)
    # the percentile: a single strong pixel would leave the rest near 0 in both
    scaled = [np.clip(values / (np.percentile(values, 99) or values.max() or 1.0), 0, 1) for values in magnitudes]
    ssim = float(structural_similarity(*scaled, data_range=1.0, win_size=window))
    return ssim, rank_correlation(*magnitudes)


@final
@dataclass(frozen=True)
class Deletion:
    """The score as more and more of the image is deleted: in the map's order, in random ones, and in those of shifted maps."""

    shares: NDArray[np.float64]  # (shares,) how much of the image is deleted
    score: NDArray[np.float64]  # (shares,) in the map's order
    random: NDArray[np.float64]  # (orders, shares)
    shifted: NDArray[np.float64]  # (orders, shares)

    @property
    def area(self) -> float:
        """The area under the curve in the map's order: the lower, the better the order."""
        return _area(self.score, self.shares)

    def areas(self, kind: str) -> NDArray[np.float64]:
        """(orders,): the same for each "random" or "shifted" order."""
        return np.array([_area(row, self.shares) for row in getattr(self, kind)])

    def beaten(self, kind: str) -> int:
        """How many "random" or "shifted" orders the map beats: its curve falls faster."""
        return int((self.areas(kind) > self.area + 1e-9).sum())


def _area(score: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    return float(np.trapezoid(score, shares))


@torch.no_grad()
def deletion(
    score: Callable[[Tensor], Tensor], image: Tensor, map: NDArray[Any], seed: int, batch: int, stops: int = 10
) -> Deletion:
    """The deletion curve of Petsiuk, Das & Saenko 2018 (section 4.1), of squares that take the image's mean colour.

    Squares of a fourteenth of the shorter side go instead of pixels, since single missing pixels are noise, to which a network
    may react more than to what they showed. Squares in a random order do more harm than as many in one piece, because they leave
    no part of the image whole. So the map is also compared with itself, shifted: orders with the map's own clumps.

    >>> curves = deletion(lambda x: x[:, 0, 0, 0], torch.eye(4)[None], np.eye(4) * [4, 1, 1, 1], 0, 8)
    >>> curves.shares[:2].tolist(), curves.score[:2].round(2).tolist(), curves.random.shape
    ([0.0, 0.125], [1.0, 0.25], (6, 11))
    """
    height, width = image.shape[1:]
    side = max(1, round(min(height, width) / _CELLS))
    rows, columns = -(-height // side), -(-width // side)
    number = np.arange(height)[:, None] // side * columns + np.arange(width)[None] // side  # (H, W) each pixel's square
    count = rows * columns
    # (squares,) the map's mean in each square
    sums, pixels = np.bincount(number.ravel(), np.nan_to_num(map).ravel(), count), np.bincount(number.ravel())
    worth = sums / pixels
    rng = np.random.default_rng(seed)
    # ties in a random order: a constant map is no better than chance
    orders = [np.lexsort((rng.random(count), -worth)), *(rng.permutation(count) for _ in range(_ORDERS))]
    for _ in range(_ORDERS):  # by a quarter of the image at least, around its border
        offsets = [int(rng.integers(length // 4, length - length // 4 + 1)) for length in (rows, columns)]
        moved = np.roll(worth.reshape(rows, columns), offsets, (0, 1)).ravel()
        orders.append(np.lexsort((rng.random(count), -moved)))
    counts = evenly_spread(stops + 1, count + 1)  # squares that are gone at each stop
    place = torch.from_numpy(number).to(image.device)
    mean = image.mean((1, 2), keepdim=True)
    covered = []
    for order in orders:
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        at = torch.from_numpy(rank).to(image.device)[place]  # (H, W) when each pixel goes
        covered += [(at, int(gone)) for gone in counts[1:-1]]
    ends = [(torch.zeros_like(place), 0), (torch.zeros_like(place), 1)]
    jobs, scores = [*ends, *covered], []
    for start in range(0, len(jobs), batch):
        # (batch, C, H, W): the image without the squares that are gone
        part = torch.stack([torch.where(at < gone, mean, image) for at, gone in jobs[start : start + batch]])
        scores.append(score(part).double().cpu())
    values = torch.cat(scores).numpy()
    # all curves begin at the whole image and end at the mean colour, which are computed once
    inner = values[2:].reshape(len(orders), -1)
    curves = np.column_stack([np.full(len(orders), values[0]), inner, np.full(len(orders), values[1])])
    return Deletion(counts / count, curves[0], curves[1 : 1 + _ORDERS], curves[1 + _ORDERS :])
