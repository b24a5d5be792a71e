# SPDX-License-Identifier: Apache-2.0
"""Everything that `open` reads: each kind written by its own library, opened, and compared with what was written."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.data.masks import Masks
from pellucid.data.targets import Boxes, Label, Points, Text
from pellucid.errors import DataError, UnknownNameError

N = 40
GREY = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(N) % 4


def png(array: NDArray[np.uint8], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def png_bytes(array: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def pairs(dataset: Dataset, parts: tuple[str, ...] = ("train", "val", "test")) -> set[tuple[bytes, str]]:
    """Every image's pixels with its class name."""
    found = set()
    for part in parts:
        split = dataset[part]
        label = split.targets["label"]
        assert isinstance(label, Label)
        for i, own in enumerate(label.index.tolist()):
            found.add((split.images.read(i, dataset.channels).tobytes(), dataset.classes[own]))
    return found


def expected(images: NDArray[np.uint8], names: Callable[[int], str] = str) -> set[tuple[bytes, str]]:
    arrays = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return {(array.tobytes(), names(int(label))) for array, label in zip(arrays, LABELS, strict=True)}


def refused(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        data.open(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# -- folders


def class_folders(top: Path, images: NDArray[np.uint8] = GREY) -> Path:
    for i, array in enumerate(images):
        png(array, top / f"class {LABELS[i]}" / f"{i}.png")
    return top


def test_class_folders(tmp_path: Path) -> None:
    found = data.open(class_folders(tmp_path))
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")
    assert pairs(found) == expected(GREY, "class {}".format)
    assert found.size == (8, 8)
    assert found.channels == 1
    assert sum(found.counts[part][f"class {c}"] for part in found.counts for c in range(4)) == N
    assert all(len(found[part]) for part in ("train", "val", "test"))


def test_class_folders_below_splits(tmp_path: Path) -> None:
    for i, array in enumerate(GREY):
        png(array, tmp_path / ("training", "Valid", "test")[i // 4 % 3] / str(LABELS[i]) / f"{i}.png")
    found = data.open(tmp_path)
    assert [len(found[part]) for part in ("train", "val", "test")] == [16, 12, 12]
    assert pairs(found) == expected(GREY)


def test_plain_images_of_many_formats_and_sizes(tmp_path: Path) -> None:
    for i, suffix in enumerate((".png", ".jpg", ".tif", ".bmp", ".pgm", ".webp") * 3):
        png(GREY[i, : 4 + i % 3], tmp_path / f"{i}{suffix}")
    (tmp_path / "notes.txt").write_text("no image")
    png(GREY[30], tmp_path / ".hidden.png")
    found = data.open(tmp_path)
    assert sum(len(found[part]) for part in found.splits) == 18
    assert found.classes == ()
    assert found.size is None


def test_the_cut_nearly_stays_when_a_file_is_added_and_a_copy_goes_with_its_original(tmp_path: Path) -> None:
    class_folders(tmp_path, GREY[:39])
    before = {name: part for part, split in data.open(tmp_path).splits.items() for name in split.names}
    class_folders(tmp_path, GREY)
    png(GREY[0], tmp_path / "class 0/copy of the first.png")
    after = {name: part for part, split in data.open(tmp_path).splits.items() for name in split.names}
    moved = [name for name in before if after[name] != before[name]]
    assert len(moved) <= 2 and all(name.startswith("class 3/") for name in moved)  # one at most leaves val, one test
    assert after["class 0/copy of the first.png"] == after["class 0/0.png"]


def test_grey_and_coloured_images_are_read_as_coloured_and_it_is_said(tmp_path: Path) -> None:
    class_folders(tmp_path)
    png(COLOUR[0], tmp_path / "class 0/colour.png")
    found = data.open(tmp_path)
    assert found.channels == 3
    assert "40 of 41 images are grey, the others in colour: all are read in colour." in found.problems


# -- imagefolder with a metadata table

BOXES = [[[1.0, 2.0, 3.0, 4.0]], [[0.0, 0.0, 2.0, 2.0], [3.0, 3.0, 4.0, 1.0]]]


def metadata_rows(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for i in range(N):
        png(COLOUR[i], folder / f"{i}.png")
        png((GREY[i] // 100).astype(np.uint8), folder / f"masks/{i}.png")
        rows.append({
            "file_name": f"{i}.png", "label": f"kind {LABELS[i]}", "split": ("train", "val", "test")[i // 4 % 3],
            "objects": {"bbox": BOXES[i % 2], "category": ["cell"] * (1 + i % 2)}, "mask_file_name": f"masks/{i}.png",
            "points": [[1.5, 2.0], [3.0, i / 10]], "text": f"picture {i}",
        })  # fmt: skip
    return rows


def write_rows(rows: list[dict[str, Any]], file: Path) -> None:
    if file.suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows))
    elif file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        import csv

        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()})


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_tables_give_every_kind_of_target(tmp_path: Path, suffix: str) -> None:
    write_rows(metadata_rows(tmp_path), tmp_path / f"metadata.{suffix}")
    found = data.open(tmp_path)
    assert [len(found[part]) for part in ("train", "val", "test")] == [16, 12, 12]
    assert found.classes == ("cell", "kind 0", "kind 1", "kind 2", "kind 3")
    train = found["train"]
    i = int(Path(train.names[5]).stem)
    label, boxes, mask, points, text = (train.targets[kind] for kind in ("label", "boxes", "mask", "points", "text"))
    assert isinstance(label, Label) and isinstance(boxes, Boxes) and isinstance(mask, Masks)
    assert isinstance(points, Points) and isinstance(text, Text)
    assert found.classes[int(label.index[5])] == f"kind {LABELS[i]}"
    assert boxes.corners[5].tolist() == [[x, y, x + w, y + h] for x, y, w, h in BOXES[i % 2]]
    assert (mask.sources[5].read() == GREY[i] // 100).all()
    assert points.xy[5].tolist() == [[1.5, 2.0], [3.0, pytest.approx(i / 10)]]
    assert text.lines[5] == f"picture {i}"


def test_wrong_tables(tmp_path: Path) -> None:
    rows = metadata_rows(tmp_path)
    table = tmp_path / "metadata.jsonl"
    for change, sentence in (
        ({"file_name": "gone.png"}, "names 'gone.png' in row 1, which does not exist"),
        ({"label": None}, "the row of '0.png' has no label; fill it in"),
        ({"points": [[1, 2]]}, "points, "),
        ({"objects": {"bbox": [[1, 2, 3]], "category": ["cell"]}}, "objects of '0.png' cannot be parsed"),
        ({"split": "tset"}, "has split='tset' in row 1; write train, val or test"),
    ):
        write_rows([{**rows[0], **change}, *rows[1:]], table)
        assert sentence in refused(tmp_path)
    png(GREY[0][:5], tmp_path / "masks/0.png")
    write_rows(rows, table)
    assert refused(tmp_path) == "mask='0.png': is 5×8 px, its image 8×8; give a mask of the image's size."
    table.write_text("{no json")
    assert "cannot be read" in refused(tmp_path)


# -- idx


def write_idx(array: NDArray[np.uint8], file: Path) -> None:
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    if file.suffix == ".gz":
        with gzip.open(file, "wb") as stream:
            stream.write(content)
    else:
        file.write_bytes(content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    for part, rows in (("train", slice(0, 30)), ("t10k", slice(30, N))):
        write_idx(GREY[rows], tmp_path / f"{part}-images-idx3-ubyte{suffix}")
        write_idx(LABELS[rows].astype(np.uint8), tmp_path / f"{part}-labels-idx1-ubyte{suffix}")
    found = data.open(tmp_path)
    assert pairs(found) == expected(GREY)
    assert len(found["test"]) == 10
    assert data.open(tmp_path / f"train-images-idx3-ubyte{suffix}").fingerprint == found.fingerprint


def test_wrong_idx_files(tmp_path: Path) -> None:
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    write_idx(GREY, images)
    write_idx(LABELS[:-1].astype(np.uint8), labels)
    assert "has 40 images and 39 labels in train; give one label per image." in refused(tmp_path)
    images.write_bytes(images.read_bytes()[:-7])
    assert "has 2,553 bytes of data, but its header says 2,560;" in refused(tmp_path)
    images.write_bytes(b"")
    assert "is not an idx file" in refused(tmp_path)


# -- arrays


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=COLOUR, labels=LABELS, classes=np.array(["a", "b", "c", "d"]))
    found = data.open(tmp_path / "one.npz")
    assert pairs(found) == expected(COLOUR, "abcd".__getitem__)
    np.savez(
        tmp_path / "two.npz", x_train=GREY[:30] / 255, y_train=LABELS[:30], x_test=GREY[30:] / 255, y_test=LABELS[30:]
    )
    found = data.open(tmp_path / "two.npz")
    assert pairs(found) == expected(GREY)
    assert len(found["test"]) == 10
    one_hot = np.eye(4)[LABELS]
    np.savez(tmp_path / "three.npz", images=GREY.astype(np.uint16) * 257, labels=one_hot)
    assert pairs(data.open(tmp_path / "three.npz")) == expected(GREY)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": np.where(np.arange(64).reshape(8, 8) == 5, np.nan, GREY / 255.0)}, "images=40 of 40: contain NaN or infinite"),
        ({"images": GREY, "labels": LABELS[:5]}, "has 40 images and 5 labels in train"),
        ({"images": GREY, "masks": np.zeros((N, 4, 8), np.uint8)}, "masks=4×8 px: do not fit the images of 8×8 px"),
        ({"images": GREY.astype(np.int32) - 9}, "has pixels from -9 to"),
        ({"images": GREY / 255 - 0.5}, "has floating-point pixels from -0.5 to 0.5, not in [0, 1]; say which values"),
        ({"images": GREY / 127.5}, "are black and white, as in --range 0 2."),
        ({"images": GREY[:, :, :, None, None]}, "are not images"),
        ({"images": np.zeros((N, 8, 8, 2))}, "are not images"),
        ({"labels": LABELS}, "has labels, but no images; name the arrays images and labels."),
        ({"images": GREY, "labels": LABELS + 0.5}, "has label 0.5 at position 0 of train; give each image a whole"),
        ({"images": np.array([GREY[0], None], dtype=object)}, "cannot be read as .npz"),
    ],
)  # fmt: skip
def test_wrong_npz(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    assert sentence in refused(tmp_path / "d.npz")


def test_files_that_are_none(tmp_path: Path) -> None:
    for name in ("a.npz", "a.mat", "a.parquet"):
        (tmp_path / name).write_bytes(b"")
        assert refused(tmp_path / name).endswith("is empty; download or write it again.")
        (tmp_path / name).write_bytes(b"nonsense" * 100)
        assert "cannot be read as" in refused(tmp_path / name)
    (tmp_path / "a.xyz").write_text("?")
    assert "cannot be read as a dataset" in refused(tmp_path / "a.xyz")


# -- MATLAB


def write_73(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """As MATLAB writes -v7.3: HDF5 behind a 512-byte block, axes reversed."""
    with h5py.File(file, "w", userblock_size=512) as out:
        for name, array in arrays.items():
            out[name] = array.T
    with file.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("write", [savemat, write_73], ids=["5", "7.3"])
def test_svhn_and_nist36_files(tmp_path: Path, write: Callable[[Path, dict[str, Any]], None]) -> None:
    svhn = {"X": COLOUR.transpose(1, 2, 3, 0), "y": (np.arange(N) % 10 + 1)[:, None].astype(np.float64)}
    for part in ("train", "test"):
        write(tmp_path / f"{part}_32x32.mat", svhn)
    found = data.open(tmp_path / "train_32x32.mat")
    assert found.classes == tuple("0123456789")
    assert pairs(found, ("test",)) == {
        (a.transpose(2, 0, 1).tobytes(), str((i + 1) % 10)) for i, a in enumerate(COLOUR)
    }
    flat = GREY.transpose(0, 2, 1).reshape(N, 64) / 255  # column order
    nist = tmp_path / "nist"
    nist.mkdir()
    for part in ("train", "valid", "test"):
        write(nist / f"nist_{part}.mat", {f"{part}_data": flat, f"{part}_labels": np.eye(4)[LABELS]})
    found = data.open(nist)
    assert pairs(found, ("val",)) == expected(GREY)


# -- parquet and the hub


def test_parquet(tmp_path: Path) -> None:
    rows = [
        {"image": {"bytes": png_bytes(a), "path": f"{i}.png"}, "label": int(LABELS[i])} for i, a in enumerate(COLOUR)
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}}
    table = pa.Table.from_pylist(rows)
    told = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for part, shards in (("train", 2), ("test", 1)):
        for shard in range(shards):
            pq.write_table(told[shard * 20 : (shard + 1) * 20], tmp_path / f"{part}-{shard:05}-of-{shards:05}.parquet")
    found = data.open(tmp_path)
    assert pairs(found, ("train", "val")) == expected(COLOUR, "abcd".__getitem__)
    assert len(found["test"]) == 20
    assert any("pixel for pixel" in problem for problem in found.problems)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "words.parquet")
    assert "but no image column" in refused(tmp_path / "words.parquet")


def test_the_hub_without_a_network(tmp_path: Path) -> None:
    """In a process whose look-ups all fail and whose caches are empty: one sentence, at once."""
    names = ("mnist", "somebody/photos")
    code = (
        "import socket, sys\n"
        "def nowhere(*more, **named): raise socket.gaierror('no network')\n"
        "socket.getaddrinfo = nowhere\n"
        "from pellucid.cli.cli import main\n"
        "print(*(main(['data', name]) for name in sys.argv[1:]))"
    )
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    bare = {k: v for k, v in os.environ.items() if k.lower() not in proxies}
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=tmp_path,
        env={**bare, "HF_HOME": str(tmp_path / "hf"), "PELLUCID_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.stdout.split() == ["2", "2"], done.stderr
    for name, line in zip(names, done.stderr.splitlines(), strict=True):
        assert line.startswith(f"pellucid: data={name!r}: is neither a path nor in the hub's cache")
        assert line.endswith("give a folder, a file, or an embedded name such as digits.")


def test_what_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="data='digit' is not known; did you mean 'digits'"):
        data.open("digit")
    assert "does not exist; check the path" in refused("no/such/folder/anywhere")


# -- real data


@pytest.mark.data
def test_the_real_sets(real: Callable[[str], Path]) -> None:
    mnist = data.open(real("mnist"))
    assert (len(mnist["train"]) + len(mnist["val"]), len(mnist["test"])) == (60_000, 10_000)
    assert mnist.size == (28, 28)
    with pytest.raises(DataError, match=r"floating-point pixels from -0\.14"):
        data.open(real("nist26"))
    nist = data.open(real("nist26"), range=(-0.15, 1.15))
    assert len(nist.classes) == 26
    assert nist.size == (32, 32)
