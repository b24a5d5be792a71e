# SPDX-License-Identifier: Apache-2.0
"""How photographed letters differ from those of the training, and pictures that show no letter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.draws import Draws
from pellucid.data.embedded import glyphs
from pellucid.tasks.read.preparing import prepared

__all__ = ["Varying"]

_FONTS = ("DejaVuSans", "DejaVuSerif-Italic", "STIXGeneral", "cmtt10")  # of neighbours
_NOISE = 0.06
_BEND = 0.035  # of half of the picture's side


@final
@dataclass(frozen=True)
class Varying:
    """Random changes of letters that are ink already, as large as the task's options of the same names say.

    >>> ink = torch.rand(8, 1, 40, 40)
    >>> letters, odd = Varying(0.3, 0.9, 10, 0.15, 0.8, 0.2, 0.3)(ink, Draws.step(0, 0, slice(0, 8), 8))
    >>> letters.shape, odd.shape
    (torch.Size([8, 1, 40, 40]), torch.Size([8]))
    """

    slant: float
    pen: float
    tilt: float
    stretch: float
    soften: float
    beside: float
    strange: float
    shadow: float = 0.0

    def __call__(self, ink: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Changed letters (B, C, H, W), and which of them (B,) show no letter any more.

        Every row is a function of its own letter and draws alone, so that a batch may be shared between processes.
        """
        channels = ink.shape[1]
        letters = ink[:, :1]
        fate = draws.uniform()  # (B,)
        odd = fate < self.strange
        near = (fate >= self.strange) & (fate < self.strange + (1 - self.strange) * self.beside)
        others = _bank((ink.shape[2], ink.shape[3])).to(ink)[
            draws.integers(0, len(_FONTS) * len(glyphs.CLASSES), 2)
        ]  # (B, 2, H, W)
        kind, share, fields = draws.uniform(), draws.uniform(3), draws.normal(1, 9, 9)
        if bool(odd.any()):
            chosen = (part[odd] for part in (letters, others, kind, share, fields))
            letters = letters.clone()
            letters[odd] = _strange(*chosen)
        if bool(near.any()):
            letters = letters.clone() if not bool(odd.any()) else letters
            letters[near] = _with_neighbour(letters[near], others[near], share[near])
        return self._varied(letters, draws).expand(-1, channels, -1, -1), odd

    def _varied(self, ink: Tensor, draws: Draws) -> Tensor:
        """Letters (B, 1, H, W) with other slants, turns, shapes, widths of stroke and blur."""
        lean = draws.uniform(low=-self.slant, high=self.slant)
        turn = draws.uniform(low=-self.tilt, high=self.tilt) * (torch.pi / 180)
        stretch = 1 + draws.uniform(2, low=-self.stretch, high=self.stretch)
        cos, sin = turn.cos(), turn.sin()
        back = ink.new_zeros(len(ink), 2, 3)
        back[:, 0, 0], back[:, 0, 1] = (cos - lean * sin) / stretch[:, 0], (sin + lean * cos) / stretch[:, 0]
        back[:, 1, 0], back[:, 1, 1] = -sin / stretch[:, 1], cos / stretch[:, 1]
        bends = F.interpolate(_BEND * draws.normal(2, 4, 4), ink.shape[2:], mode="bilinear", align_corners=True)
        grid = F.affine_grid(back, list(ink.shape), align_corners=False) + bends.permute(0, 2, 3, 1)
        moved = F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        amount = draws.uniform(1, 1, 1, low=-self.pen / 2, high=self.pen)  # below 0 strokes shrink
        other = torch.where(amount > 0, F.max_pool2d(moved, 3, 1, 1), -F.max_pool2d(-moved, 3, 1, 1))
        moved = torch.lerp(moved, other, amount.abs().clamp(0, 1))
        soft = F.avg_pool2d(moved, 5, 1, 2, count_include_pad=True)
        moved = torch.lerp(moved, soft, draws.uniform(1, 1, 1, high=self.soften))
        gain, noise = draws.uniform(1, 1, 1, low=0.7, high=1.3), _NOISE * draws.uniform(1, 1, 1)
        seen = (moved * gain + noise * draws.normal(*ink.shape[1:])).clamp(0, 1)
        return self._shaded(seen, draws) if self.shadow else seen

    def _shaded(self, ink: Tensor, draws: Draws) -> Tensor:
        """Letters (B, 1, H, W), half of them with what a shadow's edge leaves once the paper's light is divided out.

        The light is estimated over a distance, so that the paper next to the edge, on its dark side, still looks like ink, which
        fades with the distance.
        """
        angle, offset = draws.uniform(1, 1, high=2 * torch.pi), draws.uniform(1, 1, low=-0.8, high=0.8)
        strength, reach = (
            draws.uniform(1, 1, low=-self.shadow, high=self.shadow),
            draws.uniform(1, 1, low=0.1, high=0.6),
        )
        y, x = (torch.linspace(-1, 1, side, device=ink.device) for side in ink.shape[2:])
        beyond = (
            x * angle.cos() + y[:, None] * angle.sin() - offset
        )  # (B, H, W): from the edge into the shadow, 1 for half a side
        false = strength.clamp(min=0) * (-beyond / reach).exp() * (beyond > 0)
        return ink + (1 - ink) * false[:, None].to(ink)


