# SPDX-License-Identifier: Apache-2.0
"""Options read off signatures, checked word by word, and parsed: a round trip from the recorded command to the values."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid._options import command_line
from pellucid.cli.flags import Flag, Group, is_option, parse
from pellucid.cli.options import of_class, of_function, texts
from pellucid.errors import UsageError

FLAGS = [
    Flag("count", int, 3, "how many"),
    Flag("rate", float | None, None, "how fast, in px/s"),
    Flag("kind", Literal["plain", "fancy"], "plain", "which"),
    Flag("widths", tuple[int, ...], (64, 128), "of the blocks"),
    Flag("flip", bool, False, "mirror"),
    Flag("last", bool | None, None, "memory layout"),
    Flag("out", Path | None, None, "where to"),
]


def parsed(*words: str, flags: list[Flag] = FLAGS) -> dict[str, Any]:
    return parse(words, [Group("", flags[:2]), Group("more", flags[2:])], "demo", "A demonstration.")


def test_defaults() -> None:
    assert parsed() == {flag.name: flag.default for flag in FLAGS}


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--count 7", "count", 7),
        ("--count=7", "count", 7),
        ("--count=-7", "count", -7),
        ("--rate -1e-3", "rate", -1e-3),
        ("--rate None", "rate", None),
        ("--kind fancy", "kind", "fancy"),
        ("--widths 16", "widths", (16,)),
        ("--widths 16 32 --count 1", "widths", (16, 32)),
        ("--flip", "flip", True),
        ("--no-flip", "flip", False),
        ("--last", "last", True),
        ("--no-last", "last", False),
        ("--last False", "last", False),
        ("--out a/b", "out", Path("a/b")),
        ("--count 1 --count 2", "count", 2),
    ],
)
def test_values(words: str, name: str, value: object) -> None:
    assert parsed(*words.split())[name] == value


@given(
    st.tuples(
        st.integers(-9, 9),
        st.none() | st.floats(0.001, 1000, allow_nan=False),
        st.sampled_from(["plain", "fancy"]),
        st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple),
        st.booleans(),
        st.sampled_from([None, True, False]),
    )
)
def test_a_recorded_command_gives_its_options_back(values: tuple[Any, ...]) -> None:
    options = dict(zip([flag.name for flag in FLAGS], values, strict=False))
    words = shlex.split(command_line("demo", **options))[2:]
    assert parsed(*words) == {**{flag.name: flag.default for flag in FLAGS}, **options}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--cuont 3", "option='--cuont' is not known; did you mean '--count'? `demo -h` lists them."),
        ("-q", "option='-q' is not known. `demo -h` lists them."),
        ("--count", "--count: needs a value, a whole number; `demo -h` says more."),
        ("--count x", "count='x': must be a whole number."),
        ("--count 1.5", "count='1.5': must be a whole number."),
        ("--rate fast", "rate='fast': must be a number."),
        ("--widths 3 x", "widths='x': must be a whole number."),
        ("--kind fanzy", "kind='fanzy': must be one of plain, fancy; did you mean 'fancy'?"),
        ("--flip yes", "'yes': is one word too many: demo takes no such word; quote a name with spaces."),
        ("--flip=yes", "flip='yes': takes no value; write --flip or --no-flip."),
        ("--flip True", "flip='True': takes no value; write --flip or --no-flip."),
    ],
)
def test_a_mistake_is_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words.split())
    assert str(caught.value) == sentence


PLACES = [
    Flag("run", Path, dataclasses.MISSING, "the run's folder", positional=True),
    Flag("images", tuple[str, ...], dataclasses.MISSING, "files", positional=True),
    Flag("widths", tuple[int, ...], (), "some"),
]


def test_words_without_a_name_may_stand_anywhere() -> None:
    expected = {"run": Path("r"), "images": ("a", "b"), "widths": (1, 2)}
    assert parsed("r", "a", "b", "--widths", "1", "2", flags=PLACES) == expected
    with pytest.raises(UsageError, match=r"^IMAGES: is missing \(files\); `demo -h` says more\.$"):
        parsed("r", flags=PLACES)


def test_a_swept_option_takes_a_list() -> None:
    flags = [Flag("lr", float | None, None, "rate").swept(), Flag("hidden", tuple[int, ...], (64,), "units").swept()]
    assert parsed("--lr", "0.1", "0.01", "--hidden", "64,32", "16", flags=flags) == {
        "lr": (0.1, 0.01),
        "hidden": ((64, 32), (16,)),
    }
    with pytest.raises(UsageError, match=r"hidden='64,x': must be a whole number, or several joined by commas\."):
        parsed("--hidden", "64,x", flags=flags)


def test_the_help_shows_meaning_type_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parsed("--kind", "nonsense", "-h")
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--count INT how many (default: 3)" in shown
    assert "--rate FLOAT how fast, in px/s" in shown
    assert "--kind plain|fancy which (default: plain)" in shown
    assert "--widths INT … of the blocks (default: 64 128)" in shown
    assert "more options" in shown


def test_numbers_are_no_options() -> None:
    assert not any(map(is_option, ("-1", "-.5", "-1e-3", "-inf", "-", "7", "")))
    assert all(map(is_option, ("--lr", "-h", "-x1")))


@dataclass(frozen=True)
class Example:
    """An owner of options.

    Args:
        first: told in the docstring,
            over two lines.
    """

    first: int = 1
    second: tuple[str, ...] = ("a",)
    """told below the field, in px"""
    third: Literal["x", "y"] = "x"


def test_texts_come_from_the_docstring_and_from_below_the_field() -> None:
    assert texts(Example) == {"first": "told in the docstring, over two lines", "second": "told below the field, in px"}
    assert [(flag.name, flag.kind, flag.default) for flag in of_class(Example)] == [
        ("first", int, 1),
        ("second", tuple[str, ...], ("a",)),
        ("third", Literal["x", "y"], "x"),
    ]


def test_a_function_tells_its_flags() -> None:
    def verb(run: Path, /, *, size: int | None = None, **rest: Any) -> None:
        """Do it.

        Args:
            run: the folder.
            size: side in px.
        """

    assert of_function(verb) == [
        Flag("run", Path, dataclasses.MISSING, "the folder", positional=True),
        Flag("size", int | None, None, "side in px"),
    ]


def test_fractions_are_numbers_and_a_single_value_is_no_list() -> None:
    level = Flag("level", tuple[float, ...], 0.1, single=True)
    lr, name = Flag("lr", float, 0.1), Flag("name", str, "")
    groups = [Group("", [level, lr, name])]

    def values(*words: str) -> dict[str, object]:
        return parse(words, groups, "demo", "")

    assert values() == {"level": 0.1, "lr": 0.1, "name": ""}
    assert values("--level", "25/255", "--lr", "1/8", "--name", "1/8") == {
        "level": 25 / 255,
        "lr": 0.125,
        "name": "1/8",
    }
    assert values("--level", "5/255", "0.5")["level"] == (5 / 255, 0.5)
    for wrong in ("1/0", "1/2/3", "-1/2", "/2"):
        with pytest.raises(UsageError, match=r"lr=.*: must be a number|needs a value|is not known"):
            values("--lr", wrong)
