# SPDX-License-Identifier: Apache-2.0
"""Mistakes on the command line: the sentence, the exit code, and that nothing is lost or left half-written."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from refusals import contents, refused, small_disk

from pellucid.cli import commands
from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.files import is_draft
from pellucid.run import Run
from pellucid.training.machine import interruptible

RUNS = Path(__file__).parent / "runs_0_1_0"
TRAIN = ["train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "24", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("trian", "command='trian' is not known; did you mean 'train'? Known: compare, completion, data,"),
        ("train clasify", "task='clasify' is not known; did you mean 'classify'? Known: classify, cluster,"),
        ("train classify --model mpl", "model='mpl' is not known; did you mean 'mlp'? Known:"),
        ("train --epoch 3", "option='--epoch' is not known; did you mean '--epochs'? `pellucid train -h` lists them."),
        ("train --learning-rate 1", "option='--learning-rate' is not known; did you mean '--lr'?"),
        ("train --hidden 3", "option='--hidden' does not belong to classify with convnet; it goes with --model"),
        ("train --level 0.1", "option='--level' does not belong to classify with convnet; it goes with task denoise"),
        ("train --lr fast", "lr='fast': must be a number."),
        ("train --lr -1", "lr=-1.0: must be above 0; give another value."),
        ("train --epochs 0", "epochs=0: must be at least 1; give another value."),
        ("train --optimizer adem", "optimizer='adem': must be one of sgd,"),
        ("train --data nowhere/at/all", "data='nowhere/at/all'"),
        ("train denoise --model mlp", "model='mlp': gives a dense, and denoise needs"),
        ("sweep --lrr 0.1 0.2", "option='--lrr' is not known; did you mean '--lr'? `pellucid sweep -h` lists them."),
        ("sweep --lr 0.1 x", "lr='x': must be a number."),
        ("evaluate", "run=None: there is no run below runs/; name one, or train one with `pellucid train`."),
        ("evaluate runs/none", "run='runs/none': has no run.json; name the folder that a training wrote."),
        ("evaluate runs/none --splt test", "option='--splt' is not known; did you mean '--split'?"),
        ("predict runs/none", "run='runs/none': has no run.json; name the folder that a training wrote."),
        ("predict runs/none a.png", "run='runs/none': has no run.json"),
        ("look runs/none oclusion", "lens='oclusion' is not known; did you mean 'occlusion'? Known:"),
        ("look runs/none", "LENS: is missing"),
        ("look runs/none curves", "run='runs/none': has no run.json"),
        ("compare runs/none runs/nor-this", "run='runs/none': has no run.json"),
        ("report runs/none", "run='runs/none': has no run.json"),
        ("export runs/none", "run='runs/none': has no run.json"),
        ("export runs/none --formats onyx", "formats='onyx': must be one of onnx, torch; did you mean 'onnx'?"),
        ("data nowhere/at/all", "data='nowhere/at/all'"),
        (
            "list lense",
            "kind='lense' is not known; did you mean 'lenses'? Known: builders, data, lenses, models, tasks.",
        ),
        ("list tasks models", "'models': is one word too many: pellucid list takes KIND only"),
    ],
)
def test_the_sentence(words: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(words, capsys)
    assert sentence.startswith(start), sentence


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epochs", "0", "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.strip().endswith("pellucid: epochs=0: must be at least 1; give another value.")


def test_a_fault_of_ours_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(kind: str | None = None, /) -> int:
        """Break.

        Args:
            kind: any.
        """
        raise RuntimeError("a bug")

    monkeypatch.setattr(commands, "list", broken)
    assert refused("list", capsys, code=1).startswith("RuntimeError: a bug. This is a bug in pellucid;")


def test_an_interrupted_command_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(kind: str | None = None, /) -> int:
        """Be interrupted.

        Args:
            kind: any.
        """
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "list", interrupted)
    assert refused("list", capsys, code=130) == "stopped."


def test_a_run_of_other_options_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--out", "run"]) == 0
    capsys.readouterr()
    sentence = refused([*TRAIN, "--lr", "0.5", "--out", "run"], capsys)
    assert (
        sentence
        == "out='run': holds a run with lr=None, not 0.5; give the same options to resume it, or another folder."
    )


def test_a_folder_of_something_else_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("years of work")
    assert refused([*TRAIN, "--out", "precious"], capsys) == (
        "out='precious': exists and is not a run; name a folder that is new or empty."
    )


def test_an_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("a file")
    assert refused([*TRAIN, "--out", "file/run"], capsys).startswith("out='file/run")


def nodes(folder: Path) -> dict[str, Path]:
    """Paths that are there and are no plain files."""
    os.mkfifo(folder / "pipe.csv")
    (folder / "stranger.csv").write_text("a stranger's file")
    (folder / "link.csv").symlink_to(folder / "stranger.csv")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket.csv")  # a path of at most a hundred characters
    return {
        "a pipe": folder / "pipe.csv", "a symbolic link": folder / "link.csv", "a socket": folder / "socket.csv",
        "a device": Path("/dev/null"),
    }  # fmt: skip


@pytest.mark.parametrize("words", [["table"], ["work", "psnr"], ["data", "digits"]])
def test_an_output_that_is_no_plain_file_is_refused_and_kept(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, path in nodes(tmp_path).items():
        before = os.lstat(path)
        said = refused([*words, "--out", str(path)], capsys)
        assert said == f"out={str(path)!r}: is {kind}, not a file; name a plain file or a new one."
        assert os.lstat(path).st_ino == before.st_ino and os.lstat(path).st_mode == before.st_mode
    assert (tmp_path / "stranger.csv").read_text() == "a stranger's file"


def test_an_output_folder_that_is_no_folder_is_refused_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in nodes(tmp_path).values():
        if path.name != "link.csv":
            assert "exists and is not a run; name a folder that is new or empty" in refused(
                [*TRAIN, "--out", str(path)], capsys
            )
            assert not path.is_file() or path == Path("/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in refused([*TRAIN, "--out", "locked/run"], capsys)


def test_an_output_folder_that_nobody_can_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in refused([*TRAIN, "--out", "/proc/pellucid/run"], capsys)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TRAIN, "--hidden", "64", "--out", "run"]
    with small_disk(8_000):  # run.json fits, the weights do not
        assert main(words) == 2
    shown = capsys.readouterr().err
    assert "the disk is full" in shown
    assert "Traceback" not in shown
    left = contents(tmp_path / "run")
    assert not [name for name in left if is_draft(Path(name).name)], "a draft was left"
    assert not [name for name in left if name.endswith(".safetensors")]
    assert main(words) == 0


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--out", "run"]) == 0
    assert main(["evaluate", "run", "--no-baselines", "--split", "val"]) == 0
    capsys.readouterr()
    for words in (["evaluate", "run", "--no-baselines"], ["export", "run", "--formats", "torch"]):
        with small_disk(100):
            assert "the disk is full" in refused(words, capsys)


@pytest.mark.parametrize(
    ("words", "work"),
    [
        ("report run", "pellucid.reporting.reporting._content"),
        ("evaluate run", "pellucid.inference.evaluation"),
        ("look run filters", "pellucid.looking.subjects.of_run"),
        ("compare run again", "pellucid.comparison.comparison._measures"),
    ],
)
def test_a_full_disk_is_found_before_the_work(
    words: str, work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(RUNS / "classify", "run")
    shutil.copytree(RUNS / "classify", "again")
    monkeypatch.setattr(work, lambda *given, **named: pytest.fail("the work had begun"))
    with small_disk(100):
        assert "the disk is full, and nothing was changed there" in refused(words, capsys)


CHILD = """
import os, signal, sys
from pellucid.files import write_atomically
from pellucid.inference import evaluation
import pellucid.inference
from pathlib import Path

