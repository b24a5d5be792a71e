# SPDX-License-Identifier: Apache-2.0
"""Selective search (Uijlings et al. 2013): proposals from the image alone, without any training.

An image is cut into small segments (Felzenszwalb & Huttenlocher 2004), and neighbours that look alike are merged until one
region is left. The bounding box of each region on the way is a proposal. Several colour spaces, sizes of segments and
measures of likeness give several hierarchies, of which the proposals are joined.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError, check_choice
from pellucid.models._grouping import Floats, described, grouped

__all__ = ["FAST", "SINGLE", "Space", "Strategy", "hierarchy", "proposed", "searched"]

Space: TypeAlias = Literal["hsv", "lab", "rgi", "rgb"]
SPACES: tuple[Space, ...] = ("hsv", "lab", "rgi", "rgb")
MEASURES = "ctsf"  # colour, texture, size, fill

_SEED = 2013  # of the random factors in the ranking: the same image has the same proposals every time
_SMALLEST = 4000  # smallest segments in an image, by area: 19 px of 320×240
_KEPT, _IMAGES = 2000, 4096  # proposals of an image, and images, that are remembered
_LEAST = 4  # px of a segment, however small the image is


@final
@dataclass(frozen=True)
class Strategy:
    """One way to group: a colour space, the size of the first segments, and what makes regions alike.

    >>> Strategy("hsv", 100, "tsf").measures
    'tsf'
    """

    space: Space = "hsv"
    scale: float = 100.0  # k of the segmentation, for values in [0, 255]: a larger one gives larger segments
    measures: str = MEASURES  # letters: (c)olour, (t)exture, (s)ize, (f)ill

    def __post_init__(self) -> None:
        check_choice("space", self.space, SPACES)
        if not self.scale > 0:
            raise UsageError(f"scale={self.scale:g}: must be above 0; give e.g. 100.")
        if not self.measures or set(self.measures) - set(MEASURES):
            raise UsageError(f"measures={self.measures!r}: must be letters of {MEASURES!r}; give e.g. 'tsf'.")


SINGLE = (Strategy(),)
"""The paper's "single strategy" (section 5.4)."""
FAST = tuple(
    Strategy(space, scale, measures) for space in ("hsv", "lab") for scale in (50.0, 100.0) for measures in ("ctsf", "tsf")
)  # fmt: skip
"""The paper's "fast" one: eight hierarchies."""


def searched(images: Tensor, most: int = 1000, strategies: Sequence[Strategy] = FAST) -> list[Tensor]:
    """The proposals of selective search for each image, the best first: B of (n, 4) float32 corners in px, n ≤ `most`.

    An image that was searched before is not searched again.

    >>> images = torch.zeros(1, 3, 40, 60, dtype=torch.uint8)
    >>> images[:, :, 10:30, 20:50] = 200
    >>> [20.0, 10.0, 50.0, 30.0] in searched(images)[0].tolist()
    True

    Args:
        images: (B, C, H, W) uint8; of more than three planes the first three are used.
        most: proposals of an image, at most, up to 2,000.
        strategies: whose hierarchies are joined.
    """
    if not 1 <= most <= _KEPT:
        raise UsageError(f"most={most}: must be 1 to {_KEPT:,} proposals; give another number.")
    return [torch.from_numpy(_remembered(image, tuple(strategies))[:most]) for image in images.cpu().numpy()]


_KNOWN: OrderedDict[tuple[Any, ...], NDArray[np.float32]] = OrderedDict()  # proposals by the digest of the image
_LOCK = threading.Lock()


def _remembered(image: NDArray[np.uint8], strategies: tuple[Strategy, ...]) -> NDArray[np.float32]:
    """The proposals for an image, which a training asks for in every epoch and which do not change."""
    key = (hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), image.shape, strategies)
    with _LOCK:
        found = _KNOWN.get(key)
    if found is None:
        found = proposed(image, strategies)[:_KEPT]
    with _LOCK:
        _KNOWN[key] = found
        _KNOWN.move_to_end(key)  # the images that were asked for last stay
        while len(_KNOWN) > _IMAGES:
            _KNOWN.popitem(last=False)
    return found


def proposed(image: NDArray[np.uint8], strategies: Sequence[Strategy] = FAST) -> NDArray[np.float32]:
    """(n, 4): all proposals for an image (C, H, W), ranked, each once."""
    found: list[Floats] = []
    values: list[Floats] = []
    hierarchies = _hierarchies(image, strategies)
    for place, boxes in enumerate(hierarchies):
        # regions near the top come first, but not always: eq. in section 3.3, v = RND · i
        factors = np.random.default_rng([_SEED, place]).random(len(boxes))
        found.append(boxes)
        values.append(factors * np.arange(len(boxes), 0, -1))  # the last region, the whole image, is number 1
    every, rank = np.concatenate(found), np.concatenate(values)
    every = every[np.argsort(rank, kind="stable")]
    _, first = np.unique(every, axis=0, return_index=True)  # of equal boxes the one with the best rank
    return every[np.sort(first)].astype(np.float32)


def hierarchy(image: NDArray[np.uint8], strategy: Strategy = SINGLE[0]) -> NDArray[np.float64]:
    """(2n − 1, 4): the boxes of one strategy's regions, first the n segments, then each merged one, the whole image last."""
    return _hierarchies(image, [strategy])[0]


def _hierarchies(image: NDArray[np.uint8], strategies: Sequence[Strategy]) -> list[Floats]:
    """Each strategy's boxes; what several share, planes and segments, is computed once."""
    from skimage.segmentation import felzenszwalb

    colours = _rgb(image)
    least = max(_LEAST, colours.shape[0] * colours.shape[1] // _SMALLEST)
    planes: dict[str, Floats] = {}
    segments: dict[tuple[str, float], Any] = {}
    for one in strategies:
        if one.space not in planes:
            planes[one.space] = _CONVERT[one.space](colours)
        if (one.space, one.scale) not in segments:
            labels = felzenszwalb(planes[one.space], scale=one.scale, sigma=0.8, min_size=least)
            segments[one.space, one.scale] = described(planes[one.space], labels)
    return [grouped(segments[one.space, one.scale], one.measures) for one in strategies]


def _rgb(image: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) in [0, 1] of (C, H, W)."""
    three = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, 0)
    return np.asarray(three.transpose(1, 2, 0) / 255.0)


def _hsv(colours: Floats) -> Floats:
    from skimage.color import rgb2hsv

    return np.asarray(rgb2hsv(colours))


def _lab(colours: Floats) -> Floats:
    from skimage.color import rgb2lab

    # L* is in [0, 100]; a* and b* of colours that a screen shows lie within ±128
    return np.asarray(np.clip((rgb2lab(colours) + np.array([0, 128, 128])) / [100, 255, 255], 0, 1))


def _rgi(colours: Floats) -> Floats:
    """Normalised red and green, which shadows leave alone, and the intensity."""
    total = colours.sum(2, keepdims=True)
    shares = np.divide(colours, total, out=np.full_like(colours, 1 / 3), where=total > 0)
    return np.concatenate([shares[..., :2], total / 3], 2)


_CONVERT: dict[str, Callable[[Floats], Floats]] = {
    "hsv": _hsv,
    "lab": _lab,
    "rgi": _rgi,
    "rgb": lambda colours: colours,
}
