# SPDX-License-Identifier: Apache-2.0
"""What is answered in bulk: folders, globs, addresses that fsspec knows, tables of files and lists of paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from pellucid.bulk.sources import contents, listed
from pellucid.data.named_files import image_files, names_of
from pellucid.errors import UsageError


@pytest.fixture
def remote() -> Iterator[fsspec.AbstractFileSystem]:
    """Files at addresses, in memory."""
    files = fsspec.filesystem("memory")
    for name in ("bucket/a.png", "bucket/sub/b.JPG", "bucket/notes.md", "bucket/sub/._c.png"):
        files.pipe_file(f"/{name}", name.encode())
    yield files
    files.rm("/bucket", recursive=True)


def test_local_files_are_listed_as_by_predict(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    items = listed([photos.name])
    files = image_files(photos.name)
    assert [item.name for item in items] == names_of(files)
    assert [item.key for item in items] == [str(photos.parent / file.path) for file in files]
    assert [item.kind for item in items] == ["file"] * 150
    assert len(listed([photos / "*.png", photos])) == 150, "each path once"
    assert [one.source for one in contents(items[:2])] == [photos / "000.png", photos / "001.bmp"]


def test_addresses(remote: fsspec.AbstractFileSystem) -> None:
    items = listed("memory://bucket")
    assert [(item.key, item.name) for item in items] == [
        ("memory:///bucket/a.png", "a.png"),
        ("memory:///bucket/sub/b.JPG", "sub/b.JPG"),
    ]
    assert [one.source for one in contents(items)] == [b"bucket/a.png", b"bucket/sub/b.JPG"]
    assert [item.name for item in listed("memory://bucket/*.md")] == ["notes.md"], "a glob says what it wants"
    assert [item.name for item in listed("memory://bucket/**/*.JPG")] == ["sub/b.JPG"]
    assert [item.name for item in listed("memory://bucket/a.png")] == ["a.png"]
    remote.rm("/bucket/a.png")
    lost, kept = contents(items)
    assert lost.lost == "image='a.png': cannot be read, because there is no such file; replace or remove it."
    assert kept.source == b"bucket/sub/b.JPG"
    with pytest.raises(UsageError, match=r"^images='memory://none/': has no images"):
        listed("memory://none/")
    with pytest.raises(
        UsageError, match=r"^images='nosuch://a': cannot be opened .*install the package for such addresses"
    ):
        listed("nosuch://a")


def test_tables_of_files(tmp_path: Path, remote: fsspec.AbstractFileSystem) -> None:
    cells = [f"file {number}".encode() for number in range(300)]
    table = pa.table(
        {"image": pa.array([*cells[:-1], None]), "n": range(300), "path": [f"p/{n}.png" for n in range(300)]}
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    items = listed(tmp_path / "a.parquet")
    assert items[7] == ("row", f"{tmp_path / 'a.parquet'}#7", "p/7.png")
    chosen = [items[place] for place in (3, 99, 100, 150, 298, 299)]
    assert [one.source for one in contents(chosen)] == [cells[3], cells[99], cells[100], cells[150], cells[298], b""]
    rows = [{"bytes": cell, "path": None} for cell in cells[:5]]  # as Hugging Face keeps images
    with remote.open("/bucket/t.parquet", "wb") as file:
        parquet.write_table(pa.table({"image": rows, "label": range(5)}), file)
    items = listed("memory://bucket/*.parquet")
    assert [item.name for item in items] == [f"t#{number}" for number in range(5)]
    assert [one.source for one in contents(items[2:])] == cells[2:5]
    with pytest.raises(UsageError, match=r"^images='memory:///bucket/none.parquet': does not exist; give another"):
        listed("memory://bucket/none.parquet")
    (tmp_path / "a.parquet").unlink()
    (gone,) = contents([listed(tmp_path_table(tmp_path))[0]._replace(key=f"{tmp_path / 'a.parquet'}#0")])
    assert gone.source == b"" and "cannot be read, because" in gone.lost
    parquet.write_table(pa.table({"n": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="has no column of bytes; give a table with one, the images' files"):
        listed(tmp_path / "b.parquet")


def tmp_path_table(folder: Path) -> Path:
    parquet.write_table(pa.table({"image": [b"one"]}), folder / "one.parquet")
    return folder / "one.parquet"


def test_a_list_of_paths(photos: Path, tmp_path: Path, remote: fsspec.AbstractFileSystem) -> None:
    (tmp_path / "list.txt").write_text(f"{photos / '000.png'}\n\nnone.png\nmemory://bucket/a.png\n", encoding="utf-8")
    items = listed(tmp_path / "list.txt")
    assert [(item.kind, item.name) for item in items] == [
        ("file", str(photos / "000.png")),
        ("file", "none.png"),
        ("address", "bucket/a.png"),
    ]
    assert items[1].key == str(tmp_path / "none.png"), "relative to the list"
    assert [one.source for one in contents(items)][2] == b"bucket/a.png"
    with pytest.raises(UsageError, match=r"cannot be read .*give a text file of paths"):
        listed(tmp_path / "no.txt")