def busy(run, *given, **named):
    with write_atomically(run.path / "metrics.json") as draft:
        draft.write_text("half")
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        for _ in range(10 ** 9):
            pass

pellucid.inference.evaluation = busy
from pellucid.cli.cli import main
sys.exit(main(["evaluate", "run"]))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), pytest.param("SIGHUP", 129, marks=pytest.mark.slow)])
def test_a_signal_outside_training_ends_a_command_with_a_sentence(name: str, code: int, tmp_path: Path) -> None:
    shutil.copytree(RUNS / "classify", "run")
    before = contents(tmp_path)
    done = subprocess.run([sys.executable, "-c", CHILD, name], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr == f"pellucid: stopped by {name}; nothing was left half-written.\n"
    assert contents(tmp_path) == before, "a draft was left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_training_is_asked_to_stop(number: signal.Signals) -> None:
    with interruptible() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()


def test_nohup_keeps_a_training_going() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_message_over_several_lines_is_printed_on_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(kind: str | None = None, /) -> int:
        """Refuse.

        Args:
            kind: any.
        """
        raise UsageError("images='a\\nb': are none:\n\tone\n  two\r\n; name others.")

    monkeypatch.setattr(commands, "list", refusing)
    assert refused("list", capsys) == "images='a\\nb': are none: one two ; name others."


@contextmanager
def interrupt_when(there: Path) -> Iterator[None]:
    """Send this process what Ctrl-C sends, as soon as a file has been written again."""
    done = threading.Event()
    before = there.stat().st_mtime_ns if there.exists() else 0

    def watch() -> None:
        while not done.wait(0.02):
            if there.exists() and there.stat().st_mtime_ns > before:
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_ctrl_c_leaves_a_run_that_the_same_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TRAIN, "--epochs", "4000", "--limit", "300", "--out", "run"]
    steps = []
    for _ in range(2):
        with interrupt_when(tmp_path / "run/state/last.safetensors"):
            assert main(words) == 130
        shown = capsys.readouterr()
        assert "stopped" in shown.out
        assert "(resumes it)" in shown.out
        assert "Traceback" not in shown.err
        steps.append(Run(tmp_path / "run").info["step"])
    assert shown.err.startswith(f"resuming run at step {steps[0]:,} of ")
    assert steps[1] > steps[0]
