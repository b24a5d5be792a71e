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

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._images import stacked
from pellucid.lenses.filters.figure import Weights, images_page, main_page, maps_page, png
from pellucid.lenses.filters.layers import Layer, chosen, first_layer, weights
from pellucid.lenses.filters.search import Excited, Readers, cut_out, search, searched
from pellucid.lenses.filters.tiles import thumb

__all__ = ["Filters"]

_DEPTHS = 6  # layers of which there are feature maps
_SEARCHED = 3  # of them, layers whose filters are searched for what excites them
_DRAWN = 12  # images whose feature maps are drawn and kept
_PATCH = 64  # px: of the largest patch as it is drawn
_LOCAL = 0.5  # share of the image up to which a receptive field shows a part rather than the whole


@final
@dataclass(frozen=True)
class Filters(Lens):
    """First-layer weights before and after training, feature maps through the layers, and the patches that excite filters.

    `weights_before` and `weights_after` (filter, plane, y, x) are the first layer's, `maps/LAYER` (image, filter, y, x) what each
    layer answers behind its activation. `score/LAYER` (filter, rank) are a filter's strongest answers, before the activation,
    over the images that are searched; `box/LAYER` px of the receptive field there, which follows exactly from the graph.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 2, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[[[1.0, -1], [1, -1]]]]))  # bright on the left, dark on the right
    >>> image = torch.zeros(1, 6, 6); image[0, :, :3] = 1
    >>> view = Filters(top=1).look(Subject(model=model, images=image[None]))
    >>> view["score/0"].tolist(), view["box/0"][0, 0].tolist()
    ([[2.0]], [0, 2, 2, 4])
    """

    layer: str | None = None
    """the layer whose maps and filters are shown; by default some from the first to the last, which are named"""
    filters: int = 16
    """filters of each layer that are drawn; the numbers hold all"""
    top: int = 9
    """strongest places for each filter"""
    limit: int | None = 1000
    """images that are searched, spread evenly over the split"""
    split: Literal["train", "val", "test", "named"] = "train"
    """which of a run's images are searched; named: those that were named. Without a run it is these in any case"""

    def __post_init__(self) -> None:
        for name, value in (("filters", self.filters), ("top", self.top), ("limit", self.limit)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: must be at least 1; give another.")
        if self.split not in ("train", "val", "test", "named"):
            raise UsageError(f"split={self.split!r}: is not known; choose train, val, test or named.")

    @torch.no_grad()
    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError(
                "lens='filters': needs a model and at least one image; name an image file, or look at a run."
            )
        readers = Readers(subject.model, subject.device)
        first = subject.images[0]
        reader = readers.of(first.shape)
        layers = chosen(reader.layers, self.layer, _DEPTHS)
        subject.note(f"layers: {', '.join(layer.name for layer in layers)}, of {len(reader.layers)} with filters")
        start = self._weights(subject, first)
        images, maps = self._maps(subject, readers, layers)
        looked = _looked(layers, [layer for layer in layers if _is_local(reader.fields(layer), first)])
        count, batches = searched(subject, self.split, self.limit)
        excited, names, labels = search(subject, readers, looked, self.top, count, batches)
        wanted = {
            int(place)
            for one in excited
            for filter in one.order()[: self.filters]
            for place in one.image[filter]
            if place >= 0
        }
        kept = _collected(batches, wanted)
        cut = self._cut(readers, excited, kept)
        told = [_field(readers, one, first) for one in excited]
        page = main_page(subject, start, maps, layers, images[0], excited, cut, self.filters, told, len(names))
        files = {"filters_images.png": png(images_page(subject, excited, kept, names, labels, min(8, self.filters)))}
        if len(images) > 1:
            files["filters_maps.png"] = png(maps_page(subject, maps, layers, images, self.filters))
        numbers, axes = _numbers(subject, start, maps, excited, names, labels, len(images))
        words = _words(subject, start, layers, excited, labels, told, self.split, len(names))
        return View(page.drawn(), numbers, words, axes, files)

    def _weights(self, subject: Subject, image: Tensor) -> Weights | None:
        """The first layer's filters, before training where the start can be had, and after, where there was a training."""
        model = subject.model
        assert model is not None
        name = first_layer(model, image.to(subject.device))
        if name is None:
            subject.note("no first layer sees pixels: there are no weights to be drawn as pictures")
            return None
        own = weights(model, name, image)
        order = own.flatten(1).norm(dim=1).argsort(descending=True, stable=True).tolist()
        if subject.batches is None or subject.untrained is None:
            return Weights(name, None, own, "", order)
        if not subject.history:  # a training that has not begun
            return Weights(name, own, None, f"seed {subject.seed}", order)
        before = weights(subject.untrained(seed=subject.seed), name, image)
        return Weights(name, before, own, f"the run's own start, seed {subject.seed}", order)

    def _maps(
        self, subject: Subject, readers: Readers, layers: Sequence[Layer]
    ) -> tuple[list[Tensor], dict[str, list[NDArray[np.float32]]]]:
        """Some images, and what each layer answers to them."""
        assert subject.images is not None
        bytes_each = 4 * sum(int(np.prod(layer.shape)) for layer in layers)
        count = subject.room(4 * bytes_each, most=min(_DRAWN, len(subject.images)))
        if count < len(subject.images):
            subject.note(f"feature maps of the first {count} of {len(subject.images)} images are kept")
        images = [subject.images[place] for place in range(count)]
        maps: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in layers}
        for image in subject.progress(images, "reading feature maps"):
            found = readers.of(image.shape).read(image[None].to(subject.device), list(maps))
            for name, (_, after) in found.items():
                maps[name].append(after[0].float().cpu().numpy())
        return images, maps

    def _cut(
        self, readers: Readers, excited: Sequence[Excited], kept: Mapping[int, Tensor]
    ) -> dict[tuple[str, int, int], NDArray[np.float32]]:
        """Small pictures of what the shown filters see at their strongest places; boxes that the graph does not tell are measured."""
        cut = {}
        for one in excited:
            for filter in one.order()[: self.filters].tolist():
                for rank in range(one.image.shape[1]):
                    place = int(one.image[filter, rank])
                    if place < 0:
                        continue
                    reader = readers.of(kept[place].shape)
                    box = one.box[filter, rank]
                    if box[0] < 0:
                        box[:] = reader.box(one.layer, int(one.row[filter, rank]), int(one.column[filter, rank]))
                    field = reader.fields(one.layer)
                    size = field.size if field is not None else (int(box[2] - box[0]), int(box[3] - box[1]))
                    cut[one.layer.name, filter, rank] = thumb(
                        cut_out(kept[place].float() / 255, box.tolist(), size), _PATCH
                    )
        return cut


