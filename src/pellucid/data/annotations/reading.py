# SPDX-License-Identifier: Apache-2.0
"""What readers of annotations share: text, JSON and XML of strangers, every fault in them with its file and line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import numpy as np
from defusedxml.ElementTree import DefusedXMLParser
from numpy.typing import NDArray

from pellucid.errors import DataError

__all__ = [
    "Fault",
    "XmlFile",
    "broken",
    "json_fault",
    "json_line",
    "json_of",
    "lines_of",
    "number",
    "numbers",
    "required",
    "shown",
    "text_of",
    "xml_of",
]

_DEEP = 500  # levels of nesting that no annotation needs
_HUGE = 1e100  # beyond, squares and products with sizes of images overflow
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_LONG_NUMBER = re.compile(r"\d{4000}")  # Python converts no longer ones
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_HEAD = 200  # bytes in which the encoding of XML stands
_SEVERAL_BYTES = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **{name: name for name in ("big5", "shift-jis", "euc-jp", "euc-kr", "cp949", "cp932")},
}


class Fault(ValueError):
    """What is wrong with a value, in words that go on a sentence about its file: "bbox is 'a', not a number"."""


def broken(file: Path, said: str, line: int | None = None, way: str = "correct the file") -> DataError:
    """The error on a file that cannot be read.

    >>> broken(Path("a.json"), "bbox is null", 3).args[0]
    "data='a.json': bbox is null in line 3; correct the file."
    """
    place = "" if line is None else f" in line {line:,}"
    return DataError(f"data={str(file)!r}: {said}{place}; {way}.")


def shown(value: Any, most: int = 40) -> str:
    """A value for a sentence, on one line.

    >>> shown("a" * 50, 4), shown(None), shown([True])
    ("'aaa…", 'null', '[True]')
    """
    text = "null" if value is None else repr(value)
    return text if len(text) <= most else text[:most] + "…"


# -- text


def text_of(file: Path) -> str:
    """A file's text: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Raises:
        DataError: it cannot be opened, or is neither.
    """
    try:
        content = file.read_bytes()
    except OSError as fault:
        raise broken(file, f"cannot be read ({fault.strerror or fault})", None, "check the file") from fault
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        form = "UTF-16" if wide else "UTF-8"
        raise broken(file, f"is not {form} at byte {fault.start:,}", line, f"save it as {form}") from fault


def lines_of(file: Path) -> list[str]:
    """The lines of a text file without their ends, as `text_of` reads it; line i + 1 of the file is the i-th."""
    return text_of(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")


# -- JSON


def json_of(file: Path) -> Any:
    """What a JSON file holds; the last of several equal keys counts.

    Raises:
        DataError: it is no JSON, or nested too deeply; the sentence has the line.
    """
    text = text_of(file)
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        raise broken(file, f"is no JSON ({fault.msg})", fault.lineno) from fault
    except RecursionError as fault:
        raise broken(file, "is nested too deeply", _deep_line(text)) from fault
    except ValueError as fault:
        long = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, long.start()) + 1 if long else None
        raise broken(file, "has a number of thousands of digits", line) from fault


def json_line(file: Path, *path: str | int) -> int | None:
    """The line on which a value starts, by the keys and positions that lead to it; None where it is not there.

    The file is read again, so it is meant for sentences about faults.
    """
    try:
        text = text_of(file)
        at = _start_of(text, path)
    except (ValueError, IndexError, RecursionError, DataError):
        return None
    return text.count("\n", 0, at) + 1


def json_fault(file: Path, said: object, *path: str | int) -> DataError:
    """The error on a value of a JSON file, with the line on which it starts."""
    return broken(file, str(said), json_line(file, *path))


def _start_of(text: str, path: Sequence[str | int]) -> int:
    """Where a value starts; raises `ValueError` or `IndexError` where there is none."""
    decoder = json.JSONDecoder()

    def skip(at: int) -> int:
        while text[at] in " \t\r\n,:":
            at += 1
        return at

    at = skip(0)
    for step in path:
        wanted: int | None = None
        inside, count = skip(at + 1), 0
        while text[inside] not in "]}":
            if isinstance(step, str):
                key, inside = decoder.raw_decode(text, inside)
                inside = skip(inside)
            else:
                key, count = count, count + 1
            if key == step:
                wanted = inside
                if isinstance(step, int):
                    break
            inside = skip(decoder.raw_decode(text, inside)[1])
        if wanted is None:
            raise ValueError(step)
        at = wanted
    return at


def _deep_line(text: str) -> int:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _DEEP:
            return text.count("\n", 0, token.start()) + 1
    return 1


# -- values


def number(value: Any, title: str, *, finite: bool = True) -> float:
    """A number, which may be written as text.

    >>> number("1.5", "xmin"), number(2, "xmin")
    (1.5, 2.0)
    >>> number(True, "xmin")
    Traceback (most recent call last):
    pellucid.data.annotations.reading.Fault: xmin is True, not a number

    Args:
        value: what is written.
        title: what it is, for the sentence.
        finite: refuse infinity, NaN, and numbers whose squares are not finite.

    Raises:
        Fault: it is no number.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        if isinstance(value, str) and "_" in value:  # which Python would take
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        raise Fault(f"{title} is {shown(value)}, not a number") from None
    if finite and not math.isfinite(found):
        raise Fault(f"{title} is {shown(value)}, not a finite number")
    if finite and abs(found) > _HUGE:
        raise Fault(f"{title} is {shown(value)}, which is too large")
    return found


