# SPDX-License-Identifier: Apache-2.0
"""Decode mutated images, each given by its seed; prints one line of JSON: how many were read or refused, the slowest, the peak."""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from damaging import peak_megabytes
from numpy.typing import NDArray
from PIL import Image

from pellucid import data
from pellucid.data.decoding import decode, jpeg, scan
from pellucid.errors import DataError

KINDS = (
    "png", "png16", "palette", "jpeg", "progressive", "bmp", "tiff", "tiff16", "tiff_deflated", "gif", "webp", "avif", "ppm",
    "idx", "idx.gz", "npz",
)  # fmt: skip


@cache
def whole(kind: str) -> bytes:
    """A sound file of a kind."""
    rng = np.random.default_rng(0)
    colour = np.kron(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8), np.ones((6, 6, 1), np.uint8))
    deep = np.kron(rng.integers(0, 4096, (8, 10), dtype=np.uint16), np.ones((6, 6), np.uint16))
    stream = io.BytesIO()
    if kind in ("idx", "idx.gz"):
        import gzip

        images = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
        body = bytes([0, 0, 8, 3]) + np.array(images.shape, ">i4").tobytes() + images.tobytes()
        return body if kind == "idx" else gzip.compress(body)
    if kind == "npz":
        np.savez_compressed(stream, images=rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), labels=np.arange(20) % 2)
    elif kind == "tiff16":
        tifffile.imwrite(stream, np.stack([deep] * 3, 2), photometric="rgb", planarconfig="contig")
    elif kind == "tiff_deflated":
        tifffile.imwrite(stream, deep, compression="zlib")
    elif kind == "png16":
        Image.fromarray(deep).save(stream, "PNG")
    elif kind == "palette":
        Image.fromarray(colour).quantize(16).save(stream, "PNG")
    elif kind == "gif":
        Image.fromarray(colour).save(stream, "GIF", save_all=True, append_images=[Image.fromarray(colour[::-1])])
    else:
        form = {"progressive": "JPEG"}.get(kind, kind.upper())
        Image.fromarray(colour).save(stream, form, **({"progressive": True} if kind == "progressive" else {}))
    return stream.getvalue()


def mutated(seed: int) -> tuple[str, bytes]:
    """A file with a few bytes changed, cut, doubled, or with numbers of its header replaced by extreme ones."""
    dice = random.Random(seed)
    kind = dice.choice(KINDS)
    content = bytearray(whole(kind))
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        place = dice.randrange(len(content))
        near = dice.randrange(min(len(content), 80))  # headers lie at the start
        how = dice.randrange(6)
        if how == 0:
            content[place] ^= 1 << dice.randrange(8)
        elif how == 1:
            content[near] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif how == 2:
            content[near : near + 4] = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0"))
        elif how == 3:
            del content[place:]
            content = content or bytearray(b"\0")
        elif how == 4:
            content[place:place] = content[place : place + 64]
        else:
            content[place : place + 8] = dice.randbytes(8)
    return kind, bytes(content)


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    """An image at 20×25 px, as where simplejpeg is not installed."""
    decoder, jpeg._decoder = jpeg._decoder, lambda: None  # type: ignore[assignment]
    try:
        return decode(content, size=(20, 25))
    finally:
        jpeg._decoder = decoder


def run(seeds: range) -> dict[str, object]:
    read = refused = 0
    slowest = (0.0, -1)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            kind, content = mutated(seed)
            begun = time.process_time()
            try:
                if kind in ("idx", "idx.gz", "npz"):
                    name = "images.npz" if kind == "npz" else f"train-images-idx3-ubyte{kind[3:]}"
                    file = Path(folder) / name
                    file.write_bytes(content)
                    opened = data.open(file)
                    opened["train"].images.read(0, 1)
                else:
                    seen = scan([content], deep=True)
                    shape = decode(content).shape
                    assert not seen.problems, "the scan refused what decodes"
                    assert seen.sizes[0].tolist() == [*shape[1:]]
                    if kind in ("jpeg", "progressive"):
                        assert (decode(content, size=(20, 25)) == by_pillow(content)).all(), (
                            "other pixels than Pillow's"
                        )
                read += 1
            except DataError as fault:
                refused += 1
                if "\n" in str(fault):
                    faults.append(f"seed {seed} ({kind}): a sentence of several lines: {fault}")
            except Exception:
                faults.append(f"seed {seed} ({kind}): {traceback.format_exc()}")
            slowest = max(slowest, (time.process_time() - begun, seed))
    peak = peak_megabytes()
    return {"read": read, "refused": refused, "slowest": slowest, "peak_mb": round(peak), "faults": faults}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(range(int(sys.argv[1]), int(sys.argv[2])))))
