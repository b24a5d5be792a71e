# SPDX-License-Identifier: Apache-2.0
"""Iterated functions against closed forms: the logistic map's cycle, 2tanh's fixed points, from how near doubling escapes."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.errors import UsageError
from pellucid.worked.builders.iterate import Iterate
from pellucid.worked.iteration.function import Function
from pellucid.worked.iteration.iteration import Study, study

CLIPPED = "piecewise(1 if x >= 1, -1 if x <= -1, exp(x) - exp(-x) otherwise)"


@pytest.fixture(scope="module")
def clipped() -> Study:
    return study(CLIPPED, 1000)


@pytest.fixture(scope="module")
def logistic() -> Study:
    return study("3.2*x*(1 - x)", 1000)


def limit(found: Study, x: float) -> str:
    return next(basin.limit for basin in found.basins if basin.low < x < basin.high)


def test_the_clipped_sinh_becomes_the_sign(clipped: Study) -> None:
    assert [(float(point.x), point.stability) for point in clipped.fixed] == [
        (-1, "attracts"),
        (0, "repels"),
        (1, "attracts"),
    ]
    assert float(clipped.fixed[1].left) == float(clipped.fixed[1].right) == pytest.approx(2)
    assert [(basin.low, basin.high, basin.limit) for basin in clipped.basins] == [
        (-math.inf, 0, "→ −1"),
        (0, math.inf, "→ 1"),
    ]
    assert clipped.exceptions == ((0.0, "stays: it is a fixed point"),)
    assert "f jumps on the left" in str(clipped)
    assert not clipped.cycles


def test_escape_in_exact_arithmetic_and_in_float64(clipped: Study) -> None:
    above = next(escape for escape in clipped.escapes if escape.side > 0)
    # each step about doubles a small x: 1000 of them, less the few near 1
    assert abs(math.log2(float(above.exact)) + 1000) < 3
    assert above.float64 is not None
    assert 5e-17 < above.float64 < 2.3e-16  # below it exp(x) − exp(−x) is 0 in float64, for both round to 1

    def escapes(x: float) -> bool:
        for _ in range(1000):
            x = math.exp(x) - math.exp(-x)
            if abs(x) > float(above.away):
                return True
        return False

    assert escapes(above.float64 * 1.02)
    assert not escapes(above.float64 * 0.9)


def test_a_larger_escape_distance_is_found_by_following_it() -> None:
    found = study("2*tanh(x)", 20)
    above = next(escape for escape in found.escapes if escape.side > 0)

    def escapes(x: float) -> bool:
        for _ in range(20):
            x = 2 * math.tanh(x)
            if x > float(above.away):
                return True
        return False

    assert escapes(float(above.exact) * (1 + 1e-9))
    assert not escapes(float(above.exact) * (1 - 1e-9))


def test_tanh_and_twice_tanh() -> None:
    one = study("tanh(x)", 1000)
    assert [(float(point.x), point.stability) for point in one.fixed] == [(0, "attracts")]
    assert [basin.limit for basin in one.basins] == ["→ 0"]
    assert abs(one.basins[0].after[1] - math.sqrt(3 / 2000)) < 1e-3  # tanh n times comes near 0 like √(3/2n)
    two = study("2*tanh(x)", 1000)
    outer = float(two.fixed[2].x)
    assert outer == pytest.approx(2 * math.tanh(outer), abs=1e-15)
    assert float(two.fixed[2].right) == pytest.approx(2 / math.cosh(outer) ** 2)
    assert [point.stability for point in two.fixed] == ["attracts", "repels", "attracts"]
    assert limit(two, -1e-9).startswith("→ −1.915") and limit(two, 3.0).startswith("→ 1.915")


def test_the_logistic_map_in_its_periodic_range(logistic: Study) -> None:
    r = 3.2
    assert [point.x for point in logistic.fixed] == [Decimal(0), Decimal("0.6875")]
    assert [float(point.right) for point in logistic.fixed] == pytest.approx([r, 2 - r])
    root = math.sqrt((r - 3) * (r + 1))
    expected = sorted([(r + 1 - root) / (2 * r), (r + 1 + root) / (2 * r)])  # the closed form of its cycle of two
    assert sorted(logistic.cycles[0].points) == pytest.approx(expected, abs=1e-9)
    assert logistic.cycles[0].multiplier == pytest.approx(4 + 2 * r - r * r)
    assert [(basin.low, basin.high) for basin in logistic.basins] == [(-math.inf, 0), (0, 1), (1, math.inf)]
    assert [basin.limit.split(" (")[0] for basin in logistic.basins] == ["→ −∞", "→ the cycle of 2", "→ −∞"]
    assert [x for x, _ in logistic.exceptions] == pytest.approx([0, 1 - 0.6875, 0.6875, 1])


@pytest.mark.parametrize(("r", "period"), [(3.5, 4), (3.55, 8), (3.83, 3)])
def test_longer_cycles(r: float, period: int) -> None:
    found = study(f"{r}*x*(1 - x)", 100)
    assert [len(cycle.points) for cycle in found.cycles] == [period]
    x = found.cycles[0].points[0]
    for _ in range(period):
        x = r * x * (1 - x)
    assert x == pytest.approx(found.cycles[0].points[0], abs=1e-7)


def test_random_linear_maps_have_their_closed_form() -> None:
    random = np.random.default_rng(4)
    for _ in range(12):
        a, b = round(float(random.uniform(-2, 2)), 2), round(float(random.uniform(-3, 3)), 2)
        if abs(abs(a) - 1) < 0.05 or a == 0:
            continue
        found = study(f"{a}*x + {b}", 50)
        assert float(found.fixed[0].x) == pytest.approx(b / (1 - a), abs=1e-12)
        assert len(found.fixed) == 1
        assert found.fixed[0].stability == ("attracts" if abs(a) < 1 else "repels")
        assert float(found.fixed[0].left) == pytest.approx(a)


def test_special_shapes() -> None:
    whole = study("x", 10)
    assert whole.all_fixed and not whole.fixed
    assert not study("x + 1", 10).fixed
    assert limit(study("x + 1", 10), 0.3) == "settles on no fixed point and no cycle of at most 64 points"
    half = study("x + x^2", 100)
    assert half.fixed[0].stability == "attracts from the left alone"
    turned = study("-x^3", 10)
    assert turned.fixed[0].stability == "attracts"
    assert [x for x, _ in study("x^2", 10).exceptions] == [-1, 1]


def test_slopes_are_exact_to_many_digits() -> None:
    f = Function("exp(x)")
    assert abs(f.slope(Decimal(0), 1) - 1) < Decimal("1e-20")
    kinked = Function("abs(x)")
    assert [round(kinked.slope(Decimal(0), side)) for side in (-1, 1)] == [-1, 1]


def test_the_page_and_the_cobweb(logistic: Study, tmp_path: Path) -> None:
    page = str(logistic)
    assert "x = 0.6875   slope −1.2, |slope| > 1: repels" in page
    assert "x = 1 is mapped to 0 in one step" in page
    file = logistic.draw(tmp_path / "cobweb.png", [0.2])
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert min(picture.size) > 500
    assert (
        np.abs(pixels.astype(int) - (42, 111, 187)).sum(1) < 60
    ).sum() > 100  # the steps are drawn, not their first point alone
    assert "half.png" in Iterate("x/2", times=5, out=tmp_path / "half.png").text()
    assert (tmp_path / "half.png").exists()


@pytest.mark.parametrize(
    ("text", "times", "said"),
    [
        ("2*x +", 10, "line 1"),
        ("a*x", 10, "one variable"),
        ("3", 10, "one variable"),
        ("x/2", 0, "times=0"),
        ("x/2", 10**9, "1 to 100,000"),
        ("__import__('os')", 10, "line 1"),
    ],
)
def test_mistakes_are_named(text: str, times: int, said: str) -> None:
    with pytest.raises(UsageError) as found:
        study(text, times)
    assert said in str(found.value)


def test_beside_a_jump_nothing_is_fixed_that_is_not() -> None:
    """Left of −1 the function comes to −1, and at −1 itself it is −2.35: no fixed point, whatever lies close by."""
    found = study("piecewise(1 if x > 1, -1 if x < -1, exp(x) - exp(-x) otherwise)", times=50)
    assert [float(point.x) for point in found.fixed] == [0.0]


@pytest.mark.parametrize(
    ("text", "x", "limit"),
    [
        ("sqrt(1+x)", -1, "→ 1.618034"),
        ("sqrt(2 - x)/4", 2, None),
        ("piecewise(0 if x <= 2, 5 otherwise)", 2, "→ 0"),
        ("piecewise(0 if x < 2, 5 otherwise)", 2, "→ 5"),
        ("piecewise(0 if x < 2, 1 if x <= 2, 5 otherwise)", 2, "→ 0"),
        ("1/x", 0, "has no value"),
        ("x^2", 1, "stays"),
        ("x^2", -1, "is mapped to 1"),
        ("sqrt(x - 3) + 3", 3, "stays"),
    ],
)
def test_the_edge_of_a_basin_belongs_somewhere(text: str, x: float, limit: str | None) -> None:
    """A plain loop from the edge itself ends where the study says."""
    found = study(text, 200)
    inside = [
        basin.limit
        for basin in found.basins
        if basin.low < x < basin.high or (basin.closed[0] and x == basin.low) or (basin.closed[1] and x == basin.high)
    ]
    single = [words for point, words in found.exceptions if abs(point - x) < 1e-12]
    assert inside or single, str(found)
    said = (single or inside)[0]
    assert limit is None or said.startswith(limit), str(found)
    at = np.array([float(x)])
    for _ in range(200):
        at = found.function.values(at)
    if said.startswith("→ ") and "cycle" not in said:
        assert float(at[0]) == pytest.approx(float(said[2:]), abs=1e-6)
    elif "no value" in said:
        assert not np.isfinite(found.function.values(np.array([float(x)]))[0])


def test_a_page_fits_a_terminal() -> None:
    for text, times in (("3.2*x*(1 - x)", 100), ("3.5*x*(1 - x)", 1000), ("2*tanh(x)", 1000)):
        assert max(map(len, str(study(text, times)).splitlines())) <= 80, text
