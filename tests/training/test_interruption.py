# SPDX-License-Identifier: Apache-2.0
"""A training that is killed, or asked to stop, at any moment: the same call resumes it bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pellucid.files import is_draft
from pellucid.run import Run
from pellucid.training.training import train

OPTIONS = {"hidden": [16], "epochs": 8, "limit": 400, "batch_size": 64, "dropout": 0.2, "ema": 0.9, "device": "cpu"}
STEPS_PER_EPOCH = 6

# which file, at which of its writes, at which point of the write, by which signal; every step writes a state
MOMENTS = {
    "a state half written": ("state", 10, "half", signal.SIGKILL),
    "a state not yet in its place": ("state", 27, "after", signal.SIGKILL),
    "weights of an epoch without its state": ("state", 2 * STEPS_PER_EPOCH, "before", signal.SIGKILL),
    "weights half written": ("weights", 2, "half", signal.SIGKILL),
    "interrupted": ("state", 15, "after", signal.SIGINT),
    "hung up": ("state", 21, "after", signal.SIGHUP),
    "terminated": ("state", 3 * STEPS_PER_EPOCH, "before", signal.SIGTERM),
}

# one process imports everything once, and a copy of it is hit at each moment: at the same step on any machine
JOB = """
import json, os, sys
from pathlib import Path
import safetensors.torch

folder, options, moments = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
write, writes, chosen = safetensors.torch.save_file, {"state": 0, "weights": 0}, None

def interrupted(tensors, path, metadata=None):
    which, count, point, number = chosen
    own = "state" if path.parent.name == "state" else "weights"
    writes[own] += 1
    now = (own, writes[own]) == (which, count)
    if now and point == "before":
        os.kill(os.getpid(), number)
    write(tensors, path, metadata)
    if now and point == "half":
        os.truncate(path, path.stat().st_size // 2)
    if now and point in ("half", "after"):
        os.kill(os.getpid(), number)

safetensors.torch.save_file = interrupted
from pellucid.data import open as opened
from pellucid.training.training import train
import torch._dynamo  # an optimiser's first step imports it

opened("digits")
options["hidden"], ends = tuple(options["hidden"]), {}
for name, chosen in moments.items():
    child = os.fork()
    if child == 0:
        run = train("classify", "digits", "mlp", folder / name, checkpoint=0.0, progress=False, **options)
        run.model("last")  # it can be used as it is
        os._exit(0 if (run.status, run.info["step"]) == ("stopped", chosen[1]) else 9)
    ends[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(ends))
"""


def trained(out: Path) -> Run:
    return train("classify", "digits", "mlp", out, progress=False, **{**OPTIONS, "hidden": (16,)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same training, left alone."""
    return trained(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def hit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The folder of the trainings that were hit, and how the process of each ended."""
    folder = tmp_path_factory.mktemp("hit")
    words = [sys.executable, "-c", JOB, str(folder), json.dumps(OPTIONS), json.dumps(MOMENTS)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_resumes_bit_for_bit(whole: Run, hit: tuple[Path, dict[str, int]], moment: str) -> None:
    folder, ends = hit
    _, _, _, number = MOMENTS[moment]
    assert ends[moment] == (-signal.SIGKILL if number == signal.SIGKILL else 0), "stopped after that step"
    left = [file for file in (folder / moment).rglob("*") if is_draft(file.name)]
    assert bool(left) == (number == signal.SIGKILL), "what a killed write leaves is a draft by its name"
    resumed = trained(folder / moment)
    assert not [file for file in resumed.path.rglob("*") if is_draft(file.name)], "drafts stay"
    assert resumed.status == "finished"
    for name in ("last.safetensors", "weights.safetensors"):
        one, other = load_file(whole.path / name), load_file(resumed.path / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    without_time = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run.history] for run in (whole, resumed)
    ]
    assert without_time[0] == without_time[1]
    assert resumed.info["steps"] == resumed.history[-1]["step"] == 8 * STEPS_PER_EPOCH
