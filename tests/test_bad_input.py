# SPDX-License-Identifier: Apache-2.0
"""Mistakes on the command line: the sentence, the exit code, and that nothing is lost or left half-written."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid import commands
from pellucid.cli import main
from pellucid.run import Run

TRAIN = ["train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "24", "--epochs", "2"]


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of what it holds."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def refused(words: list[str] | str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The sentence of a refused command; there is no traceback, and nothing was changed in the current folder."""
    before = contents(Path.cwd())
    assert main(words.split() if isinstance(words, str) else words) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert contents(Path.cwd()) == before
    assert shown.err.startswith("pellucid: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("pellucid: ").strip()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("trian", "command='trian' is not known; did you mean 'train'? Known: compare, data,"),
        ("train clasify", "task='clasify' is not known; did you mean 'classify'? Known: classify, denoise"),
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
        ("train denoise --model mlp", "model='mlp': gives a vector, and denoise needs"),
        ("sweep --lrr 0.1 0.2", "option='--lrr' is not known; did you mean '--lr'? `pellucid sweep -h` lists them."),
        ("sweep --lr 0.1 x", "lr='x': must be a number."),
        ("evaluate", "run=None: there is no run below runs/; name one, or train one with `pellucid train`."),
        ("evaluate runs/none", "run='runs/none': no run.json is there; name the folder that a training wrote."),
        ("evaluate runs/none --splt test", "option='--splt' is not known; did you mean '--split'?"),
        ("predict runs/none", "IMAGES: is missing (image files, folders or globs); `pellucid predict -h` says more."),
        ("predict runs/none a.png", "run='runs/none': no run.json is there"),
        ("look runs/none oclusion", "lens='oclusion' is not known; did you mean 'occlusion'? Known:"),
        ("look runs/none", "LENS: is missing"),
        ("look runs/none curves", "run='runs/none': no run.json is there"),
        ("compare runs/none runs/nor-this", "run='runs/none': no run.json is there"),
        ("report runs/none", "run='runs/none': no run.json is there"),
        ("export runs/none", "run='runs/none': no run.json is there"),
        ("export runs/none --formats onyx", "formats='onyx': must be one of onnx, torch; did you mean 'onnx'?"),
        ("data nowhere/at/all", "data='nowhere/at/all'"),
        ("list lense", "kind='lense' is not known; did you mean 'lenses'? Known: data, lenses, models, tasks."),
        ("list tasks models", "'models': is one word too many, pellucid list takes KIND only"),
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
    assert refused("list", capsys, code=1).startswith("RuntimeError: a bug. This is a fault of pellucid's;")


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
        "out='precious': exists and is no run; name a folder that is new or empty."
    )


