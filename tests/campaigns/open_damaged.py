# SPDX-License-Identifier: Apache-2.0
"""Write a good data file, damage it in ways that a seed decides, open it, and print what came of it as a line of JSON.

python open_damaged.py KIND COUNT FOLDER SECONDS
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damaging import peak_megabytes
from PIL import Image
from scipy.io import savemat

from pellucid import data
from pellucid.errors import DataError

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 6, 6), dtype=np.uint8)
LABELS = np.arange(N) % 3
_WORD = re.compile(rb"[\w.]{1,20}")
ODD = (
    "",
    "null",
    "NaN",
    "1e999",
    "-1",
    "0.5",
    "[]",
    "{}",
    "[[[[",
    '"',
    "\\",
    "\0",
    "\ud800",
    "a" * 5000,
    "[" * 5000,
    ",,,",
    ";",
)


def png(i: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS[i]).save(stream, "PNG")
    return stream.getvalue()


def rows() -> list[dict[str, Any]]:
    return [
        {
            "file_name": f"sub/{i}.png", "label": f"kind {i % 3}", "objects": {"bbox": [[0, 0, 2, 3]], "category": ["a"]},
            "points": [[1.0, 2.0], [3.0, 4.0]], "text": f"picture {i}",
        }
        for i in range(N)
    ]  # fmt: skip


# -- a good file of each kind: its name below the folder, and its content


def _csv() -> bytes:
    head = "file_name,label,objects,points,text\n"
    cells = [[json.dumps(v) if isinstance(v, (list, dict)) else v for v in row.values()] for row in rows()]
    return (head + "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells)).encode()


def _jsonl() -> bytes:
    return "\n".join(map(json.dumps, rows())).encode()


def _written(write: Callable[[Any], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _images(told: bytes) -> bytes:
    table = pa.Table.from_pylist(
        [{"image": {"bytes": png(i), "path": f"{i}.png"}, "label": int(LABELS[i])} for i in range(N)]
    )
    return _written(lambda stream: pq.write_table(table.replace_schema_metadata({"huggingface": told}), stream))


def _mat73() -> bytes:
    def write(stream: Any) -> None:
        with h5py.File(stream, "w") as out:
            out["images"], out["labels"] = PIXELS.T, LABELS[None].astype(float)

    return _written(write)


FEATURES = (
    b'{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}'
)
FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("metadata.csv", _csv),
    "jsonl": ("metadata.jsonl", _jsonl),
    "table": ("metadata.parquet", lambda: _written(lambda out: pq.write_table(pa.Table.from_pylist(rows()), out))),
    "images": ("d.parquet", lambda: _images(FEATURES)),
    "features": ("d.parquet", lambda: FEATURES),  # what is damaged is written into a good file
    "npz": ("d.npz", lambda: _written(lambda out: np.save(out, PIXELS))),  # likewise
    "mat5": ("d.mat", lambda: _written(lambda out: savemat(out, {"images": PIXELS, "labels": LABELS}))),
    "mat73": ("d.mat", _mat73),
    "idx": ("train-images-idx3-ubyte", lambda: bytes([0, 0, 8, 3]) + np.array(PIXELS.shape, ">i4").tobytes() + PIXELS.tobytes()),
}  # fmt: skip


def put(kind: str, folder: Path, content: bytes, rng: random.Random | None = None) -> Path:
    """Write the content, damaged unless there is no generator, where it belongs in a container; returns what to open."""
    coin = 0.0 if rng is None else rng.random()
    content = content if rng is None else damaged(content, rng)
    file = folder / FILES[kind][0]
    if kind == "features":
        file.write_bytes(_images(content))
        return file
    if kind == "npz":
        labels = _written(lambda out: np.save(out, LABELS))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("images.npy", content)
            out.writestr("labels.npy", damaged(labels, rng) if rng is not None and coin < 0.5 else labels)
        return file
    if kind == "idx":
        packed = coin < 0.5
        (folder / "train-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + np.array([N], ">i4").tobytes() + LABELS.astype(np.uint8).tobytes()
        )
        for old in folder.glob("train-images*"):
            old.unlink()
        (folder / f"{file.name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
        return folder
    file.write_bytes(content)
    return folder


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three random changes: bits, ranges, lengths, and words that parsers trip over."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(changed)) if changed else 0
        # half of the changes hit the beginning, where the headers are
        at = at if rng.random() < 0.5 else rng.randrange(min(200, len(changed)) or 1)
        to = min(len(changed), at + rng.choice((1, 4, 16, 64)))
        way = rng.randrange(9)
        if way == 0 and changed:
            changed[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            changed[at:to] = rng.randbytes(to - at)
        elif way == 2:
            del changed[at:to]
        elif way == 3:
            changed[at:at] = changed[at:to] * rng.choice((1, 3, 50))
        elif way == 4:
            del changed[at:]
        elif way == 5:
            changed[at:to] = rng.choice((b"\0", b"\xff", b"\x7f", b"9")) * (to - at)
        elif rng.random() < 0.5 and (words := list(_WORD.finditer(changed))):
            word = rng.choice(words)  # a value or a name of a text format
            changed[word.start() : word.end()] = rng.choice(ODD).encode("utf-8", "surrogatepass")
        else:
            changed[at:to] = rng.choice(ODD).encode("utf-8", "surrogatepass")
    return bytes(changed)


def opened(path: Path) -> None:
    found = data.open(path)
    for split in found.splits.values():
        for i in range(len(split)):
            split.images.read(i, found.channels)


def main(kind: str, count: int, folder: Path, seconds: int) -> None:
    """Open damaged files one after the other."""
    (folder / "sub").mkdir()
    for i in range(N if kind in ("csv", "jsonl", "table") else 0):
        (folder / "sub" / f"{i}.png").write_bytes(png(i))
    good = FILES[kind][1]()
    opened(put(kind, folder, good))
    for seed in range(count):
        rng = random.Random(f"{kind} {seed}")
        path = put(kind, folder, good, rng)
        result, said, begun = "opened", "", time.process_time()
        signal.alarm(seconds)  # ends the process: a hang is a result
        try:
            opened(path)
        except DataError as fault:
            result, said = "refused", str(fault)
        except Exception:
            result, said = "trace", traceback.format_exc()[-1500:]
        signal.alarm(0)
        peak = peak_megabytes()
        row = {"seed": seed, "result": result, "said": said, "seconds": time.process_time() - begun, "megabytes": peak}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
