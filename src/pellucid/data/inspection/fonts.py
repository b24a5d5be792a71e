# SPDX-License-Identifier: Apache-2.0
"""Fonts for names in any script, and how wide a text becomes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from pellucid.files import as_text

__all__ = ["DPI", "Fonts", "fonts_for"]

DPI = 100  # of a contact sheet: a point has 1.39 px
_USUAL = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, and a few more
# of most computers one of these has Chinese, Japanese and Korean characters; they are tried before all others
_LIKELY = (
    "Noto Sans CJK", "Source Han", "WenQuanYi", "Droid Sans Fallback", "Microsoft YaHei", "Malgun", "PingFang", "Hiragino",
    "Arial Unicode", "Unifont", "Noto Sans",
)  # fmt: skip
_NEVER = ("Last Resort", "Emoji")  # boxes instead of characters, and pictures that cannot be drawn


@final
@dataclass(frozen=True)
class Fonts:
    """Font families that have the characters of some texts, as far as any installed one does."""

    families: tuple[str, ...]
    lacking: frozenset[str]  # characters that no installed font has

    def readable(self, text: str) -> bool:
        """Whether every character of a text can be drawn."""
        return not self.lacking & set(_plain(text))

    def shown(self, text: str) -> str:
        """A text with question marks for what cannot be drawn."""
        return "".join("?" if c in self.lacking else c for c in _plain(text))

    def width(self, text: str, points: float) -> float:
        """How wide a text is in px, at a size in points."""
        from matplotlib.font_manager import FontProperties

        wide, _, _ = _renderer().get_text_width_height_descent(
            text, FontProperties(family=list(self.families), size=points), False
        )
        return float(wide)

    def fitted(self, text: str, points: float, width: float) -> str:
        """A text, or its beginning with "…", that is at most `width` px wide."""
        text = self.shown(text)
        if self.width(text, points) <= width:
            return text
        low, high = 0, len(text)
        while low < high:  # as many characters as fit
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(f"{text[:middle]}…", points) <= width else (low, middle - 1)
        return f"{text[:low].rstrip()}…"

    def style(self, points: float) -> dict[str, Any]:
        """How matplotlib draws a text: these fonts, and no formulas where a name has a dollar sign."""
        return {"fontsize": points, "fontfamily": list(self.families), "parse_math": False}


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The fonts that texts need.

    >>> fonts_for(["cat", "gélule_5 µm"])
    Fonts(families=('DejaVu Sans',), lacking=frozenset())
    """
    from matplotlib import font_manager

    needed = {c for text in texts for c in _plain(text) if not c.isspace()}
    lacking = {c for c in needed if ord(c) not in _characters(font_manager.findfont(_USUAL))}
    families = [_USUAL]
    if lacking:
        usable = [font for font in font_manager.fontManager.ttflist if not any(name in font.name for name in _NEVER)]
        tried = set()
        for font in sorted(usable, key=lambda font: _rank(font.name)):
            if font.name in tried or not lacking:
                continue
            tried.add(font.name)
            if own := {c for c in lacking if ord(c) in _characters(font.fname)}:
                families.append(font.name)
                lacking -= own
    return Fonts(tuple(families), frozenset(lacking))


def _plain(text: str) -> str:
    """A text in one line, without characters that cannot be printed."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in as_text(text))


def _rank(name: str) -> int:
    return next((i for i, start in enumerate(_LIKELY) if name.startswith(start)), len(_LIKELY))


@functools.cache
def _characters(file: str) -> frozenset[int]:
    """The code points that a font file has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def _renderer() -> Any:
    from matplotlib.backends import backend_agg

    make: Any = backend_agg.RendererAgg  # has no annotations
    return make(16, 16, DPI)
