# SPDX-License-Identifier: Apache-2.0
"""Groups of images on a contact sheet beside the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid import data
from pellucid.errors import UsageError
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    where = tmp_path_factory.mktemp("cluster") / "run"
    return train("cluster", "digits", None, where, clusters=3, epochs=1, limit=64, device="cpu", progress=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place, images = tmp_path / "images", data.open("digits")["test"].images
    place.mkdir()
    for number in range(30):
        Image.fromarray(images.read(number, 1)[0]).save(place / f"{number:02d}.png")
    return place


def test_groups_are_shown_on_a_sheet_beside_the_table(run: Run, folder: Path, tmp_path: Path) -> None:
    """A line a cluster with its images, as they are: found again on the sheet pixel by pixel."""
    rows = predict(run, folder, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir() if file.name[0] != ".") == [
        "predictions.json",
        "sheet.png",
    ]
    assert all("tile" not in row and "group" not in row for row in (*rows, *predict(run, folder)))
    labels = sorted({row["cluster"] for row in rows})
    with Image.open(tmp_path / "out" / "sheet.png") as opened:
        sheet = np.asarray(opened.convert("L"))
    first = next(row["name"] for row in rows if row["cluster"] == labels[0])
    with Image.open(folder / first) as opened:
        picture = np.asarray(opened.convert("L"))
    times = 64 // max(picture.shape)
    height, width = (side * times for side in picture.shape)
    expected = picture.repeat(times, 0).repeat(times, 1)
    # below the name of the first line, at its beginning
    np.testing.assert_allclose(sheet[22 : 22 + height, 4 : 4 + width], expected, atol=1)
    assert sheet.shape[0] == 4 + len(labels) * (18 + height + 4)
    again = predict(run, folder, tmp_path / "one.json")
    assert len(again) == 30
    assert not (tmp_path / "sheet.png").exists(), "one file was asked for"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sheet.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"sheet\.png is already there and was not written by predict"):
        predict(run, folder, tmp_path / "other")
