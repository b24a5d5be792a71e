"""JSON, XML and text of strangers: every fault is one sentence with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.data.annotations.reading import (
    Fault,
    json_fault,
    json_line,
    json_of,
    lines_of,
    number,
    numbers,
    xml_of,
)
from pellucid.errors import DataError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1,\n "b": }', "no JSON .* in line 2;"),
        (b"", "no JSON .* in line 1;"),
        (b'{"a":\n' + b"[" * 100_000, "nested too deeply in line 2;"),
        (b'{"a":\n\n "\xff"}', "not UTF-8 at byte 9 in line 3;"),
        (b'{"a":\n' + b"1" * 5000 + b"}", "thousands of digits in line 2;"),
        (b"\xff\xfea", "not UTF-16 at byte 2"),
    ],
)
def test_a_broken_json_file_is_refused_with_its_name_and_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json': .*{said}"):
        json_of(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_and_text_are_read_in_the_usual_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_text('{"지단": [1, 2], "a": 1, "a": 2}', encoding=encoding)
    assert json_of(tmp_path / "a.json") == {"지단": [1, 2], "a": 2}
    (tmp_path / "a.txt").write_text("é one\r\ntwo\u2028still\n", encoding=encoding, newline="")
    assert lines_of(tmp_path / "a.txt") == ["é one", "two\u2028still", ""]


def test_the_line_of_a_value_is_found_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": [1, {"x": "]}"}],\n"b": [\n{"id": 1},\n\n{"id":\n"two"}]}')
    assert [json_line(file, *path) for path in (("a",), ("b",), ("b", 0), ("b", 1), ("b", 1, "id"), ("b", 9))] == [
        1, 2, 3, 5, 6, None,
    ]  # fmt: skip
    assert str(json_fault(file, "id is bad", "b", 1)) == f"data='{file}': id is bad in line 5; correct the file."


@pytest.mark.parametrize("value", [True, None, [], {}, "", "a", "1_0", "1,5", "nan", 10**400, "1e400", float("inf")])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(Fault, match=r"width is .*, not a"):
        number(value, "width")
    with pytest.raises(Fault):
        numbers([1, value], "bbox")


def test_numbers_may_be_written_as_text() -> None:
    assert numbers([1, "2", " 3.50 ", "281.70000076293945"], "bbox").tolist() == [1, 2, 3.5, 281.70000076293945]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<a>\n<b></a>", r"no XML \(mismatched tag\) in line 2;"),
        (b"", r"no XML \(no element found\) in line 1;"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x "y">]>\n<a>&x;</a>', "EntitiesForbidden"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "cannot be read as XML|no XML"),
        (b"<a>\n\xff</a>", r"no XML \(not well-formed \(invalid token\)\) in line 2;"),
    ],
)
def test_a_broken_xml_file_is_refused_with_its_name_and_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.xml': .*(?:{said})"):
        xml_of(tmp_path / "a.xml")


def test_each_element_of_an_xml_file_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>\n  <b/>\n\n  <b>\n<c/></b></a>", encoding="utf-16")
    file = xml_of(tmp_path / "a.xml")
    assert [(one.tag, file.line(one)) for one in file.root.iter()] == [("a", 1), ("b", 2), ("b", 4), ("c", 5)]
    last = [*file.root.iter()][-1]
    assert str(file.fault("id is bad", last)).endswith("a.xml': id is bad in line 5; correct the file.")
