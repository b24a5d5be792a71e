# SPDX-License-Identifier: Apache-2.0
"""The outputs for an image covered at many places: incrementally where the network's graph allows it, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.lenses._contract import Subject
from pellucid.lenses._windows import Ints
from pellucid.lenses.occlusion.incremental import Incremental, Part

__all__ = ["outputs", "whole_outputs"]

_TOLERANCE = 1e-4  # of a probability, or of a score relative to 1 and to itself
_COARSE = 0.1  # the same in bf16, which is not exact in itself
_EACH = 200  # bytes that a whole pass takes for each byte of its image, where nothing else is known
_MOST = 96  # covered images at a time


def outputs(
    subject: Subject,
    image: Tensor,
    cover: Tensor,
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: int,
    score: Callable[[Any], Tensor],
    whole: bool = False,
) -> tuple[int, Iterator[Part]]:
    """The number of batches and the batches themselves, each with the model's output for its places.

    Args:
        subject: the model, the memory budget, and who is told what is done.
        image: (C, H, W), uncovered.
        cover: (C, H, W), what the patch shows.
        tops: px, the patch's first rows.
        lefts: px, the patch's first columns.
        patch: px, its side.
        score: what is compared in the check: (B,) of an output.
        whole: compute every covered image from the start.
    """
    places = (np.arange(len(tops)), np.arange(len(lefts)))
    engine = None if whole else _engine(subject, image, cover, tops, lefts, patch, score)
    if engine is not None:
        batches = engine.batches(subject.room(engine.bytes_each(), most=_MOST))
        return len(batches), engine.run(cover, batches)
    size = subject.room(_EACH * 4.0 * image.numel(), most=_MOST)
    wide = min(len(lefts), size)
    high = max(1, size // wide)
    groups = [
        (places[0][top : top + high], places[1][left : left + wide])
        for top in range(0, len(tops), high)
        for left in range(0, len(lefts), wide)
    ]
    found = (
        Part(rows, columns, whole_outputs(subject, image, cover, tops, lefts, patch, rows, columns))
        for rows, columns in groups
    )
    return len(groups), found


def whole_outputs(
    subject: Subject,
    image: Tensor,
    cover: Tensor,
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: int,
    rows: Ints,
    columns: Ints,
) -> Any:
    """The model's output for covered images, each computed from the start."""
    assert subject.model is not None
    covered = image[None].repeat(len(rows) * len(columns), 1, 1, 1)  # (R·C, channels, H, W)
    for k, (y, x) in enumerate((tops[row], lefts[column]) for row in rows for column in columns):
        covered[k, :, y : y + patch, x : x + patch] = cover[:, y : y + patch, x : x + patch]
    return subject.model(covered)


def _engine(
    subject: Subject,
    image: Tensor,
    cover: Tensor,
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: int,
    score: Callable[[Any], Tensor],
) -> Incremental | None:
    """The incremental engine, if the model's forward can be followed and some places come out as they do from the start."""
    assert subject.model is not None
    engine = Incremental.of(subject.model, image, tops, lefts, patch)
    if engine is None:
        subject.note("The model's forward cannot be followed: every covered image is computed whole.")
        return None
    # the first and the last place of each axis together: both borders, and more than one place at a time
    rows, columns = (np.unique([0, len(places) - 1]) for places in (tops, lefts))
    try:
        found = next(engine.run(cover, [(rows, columns)])).output
        near = score(found).double()
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
        subject.note(f"Its graph cannot be run for several places ({fault}): every covered image is computed whole.")
        return None
    true = score(whole_outputs(subject, image, cover, tops, lefts, patch, rows, columns)).double()
    gap = (near - true).abs() / true.abs().clamp_min(1) if near.shape == true.shape else torch.tensor([torch.inf])
    worst = float(gap.nan_to_num(torch.inf).max())
    if worst > (_COARSE if torch.is_autocast_enabled(image.device.type) else _TOLERANCE):
        subject.note(f"Windows differ from whole maps by {worst:.1e}: every covered image is computed whole.")
        return None
    work = engine.work()
    saved = (
        f"{work['full'] / max(1.0, work['planned']):.1f}× fewer multiplications" if work["full"] else "no convolution"
    )
    mixed = [name for name in dict.fromkeys(engine.whole_layers()) if name]
    told = f"; computed whole: {', '.join(mixed[:6])}{' …' if len(mixed) > 6 else ''}" if mixed else ""
    subject.note(
        f"Only what the patch reaches is computed: {saved}{told}. Checked at {len(true)} places: differs by {worst:.1e}."
    )
    return engine
