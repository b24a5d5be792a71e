# SPDX-License-Identifier: Apache-2.0
"""Images of more than 8 bits: one scale for a data set, said in words, kept by the run; restored images come back in 16 bits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pellucid import data, exporting
from pellucid.cli.cli import main
from pellucid.data.decoding import Files, decode, scan
from pellucid.data.given import gather
from pellucid.data.scales import Levels, Scale, natural
from pellucid.errors import DataError, PellucidWarning, RunError, UsageError
from pellucid.inference import evaluate, predict
from pellucid.run import Run
from pellucid.training.training import train

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (9, 13), dtype=np.uint16)
TWELVE[0, :2] = 0, 4095
COLOUR = RNG.integers(0, 4096, (9, 13, 3), dtype=np.uint16)
QUIET = {"progress": False, "device": "cpu"}


def tiff(array: NDArray[np.generic], **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def png(array: NDArray[np.generic]) -> bytes:
    stored, content = cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)
    assert stored
    return content.tobytes()


def in_eight(values: NDArray[np.generic], high: float = 4095) -> NDArray[np.uint8]:
    return np.rint(values.astype(np.float64) / high * 255).astype(np.uint8)


FILES = {
    "grey PNG": (png(TWELVE), TWELVE[None]),
    "colour PNG": (png(COLOUR), COLOUR.transpose(2, 0, 1)),
    "grey TIFF": (tiff(TWELVE), TWELVE[None]),
    "big-endian TIFF": (tiff(TWELVE, byteorder=">"), TWELVE[None]),
    "colour TIFF": (tiff(COLOUR, photometric="rgb"), COLOUR.transpose(2, 0, 1)),
    "planar TIFF": (tiff(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), COLOUR.transpose(2, 0, 1)),
    "white is 0": (tiff(65535 - TWELVE, photometric="miniswhite"), TWELVE[None]),
    "deflated TIFF": (tiff(COLOUR, photometric="rgb", compression="zlib"), COLOUR.transpose(2, 0, 1)),
    "signed TIFF": (tiff(TWELVE.astype(np.int16)), TWELVE[None]),
    "32 bits": (tiff(TWELVE.astype(np.uint32)), TWELVE[None]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_every_value_of_a_deep_file_is_read(kind: str) -> None:
    content, values = FILES[kind]
    scale = Scale(0, 4095)
    assert (decode(content, scale=scale) == in_eight(values)).all()
    assert (decode(content, scale=scale, bits=16) == np.rint(values / 4095 * 65535)).all()
    assert (scale.values(decode(content, scale=scale, bits=16) / 65535) == values).all()
    seen = scan([content])
    assert not seen.problems
    assert (seen.levels.low, seen.levels.high) == (values.min(), values.max())
    assert (seen.sizes[0].tolist(), int(seen.channels[0])) == ([9, 13], len(values))


def test_an_lzw_tiff_in_colour_is_read_by_another_decoder() -> None:
    stored, content = cv2.imencode(".tif", COLOUR[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert stored
    assert (decode(content.tobytes(), scale=Scale(0, 4095)) == in_eight(COLOUR.transpose(2, 0, 1))).all()


def test_rotation_is_applied_to_deep_images() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(TWELVE).save(stream, "PNG", exif=exif)
    assert (decode(stream.getvalue())[0] == np.rot90(in_eight(TWELVE), -1)).all()
    assert scan([stream.getvalue()]).sizes.tolist() == [[13, 9]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(np.zeros((5, 9, 13), np.uint16), photometric="minisblack", planarconfig="separate"), "has 5 channels"),
        (tiff(np.zeros((9, 13, 5), np.uint8), photometric="minisblack", planarconfig="contig"), "has 5 channels"),
        (tiff(np.zeros((9, 13, 4), np.uint16), photometric="separated"), "it is in CMYK"),
        (tiff(np.zeros((9, 13), np.complex64)), "pixels are complex64"),
        (tiff(np.full((9, 13), np.nan, np.float32)), "NaN or infinite"),
    ],
    ids=["planes", "channels", "CMYK", "complex", "NaN"],
)
def test_what_cannot_be_read_is_named_as_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(content, name="x.tif")
    assert reason in scan([content], ["x.tif"]).problems[0]


def test_lab_is_named() -> None:
    stream = io.BytesIO()
    Image.new("LAB", (8, 8)).save(stream, "TIFF")
    with pytest.raises(DataError, match="it is in the colour space LAB"):
        decode(stream.getvalue())


# -- the scale of a data set


@pytest.mark.parametrize(
    ("low", "high", "floats", "expected"),
    [
        (3, 3987, False, (0, 4095)),
        (0, 65535, False, (0, 65535)),
        (0, 255, False, (0, 255)),
        (0, 16, False, (0, 255)),
        (0, 1, False, (0, 1)),
        (32768, 36863, False, (32768, 36863)),
        (700, 700, False, (0, 1023)),
        (0.2, 0.7, True, (0, 1)),
        (-1024, 3071, False, None),
        (-0.5, 0.5, True, None),
    ],
)
def test_the_natural_scale(low: float, high: float, floats: bool, expected: tuple[float, float] | None) -> None:
    found = natural(Levels(np.array([low]), np.array([high]), np.array([floats])))
    assert (None if found is None else (found.low, found.high)) == expected


def deep_digits(top: Path, bits: int, count: int = 400) -> Path:
    """scikit-learn's digits as PNGs with so many bits of 16 or of 8, in class folders."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    eight = np.round(digits.images * (255 / 16)).astype(np.uint8)
    for i in range(count):
        file = top / str(digits.target[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        deep = np.rint(eight[i].astype(np.float64) * ((2**bits - 1) / 255)).astype(np.uint16)
        Image.fromarray(eight[i] if bits == 8 else deep).save(file)
    return top


def test_twelve_bits_in_sixteen_classify_as_eight_do(tmp_path: Path) -> None:
    """The former rule, division by 257, left 17 levels of 4,096, and an accuracy of chance."""
    runs = {}
    for bits in (8, 12):
        where = deep_digits(tmp_path / f"{bits}", bits)
        opened = data.open(where)
        images = {n: opened[p].images.read(i, 1) for p in opened.splits for i, n in enumerate(opened[p].names)}
        runs[bits] = images
    assert runs[8].keys() == runs[12].keys()
    assert all((runs[8][name] == runs[12][name]).all() for name in runs[8])
    opened = data.open(tmp_path / "12")
    assert opened.scale == Scale(0, 4095)
    assert opened.notes == (
        "Pixels with more than 8 bits, from 0 to 4,095, are read with 0 as black and 4,095 as white.",
    )
    run = train("classify", opened, "mlp", tmp_path / "run", hidden=(64,), epochs=20, batch_size=16, **QUIET)
    assert run.info["data"]["range"] == [0, 4095]
    assert evaluate(run, opened, baselines=False)["model"]["accuracy"]["value"] > 0.85
    (row,) = predict(run, deep_digits(tmp_path / "one", 12, 1) / "0/0.png")
    (same,) = predict(run, deep_digits(tmp_path / "other", 8, 1) / "0/0.png")
    assert row["range"] == [0, 4095]
    assert "range" not in same
    assert row["label"] == same["label"]
    assert row["probabilities"] == pytest.approx(same["probabilities"])


def test_the_range_is_said_and_set_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = deep_digits(tmp_path / "photos", 12, 60)
    words = ["--out", str(tmp_path / "sheet.png")]
    assert main(["data", str(where), *words]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "from 0 to 4,095, are read with 0 as black and 4,095 as white" in told
    assert main(["data", str(where), "--range", "0", "65535", *words]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "use little of the range 0 to 65,535: most levels of grey are lost" in told
    assert main(["data", str(where), "--range", "0", "1000", *words]) == 0
    assert "60 of 60 images have values outside 0 to 1,000" in " ".join(capsys.readouterr().out.split())
    train_words = ["train", "classify", "--data", str(where), "--model", "mlp", "--hidden", "8", "--epochs", "1"]
    assert main([*train_words, "--range", "0", "8191", "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert "with 0 as black and 8,191 as white" in told
    run = Run(tmp_path / "run")
    assert run.info["data"]["range"] == [0, 8191]
    assert run.data().scale == Scale(0, 8191)
    assert (
        exporting._facts(run, run.model(), free=False, names=["probabilities"])["values"]
        == "0 to 8,191 in the files of its training are 0 to 1 here"
    )
    assert "--range 0 8191" in run.info["command"].replace(".0", "")
    assert main(["evaluate", str(tmp_path / "run"), "--no-baselines"]) == 0


def test_a_range_for_eight_bits_and_a_wrong_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"range=\(0, 4095\): is for images of more than 8 bits"):
        data.open("digits", (0, 4095))
    for wrong in ((5, 5), (4095, 0), (1,), (0, float("nan"))):
        with pytest.raises(UsageError, match="range="):
            data.open("digits", wrong)


def test_values_that_the_training_never_saw_are_refused_by_name(tmp_path: Path) -> None:
    run = train(
        "classify",
        data.open(deep_digits(tmp_path / "d", 12, 60)),
        "mlp",
        tmp_path / "run",
        hidden=(8,),
        epochs=1,
        **QUIET,
    )
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "bright.png")
    rows = predict(run, [tmp_path / "bright.png", tmp_path / "d/0/0.png"])
    assert (
        "has values from 60000 to 60000, and the model was trained on 0 to 4,095; train with a --range"
        in rows[0]["error"]
    )
    assert "label" in rows[1]
    for i in range(10):
        Image.fromarray(np.full((8, 8), 9_000 + i, np.uint16)).save(tmp_path / f"d/{i % 5}/bright{i}.png")
    with pytest.raises(
        DataError, match="10 of 70 images have values outside 0 to 4,095, on which the model was trained"
    ):
        evaluate(run, tmp_path / "d")


def test_runs_without_a_recorded_scale_read_sixteen_bits_as_they_did(tmp_path: Path) -> None:
    where = deep_digits(tmp_path / "d", 12, 60)
    run = train("classify", str(where), "mlp", tmp_path / "run", hidden=(8,), epochs=1, range=(0, 65535), **QUIET)
    then = run.data()["train"].images.read(0, 1)
    record = json.loads((run.path / "run.json").read_text())
    for name in ("range", "floats"):
        del record["data"][name]
    del record["recipe"]["range"]
    (run.path / "run.json").write_text(json.dumps(record))
    old = Run(run.path)
    assert old.scale == Scale(0, 65535)
    assert (old.data()["train"].images.read(0, 1) == then).all()
    assert then.max() <= 16, "divided by 257"
    assert evaluate(old, baselines=False)["n"] > 0
    again = train("classify", str(where), "mlp", run.path, hidden=(8,), epochs=1, **QUIET)
    assert again.status == "finished"
    with pytest.raises(RunError, match=r"holds a run with range=\[0, 65535\], not \[0, 4095\]; give the same options"):
        train("classify", str(where), "mlp", run.path, hidden=(8,), epochs=1, range=(0, 4095), **QUIET)


# -- arrays


def test_floats_have_one_rule_in_training_and_prediction(tmp_path: Path) -> None:
    pixels = RNG.random((60, 8, 8)).astype(np.float32)
    labels = np.arange(60) % 2
    np.savez(tmp_path / "centred.npz", images=pixels - 0.5, labels=labels)
    with pytest.raises(
        DataError, match=r"has floating-point pixels from -0\.49\d* to 0\.49\d*, not in \[0, 1\]; say which"
    ):
        data.open(tmp_path / "centred.npz")
    np.savez(tmp_path / "unit.npz", images=pixels, labels=labels)
    centred, unit = data.open(tmp_path / "centred.npz", (-0.5, 0.5)), data.open(tmp_path / "unit.npz")
    assert (
        np.abs(
            centred["train"].images.read(3, 1).astype(int) - np.rint(255 * (centred["train"].images.array[3] + 0.5))
        ).max()
        <= 1
    )  # type: ignore[attr-defined]
    run = train("classify", centred, "mlp", tmp_path / "run", hidden=(8,), epochs=1, **QUIET)
    assert run.info["data"]["range"] == [-0.5, 0.5]
    image = pixels[0] - np.float32(0.5)
    plain = train("classify", unit, "mlp", tmp_path / "plain", hidden=(8,), epochs=1, **QUIET)
    assert gather(image, run.scale).floats[0].numpy() == pytest.approx(pixels[0][None], abs=1e-6)
    for one, wrong in ((run, pixels[0] * 2), (plain, image)):
        with pytest.raises(UsageError, match="but floats must lie in"):
            predict(one, wrong)
    assert "label" in predict(run, image)[0]


def test_deep_arrays_have_the_scale_of_all_splits(tmp_path: Path) -> None:
    values = RNG.integers(0, 2048, (40, 8, 8), dtype=np.uint16)
    test = RNG.integers(0, 4096, (10, 8, 8), dtype=np.uint16)
    np.savez(tmp_path / "a.npz", x_train=values, y_train=np.arange(40) % 2, x_test=test, y_test=np.arange(10) % 2)
    found = data.open(tmp_path / "a.npz")
    assert found.scale == Scale(0, 4095)
    assert (found["test"].images.read(4, 1)[0] == in_eight(test[4])).all()
    given = gather([values[0], values[1].astype(np.int64)], found.scale)
    assert (given.split.images.read(1, 1)[0] == in_eight(values[1])).all()


# -- restored images


@pytest.mark.parametrize("form", ["png", "tif"])
def test_a_denoised_image_of_sixteen_bits_has_its_own_units(form: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    for i in range(12):
        smooth = (np.sin(x / (5 + i)) * np.cos(y / 9) + 1) * 1800 + 100
        Image.fromarray((smooth + RNG.normal(0, 40, smooth.shape)).clip(0, 4095).astype(np.uint16)).save(
            tmp_path / f"{i}.{form}"
        )
    opened = data.open(tmp_path)
    options = {"widths": (4, 4), "epochs": 2, "size": (32,), **QUIET}
    run = train("denoise", opened, "unet", tmp_path / "run", **options)  # type: ignore[arg-type]
    assert run.info["data"]["range"] == [0, 4095]
    with pytest.warns(PellucidWarning, match="noise: 1 of 1 image seems to have other noise than the level 0.098"):
        (row,) = predict(run, tmp_path / f"0.{form}", tmp_path / "clean")
    assert row["noise"] == pytest.approx(40 / 4095, rel=0.05)
    with Image.open(row["picture"]) as picture:
        found = np.asarray(picture)
    assert found.dtype == np.uint16
    assert len(np.unique(found)) > 256
    with Image.open(tmp_path / f"0.{form}") as picture:
        given = np.asarray(picture).astype(float)
    assert found.max() <= 4095
    assert np.corrcoef(found.ravel(), given.ravel())[0, 1] > 0.5, "the values are in the units of the file"
    rows = json.loads((tmp_path / "clean/predictions.json").read_text())
    assert rows[0]["range"] == [0, 4095]
    in_training = evaluate(run, opened, baselines=False)["model"]["psnr"]["value"]
    assert np.isfinite(in_training)


def test_files_of_eight_bits_are_stored_as_before(tmp_path: Path) -> None:
    Image.fromarray(in_eight(TWELVE)).save(tmp_path / "a.png")
    files = Files([tmp_path / "a.png"])
    assert not files.levels.deep.any()
    assert files.scaled(Scale(0, 7)).read(0, 1).tolist() == in_eight(TWELVE)[None].tolist()
