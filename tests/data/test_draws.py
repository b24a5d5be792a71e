# SPDX-License-Identifier: Apache-2.0
"""Random numbers: the same however rows are split over processes or batches, and of the distribution that is named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pellucid.data.draws import Draws, mix


@given(st.integers(1, 9), st.data())
def test_a_process_draws_its_rows_of_the_whole_batch(total: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, total - 1))
    rows = slice(start, data.draw(st.integers(start + 1, total)))
    whole = Draws.step(7, 3, slice(0, total), total)
    part = Draws.step(7, 3, rows, total)
    assert len(part) == rows.stop - rows.start
    for _ in range(2):  # and so do the draws that follow
        assert torch.equal(whole.normal(2, 3)[rows], part.normal(2, 3))
        assert torch.equal(whole.uniform()[rows], part.uniform())
        assert torch.equal(whole.integers(0, 10)[rows], part.integers(0, 10))
        rates = torch.full((total, 4), 5.0)
        assert torch.equal(whole.poisson(rates)[rows], part.poisson(rates[rows]))


def test_an_image_draws_its_own_whatever_batch_it_stands_in() -> None:
    index = torch.tensor([5, 2, 9])
    together = Draws.images(1, index).normal(3)
    for row, i in enumerate(index):
        assert torch.equal(Draws.images(1, i[None]).normal(3)[0], together[row])
    assert torch.equal(Draws.images(1, index.flip(0)).normal(3), together.flip(0))


def test_seed_step_and_purpose_all_count() -> None:
    def first(*key: int) -> float:
        seed, step, purpose = key
        return float(Draws.step(seed, step, slice(0, 1), 1, purpose=purpose).normal())

    assert len({first(s, t, p) for s in range(3) for t in range(3) for p in range(3)}) == 27
    assert first(1, 2, 0) == first(1, 2, 0)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), min_size=2, max_size=50, unique=True))
def test_mixed_seeds_differ_and_fit_a_generator(pairs: list[tuple[int, int]]) -> None:
    seeds = [mix(*pair) for pair in pairs]
    assert len(set(seeds)) == len(pairs)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_distributions() -> None:
    draws = Draws.step(0, 0, slice(0, 4), 4)
    assert stats.kstest(draws.normal(5000).flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(draws.uniform(5000, low=-2, high=3).flatten().numpy(), "uniform", (-2, 5)).pvalue > 1e-3
    found = torch.bincount(draws.integers(3, 8, 5000).flatten(), minlength=9)
    assert found[:3].sum() == found[8:].sum() == 0
    assert stats.chisquare(found[3:8].numpy()).pvalue > 1e-3
    counts = draws.poisson(torch.full((4, 20_000), 6.0))
    assert float(counts.mean()) == pytest.approx(6, abs=0.05)
    assert float(counts.var()) == pytest.approx(6, abs=0.15)
