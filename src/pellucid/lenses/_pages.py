# SPDX-License-Identifier: Apache-2.0
"""The part that lenses on pages read: pages, and how a model reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from pellucid._pages import PageSteps
from pellucid.lenses._parts import Part

__all__ = ["Pages"]


@final
@dataclass(frozen=True)
class Pages(Part):
    """Pages that a model reads letter by letter."""

    needs = "a run that reads pages; look at one of `pellucid train read`"

    model: nn.Module
    images: Sequence[Tensor]  # each (C, H, W) float32 in [0, 1] at its own size, decoded when it is read
    names: Sequence[str]
    steps: Callable[[nn.Module, Tensor], PageSteps]  # of the model and an image, on the way to its text
    texts: Sequence[str] = ()  # the true ones; empty where they are not known
    letters: Sequence[int] = ()  # the numbers, from 1, of those that were asked for
    made: str = ""  # what a page that nobody photographed is made of
    unread: Sequence[str] = ()  # a sentence for each named file that holds no image; `look` adds them to the words

    def chosen(self, page: PageSteps) -> list[int]:
        """The positions of the letters that were asked for, as far as a page has them."""
        return [number - 1 for number in self.letters if 1 <= number <= len(page.letters)]

    def lacking(self, place: int, page: PageSteps) -> str:
        """A sentence on letters that were asked for and that a page does not have; "" if it has all."""
        count = len(page.letters)
        beyond = [number for number in self.letters if not 1 <= number <= count]
        if not beyond:
            return ""
        way = f"give a number from 1 to {count}" if count else "show another page"
        return f"letter={beyond[0]}: {self.names[place]} has {count:,} letter{'s' * (count != 1)}; {way}."
