# SPDX-License-Identifier: Apache-2.0
"""Parts of photographs that a restoring task is trained on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.data import open as open_data
from pellucid.data.batches import store
from pellucid.data.dataset import Pixels, Split
from pellucid.data.decoding import Files
from pellucid.data.parts import MOST, Parts, in_parts, places
from pellucid.data.targets import Label
from pellucid.errors import DataError
from pellucid.run import Run


def photographs(folder: Path, sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)).save(folder / f"{number}.png")


def test_parts_lie_side_by_side_from_edge_to_edge() -> None:
    corners, owners = places(np.array([[70, 100], [31, 64], [40, 40], [3000, 32]]), (32, 32))
    assert owners.tolist() == [0] * 6 + [1] * 2 + [2] + [3] * MOST
    assert sorted(set(corners[owners == 0, 0].tolist())) == [0, 34, 68]
    assert sorted(set(corners[owners == 0, 1].tolist())) == [0, 38]
    assert corners[owners == 1].tolist() == [[0, 0, 32, 32], [32, 0, 64, 32]]
    assert corners[owners == 2].tolist() == [[4, 4, 36, 36]]
    assert corners[owners == 3][-1].tolist() == [0, 3000 - 32, 32, 3000]


def test_an_image_that_holds_one_part_gives_what_its_middle_was() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((40, 45), (20, 50), (21, 19), (33, 20)):
        image = Pixels(rng.integers(0, 256, (1, 1, height, width), np.uint8))
        corners, owners = places(image.sizes, (32, 32))
        whole = store(Split(image), (32, 32), 1, fit="middle").batch(torch.tensor([0])).images[0]
        assert len(owners) == 1
        assert (Parts(image, corners, owners).read(0, 1) == whole.numpy()).all()


def test_a_split_keeps_its_labels_and_names() -> None:
    images = Pixels(np.random.default_rng(0).integers(0, 256, (2, 1, 64, 32), np.uint8))
    split = Split(images, {"label": Label(torch.tensor([3, 5]))}, ("a", "b"))
    parts = in_parts(split, (32, 32))
    assert parts.names == ["a", "a", "b", "b"]
    label = parts.targets["label"]
    assert isinstance(label, Label)
    assert label.index.tolist() == [3, 3, 5, 5]
    assert len(set(parts.images.digests)) == 4
    assert (parts.images.select([2, 1]).read(0, 1)[0] == images.array[1, 0, :32]).all()
    assert (parts.images.select([2, 1]).read(1, 1)[0] == images.array[0, 0, 32:]).all()


@pytest.mark.parametrize("task", ["denoise", "compress", "inpaint"])
def test_a_training_sees_every_part_of_photographs(task: str, tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        photographs(tmp_path / "data" / part, [(40 + 16 * k, 70) for k in range(count)])
    small = {"widths": [4, 8]} if task != "compress" else {"width": 8, "blocks": 0, "code": 4}
    run = pellucid.train(
        task, tmp_path / "data", out=tmp_path / "run", size=[32], epochs=2, batch_size=8, progress=False,
        **small,
    )  # fmt: skip
    parts = 2 * (1 + 1 + 2 + 2)
    assert run.info["parts"] == parts
    assert run.info["steps"] == 2 * (parts // 8)
    again = pellucid.train(
        task, tmp_path / "data", out=tmp_path / "run", size=[32], epochs=2, batch_size=8, progress=False,
        **small,
    )  # fmt: skip
    assert again.history == run.history, "a finished training is not begun again"


def broken(folder: Path) -> Path:
    """Three photographs, of which the middle one ends too early; its beginning says that it is a picture of 64×64 px."""
    photographs(folder, [(64, 64)] * 3)
    path = folder / "1.png"
    path.write_bytes(path.read_bytes()[:-900])
    return path


def test_a_photograph_that_was_damaged_since_it_was_listed_is_named_once_and_remembered(tmp_path: Path) -> None:
    path = broken(tmp_path)
    listed = Files([tmp_path / f"{k}.png" for k in range(3)])
    with pytest.raises(DataError, match=r"1\.png.*Give the same command again") as said:
        store(in_parts(Split(listed), (32, 32)), (32, 32), 1, fit="middle")
    assert str(said.value).count("1.png") == 1, "each of its four parts has the fault, and it is one"
    assert [str(path) in problem for problem in open_data(tmp_path).problems].count(True) == 1


def test_a_training_goes_without_a_corrupt_photograph(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        photographs(tmp_path / "data" / part, [(64, 64)] * 3)
    broken(tmp_path / "data" / "train")
    run = pellucid.train(
        "denoise", tmp_path / "data", out=tmp_path / "run", size=[32], epochs=1, batch_size=4, widths=[4, 8], progress=False
    )  # fmt: skip
    assert run.info["parts"] == 8
    assert any("1.png" in problem for problem in run.info["data"]["problems"])


def test_a_run_that_an_earlier_version_began_goes_on_with_middles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "val", "test"):
        photographs(tmp_path / "data" / part, [(64, 64)] * 3)

    def interrupt(epoch: int, row: Any, model: Any) -> None:
        if epoch == 2 and "gone on" not in said:
            said.append("gone on")
            signal.raise_signal(signal.SIGINT)

    def train() -> Run:
        made: Run = pellucid.train(
            "denoise", tmp_path / "data", out=tmp_path / "run", size=[32], epochs=4, batch_size=3, widths=[4, 8],
            progress=False, callback=interrupt,
        )  # fmt: skip
        return made

    said: list[str] = []

    with monkeypatch.context() as earlier:
        for module in ("plan", "feed"):
            earlier.setattr(f"pellucid.training.{module}.in_parts", lambda split, size: split)
        begun = train()
    assert begun.status == "stopped"
    assert "parts" not in begun.info
    gone_on = train()
    assert gone_on.status == "finished"
    assert "parts" not in gone_on.info
    assert gone_on.info["steps"] == 4
    assert [row["epoch"] for row in gone_on.history if row["split"] == "val"] == [1, 2, 3, 4]
