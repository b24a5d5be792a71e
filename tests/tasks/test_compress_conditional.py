# SPDX-License-Identifier: Apache-2.0
"""Coding under a hyperprior: lossless, exact in whole numbers on any machine, near the density that training sees."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pellucid.models._conditional import FRACTIONS, LOWEST, OCTAVE, SCALES, UNIT, Conditional, Stage, phases
from pellucid.models._prior import LARGEST, TOTAL
from pellucid.models.factorized import Factorized
from pellucid.models.hyperprior import Hyperprior
from pellucid.tasks.compress import coders, contexts
from pellucid.tasks.compress.conditional import ConditionalTables, side_symbols
from pellucid.tasks.compress.contexts import Contexts
from pellucid.tasks.compress.entropy import MOST
from pellucid.tasks.compress.tables import whole_frequencies


def made(codes: int = 7, seed: int = 0, amount: float = 0.2) -> Conditional:
    """A density whose network is random, larger than at the start of a training, so that every part of it matters."""
    torch.manual_seed(seed)
    prior = Conditional(codes, [0.01, 0.05], [6.0, *([1.5] * (codes - 1))], scale=0.05, side=3, hidden=8).eval()
    with torch.no_grad():
        for name, value in prior.named_parameters():
            if name.startswith(("stages", "unfold", "detail", "summary")):
                value.add_(amount * torch.randn_like(value))
    return prior


def field(images: int, codes: int = 7, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Codes that are large together, 8×8 places at a time."""
    rng = np.random.default_rng(seed)
    activity = np.exp(rng.normal(-0.5, 1.2, (images, 1, -(-side // 8), -(-side // 8)))).repeat(8, 2).repeat(8, 3)
    return torch.from_numpy(rng.laplace(0, 1, (images, codes, side, side)) * activity[:, :, :side, :side]).float()


COUNTED = made()
coders.count(COUNTED, field(60))


def symbols_of(prior: Conditional, codes: torch.Tensor, quality: int) -> np.ndarray:
    found: np.ndarray = prior.symbols(codes, torch.full((len(codes),), quality)).detach().double().numpy()
    return found


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        np.int64,
        st.tuples(st.just(7), st.integers(1, 7), st.integers(1, 7)),
        elements=st.one_of(st.integers(-3, 3), st.integers(-MOST, MOST)),
    )
)
def test_any_symbols_come_back(symbols: np.ndarray) -> None:
    for prior in (made(), COUNTED):
        coder = ConditionalTables(prior, 1)
        assert (coder.decode(coder.encode(symbols), (symbols.shape[1], symbols.shape[2])) == symbols).all()


def test_what_lies_beyond_the_largest_is_cut_to_it() -> None:
    coder = ConditionalTables(made(1), 0)
    symbols = np.array([[[MOST + 5, -MOST - 5, MOST, 0]]])
    assert coder.decode(coder.encode(symbols), (1, 4)).tolist() == [[[MOST, -MOST, MOST, 0]]]


def test_damaged_bytes_give_other_symbols_or_a_value_error() -> None:
    coder = ConditionalTables(COUNTED, 1)
    symbols = symbols_of(COUNTED, field(1, seed=3), 1)[0].astype(np.int64)
    content = coder.encode(symbols)
    rng, other = np.random.default_rng(0), 0
    for place in rng.integers(0, len(content), 40):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        try:
            other += int((coder.decode(bytes(changed), (16, 16)) != symbols).any())
        except ValueError:
            other += 1
    assert other >= 38


def test_whole_numbers_follow_the_network_that_is_trained() -> None:
    """Means to a twentieth of a step, and tables that are off by one at most, at the edges between two."""
    quality, asked = 1, torch.tensor([1, 1])
    symbols = symbols_of(COUNTED, field(2, seed=1, side=11), quality)
    step = COUNTED.whole_steps[quality][:, None, None] / UNIT  # as both sides have them
    codes = torch.from_numpy(symbols).float() * step
    side = side_symbols(COUNTED, symbols, quality)
    whole = Contexts(COUNTED, quality)
    seen = whole.features(side.astype(np.float64), (11, 11))
    with torch.no_grad():
        features = COUNTED.features(
            torch.from_numpy(side).float() * COUNTED.side_steps[quality][:, None, None] / UNIT, (11, 11)
        )
        assert seen / UNIT == pytest.approx(features.numpy(), abs=0.05, rel=0.02)
        for place, stage in zip(whole.places((11, 11)), COUNTED.stages, strict=True):
            assert isinstance(stage, Stage)
            known = codes[:, : place.known].clone()
            known[:, place.own :] *= phases(11, 11) < place.before
            around = torch.nn.functional.pad(known, (1, 1, 1, 1), mode="replicate") if place.known else known
            grown = around.abs() + 1
            power = grown.log2().floor()
            mean, logs = stage(features, around, power + grown / 2**power - 1, asked)
            here = (slice(None), slice(None), place.rows, place.columns)
            own = step[place.channels, 0]
            table, taken = whole.tables(place, seen, symbols)
            found = taken + (table % FRACTIONS - FRACTIONS // 2) / FRACTIONS
            assert found == pytest.approx((mean[here] / own).numpy(), abs=0.5 / FRACTIONS + 0.05)
            scale = ((logs[here] - own.log2()) * OCTAVE).numpy() - LOWEST * OCTAVE
            off = np.abs(table // FRACTIONS - np.clip(np.floor(scale), 0, SCALES - 1))
            assert off.max() <= 1
            assert off.mean() < 0.12


def test_files_are_as_long_as_the_density_says() -> None:
    """With tables that are the logistic density itself: what training sees is what a file costs."""
    prior, codes = made(amount=0.05), field(12, seed=5)
    prior.frequencies.copy_(torch.from_numpy(whole_frequencies(coders._logistic())))
    for quality in (0, 1):
        symbols = symbols_of(prior, codes, quality)
        asked = torch.full((12,), quality)
        side = side_symbols(prior, symbols, quality)
        with torch.no_grad():
            expected = float(prior.bits(torch.from_numpy(symbols).float() * prior.step(asked), asked).sum())
            of_side = torch.from_numpy(side).float() * prior.side.step(asked)
            expected -= float(prior.side.bits(of_side, asked).sum())
        coder = ConditionalTables(prior, quality)
        expected += sum(len(coder.side.encode(image)) * 8 for image in side)  # whose tables are flat here
        spent = sum(len(coder.encode(image)) * 8 for image in symbols)
        assert spent == pytest.approx(expected, rel=0.04)


def test_the_side_information_and_what_is_before_save_bytes() -> None:
    """Against one histogram a channel that even knows these symbols: what a prior without either could reach at best."""
    torch.manual_seed(0)
    prior = Conditional(7, [0.05], [1.5] * 7, scale=0.05, side=3, hidden=16)
    best = torch.optim.Adam(prior.parameters(), 1e-2)
    for step in range(150):
        codes = field(16, seed=100 + step)
        asked = torch.zeros(16, dtype=torch.int64)
        loss = prior.bits(prior.noisy(codes, asked).detach(), asked).mean() / codes[0].numel()
        best.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        prior.log_step.grad = None  # the steps stay: there is no distortion here
        best.step()
    prior.eval()
    coders.count(prior, field(200, seed=7))
    symbols = symbols_of(prior, field(20, seed=8), 0)
    coder = ConditionalTables(prior, 0)
    spent = sum(len(coder.encode(image)) * 8 for image in symbols)
    ideal = 0.0
    for channel in range(7):
        shares = np.unique(symbols[:, channel], return_counts=True)[1] / symbols[:, channel].size
        ideal -= symbols[:, channel].size * float((shares * np.log2(shares)).sum())
    assert spent < 0.93 * ideal


def test_a_stage_sees_only_what_is_decoded_before_it() -> None:
    whole, rng = Contexts(COUNTED, 0), np.random.default_rng(2)
    symbols = rng.integers(-4, 5, (1, 7, 6, 5)).astype(np.float64)
    features = whole.features(rng.integers(-2, 3, (1, 3, 2, 2)).astype(np.float64), (6, 5))
    unknown = np.ones((7, 6, 5), bool)
    for place in whole.places((6, 5)):
        other = np.where(unknown, rng.integers(-4, 5, symbols.shape), symbols)
        for mine, its in zip(whole.tables(place, features, symbols), whole.tables(place, features, other), strict=True):
            assert (mine == its).all()
        assert unknown[place.channels, place.rows, place.columns].all()  # none is coded twice
        unknown[place.channels, place.rows, place.columns] = False
    assert not unknown.any()


def test_tables_are_whole_and_sum_to_the_total() -> None:
    assert COUNTED.frequencies.dtype == torch.int32
    assert COUNTED.frequencies.shape == (SCALES, FRACTIONS, 2 * LARGEST + 2)
    assert (COUNTED.frequencies.sum(-1) == TOTAL).all()
    assert int(COUNTED.frequencies.min()) >= 1
    # a mean of +1/8 and one of −1/8: the same symbols, mirrored
    centre = FRACTIONS // 2
    above, below = COUNTED.frequencies[:, centre + 1, :-1], COUNTED.frequencies[:, centre - 1, :-1].flip(-1)
    assert (above - below).abs().max() <= 2 * LARGEST + 2  # the largest takes what rounding leaves


def test_every_number_stays_exact_in_float64() -> None:
    """With every weight, code and feature at its limit, no sum reaches 2⁵³."""
    most = contexts._HEAVIEST * contexts._LARGEST
    for codes in (64, 192, 512):
        prior = Conditional(codes, [0.01], [1.0] * codes)
        for stage in prior.stages:
            assert isinstance(stage, Stage)
            inputs = 9 * stage.known + stage.mean_side.weight.shape[1] + 1
            assert most * inputs + 2.0**40 < 2.0**53


PROGRAM = """
import hashlib, sys
import torch
from test_compress_conditional import written
torch.set_num_threads(int(sys.argv[1]))
print(hashlib.sha256(written()).hexdigest()[:16])
"""


def whole_prior() -> Conditional:
    """Of weights that no floating-point arithmetic has touched: sums of powers of two."""
    prior = Conditional(7, [0.01], [1.0] * 7, side=3, hidden=8)
    with torch.no_grad():
        for k, (_, value) in enumerate(sorted(prior.named_parameters())):
            place = torch.arange(value.numel())
            value.copy_((((place * (7 + k) + k) % 23 - 11) / 64).reshape(value.shape))
    prior.whole_steps.copy_(torch.arange(100, 107)[None])
    prior.whole_logs.copy_(torch.arange(-340, -333)[None])
    prior.side_steps.fill_(128)
    levels = torch.arange(-LARGEST, LARGEST + 2).abs()
    for scale in range(SCALES):
        falling = 2 ** (12 - levels * (SCALES - scale) // 40).clamp_min(0)
        falling[LARGEST] += TOTAL - int(falling.sum())
        prior.frequencies[scale] = falling.to(torch.int32)
    return prior


def written() -> bytes:
    """A file's symbols, whose side information is given as whole numbers too."""
    prior, place = whole_prior(), np.arange(9 * 10).reshape(9, 10)
    prior.summarise = lambda codes: torch.full((len(codes), 3, 3, 3), 2.0) * torch.arange(3)[:, None, None]  # type: ignore[method-assign]
    symbols = np.stack([(place * (k + 3)) % (11 - k) - 4 for k in range(7)])
    symbols[3, 2, 2] = 900
    coder = ConditionalTables(prior, 0)
    content = coder.encode(symbols)
    assert (coder.decode(content, (9, 10)) == symbols).all()
    return content


def test_bytes_are_the_same_on_every_machine() -> None:
    """The bytes are pinned; processes with other numbers of threads and without wide instructions write the same."""
    assert hashlib.sha256(written()).hexdigest()[:16] == PINNED
    here = Path(__file__).parent
    for threads, extra in ((2, {}), (1, {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "default"})):
        path = os.pathsep.join([str(here), str(Path(contexts.__file__).parents[3])])
        environment = {**os.environ, **extra, "OPENBLAS_NUM_THREADS": str(threads), "PYTHONPATH": path}
        said = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(threads)], env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == PINNED


PINNED = "b7286a72a3790ca0"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transforms_are_those_of_factorized(channels: int) -> None:
    torch.manual_seed(0)
    one = Factorized(channels, channels, (16, 16), width=8)
    torch.manual_seed(0)
    other = Hyperprior(channels, channels, (16, 16), width=8)
    images = torch.rand(2, channels, 30, 20)
    torch.testing.assert_close(one.analyse(images), other.analyse(images))
    torch.testing.assert_close(one(images), other(images))
