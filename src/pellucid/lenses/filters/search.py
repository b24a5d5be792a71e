# SPDX-License-Identifier: Apache-2.0
"""Searching images for the places that excite filters most, and cutting out what the filters see there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.lenses._codes import at_once
from pellucid.lenses._images import Counted
from pellucid.lenses._parts import Network, Splits
from pellucid.lenses.filters.layers import Layer, Reader

__all__ = ["Excited", "Readers", "Searched", "cut_out", "peaks", "search", "searched"]


@final
@dataclass(frozen=True)
class Excited:
    """The places that excite a layer's filters most, the strongest first; -1 and NaN if there are fewer."""

    layer: Layer
    score: NDArray[np.float32]  # (F, T) the response there, before the activation
    image: NDArray[np.int64]  # (F, T) positions in the order of search
    row: NDArray[np.int64]  # (F, T) of the layer's map
    column: NDArray[np.int64]
    box: NDArray[np.int64]  # (F, T, 4) top, left, bottom, right px of the receptive field; -1: not measured yet

    def order(self) -> NDArray[np.int64]:
        """(F,): the filters, those with the highest scores first."""
        known = self.image >= 0
        mean = np.where(known, self.score, 0).sum(1) / np.maximum(known.sum(1), 1)
        return np.argsort(-mean, kind="stable")


@final
class Readers:
    """A reader for each image size, made when it is needed."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self._known: dict[tuple[int, ...], Reader] = {}

    def of(self, shape: Sequence[int]) -> Reader:
        """The reader for images of a shape (C, H, W)."""
        key = tuple(shape)
        if key not in self._known:
            # grey rather than black: a normalisation over the image would divide by zero
            self._known[key] = Reader(self._model, torch.full(key, 0.5, device=self._device))
        return self._known[key]


@final
@dataclass(frozen=True)
class Searched:
    """The images that are searched, in one order as often as they are read."""

    count: int
    batches: Callable[[], Iterator[tuple[Tensor, Sequence[str], Tensor | None]]]  # images (B, C, H, W), names, labels


def searched(network: Network, splits: Splits | None, split: str, limit: int | None) -> Searched:
    """The named images, or those of a run's split."""
    images, size = network.images, at_once(network, network.images[0], 128)
    if split == "named" or splits is None:
        places = evenly_spread(len(images) if limit is None else limit, len(images)).tolist()

        def named() -> Iterator[tuple[Tensor, Sequence[str], Tensor | None]]:
            for place in places:
                yield images[place][None], [network.name(place)], None

        return Searched(len(places), named)
    batches = splits.batches

    def own() -> Iterator[tuple[Tensor, Sequence[str], Tensor | None]]:
        for batch in batches(split, size, limit):
            yield batch.images, batch.names, batch.labels

    return Searched(splits.count(split, limit), own)


