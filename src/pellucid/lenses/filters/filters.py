# SPDX-License-Identifier: Apache-2.0
"""filters: what the layers have learned to look for (Krizhevsky et al. 2012, fig. 3; Zeiler & Fergus 2014, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError, check_choice
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import stacked
from pellucid.lenses._parts import Network, Splits, Training
from pellucid.lenses.filters.figure import Weights, images_page, main_page, maps_page, png
from pellucid.lenses.filters.layers import Layer, chosen, first_layer, weights
from pellucid.lenses.filters.receptive import Fields
from pellucid.lenses.filters.search import Excited, Readers, Searched, cut_out, search, searched
from pellucid.lenses.filters.tiles import thumb

__all__ = ["Filters"]

_DEPTHS = 6  # layers whose feature maps are shown
_SEARCHED = 3  # of them, layers for whose filters the strongest places are searched
_DRAWN = 12  # images whose feature maps are drawn and kept
_PATCH = 64  # px: of the largest patch as it is drawn
_LOCAL = 0.5  # share of the image up to which a receptive field is local


@final
@dataclass(frozen=True)
class Filters(Lens[Network, Splits | None, Training | None]):
    """First-layer weights before and after training, feature maps through the layers, and the patches that excite filters.

    `weights_before` and `weights_after` (filter, plane, y, x) are the first layer's, `maps/LAYER` (image, filter, y, x) the
    layers' responses after their activation. `score/LAYER` (filter, rank) are a filter's strongest responses, before the
    activation, over the images that are searched; `box/LAYER` is the receptive field there in px, exact from the graph.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 2, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[[[1.0, -1], [1, -1]]]]))  # bright on the left, dark on the right
    >>> image = torch.zeros(1, 6, 6); image[0, :, :3] = 1
    >>> view = Filters(top=1).look(Network(model, image[None]))
    >>> view["score/0"].tolist(), view["box/0"][0, 0].tolist()
    ([[2.0]], [0, 2, 2, 4])
    """

    layer: str | None = None
    """layer whose maps and filters are shown; by default several from the first to the last, which the words name"""
    filters: int = 16
    """filters drawn for each layer; the numbers hold all"""
    top: int = 9
    """strongest places for each filter"""
    limit: int | None = 1000
    """images that are searched, spread evenly over the split"""
    split: Literal["train", "val", "test", "named"] = "train"
    """images of a run that are searched: a split, or those that are named; with a ready model always the named ones"""

    def __post_init__(self) -> None:
        for name, value in (("filters", self.filters), ("top", self.top), ("limit", self.limit)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: must be at least 1; give a larger number.")
        check_choice("split", self.split, ("train", "val", "test", "named"))

    @torch.no_grad()
    def look(self, network: Network, splits: Splits | None = None, training: Training | None = None) -> View:
        readers = Readers(network.model, network.device)
        image = network.images[0]
        reader = readers.of(image.shape)
        layers = chosen(reader.layers, self.layer, _DEPTHS)
        network.note(f"layers: {', '.join(layer.name for layer in layers)}, of {len(reader.layers)} with filters")
        first = self._weights(network, training)
        images, maps = self._maps(network, readers, layers)
        # searching is the costly part, so only a few of the layers are searched
        few = _searched_layers(layers, [layer for layer in layers if _is_local(reader.fields(layer), image)])
        lot = searched(network, splits, self.split, self.limit)
        excited, names, labels = search(network, readers, few, self.top, lot)
        shown = {
            int(place)
            for one in excited
            for filter in one.order()[: self.filters]
            for place in one.image[filter]
            if place >= 0
        }
        kept = _collected(lot, shown)
        cut = self._cut(readers, excited, kept)
        notes = [_field(readers, one, image) for one in excited]
        page = main_page(network, first, maps, layers, images[0], excited, cut, self.filters, notes, len(names))
        files = {"filters_images.png": png(images_page(network, excited, kept, names, labels, min(8, self.filters)))}
        if len(images) > 1:
            files["filters_maps.png"] = png(maps_page(network, maps, layers, images, self.filters))
        numbers, axes = _numbers(network, first, maps, excited, names, labels, len(images))
        of = "images" if splits is None or self.split == "named" else f"{self.split} images"
        words = _words(network, first, layers, excited, labels, notes, f"{len(names):,} {of}") + _faults(maps)
        return View(page.drawn(), numbers, words, axes, files)

    def _weights(self, network: Network, training: Training | None) -> Weights | None:
        """The first layer's filters: before training where their start is known, and after it where there was one."""
        image = network.images[0]
        name = first_layer(network.model, image.to(network.device))
        if name is None:
            network.note("no first layer sees pixels: no weights can be drawn as pictures")
            return None
        own = weights(network.model, name, image)
        order = own.flatten(1).norm(dim=1).argsort(descending=True, stable=True).tolist()
        if training is None:
            return Weights(name, None, own, "", order)
        if not training.begun:
            return Weights(name, own, None, f"seed {network.seed}", order)
        before = weights(network.untrained(seed=network.seed), name, image)
        return Weights(name, before, own, f"the run's own start, seed {network.seed}", order)

    def _maps(
        self, network: Network, readers: Readers, layers: Sequence[Layer]
    ) -> tuple[list[Tensor], dict[str, list[NDArray[np.float32]]]]:
        """The first images, and each layer's responses to them, (F, h, w) or (F,)."""
        bytes_each = 4 * sum(int(np.prod(layer.shape)) for layer in layers)  # float32
        count = network.room(4 * bytes_each, most=min(_DRAWN, len(network.images)))
        if count < len(network.images):
            network.note(f"feature maps of the first {count} of {len(network.images)} images are kept")
        images = [network.images[place] for place in range(count)]
        maps: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in layers}
        for image in network.progress(images, "reading feature maps"):
            responses = readers.of(image.shape).read(image[None].to(network.device), list(maps))
            for name, (_, after) in responses.items():
                maps[name].append(after[0].float().cpu().numpy())
        return images, maps

    def _cut(
        self, readers: Readers, excited: Sequence[Excited], kept: Mapping[int, Tensor]
    ) -> dict[tuple[str, int, int], NDArray[np.float32]]:
        """What the shown filters see at their strongest places; boxes that the graph does not give are measured here."""
        cut = {}
        for one in excited:
            for filter in one.order()[: self.filters].tolist():
                for rank in range(one.image.shape[1]):
                    place = int(one.image[filter, rank])
                    if place < 0:
                        continue
                    reader = readers.of(kept[place].shape)
                    box = one.box[filter, rank]
                    if box[0] < 0:  # one gradient for each patch that is drawn
                        box[:] = reader.box(one.layer, int(one.row[filter, rank]), int(one.column[filter, rank]))
                    field = reader.fields(one.layer)
                    size = field.size if field is not None else (int(box[2] - box[0]), int(box[3] - box[1]))
                    cut[one.layer.name, filter, rank] = thumb(
                        cut_out(kept[place].float() / 255, box.tolist(), size), _PATCH
                    )
        return cut


