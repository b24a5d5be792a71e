# SPDX-License-Identifier: Apache-2.0
"""One scale for the images of a data set that have more than 8 bits, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.data.dataset import Dataset
from pellucid.data.scales import Levels, Scale, natural, unfit
from pellucid.errors import DataError, UsageError

__all__ = ["as_scale", "check_held", "fitted", "scaled"]

_LITTLE = 1 / 8  # of a scale: images that use less have lost three bits or more


def as_scale(range: Sequence[float] | Scale | None) -> Scale | None:
    """The scale of an option `range`: two numbers, or nothing.

    >>> as_scale((0, 4095)), as_scale(())
    (Scale(low=0, high=4095, floats=False), None)

    Raises:
        UsageError: it is not two numbers in ascending order.
    """
    if range is None or isinstance(range, Scale) or not len(range):
        return range if isinstance(range, Scale) else None
    if len(range) != 2:
        raise UsageError(
            f"range={tuple(range)}: takes two numbers; give the value that is black and the one that is white."
        )
    return Scale(range[0], range[1])


def fitted(dataset: Dataset) -> Dataset:
    """The data set on its natural scale; floating-point values outside [0, 1] have none, and wait for one."""
    levels = _levels(dataset)
    scale = natural(levels) if levels.deep.any() else None
    return dataset if scale is None else _on(dataset, levels, scale)


def scaled(dataset: Dataset, range: Sequence[float] | Scale | None = None) -> Dataset:
    """The data set with its images of more than 8 bits on a scale, the given one or their natural one.

    Where the scale comes from is a matter of all splits: their natural scale depends only on the bits that the values need,
    so that nothing is learned from test images.

    Args:
        dataset: any data set.
        range: the value that is black and the one that is white; by default the natural ones.

    Raises:
        DataError: floating-point values outside [0, 1] without a range, or a range for images of 8 bits.
        UsageError: a range that is not two numbers in ascending order.
    """
    levels, asked = _levels(dataset), as_scale(range)
    recorded = isinstance(range, Scale)  # of a training; the data need not be of the same kind
    if not levels.deep.any():
        if asked is None or recorded or (asked.low, asked.high) == (0, 255):
            return dataset
        raise DataError(
            f"range=({asked.low:g}, {asked.high:g}): is for images of more than 8 bits, and those of data={dataset.name!r} "
            "have 8; leave it out."
        )
    if asked is None and dataset.scale is not None:
        return dataset
    floats = bool(levels.floats.any())
    if asked is None or (recorded and asked.floats != floats):
        asked = natural(levels)
    if asked is None:
        raise unfit(f"data={dataset.name!r}", levels)
    return dataset if dataset.scale == asked else _on(dataset, levels, replace(asked, floats=floats))


def check_held(dataset: Dataset, scale: Scale | None) -> None:
    """Refuse data with values that a model never saw: on the scale of its training they would all be black or white.

    Raises:
        DataError: with the number of images that have such values.
    """
    levels = _levels(dataset)
    if scale is not None and (outside := levels.outside(scale)):
        raise DataError(
            f"data={dataset.name!r}: {outside:,} of {len(levels.deep):,} images have values outside {scale}, on which the model "
            "was trained; rescale them, or train with a --range that holds them."
        )


def _levels(dataset: Dataset) -> Levels:
    return Levels.joined([split.images.levels for split in dataset.splits.values()])


def _on(dataset: Dataset, levels: Levels, scale: Scale) -> Dataset:
    splits = {part: replace(split, images=split.images.scaled(scale)) for part, split in dataset.splits.items()}
    count, total = int(levels.deep.sum()), len(levels.deep)
    found = f"from {_value(levels.low)} to {_value(levels.high)}"
    many = "" if count == total else f" of {count:,} of {total:,} images"
    notes = [one for one in dataset.notes if not one.startswith("Pixels")] + [
        f"Pixels{many} with more than 8 bits, {found}, are read with {_value(scale.low)} as black and {_value(scale.high)} as white."
    ]
    problems = [one for one in dataset.problems if one not in _said(dataset)]
    if outside := levels.outside(scale):
        problems.append(
            f"{outside:,} of {count:,} images have values outside {scale}, which become black or white; set --range to change it."
        )
    if min(levels.high, scale.high) - max(levels.low, scale.low) < _LITTLE * (scale.high - scale.low):
        problems.append(
            f"Pixels {found} use little of the range {scale}: most levels of grey are lost; set --range to change it."
        )
    return dataset.replace(splits=splits, notes=tuple(notes), problems=tuple(problems))


def _said(dataset: Dataset) -> list[str]:
    """What an earlier scale was warned of."""
    return [one for one in dataset.problems if one.endswith("set --range to change it.")]


def _value(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
