# SPDX-License-Identifier: Apache-2.0
"""predict on folders of good, mutated, hidden and oddly named files: a row for each, the good ones answered, nothing else touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.cli import main
from pellucid.data import open as open_data
from pellucid.run import Run
from pellucid.training.training import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hostile,
    pytest.mark.filterwarnings("ignore"),  # Pillow's own, about damaged headers
]

SEEDS = range(6)
GOOD = 14  # images of a folder
MUTANTS = 30
TASKS: dict[str, dict[str, Any]] = {
    "classify": {"model": "mlp", "hidden": (8,)},
    "denoise": {"model": "unet", "widths": (4,)},
    "inpaint": {"model": "unet", "widths": (4,)},
    "compress": {"model": "dense_codec", "encoder": (16,), "data": "glyphs"},
    "cluster": {"model": "autoencoder", "encoder": (16,), "method": "kmeans", "clusters": 3},
    "generate": {"model": "vae"},
    "localize": {"model": "mlp", "hidden": (8,), "data": "sparse_scenes"},
}
ODD = [
    "[red]",
    "[/b]",
    ":cat:",
    "=1+1",
    "-x",
    "@a",
    "two\nlines",
    " ",
    "é",
    "e\u0301",
    "a" * 200,
    "a..",
    "CON",
    os.fsdecode(b"\xe9"),
]
EVERY = ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")
HIDDEN = ["._a.png", ".hidden.png", ".cache/b.png", "__MACOSX/._a.png", "__MACOSX/a.png", "Thumbs.db", "sub/._b.jpg"]


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"data": "digits", **TASKS[request.param]}
    return train(request.param, options.pop("data"), options.pop("model"), tmp_path_factory.mktemp("runs") / "run", epochs=1,
                 limit=96, device="cpu", progress=False, **options)  # fmt: skip


@cache
def photographs() -> Any:
    return open_data("patches")["test"].images


def picture(dice: random.Random, mode: str) -> Image.Image:
    """Part of an embedded photograph, with a white hole, in one of Pillow's modes."""
    pixels = np.minimum(photographs().read(dice.randrange(200), 1)[0], 240)
    pixels = pixels[: dice.randint(9, len(pixels)), : dice.randint(9, len(pixels))].copy()
    pixels[3:6, 2:7] = 255
    if mode == "I;16":
        return Image.fromarray(pixels.astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, ending: str) -> bytes:
    made = io.BytesIO()
    image.save(made, {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(ending, ending.upper()))
    return made.getvalue()


def mutated(content: bytes, dice: random.Random) -> bytes:
    """The file cut off, with flipped bytes, with a block of zeros, or with a block repeated."""
    changed, start = bytearray(content), dice.randrange(len(content))
    kind = dice.randrange(4)
    if kind == 0:
        return content[:start]
    if kind == 1:
        for _ in range(dice.randint(1, 12)):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        changed[start : start + dice.randint(1, 60)] = bytes(dice.randint(1, 60))
    else:
        changed[start:start] = changed[start : start + 40]
    return bytes(changed)


def folder(top: Path, seed: int) -> tuple[dict[str, str], list[str]]:
    """A folder of images: the good ones by name with their mode, and the names of the mutants."""
    dice = random.Random(seed)
    good: dict[str, str] = {}
    bad: list[str] = []

    def add(name: str, content: bytes) -> bool:
        try:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)
        except OSError:  # a file system that takes no such name
            return False
        return True

    for i in range(GOOD):
        mode = dice.choice(("L", *EVERY))
        endings = {"L": ["png", "jpg", "bmp", "tif", "pgm"], "RGB": ["png", "jpg", "bmp", "tif", "webp"]}
        ending = dice.choice(endings.get(mode, ["png"]))
        name = f"{dice.choice(['', 'sub/', 'sub/deep/', 'Sub2/'])}{ODD[(i + seed) % len(ODD)]}.{dice.choice([ending, ending.upper()])}"
        if add(name, encoded(picture(dice, mode), ending)):
            good[name] = mode
    for i in range(MUTANTS):
        ending = dice.choice(["png", "jpg", "bmp", "tif", "webp", "pgm"])
        name = f"{dice.choice(['', 'sub/'])}mutant {i}.{ending}"
        if add(name, mutated(encoded(picture(dice, dice.choice(["L", "RGB"])), ending), dice)):
            bad.append(name)
    for name in HIDDEN:
        add(name, b"no image")
    return good, bad


def digests(top: Path) -> dict[str, str]:
    return {
        os.fsencode(file.relative_to(top)).decode("latin-1"): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in top.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_every_image_has_a_row_and_nothing_else_is_touched(
    run: Run, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = folder(tmp_path / "in", seed)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stranger.txt").write_text("somebody's")
    before = digests(tmp_path)
    task = run.info["task"]["name"]
    words = ["predict", str(run.path), "in", "--out", "out", *(["--detect", "white"] if task == "inpaint" else [])]
    tables = []
    for _ in range(2):
        code = main(words)
        said = capsys.readouterr()
        assert code == 0, said.err
        assert "bug in pellucid" not in said.err
        tables.append(json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8")))
    rows = {row["name"]: row for row in tables[0]}
    assert tables[0] == tables[1], "the second call answers as the first did"
    assert {*good, *bad} ^ {*rows} == set()
    assert len(tables[0]) == len(rows)
    # compression of grey images takes no colour and no transparency, inpainting no holes that it was not given
    takes = {"compress": ("L", "1"), "inpaint": ("L", "RGB", "P", "1", "I;16")}.get(task, EVERY)
    failed = {name: rows[name]["error"] for name, mode in good.items() if mode in takes and "error" in rows[name]}
    assert not failed
    assert all("\n" not in row.get("error", "") for row in tables[0])
    after = digests(tmp_path)
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert all(name.startswith("out/") for name in after if name not in before)
    written = [name for row in tables[0] if (name := row.get("picture") or row.get("file")) is not None]
    assert len({name.casefold() for name in written}) == len(written)
    assert all((tmp_path / "out") in Path(name).resolve().parents and Path(name).is_file() for name in written)
