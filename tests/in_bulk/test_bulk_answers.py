# SPDX-License-Identifier: Apache-2.0
"""Answers in bulk are those of `predict`, bit for bit, in shards that a killed call does not leave half-written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from in_process import BRIEF, here
from PIL import Image
from pyarrow import parquet

from pellucid.bulk import bulk, parts
from pellucid.bulk.bulk import predict_in_bulk
from pellucid.bulk.columns import as_table, cast, joined_schema
from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SHARD", 48)


def kept(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder as in JSON: without what is null."""
    return [{k: v for k, v in row.items() if v is not None} for row in parquet.read_table(folder).to_pylist()]


def test_the_rows_are_those_of_predict(classifier: Run, photos: Path, tmp_path: Path) -> None:
    found = predict_in_bulk(classifier, photos, tmp_path / "out", batch_size=16, workers=2, engine=here)
    rows = kept(tmp_path / "out")
    assert [Path(row.pop("source")) for row in rows] == sorted(photos.iterdir())
    assert rows == predict(classifier, photos, batch_size=16)
    assert [row["name"] for row in rows if "error" in row] == ["006.png", "070.png"]
    assert (found.images, found.faults, found.shards, found.before) == (150, 2, 4, 0)
    assert found.memory > 1 << 20
    types = parquet.read_schema(tmp_path / "out" / "part-000002.parquet")
    assert types.field("source").type == types.field("error").type == pa.string()
    assert types.field("probabilities").type.num_fields == len(classifier.classes)


