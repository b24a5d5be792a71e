# SPDX-License-Identifier: Apache-2.0
"""Which points a mirror exchanges: a left eye becomes a right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

__all__ = ["FACE_68", "exchanges", "matched_partners", "named_partners", "partners"]

_SIDES = {"left": "right", "right": "left"}
_SHORT = {"l": "left", "r": "right"}
_ENOUGH = 8  # sets of points that tell what a mirror exchanges
_FIRM = 0.5  # of a set's own size: the mean shape's, where the sets lie alike
_CLOSE = 0.15  # of the mean shape's size: 0.01 for 69 faces, 0.12 for ten of them
_ROUNDS = 4
_ALIKE = 0.8  # cosine between a shape and its mirror image: 0.98 for faces, less from the side, 0.1 by chance


def _face_68() -> tuple[int, ...]:
    mirror = list(range(68))
    # the numbers of two partners add up to the same within each part of the face: the parts' first and last number, the sum
    for first, last, total in (
        (0, 16, 16),  # jaw
        (17, 26, 43),  # eyebrows
        (31, 35, 66),  # nostrils; the bridge of the nose, 27 to 30, lies on the axis
        (36, 39, 81), (42, 45, 81), (40, 41, 87), (46, 47, 87),  # eyes: the upper lids, then the lower ones
        (48, 54, 102), (55, 59, 114), (60, 64, 124), (65, 67, 132),  # the outer lips, above and below; the inner lips
    ):  # fmt: skip
        mirror[first : last + 1] = [total - i for i in range(first, last + 1)]
    return tuple(mirror)


FACE_68: Final = _face_68()
"""The partners of the 68 points of a face as iBUG 300-W numbers them (Sagonas et al. 2013), from 0."""


def partners(names: Sequence[str], xy: Tensor) -> tuple[int, ...] | None:
    """What each of K points becomes in a mirror, as far as their names or their number tell; None where they do not.

    Args:
        names: of the points; empty if they have none.
        xy: the points (N, K, 2) of all images, which must look like those of faces to count as the 68 points of one.
    """
    count = xy.shape[1]
    if count == 1:
        return (0,)
    if len(names) == count and (named := named_partners(names)) is not None:
        return named
    if count == len(FACE_68) and _symmetric(xy, FACE_68):
        return FACE_68
    return matched_partners(xy)


def matched_partners(xy: Tensor) -> tuple[int, ...] | None:
    """Partners by the points' places alone: the mean shape of N sets of K points (N, K, 2) is mirrored and matched with itself.

    The mirror image is turned to fit best. None where points are no exchange of pairs, are far from their partners, or where
    single sets are not close to their own mirror images.

    >>> triangle = torch.tensor([[0.0, 0], [-3, 4], [3, 4]])
    >>> matched_partners(triangle.repeat(8, 1, 1)), matched_partners(torch.tensor([[0.0, 0], [0, 9], [4, 0], [9, 1]]).repeat(8, 1, 1))
    ((0, 2, 1), None)
    """
    complete = xy[~xy.isnan().any(2).any(1)].double()
    if len(complete) < _ENOUGH or xy.shape[1] < 3:  # any two points are each other's mirror image
        return None
    shapes = torch.view_as_complex((complete - complete.mean(1, keepdim=True)).contiguous())  # (N, K)
    shapes = shapes / shapes.abs().square().mean(1, keepdim=True).sqrt().clamp_min(1e-9)
    mean = shapes.mean(0)
    size = float(mean.abs().square().mean().sqrt())
    if size < _FIRM:  # the sets lie every way, or have no extent
        return None
    found = None
    mirrored = -mean.conj()
    for _ in range(_ROUNDS):  # match, then turn the mirror image to fit its match
        places = _assigned((mirrored[:, None] - mean[None]).abs())  # (K,): the place that each mirrored point takes
        found = places
        turn = (mirrored.conj() * mean[list(places)]).sum()
        mirrored = mirrored * turn / turn.abs().clamp_min(1e-9)
    if found is None or not exchanges(found, xy.shape[1]):
        return None
    away = float((mirrored - mean[list(found)]).abs().square().mean().sqrt())
    return found if away < _CLOSE * size and _symmetric(xy, found) else None


def _assigned(distance: Tensor) -> tuple[int, ...]:
    """The column of each row with the least sum of squared distances (K, K)."""
    from scipy.optimize import linear_sum_assignment

    return tuple(int(place) for place in linear_sum_assignment(distance.square().numpy())[1])


def named_partners(names: Sequence[str]) -> tuple[int, ...] | None:
    """Partners by their names: left and right, or l and r, as a word of its own; the other points lie on the axis.

    >>> named_partners(["nose", "left_eye", "right_eye"]), named_partners(["LElbow", "RElbow"]), named_partners(["tip", "base"])
    ((0, 2, 1), (1, 0), None)
    """
    words = [_words(name) for name in names]
    places = {own: i for i, own in enumerate(words)}
    mirror = [places.get(tuple(_SIDES.get(word, word) for word in own)) for own in words]
    found = tuple(place for place in mirror if place is not None)
    whole = len(places) == len(found) == len(names)
    return found if whole and found != tuple(range(len(names))) else None


def exchanges(mirror: Sequence[int], count: int) -> bool:
    """Whether numbers say of each of so many points what it becomes in a mirror: twice mirrored, each is itself again.

    >>> exchanges((0, 2, 1), 3), exchanges((1, 2, 0), 3), exchanges((0, 1), 3)
    (True, False, False)
    """
    return len(mirror) == count and all(0 <= to < count and mirror[to] == i for i, to in enumerate(mirror))


def _words(name: str) -> tuple[str, ...]:
    """The words of a name, "LEye" as well as "left_eye" and "lefteye"."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+", name)]
    words = [_SHORT.get(word, word) for word in words]
    return tuple(part for word in words for part in re.sub("^(left|right)", r"\1 ", word).split())


def _symmetric(xy: Tensor, mirror: Sequence[int]) -> bool:
    """Whether complete sets of points are close to their mirror images with partners exchanged, turned to fit best."""
    complete = xy[~xy.isnan().any(2).any(1)].double()
    if not len(complete):
        return False
    shapes = torch.view_as_complex((complete - complete.mean(1, keepdim=True)).contiguous())  # (N, K)
    mirrored = -shapes[:, list(mirror)].conj()
    # of complex numbers, the modulus of the product is the cosine after the best rotation
    alike = (mirrored.conj() * shapes).sum(1).abs() / shapes.abs().square().sum(1).clamp_min(1e-9)
    return bool(alike.mean() > _ALIKE)
