# SPDX-License-Identifier: Apache-2.0
"""MATLAB's .mat files of version 5 (SciPy) and 7.3 (HDF5): SVHN's layout, NIST36's layout, or named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset
from pellucid.data.formats.arrays import Part, from_arrays, siblings
from pellucid.errors import DataError

__all__ = ["open_mat"]


def open_mat(path: Path) -> Dataset:
    """A MATLAB file, with the files of the other splits beside it (`test_32x32.mat` beside `train_32x32.mat`).

    SVHN's layout: `X` (H, W, C, N) with `y` (N, 1), where the label 10 is the digit 0. NIST36's layout: `…_data` (N, S²),
    each row an S×S image in MATLAB's column order, with one-hot `…_labels` (N, K). Otherwise `images` (N, H, W) or
    (N, H, W, C), with `labels` (N,).

    Raises:
        DataError: it is not a MATLAB file, or contains no images.
    """
    files = siblings(path)
    return from_arrays(str(path), {part: _part(file) for part, file in files.items()})


def _part(file: Path) -> Part:
    try:
        arrays = _load(file)
    except Exception as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise DataError(
            f"data={str(file)!r}: cannot be read as a MATLAB file ({reason}); save it with -v7 or -v7.3."
        ) from fault
    data = _named(arrays, ("data", "images", "x"), 2)
    labels = _named(arrays, ("labels", "label", "y", "targets"), 1)
    if data is None:
        raise DataError(
            f"data={str(file)!r}: has {', '.join(arrays) or 'no arrays'}, but no images; name that array images."
        )
    labels = None if labels is None else _flat(labels)
    if data.ndim == 4 and data.shape[2] in (1, 3) and (labels is None or len(labels) == data.shape[3]):
        images = np.moveaxis(data, 3, 0)  # SVHN: (H, W, C, N) -> (N, H, W, C)
        svhn = labels is not None and labels.dtype.kind in "iuf" and labels.min() == 1 and labels.max() == 10
        return Part(images, labels % 10 if svhn and labels is not None else labels)
    if data.ndim == 2:
        side = round(data.shape[1] ** 0.5)
        if side * side != data.shape[1]:
            raise DataError(
                f"data={str(file)!r}: has rows of {data.shape[1]} numbers, which is not a square; save images as (N, H, W)."
            )
        data = data.reshape(-1, side, side).transpose(0, 2, 1)  # rows of images in MATLAB's column order
    return Part(data, labels)


def _named(arrays: Mapping[str, NDArray[Any]], endings: tuple[str, ...], least: int) -> NDArray[Any] | None:
    """The array whose name ends with one of these words, e.g. `valid_data` with data."""
    return next((a for name, a in arrays.items() if name.lower().split("_")[-1] in endings and a.ndim >= least), None)


def _flat(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as (N,): MATLAB has no vectors; a one-hot row becomes the position of its largest number."""
    return labels.argmax(1) if labels.ndim == 2 and min(labels.shape) > 1 else labels.reshape(-1)


def _load(file: Path) -> dict[str, NDArray[Any]]:
    with file.open("rb") as stream:
        head = stream.read(128)
    if b"MATLAB 7.3" in head or head[:8] == b"\x89HDF\r\n\x1a\n":
        import h5py

        with h5py.File(file) as content:  # in HDF5, MATLAB's arrays have their axes reversed
            return {
                name: np.asarray(value).T
                for name, value in content.items()
                if isinstance(value, h5py.Dataset) and value.dtype.kind in "fiub"
            }
    from scipy.io import loadmat

    return {
        name: value
        for name, value in loadmat(file).items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    }
