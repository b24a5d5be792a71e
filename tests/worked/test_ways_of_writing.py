# SPDX-License-Identifier: Apache-2.0
"""What people write by hand, on a calculator, in Python and in LaTeX: read with the number that Python gives, or refused in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.worked import Worksheet

FILE = Path(__file__).parent / "ways_of_writing.txt"
WAYS = [
    (text.strip(), wanted.strip())
    for line in FILE.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for text, _, wanted in [line.partition("==>")]
]
READ = [(text, wanted) for text, wanted in WAYS if not wanted.startswith("!")]
REFUSED = [(text, wanted.lstrip("! ")) for text, wanted in WAYS if wanted.startswith("!")]


def test_there_are_enough_of_them() -> None:
    assert len(WAYS) >= 150
    assert len(READ) >= 140
    assert len({text for text, _ in WAYS}) == len(WAYS)


@pytest.mark.parametrize(("text", "wanted"), READ, ids=[text[:60] for text, _ in READ])
def test_it_is_read_and_means_what_python_says(text: str, wanted: str) -> None:
    solution = Worksheet(text).solve()
    found = solution.answers[-1].results[0][1] if solution.questions else solution.value("q")
    assert float(found) == pytest.approx(eval(wanted, vars(math)), rel=1e-9)
    assert solution.show("latex") and solution.show("html")


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_what_cannot_be_read_is_answered_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(PellucidError) as caught:
        Worksheet(text).solve().show()
    said = str(caught.value)
    assert sentence in said and said.startswith("line 1, column ") and "\n" not in said
