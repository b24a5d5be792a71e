# SPDX-License-Identifier: Apache-2.0
"""Views of an image: mirrored, turned, larger and smaller. An answer can be the mean of those for several of them.

Known as test-time augmentation: Krizhevsky et al. 2012 (section 4.1) average a classifier's probabilities over mirrored crops, Chen et
al. 2017 (DeepLab, section 4.1) those of pixels over mirrored images of several sizes, Lim et al. 2017 (section 3.5) restored images
over all turns and mirrors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, final, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import UsageError

__all__ = ["AnswersViews", "View", "Views", "in_views"]

_LEAST, _MOST = 0.25, 4.0  # factors of the size


@final
@dataclass(frozen=True)
class View:
    """An image mirrored, then turned, at a multiple of its size."""

    mirrored: bool = False
    turns: int = 0  # by 90°, counter-clockwise
    factor: float = 1.0

    def seen(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Images (B, C, H, W) in this view.

        >>> import torch
        >>> View(mirrored=True, turns=1).seen(torch.tensor([[[[1.0, 2], [3, 4]]]])).tolist()
        [[[[1.0, 3.0], [2.0, 4.0]]]]

        Args:
            images: at any size.
            size: (H, W) of the plain view; by default that of the images.
        """
        wanted = self._sides(size or (images.shape[2], images.shape[3]))
        if wanted != tuple(images.shape[2:]):
            images = F.interpolate(images, wanted, mode="bilinear", antialias=True)
        images = images.flip(3) if self.mirrored else images
        return images.rot90(self.turns, (2, 3)) if self.turns else images

    def back(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps (B, K, h, w) of images in this view, as maps (B, K, H, W) of the images at a size (H, W).

        >>> import torch
        >>> images = torch.rand(1, 2, 3, 5)
        >>> view = View(mirrored=True, turns=3)
        >>> torch.equal(view.back(view.seen(images), (3, 5)), images)
        True
        """
        maps = maps.rot90(-self.turns, (2, 3)) if self.turns else maps
        maps = maps.flip(3) if self.mirrored else maps
        return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size, mode="bilinear")

    def placed(self, corners: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes (…, 4) of images of a size (H, W), in px of this view.

        >>> import torch
        >>> View(mirrored=True, turns=1, factor=2.0).placed(torch.tensor([1.0, 2, 3, 6]), (10, 20)).tolist()
        [4.0, 2.0, 12.0, 6.0]
        """
        height, width = self._sides(size)
        corners = corners * corners.new_tensor([width / size[1], height / size[0]]).repeat(2)
        corners = _mirrored(corners, width) if self.mirrored else corners
        return _turned(corners, self.turns, (height, width))

    def placed_back(self, corners: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes (…, 4) in this view, in px of the images of a size (H, W): the inverse of `placed`.

        >>> import torch
        >>> View(mirrored=True, turns=1, factor=2.0).placed_back(torch.tensor([4.0, 2, 12, 6]), (10, 20)).tolist()
        [1.0, 2.0, 3.0, 6.0]
        """
        height, width = self._sides(size)
        corners = _turned(corners, -self.turns, (width, height) if self.turns % 2 else (height, width))
        corners = _mirrored(corners, width) if self.mirrored else corners
        return corners * corners.new_tensor([size[1] / width, size[0] / height]).repeat(2)

    def _sides(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of this view before it is turned."""
        return max(1, round(size[0] * self.factor)), max(1, round(size[1] * self.factor))


def _mirrored(corners: Tensor, width: int) -> Tensor:
    x0, y0, x1, y1 = corners.unbind(-1)
    return torch.stack([width - x1, y0, width - x0, y1], -1)


def _turned(corners: Tensor, turns: int, size: tuple[int, int]) -> Tensor:
    """Boxes (…, 4) in images of a size (H, W) after so many turns by 90°, counter-clockwise."""
    height, width = size
    for _ in range(turns % 4):
        x0, y0, x1, y1 = corners.unbind(-1)
        corners = torch.stack([y0, width - x1, y1, width - x0], -1)
        height, width = width, height
    return corners


@final
@dataclass(frozen=True)
class Views:
    """All views that are made of an image; without any kind, the image alone.

    >>> views = Views.of(["flip", 1.25])
    >>> len(views), views.words
    (4, 'mean of 4 views of each image: as it is and mirrored, at 1 and 1.25 times the size')
    >>> Views.of(["sideways"])
    Traceback (most recent call last):
    pellucid.errors.UsageError: views='sideways': is no view; give flip, turn, or factors of the size from 0.25 to 4 such as 1.25.
    """

    flip: bool = False  # left and right exchanged
    turn: bool = False  # by 90°, 180° and 270°
    factors: tuple[float, ...] = ()  # of the size, beside 1

    @classmethod
    def of(cls, asked: Sequence[str | float] | str | float) -> Views:
        """The views that words and numbers name.

        Raises:
            UsageError: one of them is no view.
        """
        names = [asked] if isinstance(asked, (str, int, float)) else list(asked)
        words = {name for name in names if name in ("flip", "turn")}
        factors = {_factor(name) for name in names if name not in words} - {1.0}
        return cls("flip" in words, "turn" in words, tuple(sorted(factors)))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kinds of views there are beside the image: flip, turn, scale."""
        there = {"flip": self.flip, "turn": self.turn, "scale": bool(self.factors)}
        return tuple(name for name, asked in there.items() if asked)

    @property
    def named(self) -> list[str]:
        """As on the command line."""
        return ["flip"] * self.flip + ["turn"] * self.turn + [f"{factor:g}" for factor in self.factors]

    @property
    def words(self) -> str:
        """What answers are."""
        ways = ["as it is"] * (self.flip or self.turn) + ["mirrored"] * self.flip
        ways += ["each turned by 90°, 180° and 270°" if self.flip else "turned by 90°, 180° and 270°"] * self.turn
        sizes = ", ".join(f"{factor:g}" for factor in sorted({1.0, *self.factors}))
        said = [" and ".join(ways)] * bool(ways)
        said += [f"at {' and '.join(sizes.rsplit(', ', 1))} times the size"] * bool(self.factors)
        return f"mean of {len(self)} views of each image: {', '.join(said)}" if said else "each image as it is"

    def __len__(self) -> int:
        return (1 + self.flip) * (4 if self.turn else 1) * (1 + len(self.factors))

    def __iter__(self) -> Iterator[View]:
        for factor in (1.0, *self.factors):
            for mirrored in (False, True)[: 1 + self.flip]:
                for turns in range(4 if self.turn else 1):
                    yield View(mirrored, turns, factor)

    def mean(
        self,
        answer: Callable[[Tensor], Tensor],
        images: Tensor,
        size: tuple[int, int] | None = None,
        back: Callable[[Tensor, View], Tensor] | None = None,
    ) -> Tensor:
        """The mean answer: of vectors (B, K) as they are, or of maps (B, K, H, W) turned back, at the size of the images.

        >>> import torch
        >>> images = torch.rand(2, 1, 4, 6)
        >>> torch.allclose(Views(flip=True, turn=True).mean(torch.sqrt, images), images.sqrt())
        True

        Args:
            answer: the model's answer for images (B, C, h, w).
            images: (B, C, H, W).
            size: (H, W) at which a plain image is seen; by default its own.
            back: how vectors with places in them are turned back.
        """
        own = (images.shape[2], images.shape[3])
        total: Tensor | None = None
        for view in self:
            found = answer(view.seen(images, size))
            if back is not None:
                found = back(found, view)
            elif found.ndim == 4:
                found = view.back(found, own)
            total = found if total is None else total.add_(found)
        assert total is not None, "there is the image itself"
        return total if len(self) == 1 else total.div_(len(self))


def _factor(name: Any) -> float:
    try:
        factor = float(name)
    except (TypeError, ValueError):
        factor = 0.0
    if isinstance(name, bool) or not _LEAST <= factor <= _MOST:
        raise UsageError(
            f"views={name!r}: is no view; give flip, turn, or factors of the size from {_LEAST:g} to {_MOST:g} such as 1.25."
        )
    return factor


@runtime_checkable
class AnswersViews(Protocol):
    """An answer can be the mean of those for several views of an image."""

    view_kinds: ClassVar[Sequence[str]]  # of flip, turn, scale
    views: Any  # the `Views` whose mean is answered; a property for type checkers, since tasks are frozen

    def viewed(self, views: Views) -> Self:
        """This task, which answers with the mean over these views; raises `UsageError` where the data do not allow them."""


def in_views(name: str, task: Any, asked: Sequence[str | float] | str | float) -> Any:
    """A task that answers with the mean over the views that are asked for; the task itself where there are none.

    Args:
        name: the task's.
        task: any task.
        asked: words and numbers, as `Views.of` takes them.

    Raises:
        UsageError: there are no such views, or the task does not have them.
    """
    views = Views.of(asked)
    if len(views) == 1:
        return task
    given = f"views={' '.join(views.named)!r}"
    if not isinstance(task, AnswersViews):
        raise UsageError(f"{given}: the answers of {name} are not averaged over views; leave it out.")
    for kind in views.kinds:
        if kind not in task.view_kinds:
            what = {"flip": "mirrored", "turn": "turned", "scale": "larger or smaller"}[kind]
            known = {"flip": "flip", "turn": "turn", "scale": "a factor of the size"}
            raise UsageError(
                f"{given}: {name} takes no {what} views; give {' or '.join(known[own] for own in task.view_kinds)}."
            )
    return task.viewed(views)
