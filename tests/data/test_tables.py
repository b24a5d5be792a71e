# SPDX-License-Identifier: Apache-2.0
"""Metadata tables and labels as spreadsheets, Windows and MATLAB write them; rows that mean nothing are refused by number."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from pellucid import data
from pellucid.data.formats.matlab5 import check_elements
from pellucid.errors import DataError

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 4, 4), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / "sub" / f"{i}.png")
    return tmp_path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(separator: str, head: str, path: str = "sub/{}.png") -> str:
    return "\r\n".join([head, *(separator.join((path.format(i), "abc"[i % 3])) for i in range(N))])


@pytest.mark.parametrize(
    "content",
    [
        lines(", ", "file_name, label").encode(),
        lines(",", "File_Name,Label").encode(),
        lines(",", "file_name,label").encode("utf-8-sig"),
        lines(",", '"file_name","label"').encode("utf-8-sig"),
        lines(";", "file_name;label").encode(),
        lines("\t", "file_name\tlabel").encode(),
        lines("\t", "file_name\tlabel").encode("utf-16"),
        lines(",", "file_name,label", "sub\\{}.png").encode(),
    ],
    ids=["space", "capitals", "mark", "quotes", "semicolon", "tab", "utf-16", "backslash"],
)
def test_a_table_keeps_its_labels(folder: Path, content: bytes) -> None:
    (folder / "metadata.csv").write_bytes(content)
    found = data.open(folder)
    assert found.classes == ("a", "b", "c")
    for own in found.splits.values():
        index = own.targets["label"].index.tolist()  # type: ignore[attr-defined]
        assert [int(Path(name).stem) % 3 for name in own.names] == index
    assert not any("not read" in problem or "left out" in problem for problem in found.problems)


def test_columns_that_mean_nothing_are_named(folder: Path) -> None:
    (folder / "metadata.csv").write_text(lines(",", "file_name,species"))
    found = data.open(folder)
    assert found.classes == () and "Column species of metadata.csv is not read." in found.problems


def test_one_table_above_the_folders_of_splits(tmp_path: Path) -> None:
    rows = ["file_name,label"]
    for i, pixels in enumerate(PIXELS):
        part = ("train", "valid", "test")[i % 3]
        (tmp_path / part).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / part / f"{i}.png")
        rows.append(f"{part}/{i}.png,{'ab'[i // 6]}")
    (tmp_path / "metadata.csv").write_text("\n".join([*rows, rows[1]]))
    for path in (tmp_path, tmp_path / "metadata.csv"):
        found = data.open(path)
        assert found.classes == ("a", "b")
        assert {part: sorted({int(Path(name).stem) % 3 for name in own.names}) for part, own in found.splits.items()} == {
            "train": [0], "val": [1], "test": [2],
        }  # fmt: skip
        assert "1 image is named by several rows of metadata.csv and counted for each (train/0.png)." in found.problems
    for i in range(N):
        (tmp_path / "abc"[i % 3]).mkdir(exist_ok=True)
        (tmp_path / ("train", "valid", "test")[i % 3] / f"{i}.png").rename(tmp_path / "abc"[i % 3] / f"{i}.png")
    for part in ("train", "valid", "test"):
        (tmp_path / part).rmdir()
    (tmp_path / "metadata.csv").write_text(
        "\n".join(["file_name,text", *(f"{'abc'[i % 3]}/{i}.png,x" for i in range(N))])
    )
    assert (
        "metadata.csv has no column label: the folders a, b, c are not read as classes." in data.open(tmp_path).problems
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"objects": 5}], "objects of 'sub/0.png' cannot be parsed (it is 5); give bbox as"),
        ([{"objects": {"bbox": [[0, 0, 1, 1]], "category": 3}}], "objects of 'sub/0.png' cannot be parsed (category is not a list"),
        ([{"label": "a"}, {"label": [1, 2]}], "the row of 'sub/1.png' has label [1, 2]; give one class, as a name or a whole"),
        ([{"label": 0}, {"label": 0.5}], "the row of 'sub/1.png' has label 0.5;"),
        ([{"label": 1e20}], "the row of 'sub/0.png' has label 1e+20;"),
        ([{"label": 0}, {"Label": 1}], "has one column under several names, file_name, label, Label; keep one of them."),
        ([{"points": "x"}], "points of 'sub/0.png' cannot be parsed"),
        ([{}, {"file_name": "a\0b"}], "in row 2, which does not exist"),
        ([{}, {"file_name": ""}], "has no file_name in row 2;"),
    ],
)  # fmt: skip
def test_rows_that_mean_nothing(folder: Path, rows: list[dict[str, Any]], sentence: str) -> None:
    full = [{"file_name": f"sub/{i}.png", **row} for i, row in enumerate(rows)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, full)))
    assert sentence in refused(folder)


def test_tables_that_are_no_tables(folder: Path) -> None:
    table = folder / "metadata.csv"
    table.write_text("file_name,label\nsub/0.png,a\nsub/1.png,b,c\n")
    assert "cannot be read (row 2 has 3 cells, the first line 2); correct the table." in refused(folder)
    table.write_text("name,label\nsub/0.png,a\n")
    assert "has no column file_name, only name, label; name each image's file in it." in refused(folder)
    table.unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "sub/0.png"}\n[' + "[" * 100_000)
    assert "row 2 is nested too deeply" in refused(folder)


def test_damaged_metadata_of_parquet(tmp_path: Path) -> None:
    stream = tmp_path / "0.png"
    Image.fromarray(PIXELS[0]).save(stream)
    table = pa.Table.from_pylist([{"image": {"bytes": stream.read_bytes(), "path": None}, "label": 7}])
    for told, sentence in (
        (b"{", "its metadata, in which Hugging Face keeps class names, cannot be read"),
        (b"[]", "its metadata, in which Hugging Face keeps class names, cannot be read"),
        (b'{"info": {"features": {"label": {"names": 3}}}}', "names of classes are not a list of texts"),
        (b'{"info": {"features": {"label": {"names": ["a"]}}}}', "has label 7 in row 0, but names for 1 classes;"),
    ):
        pq.write_table(table.replace_schema_metadata({"huggingface": told}), tmp_path / "d.parquet")
        assert sentence in refused(tmp_path / "d.parquet")


# -- labels in arrays


def write_idx(array: np.ndarray[Any, Any], file: Path, code: int = 8) -> None:
    head = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    file.write_bytes(head + array.tobytes())


LABELS = np.arange(N) % 10 + 1


@pytest.mark.parametrize("kind", ["npz", "mat", "idx"])
def test_labels_from_1_to_10_keep_their_names(tmp_path: Path, kind: str) -> None:
    if kind == "npz":
        np.savez(tmp_path / "d.npz", images=PIXELS, labels=LABELS.astype(float))
    elif kind == "mat":
        savemat(tmp_path / "d.mat", {"X": PIXELS.transpose(1, 2, 0)[:, :, None], "y": LABELS[:, None].astype(float)})
    else:
        write_idx(PIXELS, tmp_path / "train-images-idx3-ubyte")
        write_idx(LABELS.astype(np.uint8), tmp_path / "train-labels-idx1-ubyte")
    found = data.open(tmp_path)
    assert found.classes == tuple(map(str, range(1, 11)))
    for own in found.splits.values():
        for i, name in enumerate(own.names):
            place = next(k for k in range(N) if (PIXELS[k] == own.images.read(i, 1)[0]).all())
            assert found.classes[int(own.targets["label"].index[i])] == str(LABELS[place]), name  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [1e20, -1.0, np.nan, 0.5, np.inf])
@pytest.mark.parametrize("kind", ["npz", "mat", "idx"])
def test_labels_that_are_no_classes(tmp_path: Path, kind: str, value: float) -> None:
    labels = np.where(np.arange(N) == 3, value, 1.0)
    if kind == "npz":
        np.savez(tmp_path / "d.npz", images=PIXELS, labels=labels)
    elif kind == "mat":
        savemat(tmp_path / "d.mat", {"images": PIXELS, "labels": labels})
    else:
        write_idx(PIXELS, tmp_path / "train-images-idx3-ubyte")
        write_idx(labels.astype(">f8"), tmp_path / "train-labels-idx1-ubyte", 14)
    assert (
        f"has label {value:.9g} at position 3 of train; give each image a whole number from 0, or a name."
        in refused(tmp_path)
    )


def test_two_arrays_of_one_meaning_are_refused_and_unread_ones_named(tmp_path: Path) -> None:
    for save, name in ((lambda file, own: np.savez(file, **own), "d.npz"), (savemat, "d.mat")):
        save(tmp_path / name, {"images": PIXELS, "x": PIXELS})
        assert "has images and x, both of which mean images; remove or rename one." in refused(tmp_path / name)
        save(tmp_path / name, {"images": PIXELS, "labels": LABELS, "y": LABELS})
        assert "has labels and y, both of which mean label" in refused(tmp_path / name)
        save(tmp_path / name, {"images": PIXELS, "weights": LABELS})
        assert f"Array weights of {name} is not read." in data.open(tmp_path / name).problems


def test_cells_of_texts_are_class_names(tmp_path: Path) -> None:
    titles = ["cat", "dog", "nightingale"]
    texts = [titles[i % 3] for i in range(N)]
    by_five, by_seven = tmp_path / "five.mat", tmp_path / "seven.mat"
    savemat(by_five, {"images": PIXELS, "labels": np.array(texts, object)[:, None]})
    with h5py.File(by_seven, "w") as out:
        out["images"] = PIXELS.T
        cells = np.empty((1, N), h5py.ref_dtype)
        for i, text in enumerate(texts):
            cell = out.create_dataset(f"#refs#/{i}", data=np.array([list(map(ord, text))], np.uint16).T)
            cell.attrs["MATLAB_class"] = np.bytes_("char")
            cells[0, i] = cell.ref
        out.create_dataset("labels", data=cells, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
    numbered = tmp_path / "numbered.mat"
    savemat(numbered, {"images": PIXELS, "labels": np.arange(N) % 3 + 1.0, "classes": np.array(titles, object)})
    padded = tmp_path / "padded.mat"
    savemat(padded, {"images": PIXELS, "labels": np.array([text.ljust(11) for text in texts])})
    for file in (by_five, by_seven, numbered, padded):
        found = data.open(file)
        assert found.classes == tuple(titles), file
        assert found.fingerprint == data.open(by_five).fingerprint
    savemat(by_five, {"images": PIXELS, "labels": {"a": 1}})
    assert "has labels of a type that cannot be read, such as a table, a struct" in refused(by_five)


def test_an_idx_file_is_read_as_far_as_its_header_says(tmp_path: Path) -> None:
    """A small compressed file that unpacks to far more than it promises is refused without unpacking it."""
    head = bytes([0, 0, 8, 3]) + np.array([N, 4, 4], ">i4").tobytes()
    file = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(head)
        for _ in range(300):
            stream.write(bytes(1 << 20))
    with gzip.open(file) as stream:
        assert "has more than the 192 bytes of data that its header says" in refused(tmp_path)
    write_idx(PIXELS, tmp_path / "train-images-idx3-ubyte")
    broken = bytearray((tmp_path / "train-images-idx3-ubyte").read_bytes())
    broken[4] = 255
    (tmp_path / "train-images-idx3-ubyte").write_bytes(broken)
    assert "has no size that its header could mean" in refused(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_matlab_file_with_an_impossible_element_is_refused_before_scipy_crashes(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "d.mat"
    cells = np.array(["cat", np.ones((3, 3)), 1j * np.ones((90, 90)), np.array(["a", "b"], object)], object)
    savemat(file, {"images": PIXELS, "more": cells, "s": {"a": 1}, "none": np.zeros((0, 3))}, do_compression=packed)
    check_elements(file)
    content = bytearray(file.read_bytes())
    if packed:
        content[140:160] = bytes(20)
    else:
        assert content[184:190] == b"images"
        content[192:196] = (9_999).to_bytes(4, "little")  # the type of the pixels, for which SciPy reads past a table
    file.write_bytes(content)
    assert "cannot be read as a MATLAB file" in refused(file)
    with pytest.raises((ValueError, zlib.error)):
        check_elements(file)
