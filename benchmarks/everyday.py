# SPDX-License-Identifier: Apache-2.0
"""What people wait for every day: `predict`, `data`, `evaluate` and `report`, each in a process of its own, as it is typed.

`predict` takes turns with the loop that torchvision's tutorials write: a DataLoader whose two workers open, resize and stack the
photographs, and the same model with the same weights in float32, whose answers are written as JSON too. Both start from files that
neither has seen before, and both end with the most probable class of each; how often these agree is printed. The other verbs have
goals in seconds of processor time (user and system, over all threads). `evaluate` and `report` are of an `mlp`: with a large model its own
operations take most of the time. Then every verb and lens on runs of the embedded digits (8×8 px) with an `mlp` and a `convnet`: the
least of the rounds, as other work on the same core makes processor time longer and never shorter.

Claims: `predict` on 2,000 photographs of 500×375 px at least 1.3 × the loop; `data` on 30,000 files under 5 s at the second opening;
`evaluate` of 10,000 small images under 3 s; a report under 10 s; every verb on the digits under 5 s, but for exports to ONNX.

    python benchmarks/everyday.py [--photographs 2000] [--files 30000] [--images 10000] [--model M] [--size 224] [--rounds 3]
                                  [--only predict|verbs|digits]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import in_turn, ratio, report, table, timed
from decoding import draw
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import pellucid
from pellucid import _catalog
from pellucid.run import load

BATCH = 64
OURS, PEER = "pellucid predict", "torchvision, DataLoader with two workers"
DIGITS = ("mlp", "convnet")
OF_OTHERS = ("page", "proposals")  # lenses of readers and detectors, which have no run on digits


class Photographs(Dataset[torch.Tensor]):
    """The usual way: open, convert, resize, to tensor."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files = files
        self.transform = v2.Compose(
            [v2.Resize((size, size), antialias=True), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as opened:
            image: torch.Tensor = self.transform(opened.convert("RGB"))
        return image


@torch.no_grad()
def loop(model: torch.nn.Module, files: list[Path], size: int, out: Path) -> None:
    """The answers of a model for files, written as JSON."""
    model.eval()
    answers = []
    for images in DataLoader(Photographs(files, size), BATCH, num_workers=2):
        shares = model(images).softmax(1)
        answers += [int(k) for k in shares.argmax(1)]
    rows = [{"name": file.name, "class": k} for file, k in zip(files, answers, strict=True)]
    out.write_text(json.dumps(rows))


def predicting(asked: Any, place: Path) -> dict[str, Any]:
    """`predict` beside the loop, in turn, in one process."""
    folder = place / "photos"
    draw(folder, asked.photographs)
    files = sorted(folder.rglob("*.jpg"))
    run = pellucid.train(
        "classify", str(folder), asked.model, place / "run", epochs=1, limit=64, frozen=True,
        size=(asked.size, asked.size), seed=0, progress=False,
    )  # fmt: skip
    given, model = [str(file) for file in files], load(run.path).model()

    def ours() -> float:
        shutil.rmtree(os.environ["PELLUCID_CACHE"], ignore_errors=True)  # the files are seen for the first time
        return timed(lambda: pellucid.predict(run.path, given, place / "answers"))

    def peer() -> float:
        return timed(lambda: loop(model, files, asked.size, place / "loop.json"))

    taken = in_turn({OURS: ours, PEER: peer}, asked.rounds)
    rows = json.loads((place / "answers" / "predictions.json").read_text())
    theirs = json.loads((place / "loop.json").read_text())
    same = np.mean([row["label"] == run.classes[other["class"]] for row, other in zip(rows, theirs, strict=True)])
    return {
        "images_per_second": {name: round(len(files) / statistics.median(seconds), 1) for name, seconds in taken.items()},
        "ratio": round(ratio(taken, OURS, PEER), 2),
        "same_answers": round(float(same), 4),
    }  # fmt: skip


def processor(*words: str) -> float:
    """Seconds of processor time of a command, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # as on a user's machine, where the first command leaves the modules compiled
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "pellucid", *words], check=True, capture_output=True, env=usual)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def small_files(folder: Path, count: int) -> None:
    """Photographs of 48×40 px in ten classes and three splits, JPEG."""
    rng = np.random.default_rng(0)
    for part, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        for i in range(round(count * share)):
            path = folder / part / f"class{i % 10}" / f"{i:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(path, quality=85)


def small_images(file: Path, count: int) -> None:
    """Noisy patterns of 28×28 px in ten classes, `count` of them in the test split, as arrays."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (10, 28, 28))
    arrays = {}
    for part, own in (("train", 2000), ("val", 500), ("test", count)):
        label = np.arange(own) % 10
        noisy = patterns[label] + rng.normal(0, 60, (own, 28, 28))
        arrays |= {f"x_{part}": noisy.clip(0, 255).astype(np.uint8), f"y_{part}": label}
    np.savez(file, **arrays)


def verbs(asked: Any, place: Path) -> dict[str, tuple[float, float]]:
    """Seconds of processor time of each verb, and the goal."""
    small_files(place / "files", asked.files)
    small_images(place / "small.npz", asked.images)
    run = str(place / "small")
    pellucid.train("classify", str(place / "small.npz"), "mlp", run, epochs=1, seed=0, progress=False)
    sheet = str(place / "sheet.png")
    processor("data", str(place / "files"), "--out", sheet)  # the first opening
    commands = {
        f"data, {asked.files:,} files, second opening": (("data", str(place / "files"), "--out", sheet), 5.0),
        f"evaluate, {asked.images:,} images of 28×28 px": (("evaluate", run, "--no-baselines"), 3.0),
        "report": (("report", run), 10.0),
    }
    return {
        name: (statistics.median(processor(*words) for _ in range(asked.rounds)), goal)
        for name, (words, goal) in commands.items()
    }


def on_digits(asked: Any, place: Path) -> dict[str, dict[str, float]]:
    """Seconds of processor time of each verb and lens by model, on runs of the embedded digits: the least of the rounds."""
    picture = str(place / "digit.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(picture)
    trained = ("train", "classify", "--data", "digits", "--epochs", "3", "--seed", "0", "--model")
    runs = {model: str(place / model) for model in DIGITS}
    for model, run in runs.items():
        processor(*trained, model, "--out", run)
        processor("evaluate", run)
    lenses = [name for name in _catalog.names("lenses") if name not in OF_OTHERS]

    def seconds(*words: str) -> float:
        new = place / "new"
        named = str(new / ("sheet.png" if words[0] == "data" else "made"))
        out = () if words[0] in ("evaluate", "report") else ("--out", named)  # those write into the run

        def once() -> float:
            shutil.rmtree(new, ignore_errors=True)
            return processor(*words, *out)

        return round(min(once() for _ in range(asked.rounds)), 2)

    taken: dict[str, dict[str, float]] = {}
    for model, run in runs.items():
        commands = {
            "train": (*trained, model),
            "evaluate": ("evaluate", run),
            "predict": ("predict", run, picture),
            "report": ("report", run),
            **{f"look {lens}": ("look", run, lens) for lens in lenses},
            "export torch": ("export", run, "--formats", "torch"),
            "export onnx": ("export", run, "--formats", "onnx"),
            "compare": ("compare", *runs.values()),
            "sweep of two points": (
                "sweep", "classify", "--data", "digits", "--epochs", "3", "--model", model, "--lr", "0.01", "0.003",
            ),
            "data": ("data", "digits"),
        }  # fmt: skip
        for name, words in commands.items():
            spent = seconds(*words)
            taken.setdefault(name, {})[model] = spent
            print(f"  {name:<24} {model:<8} {spent:6.2f} s", file=sys.stderr)
    return taken


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--photographs", type=int, default=2000)
    options.add_argument("--files", type=int, default=30_000)
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--model", default="efficientnet_lite0")
    options.add_argument("--size", type=int, default=224)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=("predict", "verbs", "digits"))
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["PELLUCID_CACHE"] = str(place / "cache")
        predicted = predicting(asked, place) if asked.only in (None, "predict") else None
        seconds = verbs(asked, place) if asked.only in (None, "verbs") else {}
        digits = on_digits(asked, place) if asked.only in (None, "digits") else {}
    if seconds:
        rows = {
            name: {"processor time": f"{own:.2f} s", "goal": f"{goal:g} s"} for name, (own, goal) in seconds.items()
        }
        table(rows)
    if digits:
        table({name: {model: f"{own:.2f} s" for model, own in row.items()} for name, row in digits.items()})
    if predicted is not None:
        table({name: {"images per second": value} for name, value in predicted["images_per_second"].items()})
    met = all(own < goal for own, goal in seconds.values()) and (predicted is None or predicted["ratio"] >= 1.3)
    met &= all(own < 5 for name, row in digits.items() if name != "export onnx" for own in row.values())
    report(
        "everyday verbs",
        met=met,
        predict=predicted,
        processor_seconds={name: round(own, 2) for name, (own, _) in seconds.items()},
        on_digits=digits,
        model=asked.model,
        size=asked.size,
        rounds=asked.rounds,
        seed=0,
        n={"photographs": asked.photographs, "files": asked.files, "images": asked.images},
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
