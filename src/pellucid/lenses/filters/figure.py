# SPDX-License-Identifier: Apache-2.0
"""The pages of filters: first-layer weights, feature maps through the layers, and what excites a filter most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid._png import drawn
from pellucid.lenses._parts import Network
from pellucid.lenses.filters.layers import Layer
from pellucid.lenses.filters.search import Excited
from pellucid.lenses.filters.tiles import Page, Pixels, coloured, montage, signed, thumb

__all__ = ["Weights", "images_page", "main_page", "maps_page", "png"]

_WIDE = 7.2  # inches, of a page of two columns
_ACROSS = 8  # montages in a row
_CLIPPED = 0.98  # quantile of the weights at which the scale ends: a few large ones would hide the rest
_NUMBER = 0.4  # inches, for a filter's number
_FRAME = 6  # px: of the smallest frame
_HEAD, _LINE, _TINY = 7.5, 6.0, 5.0  # points


@final
@dataclass(frozen=True)
class Weights:
    """The first layer's filters before and after training, (F, C, k, k) each; None for those that do not exist."""

    layer: str
    before: Tensor | None
    after: Tensor | None
    start: str  # what `before` is, in words
    order: Sequence[int]  # the filters, the strongest first

    @property
    def change(self) -> NDArray[np.float64] | None:
        """(F,) by what share of their norm the filters moved."""
        if self.before is None or self.after is None:
            return None
        moved = (self.after - self.before).flatten(1).double().norm(dim=1)
        change: NDArray[np.float64] = (moved / self.before.flatten(1).double().norm(dim=1).clamp_min(1e-30)).numpy()
        return change


def main_page(
    network: Network,
    weights: Weights | None,
    maps: Mapping[str, Sequence[NDArray[np.float32]]],
    layers: Sequence[Layer],
    image: Tensor,
    excited: Sequence[Excited],
    cut: Mapping[tuple[str, int, int], Pixels],
    shown: int,
    notes: Sequence[str],
    count: int,
) -> Page:
    """The three panels below one another.

    Args:
        network: the model and its images.
        weights: of the first layer, if it sees pixels.
        maps: by layer, one array an image, (F, h, w) or (F,).
        layers: those of the maps.
        image: the first one, (C, H, W).
        excited: the layers whose filters were searched for.
        cut: patches at a filter's strongest places, by layer, filter and rank.
        shown: filters of a layer that are drawn.
        notes: on the receptive field of each of `excited`.
        count: images that were searched.
    """
    page = Page(_WIDE)
    page.write(network.title, 0, 0.14, 8.5, weight="bold")
    letter = iter("abc")
    if weights is not None:
        _weights(page, weights, shown, next(letter))
    own = {name: of_images[0] for name, of_images in maps.items()}
    _maps(page, network.name(0), image, own, layers, shown, f"{next(letter)}  ")
    places = max((one.score.shape[1] for one in excited), default=0)
    _heading(page, f"{next(letter)}  what excites a filter most: the {places} strongest places in {_images(count)}")
    for one, words in zip(excited, notes, strict=True):
        _patches(page, network, one, cut, shown, words)
    return page


def maps_page(
    network: Network,
    maps: Mapping[str, Sequence[NDArray[np.float32]]],
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    shown: int,
) -> Page:
    """The feature maps of several images, a block for each."""
    page = Page(_WIDE)
    for place, image in enumerate(images):
        own = {name: of_images[place] for name, of_images in maps.items()}
        _maps(page, network.name(place), image, own, layers, shown)
    return page


