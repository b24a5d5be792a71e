# SPDX-License-Identifier: Apache-2.0
"""The images and options of a request; sizes come from the images' headers, and nothing is decoded here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import QueryParams, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from pellucid.data.decoding import LARGEST, opened
from pellucid.data.decoding.deep import DEEP
from pellucid.data.given import Encoded
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.queueing import Job

__all__ = ["OPTIONS", "job", "options"]

_SAMPLES: Final = 64  # pictures that are generated for one request
_LONGEST: Final = 100  # characters of a name
_DEEP_DEPTH: Final = 16  # bits, the 25th byte of a PNG

OPTIONS: Final[Mapping[str, tuple[type, str]]] = {
    "threshold": (float, "a number from 0 to 1"),
    "detect": (str, "white, black or alpha"),
    "samples": (int, f"a whole number from 1 to {_SAMPLES}"),
    "seed": (int, "a whole number"),
    "single": (bool, "true or false"),
}
"""The options of `predict` that may be asked for over HTTP; none of them names a file."""

_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


async def job(request: Request, limits: Limits, known: Mapping[str, Any]) -> Job:
    """The images in a request, as multipart/form-data or as its body, with the options in its address.

    Raises:
        Refused: there are none, too many or too large ones, or an option that the run does not have.
    """
    asked = options(request.query_params, known)
    images = [image for image in await _images(request, limits) if image.content]
    if not images and not asked.get("samples"):
        raise Refused(400, "images: are missing; send one as the body, or several as multipart/form-data.")
    if images and asked.get("samples"):
        raise Refused(400, "samples: are generated without images; leave the images out.")
    sizes = [_looked_at(image) for image in images]
    pixels = sum(size for size, _ in sizes)
    if pixels > limits.pixels:
        raise Refused(
            413,
            f"images: decode to {pixels:,} px, more than the {limits.pixels:,} allowed; send smaller or fewer ones.",
        )
    return Job(images, asked, pixels, alone=not images or any(deep for _, deep in sizes))


def options(given: QueryParams, known: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the task that the address names; `format` and `name` are no options of it.

    >>> options(QueryParams("threshold=0.5&format=csv"), {"threshold": None})
    {'threshold': 0.5}

    Raises:
        Refused: an unknown option or an impossible value.
    """
    found: dict[str, Any] = {}
    for name, text in given.items():
        if name in ("format", "name"):
            continue
        if name not in OPTIONS or name not in known:
            offered = ", ".join(sorted({"format", "name"} | (OPTIONS.keys() & known.keys())))
            raise Refused(400, f"{name}={text[:40]!r}: is not an option here; this run takes {offered}.")
        kind, words = OPTIONS[name]
        try:
            value = _TRUTH[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise Refused(400, f"{name}={text[:40]!r}: must be {words}.") from None
        if name == "samples" and not 1 <= value <= _SAMPLES:
            raise Refused(400, f"samples={value}: must be {words}.")
        found[name] = value
    return found


async def _images(request: Request, limits: Limits) -> list[Encoded]:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return [Encoded(_name(request.query_params.get("name")), await request.body())]
    try:
        async with request.form(max_files=limits.images, max_fields=0) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            return [Encoded(_name(part.filename), await part.read()) for part in parts]
    except MultiPartException as fault:
        raise Refused(400, f"body: {fault.message.rstrip('.')}; send up to {limits.images} files.") from None


def _name(given: str | None) -> str:
    """The last part of a file's name."""
    last = (given or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:_LONGEST] or "image"


def _looked_at(image: Encoded) -> tuple[int, bool]:
    """The pixels of an image by its header, and whether it may have more than 8 bits; 0 of what cannot be opened.

    Black and white of deep images can depend on those that are given with them, so that they are answered alone.
    """
    try:
        with opened(image.content) as header:
            png = header.format == "PNG" and image.content[24:25] == bytes([_DEEP_DEPTH])
            return header.width * header.height, png or header.mode in DEEP or header.format in ("TIFF", "PPM")
    except Exception as fault:  # Pillow's readers raise whatever their format brings; decoding says what is wrong
        if "decodes to" in str(fault) or "decompression bomb" in str(fault):
            raise Refused(
                413, f"image={image.name!r}: decodes to more than {LARGEST:,} px; send a smaller one."
            ) from None
        return 0, True
