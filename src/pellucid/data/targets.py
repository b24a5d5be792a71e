# SPDX-License-Identifier: Apache-2.0
"""Targets of a whole batch; the truth and the prediction have the same type.

Each type is a sequence over images: `len(target)`, `target[index]` (a tensor, slice or list of positions),
`type(target).cat([...])`, `target.to(device)`; `resized` and `moved` take its places along with the images, and `clipped`
cuts them at the frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.geometry import boxes_around, corners_of, inside, mirrors, moved_points, sources, visible
from pellucid.errors import UsageError

__all__ = ["VOID", "Boxes", "Frames", "Label", "Mask", "Move", "Picture", "Points", "Target", "Text", "target_of"]

Index = Tensor | slice | Sequence[int]
Move = Callable[[Tensor, float | None], Tensor]
"""Moves the pixels of (N, C, H, W), whose edges repeat; with a number, each takes the value of its nearest source, and that
number where it has none."""

_SHARED = {"shared": True}  # of a field's metadata: one value for all images
VOID = 255
"""The class of pixels that count for nothing."""


@dataclass(frozen=True)
class Target:
    """What all targets have: the fields are tensors or lists with one leading row per image, but for those that are shared."""

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
            if values[0] is None or field.metadata == _SHARED:
                joined[field.name] = values[0]
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

    def unfitted(self, scale: Tensor, offset: Tensor, sides: Tensor) -> Self:
        """An answer in px of images with these sides (N, 2) as (x, y), whose pixels x the model saw at scale·x + offset."""
        return self

    def clipped(self, size: tuple[int, int]) -> Self:
        """The target without what lies outside of its images' frame (H, W)."""
        return self

    def loaded(self) -> Target:
        """The target with all its values in memory, for images of one size."""
        return self

    @property
    def rows(self) -> dict[str, Any]:
        """The fields with a row per image, by name, as far as they are there."""
        own = [field.name for field in dataclasses.fields(self) if field.metadata != _SHARED]
        return {name: value for name in own if (value := getattr(self, name)) is not None}

    def _map(self, change: Any) -> Self:
        return dataclasses.replace(self, **{name: change(value) for name, value in self.rows.items()})


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


@final
@dataclass(frozen=True)
class Label(Target):
    """One class per image.

    >>> Label(torch.tensor([2, 0]))[[1]].index
    tensor([0])
    """

    index: Tensor  # (N,) int64
    probabilities: Tensor | None = None  # (N, K) float32, rows sum to 1; of predictions, and of mixed images


@final
@dataclass(frozen=True)
class Picture(Target):
    """One picture per image, float32 in [0, 1] (uint8 in stores)."""

    pixels: Tensor  # (N, C, H, W)

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Picture:
        if bool((scale == 1).all()):  # a crop or padding by edges: nothing is interpolated
            rows, columns, _ = sources(scale, offset, size, self.pixels.shape[2:])
            flat = (rows[:, :, None] * self.pixels.shape[3] + columns[:, None, :]).flatten(1)[:, None]
            moved = self.pixels.flatten(2).gather(2, flat.expand(-1, self.pixels.shape[1], -1))
            return Picture(moved.view(*self.pixels.shape[:2], *size))
        own = self.pixels.shape[2:]
        inner = tuple(round(side * float(factor)) for side, factor in zip(own, scale[0].flip(0), strict=True))
        if inner == size and not bool(offset.any()):
            return Picture(F.interpolate(self.pixels.float(), size, mode="bilinear", antialias=True))
        whole = F.interpolate(self.pixels.float(), (inner[0], inner[1]), mode="bilinear", antialias=True)
        return Picture(whole).resized(torch.ones_like(scale), offset.round(), size)

    def moved(self, matrix: Tensor, move: Move) -> Picture:
        return Picture(move(self.pixels, None))


