# SPDX-License-Identifier: Apache-2.0
"""Targets of a whole batch; the truth and the prediction have the same type.

Each type is a sequence over images: `len(target)`, `target[index]` (a tensor, slice or list of positions),
`type(target).cat([...])`, `target.to(device)`; `resized` and `moved` take its coordinates along with the images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Boxes", "Label", "Mask", "Picture", "Points", "Target", "Text", "target_of"]

Index = Tensor | slice | Sequence[int]
Move = Callable[[Tensor, bool], Tensor]
"""Moves the pixels of (N, C, H, W); where the flag is set, each takes the value of its nearest source."""


@dataclass(frozen=True)
class Target:
    """What all targets share: the fields are tensors or lists with one leading row per image."""

    def __len__(self) -> int:
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def __getitem__(self, index: Index) -> Self:
        return self._map(lambda value: _take(value, index))

    def to(self, device: torch.device | str) -> Self:
        """The same target with its tensors on `device`."""
        return self._map(
            lambda value: (
                value.to(device)
                if isinstance(value, Tensor)
                else [v.to(device) if isinstance(v, Tensor) else v for v in value]
            )
        )

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """The targets of consecutive batches as one."""
        joined: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if values[0] is None:
                joined[field.name] = None
            elif isinstance(values[0], Tensor):
                joined[field.name] = torch.cat(values)
            else:
                joined[field.name] = [row for value in values for row in value]
        return cls(**joined)

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Target:
        """The target after its images became `size` = (H, W): x' = scale·x + offset, `scale`, `offset` (N, 2) as (x, y)."""
        return self

    def moved(self, matrix: Tensor, move: Move) -> Self:
        """The target after its images were moved: x' = matrix·(x, y, 1) in px, `matrix` (N, 2, 3); pixels go through `move`."""
        return self

    def scaled(self, scale: Tensor) -> Self:
        """Its coordinates in px of images that are `scale` (N, 2) times as large, as (x, y); pixels and classes as they are."""
        return self

    def loaded(self) -> Target:
        """The target with all its values in memory, for images of one size."""
        return self

    def _map(self, change: Any) -> Self:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return type(self)(**{name: None if value is None else change(value) for name, value in values.items()})


T = TypeVar("T", bound=Target)


def target_of(targets: Mapping[str, Target], name: str, kind: type[T]) -> T:
    """The target of that name, of the type that it must have.

    >>> target_of({"label": Label(torch.tensor([1]))}, "label", Label).index
    tensor([1])

    Raises:
        TypeError: it has another type, which is a mistake of the program's.
    """
    target = targets[name]
    if not isinstance(target, kind):
        raise TypeError(f"target {name!r} is a {type(target).__name__}, not a {kind.__name__}")
    return target


def _take(value: Any, index: Index) -> Any:
    if isinstance(value, Tensor) or isinstance(index, slice):
        return value[index]
    return [value[int(i)] for i in index]


