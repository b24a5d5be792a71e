# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from pellucid.errors import UsageError, check_choice
from pellucid.tasks._answering import PredictOptions

__all__ = ["ReadOptions"]

_FORMS = ("txt", "hocr", "alto")


@final
@dataclass(frozen=True)
class ReadOptions(PredictOptions):
    """What images show, what helps to decide between look-alikes, and what is written.

    >>> ReadOptions(also=("hocr",)).forms
    ['hocr']
    """

    single: bool = False
    """each image shows one letter, as those of the training do, and not a page"""
    words: str | None = None
    """a text file of words, one a line or separated by spaces, that decides between look-alikes"""
    also: tuple[Literal["txt", "hocr", "alto"], ...] = ()
    """also write each page's text in these forms: plain text, hOCR or ALTO"""

    def __post_init__(self) -> None:
        for form in self.forms:
            check_choice("also", form, _FORMS)
        if self.single and (self.forms or self.words is not None):
            name, value = ("also", self.also) if self.forms else ("words", self.words)
            raise UsageError(f"{name}={value!r}: is of pages, and images show one letter each; leave out --single.")

    @property
    def forms(self) -> Sequence[str]:
        """The forms to write, each once."""
        given: Any = self.also
        return list(dict.fromkeys([given] if isinstance(given, str) else given))

    def vocabulary(self) -> list[str] | None:
        """The words of the list.

        Raises:
            UsageError: the file cannot be read, or has no word.
        """
        if self.words is None:
            return None
        try:
            found = Path(self.words).expanduser().read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as fault:
            raise UsageError(
                f"words={self.words!r}: cannot be read as text ({fault}); give a text file of words."
            ) from None
        if not found:
            raise UsageError(f"words={self.words!r}: has no word; give a text file of words.")
        return found
