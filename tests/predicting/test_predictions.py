# SPDX-License-Identifier: Apache-2.0
"""Predictions as files: where they go, what they may replace, and that colours stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brief import BRIEF
from pictures import contents, damaged, names, picture, save
from PIL import Image

from pellucid import files
from pellucid.cli.cli import main
from pellucid.errors import PellucidError, UsageError
from pellucid.inference import predict
from pellucid.predictions import answer_names
from pellucid.run import Run
from pellucid.training.training import train

# -- where answers go


def test_answers_lie_below_the_folder_whatever_the_images_are_called(denoiser: Run, place: Path) -> None:
    save("../x.tif")
    save("../other/deep/y.tif")
    save(place / "z.tif")
    (place / "x.png").write_text("a stranger's, beside the folder")
    before = contents(place.parent)
    predict(denoiser, ["../x.tif", str(place / "z.tif"), "../other/../other/deep/*.tif", "../other"], "clean")
    assert {name: content for name, content in contents(place.parent).items() if "/clean/" not in f"/{name}"} == before
    assert names(place / "clean") == ["deep/y.png", "x.png", "y.png", "z.png"]


def test_a_folder_and_a_glob_keep_their_subfolders(denoiser: Run, place: Path) -> None:
    for name in ("a/1.png", "a/in/1.png", "b/1.png"):
        save(place / "photos" / name)
    predict(denoiser, "photos", "one")
    assert names(place / "one") == ["a/1.png", "a/in/1.png", "b/1.png"]
    predict(denoiser, "photos/*/*.png", "two")
    assert names(place / "two") == ["a/1.png", "b/1.png"]
    predict(denoiser, ["photos/a", "photos/b"], "three")
    assert names(place / "three") == ["a/1.png", "b/1.png", "in/1.png"]


def test_after_a_fault_no_empty_folder_is_left(denoiser: Run, place: Path) -> None:
    (place / "nothing").mkdir()
    (place / "there").mkdir()
    for given in ([], "nothing"):
        for out in ("new", "there"):
            with pytest.raises(PellucidError, match=r"is empty|contains no images"):
                predict(denoiser, given, out)
    assert not (place / "new").exists()
    assert (place / "there").is_dir(), "it was there before"


def test_names_that_would_be_one_file_are_told_apart() -> None:
    def answers(*given: str) -> list[str]:
        return answer_names(given, [".png"] * len(given))

    assert answers("a.png", "a.jpg", "b.jpg") == ["a.png.png", "a.jpg.png", "b.png"]
    assert answers("x.png", "X.png", "x.PNG") == ["x.png", "X-2.png", "x-3.png"]
    assert answers("caf\u00e9.jpg", "cafe\u0301.jpg") == ["caf\u00e9.png", "cafe\u0301-2.png"], "one name on macOS"
    assert answers("a.png", "a.png") == ["a.png", "a-2.png"]
    assert answers("a.png/b.jpg", "a.jpg") == ["a.png/b.png", "a-2.png"], "a folder has the name"
    assert answers("../../etc/x.png", "/a.tif", "..", "c/./d.bmp") == ["etc/x.png", "a.png", "image.png", "c/d.png"]
    assert answers("at_+1.50", "at_+1.07") == ["at_+1.50.png", "at_+1.07.png"], "numbers are no endings"
    assert all(len(os.fsencode(name)) < 200 for name in answers(300 * "é" + ".jpg", 300 * "é" + ".png"))
    many = [f"{folder}/{name}{ending}" for folder in "ab" for name in "xX" for ending in (".png", ".jpg", ".PNG")]
    assert len({name.casefold() for name in answers(*many)}) == len(many)


def test_a_file_given_twice_has_two_answers(denoiser: Run, place: Path) -> None:
    save("a.png")
    rows = predict(denoiser, ["a.png", "a.*"], "clean")
    assert [Path(row["picture"]).name for row in rows] == ["a.png", "a-2.png"]


# -- what they may replace


def test_what_predict_did_not_write_survives(denoiser: Run, place: Path) -> None:
    for name in ("in/x.tif", "in/y.tif"):
        save(name)
    (place / "clean").mkdir()
    (place / "clean/x.png").write_text("a stranger's")
    with pytest.raises(UsageError) as refusal:
        predict(denoiser, "in", "clean")
    assert str(refusal.value) == (
        "out='clean': x.png is already there and was not written by predict, or was changed since; name another place, or "
        "give --overwrite to replace it."
    )
    assert contents(place / "clean") == {"x.png": b"a stranger's"}, "nothing was written"
    predict(denoiser, "in", "clean", overwrite=True)
    with Image.open("clean/x.png") as answer:
        assert answer.size == (9, 6)


def test_the_same_command_may_be_given_again(denoiser: Run, place: Path) -> None:
    for name in ("in/x.tif", "in/sub/y.tif"):
        save(name)
    first = predict(denoiser, "in", "clean")
    written = contents(place / "clean")
    assert predict(denoiser, "in", "clean") == first
    assert contents(place / "clean") == written
    save("clean/sub/y.png", seed=1)  # retouched by hand
    with pytest.raises(
        UsageError, match=r"y\.png is already there and was not written by predict, or was changed since"
    ):
        predict(denoiser, "in", "clean")
    predict(denoiser, "in/x.tif", "clean")
    predict(denoiser, "in/x.tif", "single.png")
    predict(denoiser, "in/x.tif", "single.png")
    Path("single.png").write_text("somebody's")
    with pytest.raises(UsageError, match=r"^out='single\.png': single\.png is already there"):
        predict(denoiser, "in/x.tif", "single.png")
    assert Path("single.png").read_text() == "somebody's"


def test_a_call_that_was_killed_half_way_may_be_given_again(
    denoiser: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        save(f"in/{i}.tif")
    replace, count = os.replace, iter(range(100))

    def killed(draft: Any, path: Any) -> None:
        if next(count) == 2:
            raise KeyboardInterrupt
        replace(draft, path)

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(denoiser, "in", "clean")
    monkeypatch.setattr(files.os, "replace", replace)
    assert names(place / "clean") == ["0.png", "1.png"]
    predict(denoiser, "in", "clean")
    assert names(place / "clean") == ["0.png", "1.png", "2.png", "3.png"]


def test_answers_below_the_images_are_no_images_the_next_time(denoiser: Run, place: Path) -> None:
    save("x.tif")
    for _ in range(2):
        assert [row["name"] for row in predict(denoiser, ".", "clean")] == ["x.tif"]
    assert names(place) == ["clean/x.png"]
    assert [row["name"] for row in predict(denoiser, "clean", "again")] == ["x.png"], "unless they are named"


@pytest.mark.parametrize("out", ["in", "linked", "in/../in"])
def test_images_are_never_overwritten(denoiser: Run, place: Path, out: str) -> None:
    save("in/x.png")
    damaged("in/y.png")
    save("in/y.jpg")
    os.symlink("in", "linked")
    before = contents(place / "in")
    for images in ("in", ["in/x.png"], "in/*.png"):
        with pytest.raises(UsageError, match=r"a prediction would overwrite the image [xy]\.png; name another folder"):
            predict(denoiser, images, out, overwrite=True)
    assert {name: content for name, content in contents(place / "in").items() if name in before} == before


def test_a_mask_is_not_overwritten_either(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = train("inpaint", "digits", "unet", place / "run", widths=(4,), **BRIEF)
    save("x.tif")
    hole = np.zeros((6, 9), np.uint8)
    hole[2:4, 3:5] = 255
    Image.fromarray(hole).save("x.png")
    before = Path("x.png").read_bytes()
    with pytest.raises(UsageError, match=r"would overwrite the image x\.png"):
        predict(run, "x.tif", ".", mask="x.png", overwrite=True)
    assert Path("x.png").read_bytes() == before


def test_links_do_not_lead_out_of_the_folder(denoiser: Run, place: Path) -> None:
    save("in/sub/x.tif")
    (place / "elsewhere").mkdir()
    (place / "clean").mkdir()
    os.symlink(place / "elsewhere", "clean/sub")
    with pytest.raises(UsageError, match="sub is a link that leads out of the folder"):
        predict(denoiser, "in", "clean", overwrite=True)
    assert not list((place / "elsewhere").iterdir())
    os.mkfifo("pipe.png")
    with pytest.raises(UsageError, match=r"pipe\.png is there and is no regular file"):
        predict(denoiser, "in/sub/x.tif", "pipe.png", overwrite=True)


def test_a_strangers_table_survives_before_any_work(
    classifier: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png")
    (place / "answers").mkdir()
    (place / "answers/predictions.json").write_text("[1]")
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.answering.answer", lambda *given: pytest.fail("the check precedes the work"))
        with pytest.raises(UsageError, match=r"predictions\.json is already there"):
            predict(classifier, "a.png", "answers")
    assert main(["predict", str(classifier.path), "a.png", "--out", "answers"]) == 2
    assert main(["predict", str(classifier.path), "a.png", "--out", "answers", "--overwrite"]) == 0
    assert json.loads((place / "answers/predictions.json").read_text())[0]["name"] == "a.png"


# -- grey and colour


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures are noise
def test_colours_stay_plane_by_plane(denoiser: Run, place: Path) -> None:
    save("colour.png", 10, 12, 3)
    save("grey.png", 10, 12)
    rows = {row["name"]: row for row in predict(denoiser, ["colour.png", "grey.png"])}
    assert rows["grey.png"]["picture"].shape == (1, 10, 12)
    found = rows["colour.png"]["picture"]  # (3, H, W)
    planes = [predict(denoiser, np.ascontiguousarray(picture(10, 12, 3)[..., i]))[0]["picture"][0] for i in range(3)]
    assert np.array_equal(found, np.stack(planes))
    floats = predict(denoiser, picture(10, 12, 3) / 255)[0]["picture"]
    assert np.abs(floats.astype(int) - found).max() <= 1


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures are noise
@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_a_grey_picture_comes_back_grey_from_a_model_of_colours(task: str, place: Path) -> None:
    np.savez("data.npz", images=picture(24, 8, 8, 3))
    run = train(task, "data.npz", "unet", place / "run", widths=(4,), **BRIEF)
    asked = {"detect": "white"} if task == "inpaint" else {}
    grey = np.minimum(picture(10, 12), 240)
    grey[2:4, 5:7] = 255
    single, repeated = (predict(run, image, **asked)[0]["picture"] for image in (grey, np.dstack([grey] * 3)))
    assert single.shape == (1, 10, 12)
    assert repeated.shape == (3, 10, 12)
    assert np.abs(single[0] - repeated.astype(float).mean(0)).max() <= 1


def test_a_run_of_grey_images_says_that_it_sees_no_colour(
    classifier: Run, denoiser: Run, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/colour.png", 10, 12, 3)
    save("in/grey.png", 10, 12)
    sentence = "images in colour: 1; the run takes grey ones and sees their brightness."
    for run, images, said in ((classifier, "in", True), (classifier, "in/grey.png", False), (denoiser, "in", False)):
        assert main(["predict", str(run.path), images]) == 0
        assert (sentence in " ".join(capsys.readouterr().err.split())) is said
