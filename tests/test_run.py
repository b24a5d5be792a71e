# SPDX-License-Identifier: Apache-2.0
"""The run folder: what stands in it, what it refuses, and that its files are whole or absent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid._options import command_line
from pellucid.errors import RunError, UsageError
from pellucid.files import write_atomically, write_json
from pellucid.inference import evaluate, predict
from pellucid.run import FORMAT, Run, load
from pellucid.training.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "digits"
    made = train("classify", "digits", "mlp", out, hidden=(32,), epochs=4, device="cpu", progress=False)
    evaluate(made)
    return made


def test_a_loaded_run_is_the_trained_one(run: Run) -> None:
    loaded = load(run.path)
    assert isinstance(loaded, Run)
    assert loaded.task == run.task
    assert loaded.classes == tuple("0123456789")
    assert loaded.history == run.history
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.model()(images), run.model()(images))


def test_the_model_is_loaded_in_eval_mode_best_and_last(run: Run) -> None:
    assert not run.model("best").training
    assert not run.model("last").training


def test_metrics_and_records_agree(run: Run) -> None:
    metrics, records = run.metrics, run.records()
    assert metrics is not None
    assert metrics["n"] == len(records["true"]) == len(run.data().splits["test"])
    accuracy = float((records["true"] == records["predicted"]).mean())
    assert metrics["model"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert metrics["model"]["accuracy"]["low"] <= accuracy <= metrics["model"]["accuracy"]["high"]
    for name, rival in metrics["baselines"].items():
        mine = run.records(f"baselines/{name}")
        assert rival["accuracy"]["value"] == pytest.approx(float((mine["true"] == mine["predicted"]).mean()))


def test_everything_in_the_folder_is_plain(run: Run) -> None:
    with np.load(run.path / "records.npz", allow_pickle=False) as columns:
        assert columns.files
    for file in ("run.json", "metrics.json"):
        json.loads((run.path / file).read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_newer_format_is_refused_and_an_older_one_says_what_to_do(run: Run, tmp_path: Path) -> None:
    for version, sentence in (
        (FORMAT + 1, "is newer than"),
        (0, "train again with its command: pellucid train classify"),
    ):
        (tmp_path / "run.json").write_text(json.dumps({**run.info, "format": version}))
        with pytest.raises(RunError, match=sentence):
            Run(tmp_path)


def test_no_run_and_a_damaged_one(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match=r"has no run\.json"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 1, "sta')
    with pytest.raises(
        RunError, match=r"run\.json is no JSON .*; put back a copy of it, or train again into a new folder"
    ):
        Run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**run.info, "status": "running"}))
    with pytest.raises(RunError, match=r"weights.safetensors is missing; resume it with: pellucid train"):
        Run(tmp_path).model()


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    made = train(
        "classify", tmp_path / "d.npz", "mlp", tmp_path / "run", hidden=(4,), epochs=1, device="cpu", progress=False
    )
    np.savez(tmp_path / "d.npz", images=images[::-1], labels=labels)
    with pytest.raises(RunError, match="has changed since the training"):
        evaluate(made)
    assert evaluate(made, tmp_path / "d.npz", baselines=False)["n"] > 0, "named data are taken as they are"


def test_other_classes_are_refused(run: Run, tmp_path: Path) -> None:
    from pellucid.errors import DataError

    np.savez(
        tmp_path / "d.npz",
        images=np.zeros((40, 8, 8), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None],
        labels=np.arange(40) % 2,
    )
    with pytest.raises(DataError, match="its classes are 0, 1, not the run's 0, 1, 2, 3, 4"):
        evaluate(run, tmp_path / "d.npz")


def test_predict_takes_files_folders_globs_arrays_and_pillow_images(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    split = run.data().splits["test"]
    arrays = [split.images.read(i, 1)[0] for i in range(6)]
    (tmp_path / "in").mkdir()
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / "in" / f"digit {i}.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"not an image")
    whole = predict(run, arrays)
    by_pillow = predict(run, [Image.fromarray(array) for array in arrays])
    by_glob = predict(run, str(tmp_path / "in" / "digit*.png"))
    by_folder = predict(run, tmp_path / "in", tmp_path / "out", format="csv")
    for rows in (by_pillow, by_glob, [row for row in by_folder if "error" not in row]):
        assert [row["probabilities"] for row in rows] == [row["probabilities"] for row in whole]
    assert [row["name"] for row in by_glob] == [f"digit {i}.png" for i in range(6)]
    assert [row["name"] for row in by_folder if "error" in row] == ["broken.png"]
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(table) == 8
    assert table[0].startswith("name,")


def test_pictures_keep_their_names_and_never_one_anothers_place(tmp_path: Path) -> None:
    from PIL import Image

    made = train(
        "denoise", "digits", "unet", tmp_path / "run", widths=(4,), epochs=1, limit=64, device="cpu", progress=False
    )
    for name in ("a.png", "a.bmp", "sub/b.tif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((5, 9), np.uint8)).save(tmp_path / "in" / name)
    rows = predict(made, tmp_path / "in", tmp_path / "out")
    assert [row["name"] for row in rows] == ["a.bmp", "a.png", "sub/b.tif"]
    written = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png"))
    assert written == ["a.bmp.png", "a.png.png", "sub/b.png"]
    for row in rows:
        with Image.open(row["picture"]) as picture:
            assert picture.size == (9, 5)


def test_predict_equals_evaluate_on_the_same_files(run: Run) -> None:
    split = run.data().splits["test"]
    rows = predict(run, [split.images.read(i, 1)[0] for i in range(len(split))])
    records = run.records()
    assert [run.classes.index(row["label"]) for row in rows] == records["predicted"].tolist()
    assert [row["probability"] for row in rows] == pytest.approx(records["confidence"].tolist(), abs=1e-5)


def test_predict_says_what_is_no_image(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is neither a file nor a folder and matches nothing"):
        predict(run, tmp_path / "none.png")
    with pytest.raises(UsageError, match=r"^images=\[\]: is empty"):
        predict(run, [])
    with pytest.raises(UsageError, match="contain NaN or infinite pixels"):
        predict(run, np.full((8, 8), np.nan))


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"x": float("nan"), "y": (1, 2)})
    assert json.loads(target.read_text()) == {"x": None, "y": [1, 2]}
    with pytest.raises(ZeroDivisionError), write_atomically(target) as draft:
        draft.write_text(f"half {1 / 0}")
    assert json.loads(target.read_text())["y"] == [1, 2]
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    code = (
        "import sys; from pathlib import Path; from pellucid.files import write_json\n"
        "n = 0\nwhile True:\n    n += 1; write_json(Path(sys.argv[1]), {'n': n, 'filler': list(range(20000))})\n"
        "    print(n, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.25)
        process.send_signal(signal.SIGKILL)
    found = json.loads(target.read_text())
    assert len(found["filler"]) == 20000


def test_commands_can_be_pasted() -> None:
    line = command_line("train", "classify", data="my data", hidden=(4, 2), flip=True, crop=None)
    assert line == "pellucid train classify --data 'my data' --hidden 4 2 --flip"
