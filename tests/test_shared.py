# SPDX-License-Identifier: Apache-2.0
"""What several rooms share: evenly spread positions, the digits of an interval, the refusal of an unknown choice."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid._digits import interval_digits
from pellucid._spread import evenly_spread
from pellucid.errors import UsageError, check_choice
from pellucid.files import check_space, remove_drafts, write_atomically


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


def test_files_are_written_whole_where_none_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows: no lock tells a draft that is being written from one that was left, so none is removed."""
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    left = tmp_path / ".b.txt.12345678.txt"
    left.write_text("ha", encoding="utf-8")
    with write_atomically(tmp_path / "a.txt") as draft:
        draft.write_text("whole", encoding="utf-8")
        assert remove_drafts(tmp_path, "*") == []
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "whole"
    check_space(tmp_path / "c.txt")
    with pytest.raises(UsageError, match=r"^out='.*': the disk is full"):
        check_space(tmp_path / "c.txt", size=1 << 60)
    assert sorted(file.name for file in tmp_path.iterdir()) == [left.name, "a.txt"]
