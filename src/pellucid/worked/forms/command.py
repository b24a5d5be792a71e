# SPDX-License-Identifier: Apache-2.0
"""`pellucid work FILE`: a worksheet from a text file, solved and shown, or somebody's answers checked against it."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pellucid import _catalog
from pellucid.errors import UsageError
from pellucid.files import check_file, write_atomically

__all__ = ["deliver", "format_of", "terminal_width", "work"]

_LARGEST: Final = 400_000  # bytes of a file
_SUFFIXES: Final = {".md": "markdown", ".tex": "latex", ".html": "html", ".htm": "html", ".json": "json"}
_OTHERS: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".docx", ".odt", ".xlsx", ".csv", ".ipynb", ".work")
)


def work(
    file: str | None = None,
    /,
    *,
    list: bool = False,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    brief: bool = False,
    paths: bool = True,
    format: Literal["terminal", "markdown", "latex", "html", "json"] | None = None,
    out: Path | None = None,
    answers: Path | None = None,
    tolerance: str = "3s",
) -> int:
    """Work a small network by hand: every question of a worksheet answered line by line, every line checked.

    Args:
        file: the worksheet, a text file such as examples/worked/rnn.work; - reads standard input.
        list: name every word that can stand instead of a file, by topic, with the question that it answers.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check next to it: NumPy's value, or a central difference with its tolerance.
        brief: show what is asked and what it needs, without local derivatives and paths.
        paths: list every path of a derivative; --no-paths goes backwards through the sheet instead.
        format: output format; by default the one of the --out file's ending, else terminal.
        out: the file to write; by default the terminal.
        answers: a file of answers to check, one "name = value" a line; says which are right, the first wrong one, and its likely cause.
        tolerance: how near an answer must be: 3s to three significant digits, 2d to two decimals, 1% of the true number.
    """
    from pellucid.worked.worksheet.worksheet import Worksheet

    if list:
        from pellucid.worked.forms.topics import listing

        return deliver(listing(), out)
    if file is None:
        raise UsageError("file=None: nothing to work; name a worksheet, or one of the words of `pellucid work --list`.")
    sheet = Worksheet.parse(_text(file))
    # the equations themselves, unsolved
    if out is not None and out.suffix == ".work" and format is None and answers is None:
        from pellucid.worked.worksheet.writing import write_worksheet

        return deliver(write_worksheet(sheet), out)
    chosen = format_of(format, out, _SUFFIXES if answers is None else {".md": "markdown", ".json": "json"})
    color = chosen == "terminal" and out is None and sys.stdout.isatty()
    if answers is not None:
        from pellucid.worked.answers.answers import check_answers

        report = check_answers(sheet, _text(str(answers), "answers"), digits=digits, tolerance=tolerance)
        # unreadable lines make the exit code 2, wrong answers do not
        return deliver(report.show(chosen, color=color, width=terminal_width()), out) or (2 if report.bad else 0)
    solution = sheet.solve(exact=exact, digits=digits, paths=paths)
    return deliver(solution.show(chosen, verify=verify, color=color, brief=brief, width=terminal_width()), out)


def terminal_width() -> int:
    """The columns of the terminal, or of the environment's COLUMNS; 80 where there is none, as for a file."""
    return shutil.get_terminal_size().columns


def format_of(
    format: str | None,
    out: Path | None,
    endings: Mapping[str, str] = _SUFFIXES,
    plain: str = "terminal",
    sheet: bool = True,
) -> str:
    """The format asked for, else the one of the file's ending; without a file the terminal's.

    >>> format_of(None, Path("sheet.md"))
    'markdown'

    Args:
        format: asked for, or None.
        out: the file to write, or None.
        endings: of file names, with the format that each stands for.
        plain: the format of a terminal, and of files that end in .txt or have no ending.
        sheet: whether a name that ends in .work gets a worksheet.

    Raises:
        UsageError: no plain file, an ending of another kind of file, or of another format than the one asked for.
    """
    if out is None:
        return format or plain
    check_file(out)
    ending = out.suffix.lower()
    named = plain if ending in ("", ".txt") else endings.get(ending)
    if format is None and named is not None:
        return named
    # letters under the name of a picture, or Markdown under that of a page, would mislead whoever opens them
    if format is None or ending in _OTHERS or (ending in endings and named != format):
        known = ", ".join(
            [".txt", *(key for key in endings if key != ".htm"), *([".work"] if ".tex" in endings and sheet else [])]
        )
        what = f"format={format!r} has another ending" if ending in endings else f"cannot be written as {ending}"
        way = (
            "; print the page of an .html, or run pdflatex on a .tex" if ending == ".pdf" and ".tex" in endings else ""
        )
        raise UsageError(f"out={str(out)!r}: {what}; end the name with one of {known}{way}.")
    return format


def deliver(shown: str, out: Path | None) -> int:
    """Print what is shown, or write it to a file and print the file's name.

    Raises:
        UsageError: a file that cannot be written.
    """
    if out is None:
        print(shown)
        return 0
    with write_atomically(out) as draft:
        draft.write_text(shown + "\n", encoding="utf-8")
    print(out)
    return 0


def _text(file: str, what: str = "file") -> str:
    """The text of a worksheet's file, or of one with answers; no more is read than a worksheet may have."""
    if file == "-":
        return sys.stdin.read(_LARGEST + 1)
    try:
        with Path(file).open("rb") as stream:
            # one byte more than allowed tells a file that is too large
            read = stream.read(_LARGEST + 1)
    except OSError as fault:
        near = difflib.get_close_matches(file.replace("-", "_"), _catalog.names("worked/builders"), n=1)
        hint = f"did you mean {near[0]}? Else " if near and what == "file" else ""
        words = "a worksheet, or one of the words of `pellucid work --list`" if what == "file" else "a text of answers"
        raise UsageError(f"{what}={file!r}: cannot be read ({fault.strerror}); {hint}name {words}.") from None
    if len(read) > _LARGEST:
        raise UsageError(
            f"{what}={file!r}: is larger than {_LARGEST:,} bytes; a worksheet is worked by hand, split it."
        )
    try:
        # editors on Windows put a byte order mark in front
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise UsageError(f"{what}={file!r}: byte {fault.start} is not UTF-8 text; save it as UTF-8.") from None
