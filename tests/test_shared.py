# SPDX-License-Identifier: Apache-2.0
"""What several rooms share: evenly spread positions, the digits of an interval, the refusal of an unknown choice."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid._digits import interval_digits
from pellucid._spread import evenly_spread
from pellucid.errors import UsageError, check_choice


@given(count=st.integers(1, 300), of=st.integers(1, 300), floor=st.booleans())
def test_positions_are_evenly_spread(count: int, of: int, floor: bool) -> None:
    places = evenly_spread(count, of, floor=floor)
    assert len(places) == min(count, of)
    assert places[0] == 0
    if len(places) > 1:
        gaps = np.diff(places)
        assert places[-1] == of - 1
        assert gaps.min() >= 1 and np.ptp(gaps) <= 1


def test_nothing_is_chosen_out_of_nothing() -> None:
    assert evenly_spread(5, 0).tolist() == []


@given(width=st.floats(1e-5, 90), low=st.just(0.0))
def test_the_width_has_two_significant_digits(width: float, low: float) -> None:
    # the exponent of the leading digit, from the decimal expansion instead of a logarithm
    leading = Decimal(width).adjusted()
    assert interval_digits(low, width) == max(1 - leading, 0)


@pytest.mark.parametrize(
    ("low", "high", "digits"), [(0, 0, 4), (1, 1 + 1e-12, 6), (0, float("inf"), 4), (float("nan"), 1, 4)]
)
def test_digits_of_degenerate_intervals(low: float, high: float, digits: int) -> None:
    assert interval_digits(low, high) == digits


def test_an_unknown_choice_is_refused() -> None:
    check_choice("depth", 34, (18, 34))
    with pytest.raises(UsageError, match=r"^formats='tflite': is not known; choose onnx\.$"):
        check_choice("formats", "tflite", ["onnx"])
    with pytest.raises(UsageError, match=r"^depth=20: is not known; choose 18, 34 or 50\.$"):
        check_choice("depth", 20, iter((18, 34, 50)))
