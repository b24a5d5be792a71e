# SPDX-License-Identifier: Apache-2.0
"""A thousand damaged run folders: each command answers rightly or with one sentence, soon, and in little memory."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from damaging import Tally, damaged_bytes, damaged_json, forked, watched

CASES = int(os.environ.get("PELLUCID_CASES", "1000"))
EARLIER = Path(__file__).parents[1] / "runs_0_1_0" / "classify"
FILES = {
    "run.json": 6, "history.jsonl": 3, "metrics.json": 3, "records.npz": 2, "weights.safetensors": 2,
    "last.safetensors": 1, "state/last.safetensors": 2,
}  # fmt: skip
LIBRARIES = (
    "torch",
    "accelerate",
    "matplotlib.pyplot",
    "scipy.stats",
    "sklearn.linear_model",
    "pellucid.reporting.reporting",
)
READERS = (
    ["report", "RUN", "--maps", "0"],
    ["compare", "RUN", "OTHER", "--out", "compared"],
    ["look", "RUN", "curves"],
    ["look", "RUN", "confusion"],
    ["look", "RUN", "filters"],
    ["train"],
    ["evaluate", "RUN", "--no-baselines", "--which", "last"],
)
TRAIN = [
    "train",
    "classify",
    "--model",
    "mlp",
    "--hidden",
    "8",
    "--epochs",
    "4",
    "--batch-size",
    "64",
    "--lr",
    "0.02",
    "--device",
    "cpu",
]


def data(folder: Path) -> Path:
    """A few digits, so that a command takes a moment."""
    import numpy as np

    from pellucid.data import open as opened

    images, labels = [], []
    for name, split in opened("digits").splits.items():  # a split is cut by content: these stay in theirs
        label: Any = split.targets["label"]
        for place in range(min(len(split), 200 if name == "train" else 50)):
            images.append(split.images.read(place, 1)[0])
            labels.append(int(label.index[place]))
    np.savez(folder / "few.npz", images=np.stack(images), labels=np.array(labels))
    return folder / "few.npz"


def bases(folder: Path) -> Tally:
    """Makes a finished run, one that was stopped, and one of version 0.1.0, all evaluated; what went wrong is counted."""
    import pellucid.training.training as module

    tally = Tally()
    words = [*TRAIN, "--data", str(data(folder)), "--out"]
    code, said = watched([*words, str(folder / "finished")], tally, "finished")
    assert code == 0, said
    going, module.stopping = module.stopping, lambda accelerator, stop, step: step == 5
    code, _ = watched([*words, str(folder / "stopped")], Tally(), "stopped")
    module.stopping = going
    assert code == 130
    for name in ("finished", "stopped"):
        code, said = watched(["evaluate", str(folder / name)], tally, name)
        assert code == 0, said
    shutil.copytree(EARLIER, folder / "earlier")
    return tally


def campaign(seed: int, cases: int) -> dict[str, Any]:
    """Damage one file of a copy of a run, read it through a command, measure it again, and compare with the truth."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        os.environ["PELLUCID_CACHE"] = str(folder / "cache")
        tally.add(*forked(lambda: bases(folder)))
        runs = {name: folder / name for name in ("finished", "stopped", "earlier")}
        for name in LIBRARIES:  # once for all processes; torch's threads, which a fork would lose, have not begun
            importlib.import_module(name)
        truth = {name: measured(path) for name, path in runs.items()}
        for case in range(cases):
            draw = random.Random(1_000_003 * seed + case)
            tally.add(*forked(partial(damaged, folder, runs, truth, draw, case)))
    return {"words": tally.words("damaged runs"), "faults": tally.faults, "peak": tally.peak, "worst": tally.worst}


def damaged(folder: Path, runs: dict[str, Path], truth: dict[str, Any], draw: random.Random, case: int) -> Tally:
    """One case, which `draw` decides, so that it can be told again without those before it."""
    tally = Tally(cases=1)
    name = draw.choice((*runs, "finished"))
    file = draw.choices([*FILES], [*FILES.values()])[0]
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.copytree(runs[name], folder / "run")
    target = folder / "run" / file
    content = target.read_bytes()
    if target.suffix in (".json", ".jsonl") and draw.random() < 0.7:
        lines = content.decode().splitlines() if target.suffix == ".jsonl" else [content.decode()]
        place = draw.randrange(len(lines))
        lines[place] = damaged_json(lines[place], draw)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    else:
        target.write_bytes(damaged_bytes(content, draw))
    words = [{"RUN": "run", "OTHER": str(runs["finished"])}.get(w, w) for w in draw.choice(READERS)]
    if words == ["train"]:
        words = [*TRAIN, "--data", str(folder / "few.npz"), "--out", "run"]
    at = f"case {case} ({name}, {file}): pellucid {' '.join(words)}"
    code, _ = watched(words, tally, at)
    tally.ends[f"{words[0]} {'answered' if code == 0 else 'refused'}"] += 1
    if words[0] == "train" or "last" in words:
        return tally
    code, said = watched(["evaluate", "run", "--no-baselines"], tally, f"{at}; evaluate")
    tally.ends[f"evaluate {'answered' if code == 0 else 'refused'}"] += 1
    # weights of version 0.1.0 hold no digest, and a record may say another model, seed or data
    known = file != "run.json" and not (name == "earlier" and file.endswith(".safetensors"))
    if known and code == 0 and measured(folder / "run") != truth[name]:
        tally.faults.append(f"{at}: {measured(folder / 'run')} is not {truth[name]}: a wrong number without a word")
    if file in ("metrics.json", "records.npz", "history.jsonl") and code != 0:
        tally.faults.append(f"{at}: evaluate does not mend it: {said}")
    return tally


def measured(run: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return {name: measure["value"] for name, measure in metrics["model"].items()}


@pytest.mark.slow
@pytest.mark.hostile
def test_damaged_runs() -> None:
    done = subprocess.run([sys.executable, __file__, "0", str(CASES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{found['words']}")
    assert not found["faults"], "\n".join(found["faults"][:20])
    assert found["peak"] < 1000, "MB of one command and the evaluation after it"
    assert found["worst"] < 60


if __name__ == "__main__":
    print(json.dumps(campaign(int(sys.argv[1]), int(sys.argv[2]))))
