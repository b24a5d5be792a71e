# SPDX-License-Identifier: Apache-2.0
"""inpaint learns from the one picture that is mended: which patches it takes, what it keeps apart, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid import evaluate, predict, train
from pellucid.data import open as open_data
from pellucid.errors import PellucidError, UsageError
from pellucid.tasks.inpaint import Inpaint
from pellucid.tasks.inpaint.own_patches import cut


def picture(height: int = 150, width: int = 180) -> NDArray[np.uint8]:
    """Colours that tell each place from all others."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, (rows * columns) % 251], axis=2).astype(np.uint8)


def saved(folder: Path, size: tuple[int, int] = (150, 180)) -> tuple[str, str, NDArray[np.bool_]]:
    hole = np.zeros(size, bool)
    hole[size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] = True
    Image.fromarray(picture(*size)).save(folder / "photo.png")
    Image.fromarray((hole * 255).astype(np.uint8)).save(folder / "mask.png")
    return str(folder / "photo.png"), str(folder / "mask.png"), hole


@pytest.mark.parametrize("side", [16, 32])
def test_no_patch_has_a_missing_pixel_and_no_pixel_of_test_or_val_is_trained_on(side: int) -> None:
    hole = np.zeros((200, 300), bool)
    hole[30:70, 80:140] = True
    places = cut(hole, side)
    covered = {}
    for part, corners in places.items():
        covered[part] = np.zeros(hole.shape, int)
        for y, x in corners:
            assert 0 <= y <= 200 - side and 0 <= x <= 300 - side
            covered[part][y : y + side, x : x + side] += 1
        assert not covered[part][hole].any()
    assert covered["test"].max() == covered["val"].max() == 1  # nor do these overlap
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        assert not (covered[one] * covered[other]).any()
    assert len(set(places["train"])) == len(places["train"])
    assert covered["train"][~hole].astype(bool).mean() > 0.4
    assert cut(hole, side) == places


def test_a_picture_becomes_three_splits_of_its_known_part(tmp_path: Path) -> None:
    photo, mask, hole = saved(tmp_path)
    data, _ = Inpaint(on_image=mask).read(open_data(photo))
    assert data.name == photo
    assert {part: len(split) > 0 for part, split in data.splits.items()} == {"train": True, "val": True, "test": True}
    whole = picture().transpose(2, 0, 1)
    for split in data.splits.values():
        for row in range(len(split)):
            y, x = map(int, split.names[row].split(","))
            patch = split.images.read(row, 3)
            side = patch.shape[1]
            assert np.array_equal(patch, whole[:, y : y + side, x : x + side])
            assert not hole[y : y + side, x : x + side].any()


def test_what_lies_in_the_hole_changes_nothing_and_another_mask_makes_another_training(tmp_path: Path) -> None:
    photo, mask, hole = saved(tmp_path)
    first = Inpaint(on_image=mask).read(open_data(photo))[0].fingerprint
    spoilt = np.where(hole[..., None], 7, picture()).astype(np.uint8)
    Image.fromarray(spoilt).save(tmp_path / "spoilt.png")
    assert Inpaint(on_image=mask).read(open_data(str(tmp_path / "spoilt.png")))[0].fingerprint == first
    Image.fromarray((np.roll(hole, 30, 1) * 255).astype(np.uint8)).save(mask)
    assert Inpaint(on_image=mask).read(open_data(photo))[0].fingerprint != first


def test_it_trains_is_measured_and_mends_the_picture(tmp_path: Path) -> None:
    photo, mask, hole = saved(tmp_path)
    run = train("inpaint", photo, "lama", tmp_path / "run", on_image=mask, widths=(4, 8), blocks=1, epochs=1, limit=32,
                batch_size=16, device="cpu", precision="fp32", progress=False)  # fmt: skip
    metrics = evaluate(run)
    assert metrics["n"] == len(run.data()["test"])
    assert {"exemplar", "diffusion"} <= set(metrics["baselines"])
    assert any("from the known part of a single picture" in note for note in run.data().notes)
    predict(run, photo, tmp_path / "whole.png", mask=[mask])
    mended = np.asarray(Image.open(tmp_path / "whole.png"))
    assert np.array_equal(mended[~hole], picture()[~hole])
    assert mended.shape == (150, 180, 3)


def test_what_it_cannot_learn_from_is_refused(tmp_path: Path) -> None:
    photo, mask, hole = saved(tmp_path)
    with pytest.raises(
        UsageError, match=r"^on_image=.*: goes with a single picture, and data='digits' has 1,797 images"
    ):
        Inpaint(on_image=mask).read(open_data("digits"))
    with pytest.raises(UsageError, match=r"^on_image='none\.png': is not a file; name an image that is white"):
        Inpaint(on_image="none.png").read(open_data(photo))
    Image.fromarray((hole[:-1] * 255).astype(np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(UsageError, match=r"is 149×180 px, and the picture is 150×180 \(height × width\)"):
        Inpaint(on_image=str(tmp_path / "other.png")).read(open_data(photo))
    Image.fromarray(np.zeros((150, 180), np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(UsageError, match="leaves nothing missing; mark at least one pixel"):
        Inpaint(on_image=str(tmp_path / "empty.png")).read(open_data(photo))
    Image.fromarray(np.where(np.indices((150, 180)).sum(0) % 9, 0, 255).astype(np.uint8)).save(tmp_path / "lines.png")
    with pytest.raises(UsageError, match="leaves fewer than 200 places for patches of 16×16 px"):
        Inpaint(on_image=str(tmp_path / "lines.png")).read(open_data(photo))


def test_a_damaged_picture_is_refused_by_name(tmp_path: Path) -> None:
    photo, _, _ = saved(tmp_path)
    (tmp_path / "bad.png").write_bytes(Path(photo).read_bytes()[:300])
    with pytest.raises(PellucidError, match=r"bad\.png"):
        open_data(str(tmp_path / "bad.png"))
