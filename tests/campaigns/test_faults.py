# SPDX-License-Identifier: Apache-2.0
"""Trainings that are killed again and again, and commands whose disk is full at a random write."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from damaging import Tally, watched

from pellucid.files import is_draft

KILLED = int(os.environ.get("PELLUCID_KILLED", "100"))  # trainings
FULL = int(os.environ.get("PELLUCID_FULL", "200"))  # commands
OPTIONS: dict[str, Any] = {
    "hidden": (16,), "epochs": 6, "limit": 400, "batch_size": 64, "dropout": 0.2, "ema": 0.9, "device": "cpu",
    "checkpoint": 0.0, "progress": False,
}  # fmt: skip
TRAIN = [
    "train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "16", "--epochs", "2", "--limit", "400",
    "--device", "cpu", "--out", "run",
]  # fmt: skip
EARLIER = Path(__file__).parents[1] / "runs_0_1_0" / "classify"


def state_of(run: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What a training left: the digests of its files, and its history without the clock."""
    from pellucid.run import Run
    from pellucid.weights import load

    found = Run(run)
    assert found.status == "finished"
    digests = {name: load(run / name).digest for name in ("weights.safetensors", "last.safetensors")}
    return digests, [{name: value for name, value in row.items() if name != "seconds"} for row in found.history]


def killed(seed: int, trainings: int) -> dict[str, Any]:
    """Start trainings in copies of this process, and kill each at random times until it has ended."""
    import torch._dynamo  # noqa: F401  (an optimiser's first step imports it)

    from pellucid.data import open as opened
    from pellucid.training.training import train

    draw, tally = random.Random(seed), Tally()
    ends: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["PELLUCID_CACHE"] = str(folder / "cache")
        opened("digits")
        train("classify", "digits", "mlp", folder / "whole", **OPTIONS)
        begun = time.monotonic()
        train("classify", "digits", "mlp", folder / "timed", **OPTIONS)
        whole, length = state_of(folder / "whole"), time.monotonic() - begun
        for number in range(trainings):
            run, kills = folder / f"run-{number}", 0
            while True:
                child = os.fork()
                if child == 0:
                    train("classify", "digits", "mlp", run, **OPTIONS)
                    os._exit(0)
                if kills < 4:  # then it may end
                    time.sleep(draw.uniform(0, length))
                    os.kill(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if code == 0:
                    break
                kills += 1
                if code != -signal.SIGKILL:
                    tally.faults.append(f"training {number}: ended with {code}")
                    break
            ends[kills] += 1
            tally.cases += 1
            drafts = [file.name for file in run.rglob("*") if is_draft(file.name)]
            if drafts or state_of(run) != whole:
                tally.faults.append(f"training {number}, killed {kills} times: not as if never killed; {drafts}")
            shutil.rmtree(run)
    tally.ends = Counter({"kills": sum(kills * count for kills, count in ends.items())})
    return {"words": tally.words("killed trainings, each compared bit for bit"), "faults": tally.faults}


@contextmanager
def full_disk(draw: random.Random) -> Iterator[list[int]]:
    """The disk is full at one of the next writes, for good: of data, or when they are put on the disk."""
    left, told = [draw.randrange(1, 12)], [0]
    sync, replace = os.fsync, os.replace

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                told[0] += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **named)

        return called

    os.fsync, os.replace = failing(sync), failing(replace)
    try:
        yield told
    finally:
        os.fsync, os.replace = sync, replace


@contextmanager
def small_files(draw: random.Random) -> Iterator[list[int]]:
    """No file grows beyond a random size."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from refusals import small_disk

    with small_disk(draw.choice((0, 10, 1000, 3000, 10_000, 20_000, 60_000))):
        yield [0]


def full(seed: int, commands: int) -> dict[str, Any]:
    """Let the disk fill while a command writes; afterwards each file is the old or the new one, and the same command ends."""
    from pellucid.weights import load

    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        os.environ["PELLUCID_CACHE"] = str(folder / "cache")
        assert watched(TRAIN, tally, "whole")[0] == 0
        whole = load(folder / "run/last.safetensors").digest
        shutil.copytree(folder / "run", folder / "trained")
        choices = [
            TRAIN, ["evaluate", "run", "--no-baselines"], ["report", "run", "--maps", "0"], ["look", "run", "filters"],
            ["compare", "run", str(EARLIER), "--out", "compared"], ["export", "run", "--formats", "torch"],
        ]  # fmt: skip
        for number in range(commands):
            words = draw.choice(choices)
            shutil.rmtree("run", ignore_errors=True)
            if words is not TRAIN:
                shutil.copytree("trained", "run")
            at = f"command {number}: {' '.join(words[:2])}"
            before = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
            with draw.choice((full_disk, small_files))(draw) as told:
                code, said = watched(words, tally, at)
            tally.cases += 1
            tally.ends["refused" if code else "answered"] += 1
            if code and "the disk is full" not in said:
                tally.faults.append(f"{at}: {said}")
            if not code and told[0]:
                tally.faults.append(f"{at}: a full disk went unnoticed")
            for file in [file for top in ("run", "compared") for file in Path(top).rglob("*") if file.is_file()]:
                if is_draft(file.name):
                    tally.faults.append(f"{at}: left {file}")
                elif code and file in before and words[0] != "evaluate" and file.read_bytes() != before[file]:
                    tally.faults.append(f"{at}: changed {file}")
                elif file.suffix == ".safetensors":
                    load(file)
                elif file.suffix == ".json":
                    json.loads(file.read_text())
            if watched(words, tally, f"{at}, again")[0] != 0:
                tally.faults.append(f"{at}: the same command does not end once there is room")
            if load(folder / "run/last.safetensors").digest != whole:
                tally.faults.append(f"{at}: other weights than those of a training with room")
    return {"words": tally.words("full disks"), "faults": tally.faults}


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize(("campaign", "count"), [("killed", KILLED), ("full", FULL)])
def test_faults(campaign: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, __file__, campaign, "0", str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{found['words']}")
    assert not found["faults"], "\n".join(found["faults"][:20])


if __name__ == "__main__":
    print(json.dumps({"killed": killed, "full": full}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))))
