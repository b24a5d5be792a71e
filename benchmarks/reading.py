# SPDX-License-Identifier: Apache-2.0
"""Text on photographed pages: `train read` against RapidOCR and Tesseract.

Three sets of pages: those of FOLDER (photographs with truth.json beside them), the ten that the tests draw, and the tests' sentences of
both cases with marks. Our network is trained by default, without any photograph, or given by `--run`; for the sentences, on
`handprint_text`, or given by `--text-run`. RapidOCR (PP-OCR networks by ONNX Runtime, models shipped) is imported where it
is installed, or started once with `--rapidocr PYTHON`, another environment's interpreter. Tesseract is called where it is on the path,
at page segmentation mode 3, its default.

Measured by our own measures for all of them: edits of characters (Levenshtein) after both texts are written in our alphabet, those of
words, the lines that are exact with their spaces, and seconds a page from the array of pixels to the text, in turn with the others.

    python benchmarks/reading.py [FOLDER] [--run RUN] [--text-run RUN] [--rapidocr PYTHON] [--rounds 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_turn, ratio, report, table, timed

import pellucid
from pellucid.run import Run
from pellucid.tasks.read.alphabet import comparable
from pellucid.tasks.read.metrics import aligned

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tasks"))
from read_pages import ten_pages
from read_text import sentences

Reader = Callable[[Path], list[str]]

# reads paths from its input, one a line, and writes the lines of each as JSON
SERVER = """
import json, sys
from rapidocr import RapidOCR
reader = RapidOCR()
for path in sys.stdin:
    found = reader(path.strip())
    rows = [] if found.txts is None else [
        (float(min(p[1] for p in box)), float(max(p[1] for p in box)), float(min(p[0] for p in box)), text)
        for box, text in zip(found.boxes, found.txts)
    ]
    print("lines " + json.dumps(rows), flush=True)
"""


class Rapid:
    """RapidOCR in a process of its own."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __call__(self, path: Path) -> list[str]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(path, file=self.process.stdin, flush=True)
        answer = next(line for line in self.process.stdout if line.startswith("lines "))
        return in_lines(json.loads(answer.removeprefix("lines ")))

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def in_lines(rows: list[tuple[float, float, float, str]]) -> list[str]:
    """Boxes (top, bottom, left, text) as lines: those whose middles lie in one another's height are one line, from left to right."""
    lines: list[list[tuple[float, float, float, str]]] = []
    for row in sorted(rows):
        middle = (row[0] + row[1]) / 2
        if lines and lines[-1][0][0] <= middle <= lines[-1][0][1]:
            lines[-1].append(row)
        else:
            lines.append([row])
    return [" ".join(text for _, _, _, text in sorted(line, key=lambda row: row[2])) for line in lines]


def tesseract(path: Path) -> list[str]:
    answer = subprocess.run(["tesseract", str(path), "-"], capture_output=True, text=True, check=True)
    return [line for line in answer.stdout.splitlines() if line.strip()]


def edits(one: Any, other: Any) -> int:
    return sum(a < 0 or b < 0 or one[a] != other[b] for a, b in aligned(one, other))


def measured(
    found: Mapping[str, list[str]], truth: Mapping[str, list[str]], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Characters and words wrong, and lines that are exact."""
    wrong = letters = spaced = length = words = exact = lines = 0
    for name, true in truth.items():
        one, other = (comparable("\n".join(text), classes) for text in (true, found[name]))
        spaced += edits(one, other)
        length += len(one)
        wrong += edits(one.replace(" ", ""), other.replace(" ", ""))
        letters += len(one.replace(" ", ""))
        vocabulary = {word: chr(i) for i, word in enumerate(dict.fromkeys([*one.split(), *other.split()]), 1)}
        words += edits(*("".join(vocabulary[word] for word in text.split()) for text in (one, other)))
        own = [comparable(line, classes) for line in found[name]]
        exact += sum(comparable(line, classes) in own for line in true)
        lines += len(true)
    return {
        "letters wrong": f"{wrong} of {letters}", "with spaces": f"{100 * spaced / length:.1f} %", "words wrong": words,
        "lines exact": f"{exact} of {lines}",
    }  # fmt: skip


def main() -> None:
    import cv2

    options = argparse.ArgumentParser()
    options.add_argument("folder", nargs="?", type=Path)
    options.add_argument("--run", type=Path)
    options.add_argument("--text-run", type=Path)
    options.add_argument("--rapidocr", metavar="PYTHON")
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = Run(asked.run) if asked.run else pellucid.train("read", out=Path(place) / "run", epochs=8, progress=False)
        if asked.text_run:
            text_run = Run(asked.text_run)
        else:
            text_run = pellucid.train("read", "handprint_text", out=Path(place) / "text", epochs=8, progress=False)
        sets: dict[str, tuple[dict[str, Path], dict[str, list[str]], Run]] = {}
        if asked.folder is not None:
            truth = json.loads((asked.folder / "truth.json").read_text())
            sets[asked.folder.name] = {name: asked.folder / name for name in truth}, truth, run
        for title, drawn, reader_of in (("ten drawn pages", ten_pages(), run), ("sentences", sentences(), text_run)):
            paths = {name: Path(place) / f"{title}{number}.png" for number, name in enumerate(drawn)}
            for name, (page, _) in drawn.items():
                cv2.imwrite(str(paths[name]), page)
            sets[title] = paths, {name: lines for name, (_, lines) in drawn.items()}, reader_of

        def ours(path: Path) -> list[str]:
            own = next(reader_of for files, _, reader_of in sets.values() if path in files.values())
            return str(pellucid.predict(own, path)[0]["text"]).splitlines()

        readers: dict[str, Reader] = {"pellucid": ours}
        python = asked.rapidocr or (sys.executable if importlib.util.find_spec("rapidocr") else None)
        if python:
            readers["RapidOCR"] = Rapid(python)
        if shutil.which("tesseract"):
            readers["Tesseract"] = tesseract
        rows: dict[str, dict[str, Any]] = {}
        for title, (files, truth, own) in sets.items():
            found: dict[str, dict[str, list[str]]] = {name: {} for name in readers}

            def read_all(name: str, reader: Reader, files: dict[str, Path] = files, found: Any = found) -> float:
                return timed(lambda: found[name].update({page: reader(path) for page, path in files.items()}))

            rivals = {
                name: (lambda name=name, reader=reader: read_all(name, reader)) for name, reader in readers.items()
            }
            taken = in_turn(rivals, asked.rounds)
            for name in readers:
                rows[f"{title}: {name}"] = {
                    **measured(found[name], truth, own.classes),
                    "s a page": round(statistics.median(taken[name]) / len(files), 2),
                    "ours ×": round(ratio(taken, "pellucid", name), 2),
                }
        for reader in readers.values():
            if isinstance(reader, Rapid):
                reader.close()
    table(rows)
    report("reading", parameters=run.info.get("parameters"), rounds=asked.rounds, seed=0, pages=rows,
           absent=[name for name in ("RapidOCR", "Tesseract") if name not in readers], numpy=np.__version__)  # fmt: skip


if __name__ == "__main__":
    main()