def numbers(values: Any, title: str, *, finite: bool = True) -> NDArray[np.float64]:
    """A list of numbers (n,), as `number` reads each.

    >>> numbers([1, "2", 3.5], "bbox").tolist()
    [1.0, 2.0, 3.5]

    Raises:
        Fault: it is no list of numbers.
    """
    if not isinstance(values, (list, tuple)):
        raise Fault(f"{title} is {shown(values)}, not a list of numbers")
    if set(map(type, values)) <= {int, float}:
        try:
            found = np.array(values, np.float64)
        except OverflowError:
            raise Fault(f"{title} has a number that is too large") from None
        if not finite or (np.abs(found) <= _HUGE).all():  # which NaN is not
            return found
    return np.array([number(value, title, finite=finite) for value in values], np.float64)


def required(entry: Any, key: str, title: str) -> Any:
    """The value under a key of an object.

    >>> required({"id": 7}, "id", "image")
    7
    >>> required({}, "id", "image")
    Traceback (most recent call last):
    pellucid.data.annotations.reading.Fault: image has no id

    Raises:
        Fault: it is no object, or has no such key.
    """
    if not isinstance(entry, Mapping):
        raise Fault(f"{title} is {shown(entry)}, not an object")
    if key not in entry:
        raise Fault(f"{title} has no {key}")
    return entry[key]


# -- XML


@final
class XmlFile:
    """An XML file: its root, and the line of each element.

    Entities and external documents are refused: they serve only attacks.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lines: dict[Element, int] = {}
        content = _readable(file, _bytes_of(file))
        parser: Any = DefusedXMLParser(target=_Builder(self._lines, lambda: int(parser.parser.CurrentLineNumber)))
        try:
            parser.feed(content)
            self.root: Element = parser.close()
        except ParseError as fault:
            said = re.sub(r": line \d+, column \d+$", "", str(fault))
            raise broken(file, f"is no XML ({said})", fault.position[0]) from fault
        except (ValueError, LookupError, RecursionError) as fault:  # entities, an encoding that nobody knows
            said = (str(fault).splitlines() or [type(fault).__name__])[0]
            raise broken(
                file, f"cannot be read as XML ({type(fault).__name__}: {said})", parser.parser.CurrentLineNumber
            ) from fault

    def line(self, element: Element) -> int:
        """The line on which an element starts."""
        return self._lines[element]

    def fault(self, said: object, element: Element) -> DataError:
        """The error on an element."""
        return broken(self.file, str(said), self.line(element))


def xml_of(file: Path) -> XmlFile:
    """An XML file.

    Raises:
        DataError: it is no XML, or has entities; the sentence has the line.
    """
    return XmlFile(file)


class _Builder(TreeBuilder):
    """Builds the tree and notes on which line each element starts."""

    def __init__(self, lines: dict[Element, int], line: Any) -> None:
        super().__init__()
        self._noted, self._line = lines, line

    def start(self, tag: Any, attrs: Any, /) -> Element:
        element = super().start(tag, attrs)
        self._noted[element] = self._line()
        return element


def _readable(file: Path, content: bytes) -> bytes | str:
    """XML that the parser can decode: it knows no encoding of several bytes, as are usual for Chinese, Japanese and Korean."""
    declared = _ENCODING.match(content[:_HEAD])
    wanted = _SEVERAL_BYTES.get(declared[1].decode().lower().replace("_", "-")) if declared else None
    if wanted is None:
        return content
    try:
        return content.decode(wanted)
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise broken(file, f"is not {wanted} at byte {fault.start:,}", line, "save it as UTF-8") from fault


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as fault:
        raise broken(file, f"cannot be read ({fault.strerror or fault})", None, "check the file") from fault
