# SPDX-License-Identifier: Apache-2.0
"""A part of the training images, chosen at random by seed: so many of all, or so many of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Split
from pellucid.data.draws import mix
from pellucid.data.targets import Label
from pellucid.errors import UsageError

__all__ = ["chosen", "limited"]


def limited(
    split: Split,
    limit: int | None = None,
    limit_per_class: int | None = None,
    seed: int = 0,
    classes: Sequence[str] = (),
) -> Split:
    """At most `limit` images, or exactly `limit_per_class` of each class; with one seed, fewer are a part of more.

    >>> from pellucid.data import open
    >>> digits = open("digits")
    >>> few = limited(digits["train"], limit_per_class=3, classes=digits.classes)
    >>> few.targets["label"].index.bincount().tolist()
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]

    Args:
        split: the images with their targets.
        limit: how many of all; None for no limit.
        limit_per_class: how many of each class; None for no limit.
        seed: of the choice.
        classes: the names of the classes.

    Raises:
        UsageError: the images have no classes, or a class has fewer images.
    """
    places = chosen(split, limit, limit_per_class, seed, classes)
    return split if len(places) == len(split) else split.select(places)


def chosen(
    split: Split,
    limit: int | None = None,
    limit_per_class: int | None = None,
    seed: int = 0,
    classes: Sequence[str] = (),
) -> NDArray[np.int64]:
    """The positions of these images in the split, in order; see `limited`."""
    if limit_per_class is None and (limit is None or limit >= len(split)):
        return np.arange(len(split))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(mix(seed, 1))).numpy()  # (N,)
    found = order[:limit] if limit_per_class is None else _of_each(split, order, limit_per_class, classes)
    return np.sort(found)


def _of_each(split: Split, order: NDArray[np.int64], count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    """The first images of each class in this order."""
    label = split.targets.get("label")
    if not isinstance(label, Label) or not classes:
        raise UsageError(f"limit_per_class={count}: needs images that have a class each; use limit instead.")
    labels = label.index.numpy()[order]
    there = np.bincount(labels, minlength=len(classes))
    fewest = int(there.argmin())
    if there[fewest] < count:
        raise UsageError(
            f"limit_per_class={count}: class {classes[fewest]!r} has {there[fewest]} training images; give at most "
            f"{there[fewest]}, or use limit."
        )
    return np.concatenate([order[labels == index][:count] for index in range(len(classes))])