@final
@dataclass(frozen=True)
class Boxes(Target):
    """Any number of boxes per image, their corners in px; pixel (i, j) covers [j, j+1) × [i, i+1).

    A rotated box becomes the smallest upright one around its corners, which is larger than its object needs: the object's
    outline is not known here. Mirrors, shifts and turns by 90° are exact. A box is cut at the frame, and dropped where less
    than a quarter of its area is left.
    """

    corners: list[Tensor]  # N of (n, 4) float32: x0, y0, x1, y1
    labels: list[Tensor]  # N of (n,) int64
    scores: list[Tensor] | None = None  # N of (n,) float32; predictions only
    ignored: list[Tensor] | None = (
        None  # N of (n,) bool: crowds, which count neither as found nor as missed; truth only
    )

    @property
    def counting(self) -> list[Tensor]:
        """The labels of each image's boxes without those that are ignored, N of (m,) int64."""
        if self.ignored is None:
            return self.labels
        return [own[~crowd] for own, crowd in zip(self.labels, self.ignored, strict=True)]

    def holders(self, classes: int) -> Tensor:
        """How many images have a box of each class that is not ignored, (classes,) int64.

        >>> Boxes([torch.zeros(3, 4), torch.zeros(1, 4)], [torch.tensor([0, 0, 1]), torch.tensor([1])]).holders(3).tolist()
        [1, 2, 0]
        """
        counting = self.counting
        if not counting:
            return torch.zeros(classes, dtype=torch.int64)
        of = torch.arange(len(counting)).repeat_interleave(torch.tensor([len(own) for own in counting]))
        labels = torch.cat(counting)
        most = max(classes, int(labels.max()) + 1) if len(labels) else max(1, classes)
        return torch.bincount((of * most + labels).unique() % most, minlength=classes)

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Boxes:
        twice = (scale.repeat(1, 2), offset.repeat(1, 2))  # (N, 4)
        return self._changed(lambda boxes, of: boxes * twice[0][of] + twice[1][of])

    def scaled(self, scale: Tensor) -> Boxes:
        return self.resized(scale, torch.zeros_like(scale), (0, 0))

    def moved(self, matrix: Tensor, move: Move) -> Boxes:
        return self._changed(lambda boxes, of: boxes_around(moved_points(matrix[of], corners_of(boxes))))

    def clipped(self, size: tuple[int, int]) -> Boxes:
        if not self.corners:
            return self
        counts = [len(own) for own in self.corners]
        boxes, kept = visible(torch.cat(self.corners), size)
        left = [int(own.sum()) for own in kept.split(counts)] if not bool(kept.all()) else counts
        rows = {name: torch.cat(value) for name, value in (self.rows | {"corners": [boxes]}).items()}
        return Boxes(**{name: list(value[kept].split(left)) for name, value in rows.items()})

    def _changed(self, change: Callable[[Tensor, Tensor], Tensor]) -> Boxes:
        """All boxes changed at once: `change` takes them, (n, 4), and the position of each one's image, (n,)."""
        if not self.corners:
            return self
        counts = [len(own) for own in self.corners]
        boxes = torch.cat(self.corners)
        of = torch.arange(len(counts), device=boxes.device)
        of = of.repeat_interleave(torch.tensor(counts, device=boxes.device), output_size=len(boxes))
        return dataclasses.replace(self, corners=list(change(boxes, of).split(counts)))


@final
@dataclass(frozen=True)
class Mask(Target):
    """One class per pixel; 255 is void (not counted).

    Pixels take the class of their nearest source: a mixture of two classes is neither. Where an image is continued beyond
    its frame, by repeated edges, the mask is void: nobody knows what was there.
    """

    classes: Tensor  # (N, H, W) uint8
    probabilities: Tensor | None = None  # (N, K, H, W) float32; predictions only

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Mask:
        rows, columns, within = sources(scale, offset, size, self.classes.shape[1:])
        flat = (rows[:, :, None] * self.classes.shape[2] + columns[:, None, :]).flatten(1)
        moved = self.classes.flatten(1).gather(1, flat).view(len(self.classes), *size)
        return Mask(moved.masked_fill_(~within, VOID))

    def moved(self, matrix: Tensor, move: Move) -> Mask:
        classes = move(self.classes[:, None].float(), VOID)
        return Mask(classes[:, 0].to(self.classes.dtype))


@final
@dataclass(frozen=True)
class Points(Target):
    """K keypoints per image as (x, y) in px; NaN where a point is not visible.

    >>> eyes = Points(torch.tensor([[[2.0, 5], [7, 4]]]), mirror=(1, 0))
    >>> eyes.moved(torch.tensor([[[-1.0, 0, 10], [0, 1, 0]]]), lambda pixels, fill: pixels).xy.tolist()
    [[[3.0, 4.0], [8.0, 5.0]]]
    """

    xy: Tensor  # (N, K, 2) float32
    # K positions: what each point becomes in a mirror, as a left eye becomes the right one; None where that is not known
    mirror: tuple[int, ...] | None = dataclasses.field(default=None, metadata=_SHARED)

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Points:
        return Points(self.xy * scale[:, None] + offset[:, None], self.mirror)

    def scaled(self, scale: Tensor) -> Points:
        return Points(self.xy * scale[:, None], self.mirror)

    def moved(self, matrix: Tensor, move: Move) -> Points:
        xy, mirrored = moved_points(matrix, self.xy), mirrors(matrix)
        if bool(mirrored.any()):
            self.check_mirror()
            exchanged = xy if self.mirror is None else xy[:, list(self.mirror)]
            xy = torch.where(mirrored[:, None, None], exchanged, xy)
        return Points(xy, self.mirror)

    def clipped(self, size: tuple[int, int]) -> Points:
        return Points(self.xy.masked_fill(~inside(self.xy, size)[..., None], torch.nan), self.mirror)

    def check_mirror(self) -> None:
        """Raise `UsageError` if it is not known which points are exchanged in a mirror."""
        if self.mirror is None and self.xy.shape[1] > 1:
            raise UsageError(
                f"flip=True: would exchange left and right, and which of the {self.xy.shape[1]} points are partners is not known; "
                "name them left_… and right_… in the annotations, or leave out --flip."
            )


@final
@dataclass(frozen=True)
class Frames(Target):
    """Where the whole of each image lies in px of the size that it was fitted to: what is beyond is padding, or was cut off."""

    corners: Tensor  # (N, 4) float32: x0, y0, x1, y1

    @classmethod
    def of(cls, scale: Tensor, offset: Tensor, sides: Tensor) -> Frames:
        """Of images with these sides (N, 2) as (x, y), whose pixels x are now at scale·x + offset.

        >>> Frames.of(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 2]]), torch.tensor([[20.0, 10]])).corners.tolist()
        [[0.0, 2.0, 10.0, 7.0]]
        """
        return cls(torch.cat([offset, scale * sides + offset], 1))


@final
@dataclass(frozen=True)
class Text(Target):
    """One text per image."""

    lines: list[str]
