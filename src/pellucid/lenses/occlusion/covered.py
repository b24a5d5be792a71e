# SPDX-License-Identifier: Apache-2.0
"""The model's outputs for an image covered at many places: computed incrementally where the graph allows it, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pellucid.lenses._parts import Network
from pellucid.lenses._windows import Ints
from pellucid.lenses.occlusion.incremental import Block, Incremental

__all__ = ["Covering", "outputs"]

_TOLERANCE = 1e-4  # of a probability, or of a score relative to 1 and to itself
_COARSE = 0.1  # the same in bf16, which rounds by itself
_EACH = 200  # bytes of activations for each byte of an image, as long as the graph says nothing better
_MOST = 96  # covered images at a time


@final
@dataclass(frozen=True)
class Covering:
    """An image, what covers it, and where."""

    image: Tensor  # (C, H, W), uncovered
    cover: Tensor  # (C, H, W), what the patch shows
    tops: Sequence[int]  # px, the patch's first rows
    lefts: Sequence[int]  # px, its first columns
    patch: int  # px, its side

    def whole(self, network: Network, rows: Ints, columns: Ints) -> Any:
        """The model's output for some rows and columns of places, each covered image computed from the start."""
        covered = self.image[None].repeat(len(rows) * len(columns), 1, 1, 1)  # (R·C, channels, H, W)
        corners = ((self.tops[row], self.lefts[column]) for row in rows for column in columns)
        for image, (y, x) in zip(covered, corners, strict=True):
            image[:, y : y + self.patch, x : x + self.patch] = self.cover[:, y : y + self.patch, x : x + self.patch]
        return network.model(covered)


def outputs(
    network: Network, covering: Covering, score: Callable[[Any], Tensor], whole: bool = False
) -> tuple[int, Iterator[Block]]:
    """The number of batches, and the batches, each with the model's output for its places.

    Args:
        network: the model, the memory budget, and where notes go.
        covering: the image and the places.
        score: (B,) of an output: what the check compares.
        whole: compute every covered image from the start.
    """
    engine = None if whole else _engine(network, covering, score)
    if engine is not None:
        batches = engine.plan.batches(network.room(engine.plan.bytes_each(), most=_MOST))
        return len(batches), engine.run(covering.cover, batches)
    size = network.room(_EACH * 4.0 * covering.image.numel(), most=_MOST)
    wide = min(len(covering.lefts), size)
    high = max(1, size // wide)
    rows, columns = np.arange(len(covering.tops)), np.arange(len(covering.lefts))
    groups = [
        (rows[top : top + high], columns[left : left + wide])
        for top in range(0, len(rows), high)
        for left in range(0, len(columns), wide)
    ]
    return len(groups), (Block(*group, covering.whole(network, *group)) for group in groups)


def _engine(network: Network, covering: Covering, score: Callable[[Any], Tensor]) -> Incremental | None:
    """The incremental engine, if the forward pass can be traced and a few places agree with whole images."""
    engine = Incremental.of(network.model, covering.image, covering.tops, covering.lefts, covering.patch)
    if engine is None:
        network.note("The model's forward pass cannot be traced: every covered image is computed whole.")
        return None
    # the first and the last place of each axis together: both borders, and more than one place at a time
    rows, columns = (np.unique([0, len(places) - 1]) for places in (covering.tops, covering.lefts))
    try:
        near = score(next(engine.run(covering.cover, [(rows, columns)])).output).double()
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
        network.note(f"The graph cannot be run for several places ({fault}): every covered image is computed whole.")
        return None
    true = score(covering.whole(network, rows, columns)).double()
    gap = (near - true).abs() / true.abs().clamp_min(1) if near.shape == true.shape else torch.tensor([torch.inf])
    worst = float(gap.nan_to_num(torch.inf).max())
    if worst > (_COARSE if torch.is_autocast_enabled(covering.image.device.type) else _TOLERANCE):
        network.note(f"Windows differ from whole maps by {worst:.1e}: every covered image is computed whole.")
        return None
    network.note(f"{_saving(engine)} Checked at {len(true)} places: differs by {worst:.1e}.")
    return engine


def _saving(engine: Incremental) -> str:
    """What is saved, and which layers are computed whole all the same."""
    work = engine.plan.work()
    saved = (
        f"{work['full'] / max(1.0, work['planned']):.1f}× fewer multiplications" if work["full"] else "no convolution"
    )
    mixing = [name for name in dict.fromkeys(engine.plan.whole_layers()) if name]
    rest = f"; computed whole: {', '.join(mixing[:6])}{' …' if len(mixing) > 6 else ''}" if mixing else ""
    return f"Only what the patch reaches is computed: {saved}{rest}."
