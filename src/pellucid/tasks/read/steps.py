# SPDX-License-Identifier: Apache-2.0
"""A page with all that was found on the way to its text, as lenses show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid._pages import PageSteps, ReadLetter
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.answers import Pages, page_of
from pellucid.tasks.read.page import Reading

__all__ = ["NOTHING", "steps_of"]

NOTHING = "no letter"
"""The network's answer beside the classes."""


def steps_of(reading: Reading, classes: Sequence[str], seen: Callable[[Tensor], Tensor]) -> PageSteps:
    """The steps of a page that was read.

    Args:
        reading: what was found on it.
        classes: the names of the letters.
        seen: crops (n, 1, 56, 56) as the network takes them, (n, C, h, w).
    """
    page = page_of(reading, classes)
    found = [letter for line in reading.lines for letter in line.letters]
    pictures = seen(torch.from_numpy(np.stack([one.crop for one in found]))[:, None]).cpu() if found else torch.zeros(0)
    letters = tuple(
        ReadLetter(
            letter.box, one.box, picture, one.shares, letter.index, letter.line, letter.word, letter.decided
        )
        for letter, one, picture in zip(page.letters, found, pictures, strict=True)
    )  # fmt: skip
    return PageSteps(
        (*(character(name) for name in classes), NOTHING),
        letters,
        None if reading.seen is None else reading.seen.contrast,
        None if reading.parts is None else reading.parts.labels,
        reading.matrix,
        page.pen,
        page.tall,
        page.light,
        page.turned,
        page.skew,
        Pages([page]),
    )
