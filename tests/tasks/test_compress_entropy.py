# SPDX-License-Identifier: Apache-2.0
"""Whole numbers to bytes and back: lossless, exact, near the entropy, and independent of floating-point arithmetic."""

from __future__ import annotations

import hashlib

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pellucid.models._prior import LARGEST, STATES, TOTAL, Prior
from pellucid.tasks.compress import tables
from pellucid.tasks.compress.entropy import MOST, Tables, _summed, residuals, surroundings


def prior(codes: int = 5) -> Prior:
    return Prior(codes, [0.01, 0.05], [6.0, *([1.5] * (codes - 1))], scale=0.05)


def field(images: int = 200, codes: int = 5, side: int = 8, seed: int = 0) -> torch.Tensor:
    """Codes of a smooth first channel, and others that are large where a hidden activity is, 4×4 places at a time."""
    rng = np.random.default_rng(seed)
    ramp = np.cumsum(np.cumsum(rng.normal(0, 1.2, (images, 1, side, side)), 2), 3)
    activity = np.exp(rng.normal(-0.5, 1, (images, 1, side // 4, side // 4))).repeat(4, 2).repeat(4, 3)
    rest = rng.laplace(0, 1, (images, codes - 1, side, side)) * activity
    return torch.from_numpy(np.concatenate([ramp, rest], 1)).float()


def counted() -> Prior:
    made = prior()
    tables.count(made, field())
    return made


def symbols_of(made: Prior, codes: torch.Tensor, quality: int) -> np.ndarray:
    asked = torch.full((len(codes),), quality)
    return made.symbols(codes, asked).detach().numpy().astype(np.int64)


@settings(max_examples=40)
@given(
    arrays(
        np.int64,
        st.tuples(st.just(5), st.integers(1, 7), st.integers(1, 7)),
        elements=st.one_of(st.integers(-3, 3), st.integers(-MOST, MOST)),
    )
)
def test_any_symbols_come_back(symbols: np.ndarray) -> None:
    for coded in (Tables.of(prior(), 0), TRAINED):
        assert (coded.decode(coded.encode(symbols), symbols.shape[1:]) == symbols).all()


TRAINED = Tables.of(counted(), 1)


def test_what_lies_beyond_the_largest_is_cut_to_it() -> None:
    coder = Tables.of(prior(1), 0)
    symbols = np.array([[[MOST + 5, -MOST - 5, MOST, 0]]])
    assert coder.decode(coder.encode(symbols), (1, 4)).tolist() == [[[MOST, -MOST, MOST, 0]]]


def test_tables_are_whole_and_sum_to_the_total() -> None:
    made = counted()
    assert made.frequencies.dtype == torch.int32
    assert not made.frequencies.is_floating_point()
    assert (made.frequencies.sum(-1) == TOTAL).all()
    assert made.frequencies.min() >= 1
    assert made.frequencies.shape == (2, 5, STATES, 2 * LARGEST + 2)
    assert made.predicted[:, 0].all()  # the smooth channel is told by differences
    assert not made.predicted[:, 1:].any()
    assert (made.nearby[:, 0] == 0).all()  # nothing comes before the first channel
    for channel in range(5):
        assert (made.nearby[:, channel, :, channel:] == 0).all()  # nor does any look at what comes later


def test_files_are_near_the_entropy_of_the_tables_and_shorter_for_the_states() -> None:
    made = counted()
    fresh = symbols_of(made, field(8, side=24, seed=1), 1)
    coder = Tables.of(made, 1)
    told = fresh.copy()
    told[:, 0] = residuals(fresh[:, 0])
    spent = sum(len(coder.encode(image)) * 8 for image in fresh)
    ideal = np.zeros(5)
    for image in told:
        near = surroundings(image[None])[0]
        for channel, values in enumerate(image.reshape(5, -1)):
            state = coder._states(channel, near)
            index = np.where(abs(values) > LARGEST, 2 * LARGEST + 1, values + LARGEST)
            ideal[channel] -= np.log2(coder.frequencies[channel, state, index] / TOTAL).sum()
    assert spent == pytest.approx(ideal.sum(), rel=0.02)
    # against one histogram a channel that even knows these symbols: what a prior without states could reach at best
    for channel in range(2, 5):  # the first of the busy ones has nothing before it that tells of them
        shares = np.unique(fresh[:, channel], return_counts=True)[1] / fresh[:, channel].size
        assert ideal[channel] < 0.97 * fresh[:, channel].size * -(shares * np.log2(shares)).sum()


def test_the_coder_takes_whole_numbers_as_they_are() -> None:
    """Tables given as numbers, as shares of a power of two, and one by one give the same bytes: nothing is rounded."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(2 * LARGEST + 2, 0.05), 40)
    whole = tables.whole_frequencies(shares).astype(np.float64)
    assert (whole.sum(1) == TOTAL).all()
    row = rng.integers(0, 40, 3000)
    symbols = np.array([rng.choice(whole.shape[1], p=whole[r] / TOTAL) for r in row], np.int32)
    model, queue = constriction.stream.model, constriction.stream.queue

    def together(tables: np.ndarray) -> bytes:
        coder = queue.RangeEncoder()
        coder.encode(symbols, model.Categorical(perfect=False), tables[row])
        return bytes(coder.get_compressed().astype("<u4").tobytes())

    one_by_one = queue.RangeEncoder()
    for symbol, r in zip(symbols, row, strict=True):
        one_by_one.encode(int(symbol), model.Categorical(whole[r], perfect=False))
    expected = together(whole)
    assert together(whole / TOTAL) == expected
    assert one_by_one.get_compressed().astype("<u4").tobytes() == expected


def test_bytes_are_the_same_on_every_machine() -> None:
    """A pinned stream from tables that no floating-point number has touched."""
    made = Prior(3, [0.01], [1.0, 1.0, 1.0])
    falling = torch.tensor([2 ** max(0, 15 - abs(k)) for k in range(-LARGEST, LARGEST + 1)] + [1], dtype=torch.int32)
    falling[LARGEST] += TOTAL - int(falling.sum())
    made.frequencies.copy_(falling.expand_as(made.frequencies))
    made.frequencies[:, :, 5:] = Prior(3, [0.01], [1.0] * 3).frequencies[:, :, 5:]
    made.nearby[0, 1, :, 0] = 7
    made.nearby[0, 2] = torch.tensor([[3, 5, 0], [1, 2, 0]], dtype=torch.int32)
    made.edges.copy_(torch.arange(0, 40 * (STATES - 1), 40).expand_as(made.edges))
    made.predicted[0, 0] = 1
    place = np.arange(6 * 9).reshape(6, 9)
    symbols = np.stack([place % 7 - 3, (place * place) % 11 - 5, np.where(place == 20, 900, place % 2)])
    coder = Tables.of(made, 0)
    content = coder.encode(symbols)
    assert hashlib.sha256(content).hexdigest()[:16] == PINNED
    assert (coder.decode(content, (6, 9)) == symbols).all()


PINNED = "93da089b4f404264"


def test_sums_invert_differences() -> None:
    rng = np.random.default_rng(3)
    for shape in ((1, 1), (1, 5), (5, 1), (4, 7), (7, 4)):
        symbols = rng.integers(-50, 50, shape)
        assert (_summed(residuals(symbols)) == symbols).all()
    # by hand: 4 is told as 4 − ⌊(2 + 7)/2⌋
    assert residuals(np.array([[1, 2], [7, 4]])).tolist() == [[1, 1], [6, 0]]


def test_surroundings_are_those_of_a_convolution() -> None:
    from scipy.signal import convolve2d

    told = np.random.default_rng(4).integers(-20, 20, (2, 3, 5, 6))
    found = surroundings(told)
    capped = np.minimum(abs(told), 15)
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    for n in range(2):
        for m in range(3):
            assert (found[n, 0, m] == capped[n, m]).all()
            assert (found[n, 1, m] == convolve2d(capped[n, m], ring, mode="same")).all()


def test_weights_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(5)
    near = rng.random((4000, 6)) * 10
    magnitudes = np.stack([rng.random(4000), near[:, 0] * 0.5, near[:, 1] * 0.25 + near[:, 2]], 1)
    weights = tables._weights(near, magnitudes) / tables._UNITS
    assert weights[:, 0].tolist() == [0.0] * 6
    assert weights[:, 1] == pytest.approx([0.5, 0, 0, 0, 0, 0], abs=5e-3)
    assert weights[:, 2] == pytest.approx([0, 0.25, 1, 0, 0, 0], abs=5e-3)


def test_the_density_is_a_density_and_its_bits_those_of_the_logistic() -> None:
    from scipy.stats import logistic

    made = Prior(2, [0.01], [4.0, 1.0], scale=0.01, logistics=1)
    asked = torch.zeros(1, dtype=torch.int64)
    step = made.step(asked)
    levels = torch.arange(-400, 401).view(1, 1, -1, 1) * step
    assert made.probability(levels, step).sum(2).flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    width = step[0, 0, 0, 0].item()
    spread = (made.width[0, 0] * 10).exp().item()
    expected = logistic.cdf(1.3 + width / 2, scale=spread) - logistic.cdf(1.3 - width / 2, scale=spread)
    codes = torch.full((1, 2, 1, 1), 1.3)
    assert made.probability(codes, step)[0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-4)
    assert made.bits(codes, asked).item() == pytest.approx(-made.probability(codes, step).log2().sum().item())


def test_rounding_lets_the_gradient_through() -> None:
    made = prior()
    codes = field(3).requires_grad_()
    asked = torch.tensor([0, 1, 1])
    made.quantised(codes, asked).sum().backward()  # type: ignore[no-untyped-call]
    assert codes.grad is not None
    torch.testing.assert_close(codes.grad, made.log_gain.exp()[asked][:, :, None, None].expand_as(codes))
    assert made.log_step.grad is not None
    torch.testing.assert_close(made.quantised(codes, asked), made.restored(made.symbols(codes, asked), asked))
    noise = ((made.noisy(codes, asked) - codes) / made.step(asked)).detach()
    assert 0.4 < float(noise.max()) <= 0.5
    assert -0.5 <= float(noise.min()) < -0.4
