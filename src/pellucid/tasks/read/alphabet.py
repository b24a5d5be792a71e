# SPDX-License-Identifier: Apache-2.0
"""Classes as characters: a class is named by its character, or by the character's Unicode name."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["character", "comparable"]


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