def test_batches_are_those_of_one_machine(classifier: Run, photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The last bits may depend on how many images go through the model together, and on which."""
    seen: list[list[bytes]] = []
    answered = type(classifier.task).predict

    def noting(task: Any, model: Any, input: Any) -> Any:
        seen.append([image.numpy().tobytes() for image in input])
        return answered(task, model, input)

    monkeypatch.setattr(type(classifier.task), "predict", noting)
    predict(classifier, photos, batch_size=16)
    alone, seen = seen, []
    monkeypatch.setattr(bulk, "_check_task", lambda setup: None)
    predict_in_bulk(classifier, photos, tmp_path / "out", batch_size=16, engine=here)
    assert seen == alone
    assert [len(batch) for batch in alone] == [15, 16, 16, 16, 15, 16, 16, 16, 16, 6]


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures are noise
def test_pictures_are_files_in_the_rows(photos: Path, tmp_path: Path) -> None:
    run = train("denoise", "digits", "unet", tmp_path / "run", widths=(4,), **BRIEF)
    predict_in_bulk(run, photos, tmp_path / "out", batch_size=16, engine=here)
    single = predict(run, photos, batch_size=16)
    for row, wanted in zip(kept(tmp_path / "out"), single, strict=True):
        assert row["name"] == wanted["name"]
        if "picture" in wanted:
            picture = cv2.imdecode(np.frombuffer(row["picture"], np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(picture, wanted["picture"][0])
        else:
            assert row["error"] == wanted["error"]


class Killed(Exception):
    pass


def until(count: int) -> Any:
    def engine(work: Sequence[Part], setup: Setup, workers: int | None) -> Iterator[Answered]:
        for number, found in enumerate(here(work, setup, workers)):
            if number == count:
                raise Killed
            yield found

    return engine


def test_a_killed_call_goes_on(classifier: Run, photos: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        predict_in_bulk(classifier, photos, out, batch_size=16, engine=until(2))
    first = {file.name: file.stat().st_mtime_ns for file in out.glob("part-*")}
    assert sorted(first) == ["part-000000.parquet", "part-000001.parquet"]
    found = predict_in_bulk(classifier, photos, out, batch_size=16, engine=here)
    assert (found.images, found.before, found.shards, found.faults) == (150, 96, 4, 2)
    assert {name: (out / name).stat().st_mtime_ns for name in first} == first
    assert [row | {"source": ""} for row in kept(out)] == [
        {"source": "", **row} for row in predict(classifier, photos, batch_size=16)
    ]

    def none(work: Sequence[Part], setup: Setup, workers: int | None) -> Iterator[Answered]:
        raise AssertionError("nothing is left to do")

    again = predict_in_bulk(classifier, photos, out, batch_size=16, engine=none)
    assert (again.before, again.faults) == (150, 2)
    assert "150 of them answered before" in again.words


def test_new_images_are_added_by_their_paths(classifier: Run, photos: Path, tmp_path: Path) -> None:
    items = sorted(map(str, photos.iterdir()))
    out = tmp_path / "out"
    predict_in_bulk(classifier, items[40:80], out, batch_size=16, engine=here)
    found = predict_in_bulk(classifier, [*items[:80], items[0]], out, batch_size=16, engine=here)
    assert (found.images, found.before) == (80, 40)
    assert sorted(row["source"] for row in kept(out)) == items[:80], "each once"


def test_what_is_half_written_or_of_others(classifier: Run, photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "out"
    draft = out / ".part-000000.parquet.abcd1234.parquet"
    out.mkdir()
    draft.write_bytes(b"half")
    some = sorted(photos.iterdir())[:20]
    predict_in_bulk(classifier, some, out, batch_size=16, engine=here)
    assert not draft.exists()
    with pytest.raises(
        UsageError, match=r"part-000000\.parquet has answers with batch_size=16, not 8; name another folder"
    ):
        predict_in_bulk(classifier, some, out, batch_size=8, engine=here)
    file = out / "part-000000.parquet"
    table = parquet.read_table(file)
    mark = json.loads(table.schema.metadata[b"pellucid"])
    for change, sentence in {
        "run": "of another run, or of other weights",
        "options": "with options='x', not {}",
    }.items():
        parquet.write_table(table.replace_schema_metadata({b"pellucid": json.dumps({**mark, change: "x"})}), file)
        with pytest.raises(UsageError, match=f"has answers {sentence}; name another folder, or delete it"):
            predict_in_bulk(classifier, some, out, batch_size=16, engine=here)
    parquet.write_table(table.replace_schema_metadata({}), file)
    with pytest.raises(UsageError, match="was not written by bulk prediction"):
        predict_in_bulk(classifier, some, out, batch_size=16, engine=here)
    file.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"cannot be read .*delete it, and the same command answers its images again"):
        predict_in_bulk(classifier, some, out, batch_size=16, engine=here)


def test_shards_share_their_columns(tmp_path: Path) -> None:
    none = as_table([{"name": "a", "found": []}, {"name": "b", "error": "…"}], ["/a", "/b"])
    some = as_table([{"name": "c", "found": [{"class": "cat", "score": 1}], "n": 1}], ["/c"])
    more = as_table([{"name": "d", "found": [{"class": "dog", "score": 0.5, "box": {"x": 1}}], "n": 0.5}], ["/d"])
    schema = joined_schema([none.schema, some.schema, more.schema])
    tables = [cast(table, schema) for table in (none, some, more)]
    assert all(table.schema.equals(schema) for table in tables)
    rows = pa.concat_tables(tables).to_pylist()
    assert rows[1]["error"] == "…" and rows[1]["found"] is None and rows[0]["found"] == []
    assert rows[2]["found"] == [{"class": "cat", "score": 1.0, "box": None}]
    assert rows[3]["found"][0]["box"] == {"x": 1} and rows[3]["n"] == 0.5
    with pytest.raises(pa.ArrowTypeError, match="no common type"):
        joined_schema([pa.schema([("a", pa.string())]), pa.schema([("a", pa.int64())])])


def test_deep_images_have_no_scale_by_themselves(classifier: Run, tmp_path: Path) -> None:
    values = np.arange(144, dtype=np.uint16).reshape(12, 12) * 30
    Image.fromarray(values).save(tmp_path / "deep.png")
    Image.fromarray((values // 30).astype(np.uint8)).save(tmp_path / "plain.png")
    predict_in_bulk(classifier, tmp_path / "*.png", tmp_path / "out", engine=here)
    deep, plain = kept(tmp_path / "out")
    assert "black and white depend on the other images; predict it without engine='ray'." in deep["error"]
    assert plain["label"] == predict(classifier, tmp_path / "plain.png")[0]["label"]


def test_mistakes(classifier: Run, photos: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    out = tmp_path / "out"
    command = ["predict", str(classifier.path), str(photos), "--engine", "ray"]
    for words, sentence in {
        (): "out=None: must be a folder with --engine ray; give --out FOLDER.",
        ("--out", "a.json"): "out='a.json': is called like a file, and bulk prediction writes several",
        (
            "--out",
            str(out),
            "--format",
            "csv",
        ): "format: is not for --engine ray, which writes Parquet files; leave it out.",
        ("--out", str(out), "--overwrite"): "overwrite: is not for --engine ray",
        ("--out", str(out), "--workers", "0"): "workers=0: must be at least 1",
    }.items():
        assert main([*command, *words]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["predict", str(classifier.path), str(photos), "--workers", "2"]) == 2
    assert "workers=2: is for --engine ray; add that, or leave it out." in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*command, "--out", str(out)]) == 2
    assert "needs ray, which is not installed; install it with: pip install 'pellucid[ray]'" in capsys.readouterr().err
    assert not out.exists()


def test_options_that_write_files_are_refused(photos: Path, tmp_path: Path) -> None:
    run = train("generate", "digits", "vae", tmp_path / "run", encoder=(8,), latent=2, **BRIEF)
    with pytest.raises(
        UsageError, match=r"^interpolate=.*names or writes files, and bulk prediction gives each image a row"
    ):
        predict_in_bulk(run, photos, tmp_path / "out", interpolate=("a.png", "b.png"), engine=here)
    with pytest.raises(UsageError, match=r"samples=3: are generated without images"):
        predict_in_bulk(run, photos, tmp_path / "out", samples=3, engine=here)
    with pytest.raises(
        UsageError, match=r"^engine='ray': answers images one by one, and generate does not with these options"
    ):
        predict_in_bulk(run, photos, tmp_path / "out", vary=(0,), engine=here)


@pytest.mark.slow
def test_ray_answers_as_one_machine(classifier: Run, photos: Path, tmp_path: Path, capsys: Any) -> None:
    """The command with Ray itself: two workers, each in a process of its own."""
    pytest.importorskip("ray")
    out = tmp_path / "out"
    words = ["--batch-size", "16", "--engine", "ray", "--workers", "2", "--out", str(out)]
    assert main(["predict", str(classifier.path), str(photos), *words]) == 0
    said = capsys.readouterr()
    assert f"150 images in 4 shards below {out}; 2 not (see error)" in said.out
    assert "MiB of memory a worker" in said.out
    rows = kept(out)
    assert [Path(row.pop("source")) for row in rows] == sorted(photos.iterdir())
    assert rows == predict(classifier, photos, batch_size=16)
    import ray

    assert not ray.is_initialized(), "what was started is ended"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert main(["predict", str(classifier.path), str(photos), *words]) == 0
    assert "150 of them answered before" in capsys.readouterr().out


def test_parts_of_ones_own_are_found_by_their_file(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.last = nn.Linear(64 * channels, outputs)

    def forward(self, images):
        return self.last(images.flatten(1))
"""
    Path("mine.py").write_text(source, encoding="utf-8")
    train("classify", "digits", "mine.py:Mine", "run", **BRIEF)
    run = Run("run", model="mine.py:Mine")
    found: list[str | None] = []

    def noting(work: Sequence[Part], setup: Setup, workers: int | None) -> Iterator[Answered]:
        found.append(setup.model)
        yield from here(work, setup, workers)

    some = sorted(photos.iterdir())[:12]
    predict_in_bulk(run, some, "out", engine=noting)
    assert found == [f"{tmp_path / 'mine.py'}:Mine"], "whatever folder a worker is in"
    assert [row["label"] for row in kept(tmp_path / "out") if "label" in row] == [
        row["label"] for row in predict(run, some) if "label" in row
    ]
