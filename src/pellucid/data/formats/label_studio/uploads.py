# SPDX-License-Identifier: Apache-2.0
"""The image that a task of Label Studio names: an upload with eight more characters, a served file, or an address."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, final
from urllib.parse import unquote

from pellucid.data.annotations.places import ImageFiles
from pellucid.data.annotations.reading import Fault, shown
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats.finding import Found

__all__ = ["Uploads", "written_names"]

_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # that an upload gets before its name
_UNSAFE = re.compile(r"[^-\w.]")  # what the names of uploads lose
_LIKELY = ("image", "img", "picture", "photo", "ocr", "url")  # keys of a task under which its image stands


@final
class Uploads:
    """The images below a folder, by the names that tasks have for them.

    >>> uploads = Uploads(Found(images=["images/my cat.jpg", "1234abcd-b.png"]))
    >>> uploads.find("/data/upload/1/ab12cd34-my_cat.jpg"), uploads.find("/data/local-files/?d=x/1234abcd-b.png")
    ('images/my cat.jpg', '1234abcd-b.png')
    """

    def __init__(self, found: Found) -> None:
        self._files = ImageFiles(found)
        self._safe: dict[str, list[str]] = defaultdict(list)
        for name in found.images:
            self._safe[_safe(name)].append(name)

    def image(self, task: Mapping[str, Any], folder: str = "", part: str | None = None) -> str | None:
        """The image of a task, or the name under which it is missing; None where the task names none.

        Args:
            task: as it is written.
            folder: the folder of the export, relative to the dataset's.
            part: the split that the export is of.

        Raises:
            Fault: several files can be meant.
        """
        data = task.get("data")
        values = data if isinstance(data, Mapping) else {}
        keys = sorted(values, key=lambda key: (key not in _LIKELY, list(values).index(key)))
        named = [value for key in keys if isinstance(value := values[key], str) and value]
        upload = task.get("file_upload")
        for value in [*named, *([upload] if isinstance(upload, str) and upload else [])]:
            if there := self.find(value, folder, part):
                return there
        for value in named:
            base = next(written_names(value)).rpartition("/")[2]
            if any(base.lower().endswith(suffix) for suffix in SUFFIXES):
                return base[-100:]
        return None

    def find(self, value: str, folder: str = "", part: str | None = None) -> str | None:
        """The image that a value of a task names, None if it is not there."""
        if len(value) > 4096 or value.startswith("data:"):  # a text, or the image itself
            return None
        for name in written_names(value):
            if there := self._files.find(name, folder, part):
                return there
        for name in written_names(value):
            own = self._safe.get(_safe(name), [])
            if len(own) > 1:
                raise Fault(f"the image {shown(value)} can be {own[0]} or {own[1]}")
            if own:
                return own[0]
        return None


def written_names(value: str) -> Iterator[str]:
    """The names that a value may mean, the likeliest first.

    >>> list(written_names("/data/upload/1/ab12cd34-a%20b.jpg?x=1"))
    ['/data/upload/1/ab12cd34-a b.jpg', '/data/upload/1/a b.jpg']
    """
    served = re.search(r"[?&]d=([^&]*)", value)
    name = unquote(served[1] if served else re.split(r"\?|(?<!/)#", value)[0]).replace("\\", "/")
    yield name
    folder, slash, base = name.rpartition("/")
    if (short := _PREFIX.sub("", base, count=1)) != base:
        yield f"{folder}{slash}{short}"


def _safe(name: str) -> str:
    return _UNSAFE.sub("", name.rpartition("/")[2].strip().replace(" ", "_"))