def _looked(layers: Sequence[Layer], local: Sequence[Layer]) -> list[Layer]:
    """The first layer, the narrowest and the last, and where there is room the deepest that sees a part of the image."""
    narrowest = min(
        reversed(layers), key=lambda layer: int(np.prod(layer.shape[1:])) if layer.is_map else layer.shape[0]
    )
    wanted = list(
        dict.fromkeys([layers[0].name, layers[-1].name, narrowest.name, *(one.name for one in reversed(local))])
    )
    return [layer for layer in layers if layer.name in wanted[:_SEARCHED]]


def _is_local(field: Any, image: Tensor) -> bool:
    return field is not None and field.size[0] * field.size[1] <= _LOCAL * image.shape[1] * image.shape[2]


def _collected(batches: Any, wanted: set[int]) -> dict[int, Tensor]:
    """The searched images at these places, (C, H, W) uint8 each: as floats they would take four times the memory."""
    found: dict[int, Tensor] = {}
    place = 0
    for images, _, _ in batches():
        for image in images:
            if place in wanted:
                found[place] = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            place += 1
        if len(found) == len(wanted):
            break
    return found


def _field(readers: Readers, one: Excited, image: Tensor) -> str:
    """A layer's receptive field in words."""
    layer = one.layer
    if not layer.is_map:
        return f"{layer.shape[0]} units that see the whole image"
    reader = readers.of(image.shape)
    field = reader.fields(layer)
    if field is None:
        return "receptive field measured by gradients, since it cannot be read off the graph"
    apart = f", apart from factors of the whole image at {field.gates[0]}" if field.gates else ""
    whole = ", the whole image" if field.size == tuple(image.shape[1:]) else ""
    return f"receptive field {field.size[0]}×{field.size[1]} px{whole}{apart}"


def _numbers(
    subject: Subject,
    start: Weights | None,
    maps: Mapping[str, list[NDArray[np.float32]]],
    excited: Sequence[Excited],
    names: Sequence[str],
    labels: Sequence[int],
    count: int,
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    numbers: dict[str, NDArray[Any]] = {}
    axes: dict[str, tuple[str, ...]] = {}
    if start is not None:
        for name, side in (("weights_before", start.before), ("weights_after", start.after)):
            if side is not None:
                numbers[name], axes[name] = side.numpy(), ("filter", "plane", "y", "x")
        if start.change is not None:
            numbers["change"], axes["change"] = start.change, ("filter",)
    for name, found in maps.items():
        numbers[f"maps/{name}"] = stacked(found)
        axes[f"maps/{name}"] = ("image", "filter", "y", "x")[: 1 + found[0].ndim]
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
        "names": np.array([subject.name(place) for place in range(count)], np.str_),
        "searched_name": np.array(names, np.str_),
        "searched_label": np.array(labels, np.int64),
    }
    axes |= {"names": ("image",), "searched_name": ("searched image",), "searched_label": ("searched image",)}
    return numbers, axes


def _words(
    subject: Subject,
    start: Weights | None,
    layers: Sequence[Layer],
    excited: Sequence[Excited],
    labels: Sequence[int],
    told: Sequence[str],
    split: str,
    count: int,
) -> str:
    said = []
    if start is not None and start.change is not None:
        said.append(
            f"The filters of {start.layer} moved by {100 * float(np.median(start.change)):.2g} % of their norm "
            f"(median) from {start.start}."
        )
    elif start is not None and start.after is None:
        said.append(f"The filters of {start.layer} are as initialised ({start.start}): no training has begun.")
    elif start is not None:
        said.append(f"The first layer is {start.layer}; of a ready model there is no start to compare with.")
    kind = "Feature maps" if layers[0].is_map else "Answers"
    said.append(f"{kind} of {', '.join(layer.name for layer in layers)}.")
    of = "images" if subject.batches is None or split == "named" else f"{split} images"
    one = excited[-1]
    said.append(f"Searched {count:,} {of} for {', '.join(each.layer.name for each in excited)} (the last: {told[-1]}).")
    pure = _purest(one, labels)
    if pure is not None:
        filter, label, same, among = pure
        said.append(
            f"Filter {filter} of {one.layer.name} speaks for one class most: {same} of its {among} strongest images "
            f"are of {subject.label(label)}."
        )
    return " ".join(said)


def _purest(one: Excited, labels: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The filter whose strongest images are most of one class, that class, how many are, of how many."""
    known = np.array([*labels, -1])[one.image]  # (F, T)
    best: tuple[int, int, int, int] | None = None
    for filter in one.order().tolist():
        own = known[filter][known[filter] >= 0]
        if len(own) < 2:
            continue
        classes, counts = np.unique(own, return_counts=True)
        if best is None or counts.max() > best[2]:
            best = filter, int(classes[counts.argmax()]), int(counts.max()), len(own)
    return best
