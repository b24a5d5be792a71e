# SPDX-License-Identifier: Apache-2.0
"""Noise: means and variances against the formulas, seeds, ranges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pellucid.data.corruption import KINDS, Kind, corrupt
from pellucid.data.draws import Draws
from pellucid.errors import UnknownNameError, UsageError


def noisy(kind: str, level: float, value: float = 0.4, shape: tuple[int, int, int] = (3, 64, 64), n: int = 8) -> Tensor:
    clean = torch.full((n, *shape), value)
    return corrupt(clean, kind, level, Draws.step(0, 0, slice(0, n), n))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "level", "deviation"),
    [("gaussian", 0.1, 0.1), ("speckle", 0.2, 0.2 * 0.4), ("poisson", 0.01, math.sqrt(0.01 * 0.4))],
)
def test_mean_and_deviation_are_those_of_the_formula(kind: str, level: float, deviation: float) -> None:
    found = noisy(kind, level)
    n = found.numel()
    assert float(found.mean()) == pytest.approx(0.4, abs=5 * deviation / math.sqrt(n))
    assert float(found.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * n) + 0.01)


def test_salt_and_pepper_hit_the_share_in_equal_parts_all_channels_together() -> None:
    found = noisy("salt_and_pepper", 0.2)
    n = found[:, 0].numel()
    for value, share in ((0.0, 0.1), (1.0, 0.1), (0.4, 0.8)):
        assert float((found == value).float().mean()) == pytest.approx(share, abs=5 * math.sqrt(share / n))
    assert bool((found == found[:, :1]).all())


def test_missing_patches_are_black_squares_of_about_the_share() -> None:
    found = noisy("missing", 0.3, n=64)
    hole = found[:, 0] == 0
    assert bool((hole == (found == 0).all(1)).all())
    count = round(0.3 * 64 * 64 / 16**2)
    covered = float(hole.float().mean())
    assert 0.5 * 0.3 < covered <= count * 16**2 / 64**2
    one = noisy("missing", 1 / 16, n=1)[0, 0] == 0
    rows, columns = one.nonzero().unbind(1)
    assert (int(rows.max() - rows.min()), int(columns.max() - columns.min())) == (15, 15)
    assert int(one.sum()) == 256


@pytest.mark.parametrize("kind", KINDS)
def test_seeded_and_per_image(kind: Kind) -> None:
    clean = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    kept = clean.clone()
    index = torch.arange(6)
    first = corrupt(clean, kind, 0.2, Draws.images(3, index))
    assert torch.equal(clean, kept), "the given images were changed"
    assert torch.equal(first, corrupt(clean, kind, 0.2, Draws.images(3, index)))
    assert torch.equal(first[2:5], corrupt(clean[2:5], kind, 0.2, Draws.images(3, index[2:5])))
    assert not torch.equal(first, corrupt(clean, kind, 0.2, Draws.images(4, index)))
    assert first.shape == clean.shape
    assert first.dtype == torch.float32
    assert torch.equal(corrupt(clean, kind, 0.0, Draws.images(3, index)), clean)
    clipped = corrupt(clean, kind, 0.9, Draws.images(3, index), clip=True)
    assert 0 <= float(clipped.min()) <= float(clipped.max()) <= 1


def test_wrong_asking() -> None:
    draws = Draws.images(0, torch.arange(1))
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
        corrupt(torch.zeros(1, 1, 4, 4), "gausian", 0.1, draws)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"level=1.5: must lie in \[0, 1\] for missing noise; give another value\."):
        corrupt(torch.zeros(1, 1, 4, 4), "missing", 1.5, draws)
    with pytest.raises(UsageError, match="level=nan"):
        corrupt(torch.zeros(1, 1, 4, 4), "gaussian", math.nan, draws)
