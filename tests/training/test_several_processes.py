# SPDX-License-Identifier: Apache-2.0
"""Several processes do what one does: the same batches, random numbers, losses, measures and weights, for every task."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pellucid import _catalog
from pellucid.data import open as open_data
from pellucid.data.batches import store
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Boxes
from pellucid.errors import PellucidWarning, RunError
from pellucid.run import Run
from pellucid.tasks.detect import Detect
from pellucid.training import peers
from pellucid.training.training import train

BASE: dict[str, Any] = {
    "epochs": 2, "limit": 40, "batch_size": 16, "device": "cpu", "precision": "fp32", "progress": False,
    "optimizer": "momentum", "lr": 0.02,
}  # fmt: skip
DETECTOR: dict[str, Any] = {
    "widths": (8, 8, 16), "width": 8, "hidden": 16, "proposals": 40, "scales": (8.0, 24.0), "dropout": 0.2, "flip": True,
    "mosaic": 0.5,
}  # fmt: skip
EMBEDDING: dict[str, Any] = {"widths": (4, 8), "latent": 4, "clusters": 3, "pretrain": 0.5}

# what differs between images of a batch, or between the batches of two processes, is in at least one of them
ONE_PLAYER: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {
    "plain": ("classify", "digits", "mlp", {"hidden": (16,), "ema": 0.5, "clip": 1.0}),
    "mixed": ("classify", "digits", "convnet", {"widths": (4, 8), "batch_norm": True, "dropout": 0.3, "mixup": 0.4,
              "cutmix": 1.0, "rotate": 10, "label_smoothing": 0.1}),
    "weighted": ("classify", "digits", "mlp", {"hidden": (8,), "class_weights": True, "batch_norm": True, "dropout": 0.5}),
    "denoise": ("denoise", "digits", "autoencoder", {"encoder": (12,), "activation": "sigmoid", "sparsity": 0.1}),
    "parts": ("denoise", "digits", "unet", {"widths": (4, 8), "size": (4,)}),  # of which each image has four
    "inpaint": ("inpaint", "digits", "unet", {"widths": (4, 8), "error": "l1"}),
    "compress": ("compress", "digits", "factorized", {"width": 8, "blocks": 0, "code": 4}),
    "cluster": ("cluster", "digits", None, {**EMBEDDING, "method": "joint", "lr": 0.002}),
    "dec": ("cluster", "digits", None, {**EMBEDDING, "method": "dec", "lr": 0.002}),
    "scan": ("cluster", "digits", None, {**EMBEDDING, "method": "scan", "lr": 0.002}),
    "generate": ("generate", "digits", "vae", {"encoder": (16,), "latent": 3, "lr": 0.001}),
    "weighted_bound": ("generate", "digits", "vae", {"encoder": (16,), "latent": 3, "lr": 0.001, "bound_samples": 3,
                       "batch_norm": True, "ema": 0.5}),
    "read": ("read", "handprint", None, {"widths": (4, 8), "lr": 0.005}),
    "segment": ("segment", "scenes", None, {"widths": (4, 8), "dice": 1.0, "balance": "median_frequency"}),
    "landmarks": ("landmarks", "scenes", None, {"lr": 1e-4}),
    "localize": ("localize", "sparse_scenes", None, {"widths": (4, 8), "heads": 0}),
    "detect": ("detect", "sparse_scenes", None, DETECTOR),
}  # fmt: skip
# the GANs take plain steps: Adam would make whole ones of the rounding that is all the gradient of a bias before batch norm, and would
# not show a gradient that is a multiple of the right one
SEVERAL_PLAYERS: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {
    "gan": ("generate", "digits", "gan", {"latent": 4, "updates": (2, 1), "penalty_share": 0.5, "lr": 0.01}),
    "critic": ("inpaint", "digits", "pix2pix", {"widths": (4, 8), "adversarial": 0.1, "optimizer": "adam", "lr": 2e-4}),
    "wasserstein": ("generate", "digits", "gan", {"latent": 4, "objective": "wasserstein", "updates": (2, 1), "penalty_share": 0.5,
                    "lr": 0.01}),
}  # fmt: skip
CASES = {
    **ONE_PLAYER,
    **SEVERAL_PLAYERS,
    "apart": ONE_PLAYER["plain"],
    "long": ("classify", "digits", "mlp", {"hidden": (8,), "epochs": 30, "dropout": 0.2}),
}
SLOWLY = "PELLUCID_TEST_SLOWLY"  # an environment variable with the seconds that a long training waits after each epoch


def few(name: str) -> Dataset:
    """The first images of a dataset: 40 to learn from, and 21 to validate on, which neither batches nor processes divide."""
    whole = open_data(name)
    counts = {part: min(len(split), 40 if part == "train" else 21) for part, split in whole.splits.items()}
    return whole.replace(splits={part: split.select(range(counts[part])) for part, split in whole.splits.items()})


def wait(epoch: int, row: Mapping[str, Any], model: nn.Module) -> None:
    time.sleep(float(os.environ.get(SLOWLY, 0)))


def trained(case: str, out: Path) -> Run:
    task, data, model, options = CASES[case]
    more = {"callback": wait} if case == "long" else {}
    dataset = few(data)
    if case == "apart" and os.environ.get("RANK") == "1":
        dataset = dataset.replace(fingerprint="f" * 32)
    return train(task, dataset, model, out, **{**BASE, **options, **more})


def started(words: Sequence[str], processes: int = 2, **more: str) -> list[subprocess.Popen[str]]:
    """A command in several processes, as a launcher starts them, but without one that would end them all."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    common = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
              "OMP_NUM_THREADS": 1}  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **{name: str(value) for name, value in common.items()}, **more,
                 "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]  # fmt: skip