def _searched_layers(layers: Sequence[Layer], local: Sequence[Layer]) -> list[Layer]:
    """Up to three layers: the first, the last, the narrowest, and then the deepest ones with a local receptive field."""
    narrowest = min(
        reversed(layers), key=lambda layer: int(np.prod(layer.shape[1:])) if layer.is_map else layer.shape[0]
    )
    preferred = [layers[0], layers[-1], narrowest, *reversed(local)]
    wanted = list(dict.fromkeys(layer.name for layer in preferred))[:_SEARCHED]
    return [layer for layer in layers if layer.name in wanted]


def _is_local(field: Fields | None, image: Tensor) -> bool:
    return field is not None and field.size[0] * field.size[1] <= _LOCAL * image.shape[1] * image.shape[2]


def _collected(lot: Searched, wanted: set[int]) -> dict[int, Tensor]:
    """The searched images at these positions, (C, H, W) uint8 each: as floats they would take four times the memory."""
    images: dict[int, Tensor] = {}
    place = 0
    for batch, _, _ in lot.batches():
        for image in batch:
            if place in wanted:
                images[place] = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            place += 1
        if len(images) == len(wanted):
            break
    return images


def _field(readers: Readers, one: Excited, image: Tensor) -> str:
    """A layer's receptive field in words."""
    layer = one.layer
    if not layer.is_map:
        return f"{layer.shape[0]} units that see the whole image"
    reader = readers.of(image.shape)
    field = reader.fields(layer)
    if field is None:
        return "receptive field measured by gradients, since the graph does not give it"
    apart = f", apart from factors of the whole image at {field.gates[0]}" if field.gates else ""
    whole = ", the whole image" if field.size == tuple(image.shape[1:]) else ""
    return f"receptive field {field.size[0]}×{field.size[1]} px{whole}{apart}"