def test_an_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("a file")
    assert refused([*TRAIN, "--out", "file/run"], capsys).startswith("out='file/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in refused([*TRAIN, "--out", "locked/run"], capsys)


def test_an_output_folder_that_nobody_can_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in refused([*TRAIN, "--out", "/proc/pellucid/run"], capsys)


@contextmanager
def small_disk(bytes_a_file: int) -> Iterator[None]:
    """No file can grow beyond a size meanwhile: what a full disk looks like to a program."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TRAIN, "--hidden", "64", "--out", "run"]
    with small_disk(8_000):  # run.json fits, the weights do not
        assert main(words) == 2
    shown = capsys.readouterr().err
    assert "the disk is full" in shown
    assert "Traceback" not in shown
    left = contents(tmp_path / "run")
    assert not [name for name in left if Path(name).name.startswith(".")], "a draft was left"
    assert not [name for name in left if name.endswith(".safetensors")]
    assert main(words) == 0


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--out", "run"]) == 0
    assert main(["evaluate", "run", "--no-baselines", "--split", "val"]) == 0
    capsys.readouterr()
    for words in (["evaluate", "run", "--no-baselines"], ["export", "run", "--formats", "torch"]):
        with small_disk(100):
            assert "the disk is full" in refused(words, capsys)


@contextmanager
def interrupt_when(there: Path) -> Iterator[None]:
    """Send this process what Ctrl-C sends, as soon as a file has been written anew."""
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
        steps.append(Run(tmp_path / "run").history[-1]["step"])
    assert shown.err.startswith(f"resuming run at step {steps[0]:,} of ")
    assert steps[1] > steps[0]


# -- data that cannot be used, or not all of it

RNG = np.random.default_rng(0)


def photos(top: Path, classes: int = 2, each: int = 20) -> Path:
    """A folder of class folders with small grey images."""
    for i in range(classes * each):
        file = top / f"kind {i % classes}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    return top


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def bomb(file: Path) -> None:
    Image.new("1", (15_000, 15_000)).save(file)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, "cannot be read, since it is cut off; replace or remove it."),
    "zero-byte": (lambda file: file.write_bytes(b""), "cannot be read, since it is empty; replace or remove it."),
    "mislabelled": (
        lambda file: file.write_text("words"),
        "cannot be read, since it is no image, whatever its name says;",
    ),
    "bomb": (bomb, "cannot be read, since it unpacks to 225,000,000 px, more than the 100,000,000 that are allowed;"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_never_trained_on(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do, reason = DAMAGES[damage]
    photos(tmp_path / "photos")
    do(tmp_path / "photos/kind 1/7.png")
    words = "train classify --data photos --model mlp --hidden 8 --epochs 1 --out run"
    assert main(words.split()) == 0
    shown = capsys.readouterr()
    told = " ".join((shown.out + shown.err).split())
    assert f"'kind 1/7.png': {reason}" in told
    used = Run(tmp_path / "run").info["data"]["counts"]
    assert sum(sum(own.values()) for own in used.values()) == 39
    assert main(["data", "photos", "--out", "sheet.png"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"'kind 1/7.png': {reason}" in told
    assert main(["predict", "run", "photos/kind 1", "--out", "answers"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "answers/predictions.json").read_text())}
    assert len(rows) == 20
    assert reason in rows["7.png"]["error"]
    assert all("label" in row for name, row in rows.items() if name != "7.png")


def empty(top: Path) -> Path:
    (top / "sub").mkdir(parents=True)
    return top


def strange_class(top: Path) -> Path:
    photos(top / "train")
    photos(top / "test", classes=3)
    return top


def nan_pixels(top: Path) -> Path:
    pixels = RNG.random((40, 8, 8))
    pixels[3, 2, 2] = np.nan
    np.savez(top.with_suffix(".npz"), images=pixels, labels=np.arange(40) % 2)
    return top.with_suffix(".npz")


def wrong_mask(top: Path) -> Path:
    photos(top)
    files = sorted(top.rglob("*.png"))
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(top / "mask.png")
    rows = [f"{file.relative_to(top)},{i % 2},mask.png" for i, file in enumerate(files)]
    (top / "metadata.csv").write_text("\n".join(["file_name,label,mask_file_name", *rows]))
    return top


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no images": (empty, "data='photos': holds no image; give a folder with .bmp,"),
    "a folder with one class": (
        lambda top: photos(top, classes=1),
        "data='photos': has no labels, which classify needs (All images are of a single class, 'kind 0': they are read without",
    ),
    "a class in test that is not in train": (
        strange_class,
        "data='photos': class 'kind 2' of test is not in train; add it there, or take it away.",
    ),
    "a mask of the wrong size": (
        wrong_mask,
        "mask='mask.png': is 4×8 px, its image 8×8; give a mask of the image's size.",
    ),
    "NaN pixels": (
        nan_pixels,
        "images=1 of 40: hold NaN or infinite pixels in data='photos.npz', the first at position 3; replace them, or take",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_cannot_be_used(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, start = BAD_DATA[case]
    where = make(tmp_path / "photos").relative_to(tmp_path)
    sentence = refused(["train", "classify", "--data", str(where), "--out", "run"], capsys)
    assert sentence.startswith(start), sentence


def test_mixed_channels_are_read_as_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "photos")
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "photos/kind 0/colour.png")
    assert (
        main(
            [
                "train",
                "classify",
                "--data",
                "photos",
                "--model",
                "mlp",
                "--hidden",
                "8",
                "--epochs",
                "1",
                "--out",
                "run",
            ]
        )
        == 0
    )
    told = " ".join("".join(capsys.readouterr()).split())
    assert "40 of 41 images are grey, the others coloured: all are read as coloured." in told
    assert Run(tmp_path / "run").channels == 3


def test_answers_go_into_a_folder_that_can_be_written_or_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "photos")
    assert (
        main(
            [
                "train",
                "denoise",
                "--data",
                "photos",
                "--model",
                "unet",
                "--widths",
                "4",
                "--epochs",
                "1",
                "--out",
                "run",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert "cannot be written" in refused("predict run photos --out /proc/pellucid", capsys)
    (tmp_path / "file").write_text("a file")
    assert refused("predict run photos --out file", capsys).startswith("out='file': cannot be written")
    with small_disk(60):
        assert main(["predict", "run", "photos", "--out", "answers"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    for file in (tmp_path / "answers").rglob("*.png"):
        with Image.open(file) as picture:
            assert picture.size == (8, 8)
