# SPDX-License-Identifier: Apache-2.0
"""Records: what was measured of each image, as columns with one row per image, of fixed or of any length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ragged", "Records", "as_arrays", "from_arrays", "joined", "rows_of", "taken"]

Records: TypeAlias = Mapping[str, Any]
"""Column name -> an array (N, …) or a `Ragged` with N rows."""

_VALUES, _OFFSETS = ".values", ".offsets"  # suffixes of a ragged column's two arrays in a file


@final
@dataclass(frozen=True, eq=False)
class Ragged:
    """A column whose rows can have any number of entries: the boxes, scores or lines of an image.

    >>> boxes = Ragged.of([np.ones((2, 4)), np.zeros((0, 4)), np.ones((1, 4))])
    >>> len(boxes), boxes[0].shape, boxes[np.array([2, 1])].offsets.tolist()
    (3, (2, 4), [0, 1, 1])
    """

    values: NDArray[Any]  # (total, …): the rows' entries, one row after another
    offsets: NDArray[np.int64]  # (N + 1,): row i is values[offsets[i]:offsets[i + 1]]

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]]) -> Ragged:
        """From one array (n_i, …) per image; at least one row, which shows what an entry is."""
        lengths = np.array([len(row) for row in rows], np.int64)
        return cls(np.concatenate(rows), np.concatenate([[0], lengths.cumsum()]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.values[start:end] for start, end in zip(self.offsets, self.offsets[1:], strict=False))

    def __getitem__(self, index: Any) -> Any:
        """The entries of one row, or a `Ragged` of several rows."""
        if isinstance(index, (int, np.integer)):
            place = int(index) + len(self) * (index < 0)
            return self.values[self.offsets[place] : self.offsets[place + 1]]
        places = np.arange(len(self))[index]
        lengths = self.lengths[places]
        offsets = np.concatenate([[0], lengths.cumsum()])
        # entry j of a row is at the row's start + j
        starts = np.repeat(self.offsets[places] - offsets[:-1], lengths)
        return Ragged(self.values[starts + np.arange(offsets[-1])], offsets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,): the number of entries in each row."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(total,): the row of each entry."""
        return np.repeat(np.arange(len(self)), self.lengths)


def rows_of(records: Records) -> int:
    """The number of images.

    >>> rows_of({"psnr": np.zeros(3)}), rows_of({})
    (3, 0)
    """
    return next((len(column) for column in records.values()), 0)


def joined(parts: Sequence[Any]) -> Any:
    """One column from the columns of consecutive batches.

    >>> joined([Ragged.of([np.zeros(2)]), Ragged.of([np.ones(1), np.ones(0)])]).lengths.tolist()
    [2, 1, 0]
    """
    if isinstance(parts[0], Ragged):
        return Ragged.of([row for part in parts for row in part])
    return np.concatenate(parts)


def taken(records: Records, index: NDArray[Any]) -> dict[str, Any]:
    """The records of some images, by their positions."""
    return {name: column[index] for name, column in records.items()}


def as_arrays(records: Records, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Plain arrays by name, as for an .npz file.

    >>> sorted(as_arrays({"boxes": Ragged.of([np.zeros((1, 4))]), "n": np.ones(1)}, "model/"))
    ['model/boxes.offsets', 'model/boxes.values', 'model/n']
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in records.items():
        if isinstance(column, Ragged):
            arrays |= {f"{prefix}{name}{_VALUES}": column.values, f"{prefix}{name}{_OFFSETS}": column.offsets}
        else:
            arrays[f"{prefix}{name}"] = column
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The records from the arrays of `as_arrays`, without the prefix.

    >>> from_arrays(as_arrays({"boxes": Ragged.of([np.zeros((3, 4))])}))["boxes"].lengths
    array([3])
    """
    records: dict[str, Any] = {}
    for name, array in arrays.items():
        if name.endswith(_VALUES) and name.removesuffix(_VALUES) + _OFFSETS in arrays:
            plain = name.removesuffix(_VALUES)
            records[plain] = Ragged(array, arrays[plain + _OFFSETS])
        elif not (name.endswith(_OFFSETS) and name.removesuffix(_OFFSETS) + _VALUES in arrays):
            records[name] = array
    return records