def ended(processes: Sequence[subprocess.Popen[str]], within: float = 600) -> list[tuple[int, str]]:
    """The exit code of each process, and what it said."""
    try:
        told = [process.communicate(timeout=within) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, errors) for process, (_, errors) in zip(processes, told, strict=True)]


def check_equal(one: Run, other: Run, tolerance: float = 2e-3) -> None:
    """The same history, and the same weights, up to rounding."""
    assert one.status == other.status == "finished"
    assert len(one.history) == len(other.history)
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert mine.keys() == theirs.keys() and mine["split"] == theirs["split"]
        for name in mine.keys() - {"seconds", "split"}:
            assert theirs[name] == pytest.approx(mine[name], rel=tolerance, abs=1e-5), (mine["step"], name)
    (ours, its) = (load_file(run.path / "last.safetensors") for run in (one, other))
    assert ours.keys() == its.keys()
    for name, value in ours.items():
        torch.testing.assert_close(its[name], value, rtol=tolerance, atol=1e-4)


def check_cases(cases: Sequence[str], folder: Path) -> None:
    assert [code for code, _ in ended(started([__file__, str(folder / "two"), *cases]))] == [0, 0]
    for case in cases:
        two = Run(folder / "two" / case)
        assert two.info["processes"] == 2
        check_equal(trained(case, folder / "one" / case), two)