def images_page(
    network: Network,
    excited: Sequence[Excited],
    images: Mapping[int, Tensor],
    names: Sequence[str],
    labels: Sequence[int],
    shown: int,
) -> Page:
    """The whole images that excite each filter most, the strongest first, with the receptive field framed."""
    page = Page(_WIDE)
    called = "class" if max(labels, default=-1) >= 0 else "name"
    for one in excited:
        _heading(
            page, f"images that excite {one.layer.name} most, with {called} and response; framed: what the filter sees"
        )
        most = max((len({place for place in row if place >= 0}) for row in one.image.tolist()), default=1)
        side = min(0.72, (_WIDE - _NUMBER) / max(1, most))
        across = max(1, int(_WIDE // (_NUMBER + most * side)))  # filters side by side
        top = page.bottom + 0.13
        for turn, filter in enumerate(one.order()[:shown].tolist()):
            if turn and turn % across == 0:
                top += side + 0.12
            start = turn % across * (_NUMBER + most * side)
            page.write(f"#{filter}", start, top + side / 2, _LINE)
            ranks: dict[int, list[int]] = {}
            for rank, place in enumerate(one.image[filter].tolist()):
                if place >= 0:
                    ranks.setdefault(place, []).append(rank)
            for column, (place, own) in enumerate(ranks.items()):
                pixels = _framed(images[place], [one.box[filter, rank].tolist() for rank in own])
                left, share = start + _NUMBER + column * side, side * 0.94 / max(pixels.shape[:2])
                page.place(pixels, left, top, share * pixels.shape[1])
                label = network.label(labels[place], 12) if labels[place] >= 0 else names[place][-14:]
                page.write(f"{label}: {one.score[filter, own[0]]:.3g}", left, top - 0.01, 4.2)
            page.bottom = max(page.bottom, top + side * 0.94)
    return page


def png(page: Page) -> bytes:
    """A page as the bytes of a PNG file."""
    return drawn(page.drawn(), 200)


def _weights(page: Page, weights: Weights, shown: int, letter: str) -> None:
    sides = [side for side in (weights.before, weights.after) if side is not None]
    order = list(weights.order[: 2 * shown if len(sides) == 1 else shown])
    count, planes, high, wide = sides[0].shape
    most = float(np.quantile(np.concatenate([side[order].abs().numpy().ravel() for side in sides]), _CLIPPED))
    kind = "grey is 0" if planes >= 3 else "blue is below 0, red above"
    _heading(
        page,
        f"{letter}  weights of the first layer, {weights.layer}: {len(order)} of {count} filters of "
        f"{planes}×{high}×{wide}; {kind}, the scale ends at ±{most:.2g}",
    )
    top = page.bottom + 0.16
    across = _ACROSS if len(sides) == 2 else 2 * _ACROSS
    gap = 0.2
    width = (_WIDE - gap) / 2 if len(sides) == 2 else _WIDE
    titles = {id(weights.before): f"at initialisation: {weights.start}", id(weights.after): "after training"}
    for place, side in enumerate(sides):
        x = place * (width + gap)
        page.write(titles[id(side)] if len(sides) == 2 or side is weights.before else "as they are", x, top, _LINE)
        _tiled(page, [signed(side[one], most) for one in order], [f"{one}" for one in order], x, top, width, across)


def _maps(
    page: Page,
    title: str,
    image: Tensor,
    maps: Mapping[str, NDArray[np.float32]],
    layers: Sequence[Layer],
    shown: int,
    letter: str = "",
) -> None:
    if layers[0].is_map:
        gist = f"feature maps of {title}: by layer, the {shown} channels that vary most over it"
    else:
        gist = f"responses to {title}: by layer, every unit"
    _heading(page, f"{letter}{gist}; one scale a layer, dark is low")
    start, left = page.bottom + 0.16, 1.1
    pixels = thumb(image, 224)
    page.place(pixels, 0, start, left - 0.12)
    bottom = start
    for layer in layers:
        own = np.nan_to_num(maps[layer.name], posinf=0.0, neginf=0.0)
        size, (low, high) = "×".join(map(str, own.shape)), (float(own.min()), float(own.max()))
        page.write(f"{layer.name}   {size}   from {low:.2g} to {high:.2g}", left, bottom, _LINE)
        page.bottom = bottom
        if not layer.is_map:
            tiles, names, across = [_units(own, low, high)], [""], 1
        else:
            order = np.argsort(-own.std((1, 2)), kind="stable")[:shown].tolist()
            tiles, names, across = (
                [coloured((own[one] - low) / max(high - low, 1e-30), "viridis") for one in order],
                [f"{one} dead" if np.ptp(own[one]) == 0 else f"{one}" for one in order],
                max(8, min(16, shown)),
            )
        _tiled(page, tiles, names, left, bottom, _WIDE - left, across)
        bottom = page.bottom + 0.15
    page.bottom = max(page.bottom, start + (left - 0.12) * pixels.shape[0] / pixels.shape[1])


def _patches(
    page: Page,
    network: Network,
    one: Excited,
    cut: Mapping[tuple[str, int, int], Pixels],
    shown: int,
    words: str,
) -> None:
    top = page.bottom + 0.16
    page.write(f"{one.layer.name}   {words}", 0, top, _LINE)
    side = math.ceil(math.sqrt(int((one.image >= 0).sum(1).max())))
    tiles, names = [], []
    for filter in one.order()[:shown].tolist():
        patches = [cut.get((one.layer.name, filter, rank)) for rank in range(one.score.shape[1])]
        own = [patch for patch in patches if patch is not None]
        if own:
            tiles.append(montage(own, side))
            names.append(f"{filter}")
    if tiles:
        _tiled(page, tiles, names, 0, top, _WIDE, _ACROSS, space=0.09)


def _tiled(
    page: Page,
    tiles: Sequence[Pixels],
    names: Sequence[str],
    x: float,
    y: float,
    width: float,
    across: int,
    space: float = 0.04,
) -> None:
    """Tiles in rows below y, each with its number above it."""
    side = (width + space) / across - space
    top, height = y, 0.0
    for place, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        if place % across == 0 and place:
            y = top + height
        left = x + place % across * (side + space)
        top = y + (0.1 if name else 0.03)
        if name:
            page.write(name, left + side / 2, top - 0.005, _TINY, ha="center", color="0.35")
        height = page.place(tile, left, top, side)


def _units(values: NDArray[np.float32], low: float, high: float) -> Pixels:
    """A dense layer's response as a block of cells, row by row."""
    across = math.ceil(math.sqrt(len(values) * 24))
    cells = np.full(-(-len(values) // across) * across, np.nan, np.float32)
    cells[: len(values)] = values
    drawn = coloured((cells.reshape(-1, across) - low) / max(high - low, 1e-30), "viridis")
    drawn[np.isnan(cells.reshape(-1, across))] = 1.0
    return drawn


def _framed(image: Tensor, boxes: Sequence[Sequence[int]]) -> Pixels:
    """A small copy of an image (C, H, W) uint8 with boxes drawn into it, except those of the whole image."""
    pixels = thumb(image.float() / 255, 128)
    grown = max(1, -(-64 // max(pixels.shape[:2])))
    scale = grown * pixels.shape[0] / image.shape[1]
    pixels = pixels.repeat(grown, 0).repeat(grown, 1)
    high, wide = pixels.shape[:2]
    for box in boxes:
        if tuple(box) == (0, 0, *image.shape[1:]):
            continue
        top, left, bottom, right = (round(side * scale) for side in box)
        bottom, right = min(max(bottom, top + _FRAME), high), min(max(right, left + _FRAME), wide)
        thick = max(1, round(max(high, wide) / 80))
        inside = pixels[top + thick : bottom - thick, left + thick : right - thick].copy()
        pixels[top:bottom, left:right] = (0.0, 0.85, 1.0)
        pixels[top + thick : bottom - thick, left + thick : right - thick] = inside
    return pixels


def _heading(page: Page, words: str) -> None:
    page.write(words, 0, page.bottom + 0.26, _HEAD)


def _images(count: int) -> str:
    return f"{count:,} images" if count != 1 else "one image"
