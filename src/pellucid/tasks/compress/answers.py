# SPDX-License-Identifier: Apache-2.0
"""What `predict` answers for compression: .plc files for pictures, pictures for .plc files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.decoding import opened
from pellucid.data.decoding.deep import DEEP
from pellucid.data.given import Encoded, gather
from pellucid.errors import DataError, PellucidError, UsageError
from pellucid.tasks.compress.coding import decoded, encoded, written
from pellucid.tasks.compress.container import SUFFIX

__all__ = ["answer"]

_LARGEST = 30_000_000  # px: the memory for a larger picture's features would be several GB


def answer(model: Any, images: Sequence[Any], quality: int) -> list[dict[str, Any]]:
    """A row for each picture or file, in the order given; a damaged picture, or one of several that fails, has an "error" instead.

    Args:
        model: of the output kind "code", in eval mode.
        images: paths of pictures and of .plc files, folders, globs, arrays, Pillow images, or files' bytes.
        quality: of the files to be written, from 0.

    Raises:
        UsageError: no images are given, or the only one fails.
    """
    rows: list[dict[str, Any]] = []
    only: PellucidError | None = None
    for name, make in _jobs(model, images, quality):
        try:
            rows.append(make())
        except PellucidError as fault:
            rows.append({"name": name, "error": str(fault)})
            only = fault
    if len(rows) == 1 and only is not None:
        raise only
    return rows


def _jobs(model: Any, images: Sequence[Any], quality: int) -> Iterator[tuple[str, Any]]:
    """The name of each picture or file with a function that makes its row, so that one is read at a time."""
    pictures: list[Any] = []
    for image in images:
        if isinstance(image, (str, Path)) and Path(image).suffix.lower() == SUFFIX:
            yield from _to_files(model, pictures, quality)
            pictures = []
            yield from _to_pictures(model, str(image))
        elif isinstance(image, Encoded) and Path(image.name).suffix.lower() == SUFFIX:
            yield from _to_files(model, pictures, quality)
            pictures = []
            yield image.name, partial(_to_picture, model, image.name, image.content)
        else:
            pictures.append(image)
    yield from _to_files(model, pictures, quality)
    if not images:
        gather([])  # raises the error that says what can be given


def _to_pictures(model: Any, text: str) -> Iterator[tuple[str, Any]]:
    """Jobs for the .plc files that a path or a glob names."""
    import glob

    paths = [text] if Path(text).expanduser().is_file() else sorted(glob.glob(text, recursive=True))
    if not paths:
        raise UsageError(f"images={text!r}: is not a file and matches nothing; check the spelling.")
    for path in (Path(name).expanduser() for name in paths):

        def make(path: Path = path) -> dict[str, Any]:
            try:
                content = path.read_bytes()
            except OSError as fault:
                return {
                    "name": path.name,
                    "error": f"image={path.name!r}: cannot be read ({fault.strerror}); check it.",
                }
            return _to_picture(model, path.name, content)

        yield path.name, make


def _to_picture(model: Any, name: str, content: bytes) -> dict[str, Any]:
    """The row of a .plc file, with its picture."""
    return {"name": name, "bytes": len(content), "picture": decoded(model, content, name)}


def _to_files(model: Any, images: list[Any], quality: int) -> Iterator[tuple[str, Any]]:
    """Jobs for pictures."""
    if not images:
        return
    for image in images:
        _check_pillow(image)
    given = gather(images if len(images) > 1 else images[0])
    rows = dict(zip(given.places, range(len(given.places)), strict=True))  # position among all -> in the split
    sources = getattr(given.split.images, "sources", ())
    for place, name in enumerate(given.names):

        def make(place: int = place, name: str = name) -> dict[str, Any]:
            if place in given.faults:
                return {"name": name, "error": given.faults[place]}
            if place in given.scales:
                raise _too_deep(name)
            if place in given.floats:
                picture = (given.floats[place].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            else:
                if sources:
                    _check_file(sources[rows[place]], name)
                own = given.split.select([rows[place]]).images
                try:
                    picture = own.read(0, own.channels)
                except DataError as fault:
                    return {"name": name, "error": str(fault)}
            return _row(model, picture, name, quality)

        yield name, make


def _row(model: Any, picture: NDArray[np.uint8], name: str, quality: int) -> dict[str, Any]:
    """The row of a picture (C, H, W), with its file."""
    channels = model.normalize.mean.shape[1]
    if picture.shape[1] * picture.shape[2] > _LARGEST:
        raise UsageError(
            f"images={name!r}: has {picture.shape[1] * picture.shape[2]:,} pixels, and {_LARGEST:,} is the limit; cut it into parts."
        )
    if picture.shape[0] == 3 and channels == 1:
        if not (picture[0] == picture[1]).all() or not (picture[1] == picture[2]).all():
            raise UsageError(
                f"images={name!r}: has colour, and this run encodes grey images; convert it, or train on colour images."
            )
        picture = picture[:1]
    pixels = torch.tensor(picture).to(model.prior.log_step.device).float().div(255)
    # a grey picture through a colour model: three equal planes go in, and the file keeps one of those that come out
    one_of_three = picture.shape[0] == 1 and channels == 3
    coded = encoded(model, pixels.expand(channels, -1, -1)[None], quality, one_of_three)
    (content,) = coded.files
    area = picture.shape[1] * picture.shape[2]
    saved = written(coded.pixels[0], one_of_three)  # (C, H, W) uint8: the PSNR is that of the picture as it is saved
    error = float(((saved.astype(np.float64) - picture) ** 2).mean()) / 255**2
    return {
        "name": name,
        "bytes": len(content),
        "bpp": round(8 * len(content) / area, 4),
        "psnr": round(-10 * float(np.log10(max(error, 1e-10))), 2),
        "content": content,
        "suffix": SUFFIX,
    }


def _check_pillow(image: Any) -> None:
    from PIL import Image

    if isinstance(image, Image.Image):
        _check_mode(image, "image")


def _check_file(source: Any, name: str) -> None:
    """Refuse what a .plc file cannot store: transparency, and more than 8 bits."""
    with opened(source) as image:
        _check_mode(image, name)


def _check_mode(image: Any, name: str) -> None:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        raise UsageError(
            f"images={name!r}: has transparency, which a {SUFFIX} file cannot store; put it on a background first."
        )
    if image.mode in DEEP:
        raise _too_deep(name)


def _too_deep(name: str) -> UsageError:
    return UsageError(
        f"images={name!r}: has more than 8 bits per channel, and a {SUFFIX} file stores 8; convert it to 8 bits first."
    )
