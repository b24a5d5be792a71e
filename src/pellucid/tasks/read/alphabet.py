# SPDX-License-Identifier: Apache-2.0
"""Classes as characters: a class is named by its character, or by the character's Unicode name."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from pellucid.data.dataset import Dataset, Split
from pellucid.data.splitting import fingerprint
from pellucid.data.targets import Label, target_of
from pellucid.errors import UsageError

__all__ = ["KINDS", "character", "comparable", "only"]

KINDS: Mapping[str, Callable[[str], bool]] = {
    "upper": str.isupper,
    "lower": str.islower,
    "digits": str.isdigit,
    "punctuation": lambda one: unicodedata.category(one)[0] in "PS",
}
"""Sets of characters by name."""


def character(name: str) -> str:
    """The character of a class, or its name where that names none.

    >>> character("A"), character("LATIN SMALL LETTER A"), character("greek_small_letter_alpha"), character("blot")
    ('A', 'a', 'α', 'blot')
    """
    if len(name) == 1:
        return name
    try:
        return unicodedata.lookup(name.replace("_", " ").strip())
    except KeyError:
        return name


def comparable(text: str, classes: Sequence[str]) -> str:
    """A text as an alphabet can write it: white space between words is one space, and what has no class is left out.

    Capitals stand for small letters that the alphabet lacks.

    >>> comparable("1. Make  a\\nlist", ["1", "A", "E", "I", "K", "L", "M", "S", "T"])
    '1 MAKE A LIST'
    """
    known = {character(name) for name in classes}
    written = []
    for one in text:
        other = one.upper() if one not in known and one.upper() in known else one.lower() if one not in known else one
        written.append(" " if one.isspace() else other if other in known else "")
    return " ".join("".join(written).split())


def only(data: Dataset, wanted: Sequence[str]) -> Dataset:
    """The data with the letters of an alphabet alone.

    >>> from pellucid.data import open
    >>> "".join(only(open("handprint"), ["digits", "ABC"]).classes)
    '0123456789ABC'

    Args:
        data: images of letters, each with its label.
        wanted: names of `KINDS`, or characters.

    Raises:
        UsageError: the data lack one of these, or hardly any are left.
    """
    characters = [character(name) for name in data.classes]
    kept: set[str] = set()
    for one in wanted:
        found = {c for c in characters if len(c) == 1 and KINDS[one](c)} if one in KINDS else set(one)
        if absent := sorted(found - set(characters)) or ([] if found else [one]):
            way = "give --data handprint_text" if data.name == "handprint" else "leave it out, or add its images"
            raise UsageError(f"alphabet={one!r}: {data.name} has no {' '.join(absent)}; {way}.")
        kept |= found
    if len(kept) < 2:
        raise UsageError(f"alphabet={' '.join(wanted)!r}: must name at least two characters; add some.")
    rows = [place for place, one in enumerate(characters) if one in kept]
    splits = {part: _selected(split, rows, len(characters)) for part, split in data.splits.items()}
    classes = tuple(data.classes[place] for place in rows)
    return data.replace(splits=splits, classes=classes, fingerprint=fingerprint(splits, classes))


def _selected(split: Split, rows: Sequence[int], count: int) -> Split:
    """The images of some classes, which are numbered in their order."""
    if not len(split):
        return split
    numbers = torch.full((count,), -1)
    numbers[list(rows)] = torch.arange(len(rows))
    label = numbers[target_of(split.targets, "label", Label).index]  # (N,)
    chosen = split.select(np.flatnonzero((label >= 0).numpy()))
    return replace(chosen, targets={**chosen.targets, "label": Label(label[label >= 0])})
