# SPDX-License-Identifier: Apache-2.0
"""`pellucid data PATH --convert FORM`: images and their annotations in another form, as a new folder."""

from __future__ import annotations

from pathlib import Path

from pellucid.cli import printing
from pellucid.errors import UsageError

__all__ = ["converted"]


def converted(what: str, range: tuple[float, ...], form: str, out: Path | None) -> int:
    """Write a dataset in a form of annotations, and print what was mended on the way.

    Raises:
        UsageError: no folder is named, or it is not new.
    """
    from pellucid.data import open
    from pellucid.data.annotations.converting import check_new, convert

    if out is None:
        raise UsageError(f"out=None: --convert {form} needs a folder for what it writes; give --out with a new one.")
    check_new(out, what)  # opening may take minutes
    dataset = open(what, range)
    for sentence in (*dataset.notes, *dataset.problems, *convert(dataset, form, out)):
        printing.say(sentence)
    print(f"written to {out}")
    return 0
