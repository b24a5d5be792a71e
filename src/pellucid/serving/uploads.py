# SPDX-License-Identifier: Apache-2.0
"""The images and options of a request; sizes come from the images' headers, and nothing is decoded here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.datastructures import QueryParams, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from pellucid.data.decoding import LARGEST, opened
from pellucid.data.decoding.deep import DEEP
from pellucid.data.given import Encoded
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.queueing import Job

__all__ = ["FILES", "OPTIONS", "job", "options"]

_SAMPLES: Final = 64  # pictures that are generated for one request
_MADE: Final = 256  # pictures along dimensions of a code
_LONGEST: Final = 100  # characters of a name
_PNG: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # before its width and height
_HEAD: Final = 25  # bytes up to the depth
_DEEP_DEPTH: Final = 16  # bits

_TRUTH: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}

OPTIONS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "threshold": (float, "a number from 0 to 1"),
    "detect": (str, "white, black or alpha"),
    "samples": (int, f"a whole number from 1 to {_SAMPLES}"),
    "seed": (int, "a whole number"),
    "steps": (int, f"a whole number from 1 to {_SAMPLES}"),
    "vary": (lambda text: tuple(map(int, text.split(","))), "a whole number, or several with commas"),
    "hierarchy": (str, "none, ward, average or complete"),
    "cut": (int, "a whole number"),
    "quality": (int, "a whole number from 1"),
    "single": (lambda text: _TRUTH[text.lower()], "true or false"),
}
"""The options of `predict` that may be asked for in the address; none of them names a file."""

FILES: Final[Mapping[str, str]] = {
    "mask": "white where a pixel is missing: one for all images, or one for each",
    "interpolate": "the two images to interpolate between",
    "place": "images to place in the tree of the others",
}
"""The options of `predict` that are images: parts of a form under these names."""

_TOGETHER: Final = {"samples", "vary", "hierarchy", "cut"}  # answers to all images of a request, not one for each


async def job(request: Request, limits: Limits, known: Mapping[str, Any]) -> Job:
    """The images in a request, as multipart/form-data or as its body, with the options in its address.

    Raises:
        Refused: there are none, too many or too large ones, or an option that the run does not have.
    """
    asked = options(request.query_params, known)
    parts = [(field, image) for field, image in await _images(request, limits) if image.content]
    images = [image for field, image in parts if field not in FILES]
    named: dict[str, tuple[Encoded, ...]] = {}
    for field, image in parts:
        if field in FILES:
            if field not in known:
                raise Refused(400, f"{field}: is not an option here; send images under the name images.")
            named[field] = (*named.get(field, ()), image)
    made = any(asked.get(name) for name in ("samples", "vary")) or "interpolate" in named
    if not images and not made:
        raise Refused(400, "images: are missing; send one as the body, or several as multipart/form-data.")
    if images and asked.get("samples"):
        raise Refused(400, "samples: are generated without images; leave the images out.")
    sizes = [_looked_at(image) for _, image in parts]
    pixels = sum(size for size, _ in sizes)
    if pixels > limits.pixels:
        raise Refused(
            413,
            f"images: decode to {pixels:,} px, more than the {limits.pixels:,} allowed; send smaller or fewer ones.",
        )
    alone = not images or bool(named) or bool(_TOGETHER & asked.keys()) or any(deep for _, deep in sizes)
    return Job(images, {**asked, **named}, pixels, alone)


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
        read, words = OPTIONS[name]
        try:
            found[name] = read(text)
        except (ValueError, KeyError):
            raise Refused(400, f"{name}={text[:40]!r}: must be {words}.") from None
        if name in ("samples", "steps") and not 1 <= found[name] <= _SAMPLES:
            raise Refused(400, f"{name}={found[name]}: must be {words}.")
    if len(found.get("vary", ())) * (found.get("steps", 8) + 2) > _MADE:
        raise Refused(400, f"vary, steps: make more than {_MADE} pictures; ask for fewer at a time.")
    return found


async def _images(request: Request, limits: Limits) -> list[tuple[str, Encoded]]:
    """The images, each with the name of its part of the form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return [("images", Encoded(_name(request.query_params.get("name")), await request.body()))]
    try:
        async with request.form(max_files=limits.images, max_fields=0) as form:
            parts = [(field, part) for field, part in form.multi_items() if isinstance(part, UploadFile)]
            return [(field, Encoded(_name(part.filename), await part.read())) for field, part in parts]
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
    content = image.content
    if content.startswith(_PNG) and len(content) >= _HEAD:  # Pillow takes fifty times as long for the same
        width, height, depth = struct.unpack(">IIB", content[16:25])
        if width * height <= LARGEST:
            return width * height, depth == _DEEP_DEPTH
    try:
        with opened(content) as header:
            return header.width * header.height, header.mode in DEEP or header.format in ("TIFF", "PPM")
    except Exception as fault:  # Pillow's readers raise whatever their format brings; decoding says what is wrong
        if "decodes to" in str(fault) or "decompression bomb" in str(fault):
            raise Refused(
                413, f"image={image.name!r}: decodes to more than {LARGEST:,} px; send a smaller one."
            ) from None
        return 0, True