def _whence(scale: Tensor, offset: Tensor, size: tuple[int, int], before: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """The source row (N, H) and column (N, W) of each new pixel's centre, and whether it lies inside, (N, H, W)."""
    sources, inside = [], []
    for axis, (new, old) in enumerate(zip(size[::-1], reversed(before), strict=True)):  # x, then y
        place = (torch.arange(new) + 0.5 - offset[:, axis, None]) / scale[:, axis, None]
        inside.append((place >= 0) & (place < old))
        sources.append(place.floor().long().clamp_(0, old - 1))
    return sources[1], sources[0], inside[1][:, :, None] & inside[0][:, None, :]


def _apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (…, K, 2) under matrices (…, 2, 3)."""
    return points @ matrix[..., :2].mT + matrix[..., None, :, 2]


def _corners(boxes: Tensor) -> Tensor:
    """The four corners of boxes (n, 4) as points (4n, 2)."""
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([x0, y0, x1, y0, x0, y1, x1, y1], 1).view(-1, 2)


def _around(points: Tensor) -> Tensor:
    """The smallest upright boxes (n, 4) around moved corners (4n, 2)."""
    grouped = points.view(-1, 4, 2)
    return torch.cat([grouped.amin(1), grouped.amax(1)], 1)


@final
@dataclass(frozen=True)
class Label(Target):
    """One class per image.

    >>> Label(torch.tensor([2, 0]))[[1]].index
    tensor([0])
    """

    index: Tensor  # (N,) int64
    probabilities: Tensor | None = None  # (N, K) float32, rows sum to 1; predictions only


@final
@dataclass(frozen=True)
class Picture(Target):
    """One picture per image, float32 in [0, 1] (uint8 in stores)."""

    pixels: Tensor  # (N, C, H, W)

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Picture:
        if bool((scale == 1).all()):  # a crop or padding by edges: nothing is interpolated
            rows, columns, _ = _whence(scale, offset, size, self.pixels.shape[2:])
            flat = (rows[:, :, None] * self.pixels.shape[3] + columns[:, None, :]).flatten(1)[:, None]
            moved = self.pixels.flatten(2).gather(2, flat.expand(-1, self.pixels.shape[1], -1))
            return Picture(moved.view(*self.pixels.shape[:2], *size))
        return Picture(F.interpolate(self.pixels.float(), size, mode="bilinear", antialias=True))

    def moved(self, matrix: Tensor, move: Move) -> Picture:
        return Picture(move(self.pixels, False))


@final
@dataclass(frozen=True)
class Boxes(Target):
    """Any number of boxes per image, their corners in px; pixel (i, j) covers [j, j+1) × [i, i+1)."""

    corners: list[Tensor]  # N of (n, 4) float32: x0, y0, x1, y1
    labels: list[Tensor]  # N of (n,) int64
    scores: list[Tensor] | None = None  # N of (n,) float32; predictions only
    ignored: list[Tensor] | None = (
        None  # N of (n,) bool: crowds, which count neither as found nor as missed; truth only
    )

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Boxes:
        moved = [c * s.repeat(2) + o.repeat(2) for c, s, o in zip(self.corners, scale, offset, strict=True)]
        return Boxes(moved, self.labels, self.scores, self.ignored)

    def scaled(self, scale: Tensor) -> Boxes:
        moved = [boxes * factor.repeat(2) for boxes, factor in zip(self.corners, scale, strict=True)]
        return Boxes(moved, self.labels, self.scores, self.ignored)

    def moved(self, matrix: Tensor, move: Move) -> Boxes:
        corners = [_around(_apply(own, _corners(boxes))) for own, boxes in zip(matrix, self.corners, strict=True)]
        return Boxes(corners, self.labels, self.scores, self.ignored)


@final
@dataclass(frozen=True)
class Mask(Target):
    """One class per pixel; 255 is void (not counted)."""

    classes: Tensor  # (N, H, W) uint8
    probabilities: Tensor | None = None  # (N, K, H, W) float32; predictions only

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Mask:
        rows, columns, inside = _whence(scale, offset, size, self.classes.shape[1:])
        flat = (rows[:, :, None] * self.classes.shape[2] + columns[:, None, :]).flatten(1)
        moved = self.classes.flatten(1).gather(1, flat).view(len(self.classes), *size)
        return Mask(moved.masked_fill_(~inside, 255))

    def moved(self, matrix: Tensor, move: Move) -> Mask:
        classes = move(self.classes[:, None].float(), True)  # nearest: a mixture of two classes is neither
        return Mask(classes[:, 0].to(self.classes.dtype))


@final
@dataclass(frozen=True)
class Points(Target):
    """K keypoints per image as (x, y) in px; NaN where a point is not visible."""

    xy: Tensor  # (N, K, 2) float32

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Points:
        return Points(self.xy * scale[:, None] + offset[:, None])

    def scaled(self, scale: Tensor) -> Points:
        return Points(self.xy * scale[:, None])

    def moved(self, matrix: Tensor, move: Move) -> Points:
        return Points(_apply(matrix, self.xy))


@final
@dataclass(frozen=True)
class Text(Target):
    """One text per image."""

    lines: list[str]