def test_two_processes_with_one_player_and_with_two_do_what_one_process_does(tmp_path: Path) -> None:
    check_cases(["weighted", "gan"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cases", [[*ONE_PLAYER], [*SEVERAL_PLAYERS]], ids=["one player", "several players"])
def test_two_processes_do_what_one_does_for_every_task(tmp_path: Path, cases: list[str]) -> None:
    check_cases(cases, tmp_path)


def test_every_task_is_among_the_cases() -> None:
    assert {task for task, *_ in CASES.values()} == set(_catalog.names("tasks"))


def test_what_a_process_waits_for_before_it_ends_is_less_than_a_minute() -> None:
    silence = {name: seconds for seconds, name in peers._SILENCE}
    found = silence["TCP_KEEPIDLE"] + silence["TCP_KEEPINTVL"] * silence["TCP_KEEPCNT"]
    assert found + peers._ALIKE + peers._GRACE < 60


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_with_a_sentence_and_the_training_goes_on(tmp_path: Path, killed: int) -> None:
    two = [__file__, str(tmp_path), "long"]
    both, history = started(two, **{SLOWLY: "1"}), tmp_path / "long" / "history.jsonl"
    try:
        patience = time.monotonic() + 300
        while not history.exists() or history.read_text().count("\n") < 6:
            assert time.monotonic() < patience and all(process.poll() is None for process in both)
            time.sleep(0.1)
    finally:
        both[killed].kill()
    code, errors = ended(both)[1 - killed]
    assert code == 1
    sentence = f"processes=2: process {killed} has ended before the training, killed or by a fault of its own; give the same command"
    assert errors.count(sentence) == 1
    saved = Run(tmp_path / "long").history
    shutil.copytree(tmp_path / "long", tmp_path / "again" / "long")
    assert [code for code, _ in ended(started(two))] == [0, 0]  # the same command goes on, bit for bit
    assert [code for code, _ in ended(started([__file__, str(tmp_path / "whole"), "long"]))] == [0, 0]
    run = Run(tmp_path / "long")
    # steps after the last state that was kept are computed again, in another time
    went, goes = ([{**row, "seconds": 0} for row in rows] for rows in (saved, run.history[: len(saved)]))
    assert run.status == "finished" and went == goes
    whole = Run(tmp_path / "whole" / "long")
    assert (run.path / "last.safetensors").read_bytes() == (whole.path / "last.safetensors").read_bytes()
    with pytest.warns(PellucidWarning, match="was trained by 2 and goes on with 1 process: its weights will agree"):
        check_equal(trained("long", tmp_path / "again" / "long"), whole)


@pytest.mark.slow
def test_a_machine_with_other_data_is_refused(tmp_path: Path) -> None:
    told = ended(started([__file__, str(tmp_path), "apart"]))
    assert all(code for code, _ in told)
    assert "DataError: data='digits': process 1 has other images or targets there than the first one" in told[1][1]


@pytest.mark.slow
def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    words = ["-m", "pellucid", "train", "classify", "--data", "digits", "--model", "mlp", "--batch-size", "3"]
    told = ended(started([*words, "--device", "cpu", "--out", str(tmp_path / "run")]))
    assert told[0][0] == 2 and told[1][0] != 0
    assert "batch_size=3: cannot be divided evenly over 2 processes" in told[0][1] and "batch_size" not in told[1][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        "torch.distributed.run --nproc-per-node 2",
        "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no "
        "--main_process_port 0",
    ],
    ids=["torchrun", "accelerate launch"],
)
def test_the_launchers_start_one_training(tmp_path: Path, launcher: str) -> None:
    words = "-m pellucid train denoise --data digits --model autoencoder --encoder 16 --epochs 2 --precision fp32 --device cpu"
    options = [*words.split(), "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher.split(), *options], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("finished after") == 1, "the first process alone prints"
    settings: dict[str, Any] = {"encoder": (16,), "epochs": 2, "precision": "fp32", "device": "cpu", "progress": False}
    check_equal(train("denoise", "digits", "autoencoder", tmp_path / "one", **settings), Run(tmp_path / "two"))


def test_images_without_objects_leave_the_numbers_of_others_as_they_are() -> None:
    """A process draws for the whole batch, whatever lies on its own images."""
    starts = []
    for count in (0, 2):
        boxes = Boxes(
            [torch.tensor([[2.0, 2.0, 9.0, 9.0]])[:count]] * 3, [torch.zeros(min(count, 1), dtype=torch.int64)] * 3
        )
        batch = Batch(torch.zeros(3, 3, 16, 16, dtype=torch.uint8), {"boxes": boxes}, torch.arange(3))
        starts.append(Detect().prepare(batch, Draws.step(0, 5, slice(3, 6), 6), training=True)[1].start)
    torch.testing.assert_close(*starts, rtol=0, atol=0)


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that one process would keep in memory is decoded batch by batch where eight would keep eight of them."""
    split = Split(Pixels(np.zeros((10, 1, 8, 8), np.uint8)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * 4 * 10 * 16))
    assert store(split, (4, 4), 1).kind == "memory"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert store(split, (4, 4), 1).kind == "stream"


def test_another_global_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pellucid.training.training")
    with monkeypatch.context() as patch:
        patch.setattr(module, "stopping", lambda accelerator, stop, step: step == 1)
        run = trained("plain", tmp_path / "run")
    run.update(processes=3, global_batch=15)
    with pytest.raises(
        RunError, match="processes=1: divide batches of 16 images evenly, and this run's have 15; resume it with 3"
    ):
        trained("plain", tmp_path / "run")


if __name__ == "__main__":  # in each of the processes
    for chosen in sys.argv[2:]:
        trained(chosen, Path(sys.argv[1]) / chosen)
