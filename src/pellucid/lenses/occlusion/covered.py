# SPDX-License-Identifier: Apache-2.0
"""The model's outputs for an image covered at many places: computed incrementally where the graph allows it, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pellucid.lenses._layers import floating
from pellucid.lenses._parts import Network
from pellucid.lenses._windows import Ints
from pellucid.lenses._wording import clipped
from pellucid.lenses.occlusion.incremental import Block, Incremental

__all__ = ["Covering", "outputs"]

_TOLERANCE = 1e-4  # of a probability, or of a score relative to 1 and to itself
_COARSE = 0.1  # the same in 16-bit numbers, which round by themselves
_SHORT = (torch.float16, torch.bfloat16)
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

    def images(self, rows: Ints, columns: Ints) -> Tensor:
        """(R·C, C, H, W): the image covered at some rows and columns of places, row by row."""
        covered = self.image[None].repeat(len(rows) * len(columns), 1, 1, 1)
        corners = ((self.tops[row], self.lefts[column]) for row in rows for column in columns)
        for image, (y, x) in zip(covered, corners, strict=True):
            image[:, y : y + self.patch, x : x + self.patch] = self.cover[:, y : y + self.patch, x : x + self.patch]
        return covered

    def telling(self) -> tuple[Ints, Ints]:
        """Rows and columns of places, the first and the last and one between: that where the patch changes the image most."""
        changed = (self.image - self.cover).abs().sum(0).double().cpu().numpy()  # (H, W)
        # sums over squares as differences of running sums
        sums = np.pad(changed.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        y, x = np.array(self.tops)[:, None], np.array(self.lefts)[None]
        inside = sums[y + self.patch, x + self.patch] - sums[y, x + self.patch] - sums[y + self.patch, x] + sums[y, x]
        row, column = np.unravel_index(int(inside.argmax()), inside.shape)
        return np.unique([0, row, len(self.tops) - 1]), np.unique([0, column, len(self.lefts) - 1])

    def most(self) -> Tensor:
        """(1, C, H, W): the image covered where that changes it most."""
        rows, columns = self.telling()
        covered = self.images(rows, columns)
        return covered[(covered - self.image).abs().flatten(1).sum(1).argmax()][None]


def outputs(
    network: Network, covering: Covering, score: Callable[[Any], Tensor], whole: bool = False, alone: bool = False
) -> tuple[int, Iterator[Block]]:
    """The number of batches, and the batches, each with the model's output for its places.

    Args:
        network: the model, the memory budget, and where notes go.
        covering: the image and the places.
        score: (B,) of an output: what the check compares.
        whole: compute every covered image from the start.
        alone: compute every covered image from the start and by itself.
    """
    engine = None if whole or alone else _engine(network, covering, score)
    if engine is not None:
        batches = engine.plan.batches(network.room(engine.plan.bytes_each(), most=_MOST))
        return len(batches), _windowed(network, covering, engine, batches)
    size = 1 if alone else network.room(_EACH * 4.0 * covering.image.numel(), most=_MOST)
    wide = min(len(covering.lefts), size)
    high = max(1, size // wide)
    rows, columns = np.arange(len(covering.tops)), np.arange(len(covering.lefts))
    groups = [
        (rows[top : top + high], columns[left : left + wide])
        for top in range(0, len(rows), high)
        for left in range(0, len(columns), wide)
    ]
    return len(groups), (Block(*group, network.model(covering.images(*group))) for group in groups)


def _windowed(
    network: Network, covering: Covering, engine: Incremental, batches: Sequence[tuple[Ints, Ints]]
) -> Iterator[Block]:
    """The batches by windows; from one that the graph cannot do on, whole."""
    done = 0
    try:
        for block in engine.run(covering.cover, batches):
            yield block
            done += 1
    except Exception as fault:  # a node may fail in any way at sizes that the check did not meet
        network.remark(_whole(f"its graph cannot be run for several places ({_brief(fault)})"))
        for group in batches[done:]:
            yield Block(*group, network.model(covering.images(*group)))


def _engine(network: Network, covering: Covering, score: Callable[[Any], Tensor]) -> Incremental | None:
    """The incremental engine, if the forward pass can be traced and a few places agree with whole images, one by one."""
    rows, columns = covering.telling()
    try:
        engine = Incremental.of(network.model, covering.image, covering.tops, covering.lefts, covering.patch)
        if engine is None:
            network.remark(_whole("its forward pass cannot be traced"))
            return None
        near = score(next(engine.run(covering.cover, [(rows, columns)])).output).double()
    except Exception as fault:  # a model of any kind: a node may fail in any way
        network.remark(_whole(f"its graph cannot be run for several places ({_brief(fault)})"))
        return None
    true = torch.cat([score(network.model(image[None])) for image in covering.images(rows, columns)]).double()
    gap = (near - true).abs() / true.abs().clamp_min(1) if near.shape == true.shape else torch.tensor([torch.inf])
    worst = float(gap.nan_to_num(torch.inf).max())
    coarse = torch.is_autocast_enabled(covering.image.device.type) or floating(network.model) in _SHORT
    if worst > (_COARSE if coarse else _TOLERANCE):
        network.remark(_whole(f"windows of its layers differ from whole images by {worst:.1e}"))
        return None
    network.note(f"{_saving(engine)} Checked at {len(true)} places: differs by {worst:.1e}.")
    return engine


def _whole(reason: str) -> str:
    return f"Every covered image of this model is computed whole, since {reason}."


def _brief(fault: Exception) -> str:
    """The first line of a fault."""
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    return clipped(lines[0].rstrip("."), 80)


def _saving(engine: Incremental) -> str:
    """What is saved, and which layers are computed whole all the same."""
    work = engine.plan.work()
    saved = (
        f"{work['full'] / max(1.0, work['planned']):.1f}× fewer multiplications" if work["full"] else "no convolution"
    )
    mixing = [name for name in dict.fromkeys(engine.plan.whole_layers()) if name]
    rest = f"; computed whole: {', '.join(mixing[:6])}{' …' if len(mixing) > 6 else ''}" if mixing else ""
    return f"Only what the patch reaches is computed: {saved}{rest}."
