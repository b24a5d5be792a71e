# SPDX-License-Identifier: Apache-2.0
"""generate from end to end: training, measures of the model, and what a run answers, from Python and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from safetensors.torch import load_file

from pellucid import _catalog
from pellucid.cli.cli import main
from pellucid.data import open as open_data
from pellucid.data.dataset import Pixels, Split
from pellucid.errors import UsageError
from pellucid.inference import evaluate, predict
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.tasks.generate import Generate, model_measures
from pellucid.tasks.generate.adversarial import Adversarial
from pellucid.tasks.generate.reference import ReferenceClassifier
from pellucid.training.training import train

QUICK = {"limit": 128, "batch_size": 32, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"encoder": (32,), "latent": 5, "epochs": 3, "importance": 20, "kl_warmup": 1.0, "ema": 0.9}
    return train("generate", "digits", "vae", tmp_path_factory.mktemp("runs") / "vae", **QUICK, **options)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"widths": (8, 16), "latent": 8, "epochs": 2, "updates": (2, 1)}
    return train("generate", "digits", "conv_gan", tmp_path_factory.mktemp("runs") / "gan", **QUICK, **options)


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """A 16-bit and a transparent picture, neither of the model's size."""
    rng = np.random.default_rng(0)
    Image.fromarray((rng.random((12, 10)) * 65535).astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray((rng.random((9, 9, 4)) * 255).astype(np.uint8), "RGBA").save(tmp_path / "b.png")
    return [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def pictures(rows: list[dict]) -> np.ndarray:
    return np.stack([row["picture"] for row in rows if row["name"] != "sheet"])


def test_history_holds_every_part_of_the_losses_and_a_sheet_an_epoch(vae: Run, gan: Run) -> None:
    rows = {split: [row for row in vae.history if row["split"] == split] for split in ("train", "val")}
    for row in rows["train"] + rows["val"]:
        assert {"loss", "reconstruction", "latent", "collapsed"} <= set(row)
    assert rows["val"][-1]["elbo"] < 0
    assert rows["val"][-1]["loss"] == pytest.approx(-rows["val"][-1]["elbo"], rel=1e-3)  # β is 1 when it has risen
    for row in gan.history:
        for part in ("loss", "D_real", "D_fake"):
            assert np.isfinite(row[f"discriminator/{part}"])
        assert {"generator/loss", "loss"} <= set(row)
        assert row["loss"] == pytest.approx(row["discriminator/loss"] + row["generator/loss"], rel=1e-4)
    for run, epochs in ((vae, 3), (gan, 2)):
        assert len(list((run.path / "progress").glob("epoch-*.png"))) == epochs + 1


def test_samples_are_a_function_of_the_seed(vae: Run, gan: Run) -> None:
    for run in (vae, gan):
        first = predict(run, samples=6, seed=1)
        assert [row["name"] for row in first] == [f"sample_{i:04d}" for i in range(6)] + ["sheet"]
        assert first[-1]["picture"].shape == (1, 2 + 2 * 26, 2 + 3 * 26)  # 8 px thrice as large, 3 beside each other
        assert pictures(first).shape == (6, 1, 8, 8)
        assert np.array_equal(pictures(first), pictures(predict(run, samples=6, seed=1)))
        assert np.array_equal(pictures(first)[:2], pictures(predict(run, samples=2, seed=1)))
        assert not np.array_equal(pictures(first), pictures(predict(run, samples=6, seed=2)))


def test_interpolation_goes_in_equal_steps_between_mean_codes(vae: Run) -> None:
    images = vae.data()["test"].images
    a, b = (images.read(i, 1)[0] for i in (0, 5))
    found = pictures(predict(vae, interpolate=(a, b), steps=3))
    model = vae.model()
    with torch.no_grad():
        ends = model.encode(torch.from_numpy(np.stack([a, b]))[:, None].float() / 255)[0]
        for k in range(5):
            w = k / 4
            code = (1 - w) * ends[:1] + w * ends[1:]
            expected = (model.decode(code).sigmoid() * 255).round()[0].numpy()
            assert np.abs(found[k].astype(float) - expected).max() <= 1
    again = pictures(predict(vae, [a, b]))
    assert np.abs(found[[0, -1]].astype(int) - again.astype(int)).max() <= 1


def test_a_traversal_changes_one_number_of_the_code(vae: Run, gan: Run) -> None:
    image = vae.data()["test"].images.read(3, 1)[0]
    rows = predict(vae, image, vary=(3, 0), steps=5)
    assert [row["name"] for row in rows[:2]] == ["number_3_at_-3.00", "number_3_at_-2.00"]
    assert len(rows) == 2 * 7 + 1
    model = vae.model()
    with torch.no_grad():
        code = model.encode(torch.from_numpy(image)[None, None].float() / 255)[0]
        code[:, 3] = 2.0
        expected = (model.decode(code).sigmoid() * 255).round()[0].numpy()
    assert np.abs(rows[5]["picture"].astype(float) - expected).max() <= 1
    assert len(predict(gan, vary=(2,), seed=4)) == 11


def test_reconstructions_come_with_their_code_and_images_of_a_gan_with_their_realness(vae: Run, gan: Run) -> None:
    images = vae.data()["test"].images
    row = predict(vae, [images.read(0, 1)[0]])[0]
    assert len(row["code"]) == 5
    assert row["latent"] > 0
    assert row["picture"].shape == (1, 8, 8)
    assert 0 < predict(gan, [images.read(0, 1)[0]])[0]["D_real"] < 1


def test_the_commands_write_single_pictures_and_a_sheet(
    vae: Run, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    assert main(["predict", str(vae.path), "--samples", "3", "--seed", "1", "--out", str(out)]) == 0
    names = sorted(file.name for file in out.iterdir() if file.name[0] != ".")
    assert names == ["predictions.json", "sample_0000.png", "sample_0001.png", "sample_0002.png", "sheet.png"]
    assert size(out / "sample_0000.png") == (8, 8)
    assert main(["predict", str(vae.path), "--samples", "1", "--out", str(tmp_path / "one.png")]) == 0
    assert size(tmp_path / "one.png") == (8, 8)
    out = tmp_path / "way"
    assert main(["predict", str(vae.path), "--interpolate", *two, "--steps", "2", "--out", str(out)]) == 0
    assert (out / "step_03.png").exists()
    assert size(out / "sheet.png") == (2 + 4 * 26, 2 + 26)
    assert main(["predict", str(vae.path), two[0], "--vary", "3", "--out", str(tmp_path / "walk")]) == 0
    assert len(json.loads((tmp_path / "walk" / "predictions.json").read_text())) == 11


def test_what_a_run_cannot_answer_is_refused(
    vae: Run,
    gan: Run,
    two: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["predict", str(vae.path)]
    assert refused(run, capsys) == (
        "samples=0: there is nothing to do; give images, --samples 64, --interpolate a.png b.png or --vary 3."
    )
    assert "vary=5: the code has 5 dimensions; give one from 0 to 4." in refused([*run, "--vary", "5"], capsys)
    assert "samples, vary: cannot be combined" in refused([*run, "--vary", "1", "--samples", "3"], capsys)
    assert "leave the images out" in refused([*run, two[0], "--samples", "3"], capsys)
    assert "interpolate: needs two images, not 1" in refused([*run, "--interpolate", two[0]], capsys)
    assert "starts from one image, not from 2" in refused([*run, *two, "--vary", "1"], capsys)
    assert "steps=0: must be at least 1" in refused([*run, "--vary", "1", "--steps", "0"], capsys)
    assert "samples=-1: must not be negative" in refused([*run, "--samples", "-1"], capsys)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    assert "broken.png" in refused([*run, "--interpolate", two[0], "broken.png"], capsys)
    assert refused(["predict", str(gan.path), "--interpolate", *two], capsys).startswith(
        "interpolate: a GAN has no encoder"
    )
    assert "latent=65: is more than the 64 numbers" in refused(
        "train generate --data digits --model vae --latent 65", capsys
    )
    assert "penalty=10: is on the gradient of each image alone, and batch norm mixes a batch's images" in refused(
        "train generate --model conv_gan --norm batch --objective wasserstein", capsys
    )
    assert "beta=2.0: has no meaning for a gan" in refused("train generate --model gan --beta 2", capsys)


def test_the_model_is_measured_as_a_whole_and_drawn(vae: Run, gan: Run) -> None:
    found = evaluate(vae)
    assert {
        "elbo",
        "reconstruction",
        "latent",
        "nll",
        "frechet_over_floor",
        "modes_covered",
    } <= set(found["model"])
    # importance samples come closer to log p than the bound does
    assert found["model"]["nll"]["value"] < -found["model"]["elbo"]["value"]
    row = found["details"]["importance_sampling"][0]
    assert row["importance samples"] == 20
    assert row["images"] == found["n"]
    assert row["standard error over images"] > row["standard error of the sampling"] > 0
    assert "binarised dynamically" in row["likelihood"]
    assert {"samples", "health", "reconstructions", "interpolations", "latent", "traversals"} <= {
        p["name"] for p in found["pictures"]
    }
    assert found["details"]["samples"][0]["sample size"] == found["n"] // 2
    assert sorted(found["baselines"]) == ["independent pixels", "mixture of 10", "mixture of 50", "tree of pixels"]
    of_gan = evaluate(gan)
    assert of_gan["model"]["energy"]["value"] > of_gan["baselines"]["training images"]["energy"]["value"]
    assert of_gan["details"]["samples"][0]["verdict"] in ("mode collapse", "discriminator wins", "not learnt")
    page = report(gan, maps=0).read_text(encoding="utf-8")
    assert "Progress by epoch" in page
    assert "Samples and their nearest training images" in page
    assert "Players: discriminator/loss" in page


def test_the_reference_classifier_knows_its_classes_and_says_where_there_are_none() -> None:
    data = open_data("digits")
    train_images = torch.from_numpy(data["train"].images.array)  # type: ignore[attr-defined]
    test_images = torch.from_numpy(data["test"].images.array)  # type: ignore[attr-defined]
    trained = ReferenceClassifier.trained(train_images, data["train"].targets["label"].index, data.classes, 0)  # type: ignore[attr-defined]
    right = trained.classes(test_images) == data["test"].targets["label"].index  # type: ignore[attr-defined]
    assert float(right.float().mean()) > 0.93
    blind = ReferenceClassifier.trained(train_images[:200], None, (), 0)
    assert "there are no labels" in blind.description
    assert len(blind.modes) == 10
    same = ReferenceClassifier.trained(train_images[:200], None, (), 0)
    assert torch.equal(blind.features(test_images), same.features(test_images))


def test_gaussian_and_colour_and_odd_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.random((3, 7, 6))
    images = [
        (255 * np.clip(base * rng.random() + 0.1 * rng.random((3, 7, 6)), 0, 1)).astype(np.uint8) for _ in range(120)
    ]
    split = Split(Pixels(np.stack(images)), {}, [str(i) for i in range(120)])
    whole = open_data("digits").replace(
        name="colour", classes=(), fingerprint="c",
        splits={"train": split.select(range(80)), "val": split.select(range(80, 100)), "test": split.select(range(100, 120))},
    )  # fmt: skip
    kinds: dict[str, dict[str, Any]] = {
        "conv_vae": {"likelihood": "gaussian", "widths": (4, 8), "hidden": 16, "latent": 3},
        "vae": {"likelihood": "gaussian", "variance": 0.01, "encoder": (16,), "latent": 3},
        "conv_gan": {"widths": (4,), "latent": 3, "objective": "wasserstein", "norm": "none", "precision": "bf16"},
    }
    brief = {"epochs": 2, "batch_size": 20, "device": "cpu", "progress": False}
    for name, options in kinds.items():
        run = train("generate", whole, name, tmp_path / name, **brief, **options)
        found = evaluate(run, whole, baselines=name != "vae")
        assert all(len(rows) >= 1 for rows in found["details"].values())
        assert predict(run, samples=2)[0]["picture"].shape == (3, 7, 6)
        main_measure = "energy" if "gan" in name else "elbo"
        assert np.isfinite(found["model"][main_measure]["value"])
        if name != "vae":
            assert "there are no labels" in found["details"]["samples"][0]["classifier"]
        if name == "conv_vae":
            assert run.model().constant.shape == (3, 1, 1)
            assert "probabilistic PCA" in found["baselines"]


def test_a_resumed_game_is_the_whole_one(tmp_path: Path) -> None:
    options = {**QUICK, "widths": (4, 8), "latent": 4, "epochs": 3, "dropout": 0.2, "ema": 0.9}
    whole = train("generate", "digits", "conv_gan", tmp_path / "whole", **options)
    stops = 6  # of 12 steps

    class Interrupted(Exception):
        pass

    original, count = Adversarial.steps, []

    def broken(self: Adversarial, *given: object) -> object:
        count.append(1)
        if len(count) > stops:
            raise Interrupted
        return original(self, *given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adversarial, "steps", broken)
        with pytest.raises(Interrupted):
            train("generate", "digits", "conv_gan", tmp_path / "cut", **options)
    cut = train("generate", "digits", "conv_gan", tmp_path / "cut", **options)
    ours, theirs = (load_file(run.path / "last.safetensors") for run in (whole, cut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gan", "conv_gan"])
def test_on_digits_a_game_is_healthy(tmp_path: Path, model: str) -> None:
    run = train("generate", "digits", model, tmp_path / "run", progress=False, device="cpu")
    found = evaluate(run)
    assert found["details"]["samples"][0]["verdict"] == "healthy", found["pictures"][1]["words"]
    assert found["model"]["modes_covered"]["value"] == 10


@pytest.mark.slow
def test_mnist_is_read_and_a_short_training_beats_every_exact_baseline(
    real: Callable[[str], Path], tmp_path: Path
) -> None:
    data = open_data(real("mnist"))
    run = train(
        "generate", data, "vae", tmp_path / "run", epochs=6, limit=20_000, progress=False, device="cpu", importance=50
    )
    found = evaluate(run, data)
    best = max(rival["elbo"]["value"] for rival in found["baselines"].values())
    assert -found["model"]["nll"]["value"] > best


def test_arrays_are_what_the_model_is_given(tmp_path: Path) -> None:
    data = open_data("digits")
    task = Generate().for_model("vae")
    known, seen = model_measures.arrays(
        task, data["train"].select(range(50)), data["test"].select(range(20)), (8, 8), 3
    )
    assert (known.shape, seen.shape) == ((50, 1, 8, 8), (20, 1, 8, 8))
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert _catalog.find("tasks", "generate") is Generate
    with pytest.raises(UsageError, match="gives a distribution, and generate needs adversarial"):
        train(Generate().for_model("gan"), data, "vae", tmp_path / "run", progress=False)