@torch.no_grad()
def search(
    network: Network, readers: Readers, layers: Sequence[Layer], top: int, images: Searched
) -> tuple[list[Excited], list[str], list[int]]:
    """The strongest places of each layer's filters over all images, and the images' names and labels (-1: none).

    An image has one place for each filter, unless there are fewer images than places; then several that are apart.
    """
    each = max(1, math.ceil(top / max(1, images.count)))  # places in one image
    strongest: dict[str, dict[str, Tensor]] = {layer.name: {} for layer in layers}
    names: list[str] = []
    labels: list[int] = []
    for pixels, own, known in network.progress(Counted(images.batches(), images.count), "searching"):
        reader = readers.of(pixels.shape[1:])
        responses = reader.read(pixels.to(network.device), [layer.name for layer in layers])
        for layer in layers:
            whole = responses[layer.name][0].float()  # (B, F, h, w) or (B, F)
            if not layer.is_map:
                whole = whole[:, :, None, None]  # a map of one place
            field = reader.fields(layer)
            apart = _radius(field, whole.shape[2:]) if field is not None else max(1, max(whole.shape[2:]) // 4)
            score, row, column = peaks(whole, each, apart)  # (B, each, F)
            place = torch.arange(len(names), len(names) + len(pixels)).view(-1, 1, 1).expand(score.shape)
            corners = _corners(field, row, column, pixels.shape[2:], layer)
            merged = {"score": score, "image": place, "row": row, "column": column, "box": corners}
            _merge(strongest[layer.name], merged, top)
        names += own
        labels += [-1] * len(pixels) if known is None else known.tolist()
    excited = []
    for layer in layers:
        kept = {name: value.movedim(0, 1).cpu().numpy() for name, value in strongest[layer.name].items()}  # (F, T)
        kept["image"] = np.where(np.isfinite(kept["score"]), kept["image"], -1)
        kept["score"] = np.where(np.isfinite(kept["score"]), kept["score"], np.nan).astype(np.float32)
        excited.append(Excited(layer, **kept))
    return excited, names, labels


def peaks(maps: Tensor, count: int, apart: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, count, F) the highest values of maps (B, F, h, w), `apart` places from each other, with rows and columns.

    -inf where no place is left.

    >>> score, row, column = peaks(torch.tensor([[[[1.0, 5, 4, 0, 3]]]]), count=2, apart=2)
    >>> score[0, :, 0].tolist(), column[0, :, 0].tolist()
    ([5.0, 3.0], [1, 4])
    """
    left, wide = maps.detach().clone() if count > 1 else maps, maps.shape[3]
    rows, columns = (torch.arange(side, device=maps.device) for side in maps.shape[2:])
    highest = []
    for turn in range(count):
        score, place = left.flatten(2).max(2)  # (B, F)
        row, column = place // wide, place % wide
        highest.append((score, row, column))
        if turn + 1 < count:
            near_rows = (rows - row[..., None]).abs() < apart  # (B, F, h)
            near_columns = (columns - column[..., None]).abs() < apart  # (B, F, w)
            left = left.masked_fill(near_rows[..., None] & near_columns[..., None, :], -math.inf)
    score, row, column = (torch.stack(part, 1).cpu() for part in zip(*highest, strict=True))
    return score, row, column


def cut_out(image: Tensor, box: Sequence[int], size: tuple[int, int]) -> Tensor:
    """(C, *size): the pixels in a box, NaN where a window of this size reaches beyond the image.

    >>> cut_out(torch.zeros(1, 5, 5), (0, 3, 2, 5), (3, 3))[0].tolist()
    [[nan, nan, nan], [0.0, 0.0, nan], [0.0, 0.0, nan]]
    """
    top, left, bottom, right = (int(side) for side in box)
    sides = (max(a, b) for a, b in zip(size, (bottom - top, right - left), strict=True))
    whole = torch.full((len(image), *sides), math.nan)
    down = whole.shape[1] - (bottom - top) if top == 0 else 0  # a field that the border cuts off is at the far end
    across = whole.shape[2] - (right - left) if left == 0 else 0
    whole[:, down : down + bottom - top, across : across + right - left] = image[:, top:bottom, left:right].cpu()
    return whole


def _radius(field: Any, sides: Sequence[int]) -> int:
    """From how many places apart on the map two receptive fields overlap by half at most."""
    radii = []
    for interval, side in zip((field.rows, field.columns), sides, strict=True):
        step = (interval[-1, 0] - interval[0, 0]) / max(1, side - 1)  # px from a place to the next
        wide = int((interval[:, 1] - interval[:, 0]).max())
        radii.append(side if step <= 0 else max(1, math.ceil(wide / 2 / step)))
    return int(max(radii))


def _corners(field: Any, row: Tensor, column: Tensor, size: Sequence[int], layer: Layer) -> Tensor:
    """(…, 4) boxes of places: the receptive field, the whole image for a dense layer, -1 if it is measured later."""
    if not layer.is_map:
        return torch.tensor([0, 0, *size]).expand(*row.shape, 4)
    if field is None:
        return torch.full((*row.shape, 4), -1)
    rows, columns = (torch.from_numpy(side)[place] for side, place in ((field.rows, row), (field.columns, column)))
    return torch.stack([rows[..., 0], columns[..., 0], rows[..., 1], columns[..., 1]], -1)


def _merge(known: dict[str, Tensor], more: Mapping[str, Tensor], top: int) -> None:
    """Keep the strongest of those known, (T, F, …), and of more, (B, each, F, …); of equals the earlier one."""
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in more.items()}
    joined = {name: torch.cat([known[name], value]) if known else value for name, value in flat.items()}
    order = joined["score"].sort(dim=0, descending=True, stable=True).indices[:top]  # (T, F)
    for name, value in joined.items():
        at = order if value.ndim == 2 else order[..., None].expand(*order.shape, value.shape[2])
        known[name] = value.gather(0, at)
