# SPDX-License-Identifier: Apache-2.0
"""Every task that answers images one by one has the rows of `predict` in bulk, and those that do not refuse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import BRIEF, here
from PIL import Image
from pyarrow import parquet

from pellucid.bulk import parts
from pellucid.bulk.bulk import predict_in_bulk
from pellucid.errors import UsageError
from pellucid.files import plain
from pellucid.inference import predict
from pellucid.training.training import train

TASKS: dict[str, tuple[str | None, str | None, dict[str, Any], dict[str, Any]]] = {
    "localize": (None, "mlp", {"hidden": (8,)}, {}),
    "detect": (None, None, {"batch_size": 8}, {"threshold": 0.2}),
    "segment": (None, "unet", {"widths": (4,)}, {}),
    "landmarks": (None, "mlp", {"hidden": (8,)}, {}),
    "read": ("handprint", "lenet", {}, {}),
    "cluster": ("digits", "autoencoder", {"encoder": (8,), "clusters": 3, "method": "kmeans"}, {}),
    "generate": ("digits", "vae", {"encoder": (8,), "latent": 2}, {}),
}


def given(value: Any) -> Any:
    """A value of a row of `predict` as a table has it: structs have all fields, and pictures are their pixels."""
    if isinstance(value, bytes):
        return np.asarray(Image.open(io.BytesIO(value))).tolist()
    if isinstance(value, dict):
        return {name: given(one) for name, one in value.items() if one is not None}
    return [given(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_predict(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SHARD", 8)
    data, model, options, asked = TASKS[task]
    run = train(task, data, model, tmp_path / "run", **{**BRIEF, **options})
    rng = np.random.default_rng(0)
    colour = run.channels == 3
    (tmp_path / "in").mkdir()
    for number in range(20):
        size = (60 + 4 * (number % 2), 80) + (3,) * colour
        pixels = rng.integers(0, 256, size, np.uint8) if number % 3 else np.full(size, 200, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:02d}.png")
    (tmp_path / "in" / "04.png").write_bytes(b"no image")
    predict_in_bulk(run, tmp_path / "in", tmp_path / "out", batch_size=4, engine=here, **asked)
    schemas = [parquet.read_schema(file) for file in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(schemas) == 3
    assert all(schema.equals(schemas[0]) for schema in schemas)
    single = predict(run, tmp_path / "in", batch_size=4, **asked)
    for row, wanted in zip(parquet.read_table(tmp_path / "out").to_pylist(), single, strict=True):
        wanted = dict(wanted)
        if "picture" in wanted:
            picture = np.asarray(wanted.pop("picture"))
            wanted["picture"] = (picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).tolist()
        if "content" in wanted:
            wanted["file"] = given(wanted.pop("content"))
        wanted.pop("suffix", None)
        assert given({name: value for name, value in row.items() if name != "source"}) == given(plain(wanted))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "model", "asked"), [("compress", "dense_codec", {}), ("inpaint", "unet", {"detect": "white"})]
)
def test_tasks_that_refuse(task: str, model: str, asked: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    run = train(task, "digits", model, tmp_path / "run", **BRIEF)
    with pytest.raises(
        UsageError, match=rf"^engine='ray': answers images one by one, and {task} does not with these options|^detect="
    ):
        predict_in_bulk(run, photos, tmp_path / "out", engine=here, **asked)
