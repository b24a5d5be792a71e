# SPDX-License-Identifier: Apache-2.0
"""Parts of photographs that a restoring task is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.data.batches import store
from pellucid.data.dataset import Pixels, Split
from pellucid.data.decoding import Files
from pellucid.data.parts import MOST, Parts, in_parts, places
from pellucid.data.targets import Label
from pellucid.errors import DataError


def photographs(folder: Path, sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)).save(folder / f"{number}.png")


def test_parts_lie_side_by_side_from_edge_to_edge() -> None:
    owners, corners = places(np.array([[70, 100], [31, 64], [40, 40], [3000, 32]]), (32, 32))
    assert owners.tolist() == [0] * 6 + [1] * 2 + [2] + [3] * MOST
    assert sorted(set(corners[owners == 0, 0].tolist())) == [0, 34, 68]
    assert sorted(set(corners[owners == 0, 1].tolist())) == [0, 38]
    assert corners[owners == 1].tolist() == [[0, 0], [32, 0]]
    assert corners[owners == 2].tolist() == [[4, 4]]
    assert corners[owners == 3][-1].tolist() == [0, 3000 - 32]


def test_an_image_that_holds_one_part_gives_what_its_middle_was() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((40, 45), (20, 50), (21, 19), (33, 20)):
        image = Pixels(rng.integers(0, 256, (1, 1, height, width), np.uint8))
        owners, corners = places(image.sizes, (32, 32))
        whole = store(Split(image), (32, 32), 1, fit="middle").batch(torch.tensor([0])).images[0]
        assert len(owners) == 1
        assert (Parts(image, owners, corners, (32, 32)).read(0, 1) == whole.numpy()).all()


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
    model = {"denoise": {"widths": [4, 8]}, "inpaint": {"widths": [4, 8]}, "compress": {"channels": 8, "codes": 8}}
    run = pellucid.train(
        task, tmp_path / "data", out=tmp_path / "run", size=[32], epochs=2, batch_size=8, progress=False,
        **(model[task] if task != "compress" else {}),
    )  # fmt: skip
    parts = 2 * (1 + 1 + 2 + 2)
    assert run.info["parts"] == parts
    assert run.info["steps"] == 2 * (parts // 8)
    again = pellucid.train(
        task, tmp_path / "data", out=tmp_path / "run", size=[32], epochs=2, batch_size=8, progress=False,
        **(model[task] if task != "compress" else {}),
    )  # fmt: skip
    assert again.history == run.history, "a finished training is not begun anew"


def test_a_corrupt_photograph_is_named_once_and_left_out_by_the_next_command(tmp_path: Path) -> None:
    photographs(tmp_path, [(64, 64)] * 3)
    broken = tmp_path / "1.png"
    broken.write_bytes(broken.read_bytes()[:-900])
    files = Files([tmp_path / f"{k}.png" for k in range(3)])
    parts = in_parts(Split(files), (32, 32))
    with pytest.raises(DataError, match=r"1\.png.*Give the same command again"):
        store(parts, (32, 32), 1, fit="middle")