def _numbers(
    network: Network,
    first: Weights | None,
    maps: Mapping[str, list[NDArray[np.float32]]],
    excited: Sequence[Excited],
    names: Sequence[str],
    labels: Sequence[int],
    count: int,
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    numbers: dict[str, NDArray[Any]] = {}
    axes: dict[str, tuple[str, ...]] = {}
    if first is not None:
        for name, side in (("weights_before", first.before), ("weights_after", first.after)):
            if side is not None:
                numbers[name], axes[name] = side.numpy(), ("filter", "plane", "y", "x")
        if first.change is not None:
            numbers["change"], axes["change"] = first.change, ("filter",)
    for name, responses in maps.items():
        numbers[f"maps/{name}"] = stacked(responses)
        axes[f"maps/{name}"] = ("image", "filter", "y", "x")[: 1 + responses[0].ndim]
    for one in excited:
        parts: dict[str, NDArray[Any]] = {
            "score": one.score,
            "image": one.image,
            "row": one.row,
            "column": one.column,
            "box": one.box,
        }
        for part, values in parts.items():
            numbers[f"{part}/{one.layer.name}"] = values
            axes[f"{part}/{one.layer.name}"] = ("filter", "rank", "top left bottom right")[: values.ndim]
        numbers[f"order/{one.layer.name}"], axes[f"order/{one.layer.name}"] = one.order(), ("shown",)
    numbers |= {
        "names": np.array([network.name(place) for place in range(count)], np.str_),
        "searched_name": np.array(names, np.str_),
        "searched_label": np.array(labels, np.int64),
    }
    axes |= {"names": ("image",), "searched_name": ("searched image",), "searched_label": ("searched image",)}
    return numbers, axes


def _words(
    network: Network,
    first: Weights | None,
    layers: Sequence[Layer],
    excited: Sequence[Excited],
    labels: Sequence[int],
    notes: Sequence[str],
    of: str,
) -> str:
    sentences = []
    if first is not None and first.change is not None:
        sentences.append(
            f"The filters of {first.layer} moved by {100 * float(np.median(first.change)):.2g} % of their norm "
            f"(median) from {first.start}."
        )
    elif first is not None and first.after is None:
        sentences.append(f"The filters of {first.layer} are as initialised ({first.start}): no training has begun.")
    elif first is not None:
        sentences.append(f"The first layer is {first.layer}; a ready model has no start to compare it with.")
    kind = "Feature maps" if layers[0].is_map else "Responses"
    sentences.append(f"{kind} of {', '.join(layer.name for layer in layers)}.")
    last = excited[-1]
    sentences.append(f"Searched {of} for {', '.join(one.layer.name for one in excited)} (the last: {notes[-1]}).")
    pure = _purest(last, labels)
    if pure is not None:
        filter, label, same, among = pure
        sentences.append(
            f"Filter {filter} of {last.layer.name} is the most specific to one class: {same} of its {among} strongest images "
            f"are of {network.label(label)}."
        )
    return " ".join(sentences)


def _faults(maps: Mapping[str, Sequence[NDArray[np.float32]]]) -> str:
    """Filters that respond alike everywhere, and numbers that are none, in words."""
    words, dead = "", []
    shown = max(len(responses) for responses in maps.values())
    for name, responses in maps.items():
        flat = [response.reshape(len(response), -1) for response in responses]  # (F, places) each
        if not all(bool(np.isfinite(one).all()) for one in flat):
            words += f" {name} responds with values that are not finite, which are drawn as 0."
        elif flat[0].shape[1] > 1 or shown > 1:
            low, high = np.min([one.min(1) for one in flat], 0), np.max([one.max(1) for one in flat], 0)  # (F,) each
            if (low == high).any():
                what = "filters" if flat[0].shape[1] > 1 else "units"
                dead.append(f"{int((low == high).sum())} of {len(low)} {what} of {name}")
    if dead:
        images = "image" if shown == 1 else f"{shown} images"
        words += f" Dead for the {images} shown, with one value everywhere: {', '.join(dead)}."
    return words


def _purest(one: Excited, labels: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The filter with most images of one class among its strongest, that class, how many, and of how many."""
    known = np.array([*labels, -1])[one.image]  # (F, T); -1 takes the last entry, no class
    best: tuple[int, int, int, int] | None = None
    for filter in one.order().tolist():
        own = known[filter][known[filter] >= 0]
        if len(own) < 2:
            continue
        classes, counts = np.unique(own, return_counts=True)
        if best is None or counts.max() > best[2]:
            best = filter, int(classes[counts.argmax()]), int(counts.max()), len(own)
    return best