def _strange(ink: Tensor, others: Tensor, kind: Tensor, share: Tensor, fields: Tensor) -> Tensor:
    """Pictures (n, 1, H, W) without one letter in them.

    Args:
        ink: letters (n, 1, H, W).
        others: two letters (n, 2, H, W) for each, to stand beside it.
        kind: (n,) in [0, 1]: which kind of picture it becomes.
        share: (n, 3) in [0, 1]: how wide letters become.
        fields: (n, 1, 9, 9) normal numbers.
    """
    wide = 0.42 + 0.2 * share
    tall = 0.45 + 0.55 * (2 * share[:, 2] % 1)  # from letters in their own shape to tall and narrow ones
    first = torch.where((share[:, 2] < 0.5)[:, None, None, None], ink, others[:, 1:])
    both = torch.maximum(_squeezed(first, -0.5, wide[:, 0], tall), _squeezed(others[:, :1], 0.5, wide[:, 1], tall))
    third = torch.full_like(kind, 0.34)
    three = torch.maximum(_squeezed(ink, 0.0, third, tall), _squeezed(others[:, :1], -0.64, third, tall))
    three = torch.maximum(three, _squeezed(others[:, 1:], 0.64, third, tall))
    size = ink.shape[2:]
    smooth = F.interpolate(fields[:, :, :5, :5], size, mode="bicubic") + 0.7 * F.interpolate(
        fields, size, mode="bicubic"
    )
    level = (1.3 * share[:, 0] - 0.3)[:, None, None, None]
    blots = ((smooth - level) * 3).clamp(0, 1)
    edges = (1 - (smooth - level).abs() * (3 + 6 * share[:, 1])[:, None, None, None]).clamp(0, 1)
    pick = kind[:, None, None, None]
    return torch.where(pick < 0.4, both, torch.where(pick < 0.5, three, torch.where(pick < 0.75, blots, edges)))


def _with_neighbour(ink: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Letters (n, 1, H, W) with the end of another one at the left or the right edge, or above or below."""
    away = 1.62 + 0.2 * share[:, 0]  # 2 would be the whole picture's width
    away = torch.where(share[:, 1] < 0.5, away, -away)
    back = ink.new_zeros(len(ink), 2, 3)
    back[:, 0, 0] = back[:, 1, 1] = 1.0
    across = share[:, 2] < 0.7
    back[:, 0, 2], back[:, 1, 2] = torch.where(across, away, 0.0), torch.where(across, 0.0, away)
    grid = F.affine_grid(back, list(ink.shape), align_corners=False)
    return torch.maximum(ink, F.grid_sample(others[:, :1], grid, padding_mode="zeros", align_corners=False))


def _squeezed(ink: Tensor, aside: float, share: Tensor, tall: Tensor) -> Tensor:
    """Letters narrowed to shares (n,) of the width and height, their middles moved aside; −1 and 1 are the picture's edges."""
    back = ink.new_zeros(len(ink), 2, 3)
    back[:, 0, 0], back[:, 1, 1] = 1 / share, 1 / tall
    back[:, 0, 2] = -aside / share
    grid = F.affine_grid(back, list(ink.shape), align_corners=False)
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@lru_cache(maxsize=2)
def _bank(size: tuple[int, int]) -> Tensor:
    """Letters of fonts (144, H, W), which stand beside others."""
    plain = torch.from_numpy(np.concatenate([glyphs.render(font) for font in _FONTS]))[:, None]
    return prepared(plain, size)[:, 0]
