# SPDX-License-Identifier: Apache-2.0
"""Two tests of a map: does it depend on the weights, and does the score fall faster by its order than by a random one?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from pellucid.lenses._layers import layers_in_order

__all__ = ["Deletion", "cascade", "deletion", "rank_correlation", "redraw", "similarity", "weighted_layers"]

_ORDERS = 6  # random orders, and as many shifted ones, that a map's is held against
_CELLS = 14  # squares along the shorter side that are deleted as a whole


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
    """Fresh weights of a layer: of each filter normal with its own mean square, of what is one a channel a new order.

    So every channel keeps its scale, and a network of which some layers are drawn anew neither dies nor saturates.

    >>> layer = nn.Linear(3, 2)
    >>> before = layer.weight.clone()
    >>> redraw(layer, torch.Generator().manual_seed(0))
    >>> bool((layer.weight == before).any())
    False
    """
    for weight in part.parameters(recurse=False):
        if weight.ndim > 1:
            drawn = torch.randn(weight.shape, generator=generator).to(weight)
            scale = weight.float().flatten(1).square().mean(1).sqrt()
            scale = scale.where(scale > 0, torch.full_like(scale, (2 / weight[0].numel()) ** 0.5))
            weight.copy_(drawn * scale.to(weight).view(-1, *[1] * (weight.ndim - 1)))
        else:
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order.to(weight.device)].view_as(weight))


def cascade(model: nn.Module, image: Tensor, most: int, seed: int) -> Iterator[tuple[int, int, str]]:
    """Draws a model's layers anew from the output down, and yields how many of how many are, and the last one's name.

    The cascading randomisation of Adebayo et al. 2018 (section 3.1), stopped at up to `most` depths, evenly spread. The
    model is changed; after the last depth nothing of its weights is left.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = weighted_layers(model, image)[::-1]
    parts = dict(model.named_modules())
    stops = set(np.unique(np.linspace(1, len(layers), min(most, len(layers))).round().astype(int)).tolist())
    done: set[int] = set()
    for count, names in enumerate(layers, 1):
        for name in names:
            redraw(parts[name], generator)
            done.add(id(parts[name]))
        if count == len(
            layers
        ):  # weights of modules that are never called themselves: a class token, an attention's own
            for part in parts.values():
                if id(part) not in done:
                    redraw(part, generator)
        if count in stops:
            yield count, len(layers), names[0]


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's rank correlation; 0 where one is the same everywhere and the other is not, NaN where both are.

    >>> rank_correlation(np.array([1, 2, 3]), np.array([1, 4, 9])), rank_correlation(np.array([1, 2]), np.array([3, 3]))
    (1.0, 0.0)
    """
    ranks = [rankdata(values.ravel()) for values in (one, other)]
    flat = [bool(np.ptp(values) == 0) for values in ranks]
    if any(flat):
        return float("nan") if all(flat) else 0.0
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


def similarity(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """SSIM and rank correlation of two maps' magnitudes, each brought to 0 … 1 by its 99th percentile.

    >>> ramp = np.arange(64.0).reshape(8, 8)
    >>> [round(value, 3) for value in similarity(ramp, 3 * ramp)]
    [1.0, 1.0]
    """
    from skimage.metrics import structural_similarity

    own = [np.abs(values).astype(np.float64) for values in (one, other)]
    side = min(own[0].shape)
    window = min(7, side if side % 2 else side - 1)
    if window < 3:
        return float("nan"), rank_correlation(*own)
    scaled = [np.clip(values / (np.percentile(values, 99) or values.max() or 1.0), 0, 1) for values in own]
    found = float(structural_similarity(*scaled, data_range=1.0, win_size=window))
    return found, rank_correlation(*own)


@final
@dataclass(frozen=True)
class Deletion:
    """The score as the image is deleted: by the map's order, in random ones, and by the map shifted to other places."""

    shares: NDArray[np.float64]  # of the image that is deleted
    score: NDArray[np.float64]  # by the map's order
    random: NDArray[np.float64]  # (orders, shares)
    shifted: NDArray[np.float64]  # (orders, shares)

    @property
    def area(self) -> float:
        """The mean height of the curve by the map's order: the lower, the better its order."""
        return _area(self.score, self.shares)

    def areas(self, kind: str) -> NDArray[np.float64]:
        """The same of each "random" or "shifted" order."""
        return np.array([_area(row, self.shares) for row in getattr(self, kind)])

    def beaten(self, kind: str) -> int:
        """How many "random" or "shifted" orders the map's beats: its curve falls faster."""
        return int((self.areas(kind) > self.area + 1e-9).sum())


def _area(score: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    return float(np.trapezoid(score, shares))


@torch.no_grad()
def deletion(
    score: Callable[[Tensor], Tensor], image: Tensor, map: NDArray[Any], seed: int, batch: int, stops: int = 10
) -> Deletion:
    """The deletion curve of Petsiuk, Das & Saenko 2018 (section 4.1), of squares that take the image's mean colour.

    A single pixel that goes is noise, to which a network may answer more than to what the pixel showed; squares of a
    fourteenth of the shorter side are deleted instead. Squares in a random order still do more harm than as many together,
    because they leave no part of the image whole: beside them stand orders with the map's own clumps, the map shifted.

    >>> found = deletion(lambda x: x[:, 0, 0, 0], torch.eye(4)[None], np.eye(4) * [4, 1, 1, 1], 0, 8)
    >>> found.shares[:2].tolist(), found.score[:2].round(2).tolist(), found.random.shape
    ([0.0, 0.125], [1.0, 0.25], (6, 11))
    """
    height, width = image.shape[1:]
    side = max(1, round(min(height, width) / _CELLS))
    rows, columns = -(-height // side), -(-width // side)
    number = np.arange(height)[:, None] // side * columns + np.arange(width)[None] // side  # (H, W) each pixel's square
    count = rows * columns
    worth = np.bincount(number.ravel(), np.nan_to_num(map).ravel(), count) / np.bincount(
        number.ravel(), minlength=count
    )
    rng = np.random.default_rng(seed)
    # ties in a random order: a map without an opinion is no better than chance
    orders = [np.lexsort((rng.random(count), -worth)), *(rng.permutation(count) for _ in range(_ORDERS))]
    for _ in range(_ORDERS):
        offsets = [int(rng.integers(length // 4, length - length // 4 + 1)) for length in (rows, columns)]
        moved = np.roll(worth.reshape(rows, columns), offsets, (0, 1)).ravel()
        orders.append(np.lexsort((rng.random(count), -moved)))
    counts = np.unique(np.linspace(0, count, stops + 1).round().astype(int))
    place = torch.from_numpy(number).to(image.device)
    mean = image.mean((1, 2), keepdim=True)
    covered = []
    for order in orders:
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        at = torch.from_numpy(rank).to(image.device)[place]  # (H, W) when each pixel goes
        covered += [(at, int(gone)) for gone in counts[1:-1]]
    ends = [(torch.zeros_like(place), 0), (torch.zeros_like(place), 1)]
    jobs, found = [*ends, *covered], []
    for start in range(0, len(jobs), batch):
        part = torch.stack([torch.where(at < gone, mean, image) for at, gone in jobs[start : start + batch]])
        found.append(score(part).double().cpu())
    values = torch.cat(found).numpy()
    inner = values[2:].reshape(len(orders), -1)
    curves = np.column_stack([np.full(len(orders), values[0]), inner, np.full(len(orders), values[1])])
    return Deletion(counts / count, curves[0], curves[1 : 1 + _ORDERS], curves[1 + _ORDERS :])
