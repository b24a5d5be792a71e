# SPDX-License-Identifier: Apache-2.0
"""Answers in the style of a person: `$L = 4$`, `the loss is L = 4.`, `acc = 75 %`, `L = 4 ± 0.1`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Final

from pellucid.errors import UsageError

__all__ = ["chain_in_words", "plainly", "within", "without_words"]

_NUMBER: Final = r"[-+−]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_PERCENT: Final = re.compile(rf"({_NUMBER})\s*\\?%")
_WITHIN: Final = re.compile(rf"\s*(?:±|\+/-|\+-|\\pm)\s*({_NUMBER})")
_QUANTITY: Final = r"[d∂]?[^\W\d]\w*(?:\[[\d, ]+\]|\{\w+\})?(?:\s*/\s*[d∂]\w+(?:\[[\d, ]+\]|\{\w+\})?)?"
_SPOKEN: Final = re.compile(
    rf"({_QUANTITY})\s*(?:=|≈|:|\bis\b|\bequals\b|\bist\b)\s*(?:about\s+|approximately\s+)?({_NUMBER})(.*)"
)
WIDEST: Final = Fraction(1, 20)  # of the number: a wider ± would be right with almost anything


def plainly(line: str) -> str:
    """A line without the dollars of Markdown, with 75 % as 0.75, in as many columns where it can be.

    >>> plainly("$acc = 75%$")
    ' acc = 0.75 '
    """
    if line.count("$") % 2 == 0 and re.search(r"\$[^$]*[=≈][^$]*\$", line):
        line = line.replace("$", " ")
    return _PERCENT.sub(lambda match: f"{Decimal(match[1].replace('−', '-')).scaleb(-2):f}", line).replace(":=", " =")


def within(line: str) -> tuple[str, Fraction | None]:
    """A line without its ±, and the number behind it.

    >>> within("L = 4 ± 0.1")
    ('L = 4', Fraction(1, 10))

    Raises:
        UsageError: a ± that is too wide to tell anything.
    """
    match = _WITHIN.search(line)
    if match is None:
        return line, None
    error = abs(Fraction(match[1].replace("−", "-")))
    number = re.search(rf"({_NUMBER})\s*$", line[: match.start()])
    if number is None or error > abs(Fraction(number[1].replace("−", "-"))) * WIDEST:
        raise UsageError(
            f"± {float(error):g}: stands behind a number, and is at most 5 % of it; give the number itself."
        )
    return line[: match.start()] + line[match.end() :], error


def without_words(line: str, known: Callable[[str], bool]) -> str | None:
    """`name = number` out of a sentence; None where there is none, or more than one number.

    >>> without_words("So the loss is L = 4.5, as expected.", lambda name: name == "L")
    'L = 4.5'
    """
    if re.search(r"\bafter\b", line):
        return None  # an update, whose mistake is said instead
    for start in range(len(line)):
        if start and (line[start - 1].isalnum() or line[start - 1] in "_]/"):
            continue
        match = _SPOKEN.match(line, start)
        if match is None or not known(match[1]):
            continue
        rest = match[3].strip()
        # 4 + 1, 0,5 or 4 or 5 are something else
        aside = re.match(r"\([^\W\d][^()\d]*\)", rest)
        if re.search(r"\d", rest) or (rest[:1] in ("+", "-", "*", "/", "^", "(", "·") and not aside):
            return None
        return f"{match[1]} = {match[2]}"
    return None


def chain_in_words(line: str, known: Callable[[str], bool]) -> str | None:
    """An equation with formulas behind words, in the columns where it stands; None where the words may be quantities.

    >>> chain_in_words("Therefore L = (3 - 1)^2 = 4, as expected.", lambda name: name == "L")
    '          L = (3 - 1)^2 = 4'
    """
    match = re.match(r"((?:[^\W\d_]+[,:]?\s+)+)(?=" + _QUANTITY + r"\s*[=≈])", line.strip())
    if match is None or any(known(word) for word in re.findall(r"[^\W\d_]+", match[1])):
        return None
    start = line.index(match[1]) + len(match[1])
    return " " * start + re.sub(r"\s*[.,;!]\s*[^\d=+*/^()\[\]]*$", "", line[start:]).rstrip()
