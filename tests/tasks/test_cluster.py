# SPDX-License-Identifier: Apache-2.0
"""The task cluster on drawn shapes: training, what is kept with the model, answers, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.batches import store
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.splitting import finish
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.inference import evaluate, measure, predict
from pellucid.models import _building
from pellucid.run import Run
from pellucid.tasks.cluster import Cluster, training
from pellucid.tasks.cluster.options import ClusterOptions
from pellucid.tasks.cluster.training import Views
from pellucid.training.training import train

SMALL = {"widths": (4, 8), "latent": 4, "progress": False, "device": "cpu", "batch_size": 32, "checkpoint": 1e9}


def shapes(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bars, frames and discs on 12 × 12 px with noise, and which is which."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(images) % 3
    y, x = np.mgrid[:12, :12]
    plain = [
        (x > 3) & (x < 8),
        (np.minimum(np.minimum(x, 11 - x), np.minimum(y, 11 - y)) == 1),
        (x - 5.5) ** 2 + (y - 5.5) ** 2 < 9,
    ]
    pictures = np.stack([plain[kind] * 200.0 + 20 for kind in kinds])[:, None]
    return np.clip(pictures + rng.normal(0, 12, pictures.shape), 0, 255).astype(np.uint8), kinds


def dataset(labelled: bool = True) -> Dataset:
    pixels, kinds = shapes(240)
    targets = {"label": Label(torch.from_numpy(kinds))} if labelled else {}
    whole = Split(Pixels(pixels), targets, [f"shape-{i}" for i in range(len(pixels))])
    return finish("shapes", {"train": whole}, ("bar", "frame", "disc") if labelled else ())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = train("cluster", dataset(), None, tmp_path_factory.mktemp("cluster") / "run", clusters=3, epochs=8, shift=0.09,
                 **SMALL)  # fmt: skip
    evaluate(made, dataset())
    return made


def test_validation_during_training_judges_the_matching_on_other_images(tmp_path: Path) -> None:
    """Seven clusters of three shapes, and few images: their best matching is right more often than on others."""
    run = train("cluster", dataset(), None, tmp_path / "run", clusters=7, epochs=1, limit=40, **SMALL)
    val = store(dataset()["val"], (12, 12), 1)
    records, _ = measure(run.task, run.model("last"), val.batches(64), seed=0)
    assert run.main.live is not None
    assert run.history[-1]["accuracy"] == pytest.approx(run.main.live(records))
    assert run.main.live(records) < run.main.value(records)


def test_deep_clusters_are_the_shapes(run: Run) -> None:
    found = evaluate(run, dataset())
    assert found["model"]["accuracy"]["value"] > 0.95
    assert found["model"]["stability"]["value"] > 0.8
    assert 0.9 < found["model"]["shared_information"]["value"] <= math.log(3) + 1e-6
    assert {"nmi", "ari", "purity", "silhouette", "unlike", "silhouette_of_pairs"} <= set(found["model"])
    assert len(found["baselines"]) == 3
    assert [row["seed"] for row in found["details"]["seeds"]][-2:] == ["mean", "spread"]
    assert {"clusters", "map", "contingency", "first_layer"} <= {picture["name"] for picture in found["pictures"]}
    assert found["details"]["verdict"].startswith("All 3 clusters contain images")


@pytest.mark.parametrize("method", ["kmeans", "mixture", "joint", "scan"])
def test_the_other_methods_find_them_too(tmp_path: Path, method: str) -> None:
    made = train("cluster", dataset(), None, tmp_path / "run", method=method, clusters=3, epochs=6, **SMALL)
    assert evaluate(made, dataset(), baselines=False)["model"]["accuracy"]["value"] > 0.9
    parts = {name for row in made.history if row["split"] == "train" for name in row}
    assert ("clusters" in parts) == (method in ("joint", "scan"))
    assert ("unequal" in parts) == (method == "scan")
    assert not {"near", "shares"} & {*dict(made.model().kept.named_buffers())}, "tables of the training are not kept"
    assert ("factors" in dict(made.model().kept.named_buffers())) == (method == "mixture")


def test_the_joint_method_draws_codes_to_their_centres(tmp_path: Path) -> None:
    """On new images, the share of the codes' variance that lies within the kinds falls by half and more."""
    pixels, kinds = shapes(90, seed=5)
    images, shares = torch.from_numpy(pixels).float() / 255, []
    for pull in (0.0, 1.0):
        made = train("cluster", dataset(), None, tmp_path / str(pull), method="joint", pull=pull, clusters=3, epochs=12,
                     pretrain=0.34, lr=5e-3, schedule="constant", **SMALL)  # fmt: skip
        with torch.no_grad():
            codes = training.codes_of(made.model(), images, unit=False)
        within = sum((codes[kinds == k] - codes[kinds == k].mean(0)).square().sum() for k in range(3))
        shares.append(float(within / (codes - codes.mean(0)).square().sum()))
    assert shares[1] < 0.5 * shares[0], shares


def test_the_last_weights_are_kept_whatever_the_validation_says(run: Run) -> None:
    assert run.info["best"]["epoch"] == 8
    best, last = run.model("best").state_dict(), run.model("last").state_dict()
    assert all(best[name].equal(last[name]) for name in last)


@pytest.mark.parametrize("method", ["dec", "scan"])
def test_a_resumed_training_ends_where_the_whole_one_does(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from pellucid.training.folder import Folder
    from pellucid.training.state import State

    original, saved = Folder.save, []

    def save(self: Folder, state: State) -> None:
        original(self, state)
        saved.append(state.step)
        if len(saved) == 6:  # two epochs into the clustering
            raise KeyboardInterrupt

    def trained(name: str) -> Run:
        return train(
            "cluster", dataset(), None, tmp_path / name, method=method, clusters=3, epochs=8, shift=0.09, **SMALL
        )

    monkeypatch.setattr(Folder, "save", save)
    with pytest.raises(KeyboardInterrupt):
        trained("parts")
    monkeypatch.undo()
    whole = (run if method == "dec" else trained("whole")).model("last").state_dict()
    parts = trained("parts").model("last").state_dict()
    assert whole.keys() == parts.keys()
    assert all(parts[name].equal(whole[name]) for name in whole)


def test_without_labels_the_silhouette_decides(tmp_path: Path) -> None:
    made = train("cluster", dataset(labelled=False), None, tmp_path / "run", clusters=3, epochs=2, **SMALL)
    assert "silhouette" in made.history[-1]
    found = evaluate(made, dataset(labelled=False))
    assert found["main"] == "silhouette"
    assert "accuracy" not in found["model"]
    assert all("accuracy" not in rival for rival in found["baselines"].values())


def test_the_number_of_clusters_is_chosen_and_drawn(tmp_path: Path) -> None:
    made = train("cluster", dataset(), None, tmp_path / "run", method="kmeans", clusters=0, most=6, epochs=6, **SMALL)
    kept: Any = made.model().kept
    assert len(kept["centres"]) == 3
    assert kept["criterion"].argmax() == 1  # of 2, 3, …
    assert "criterion" in {picture["name"] for picture in evaluate(made, dataset())["pictures"]}


def test_outliers_are_flagged(run: Run) -> None:
    seen, _ = shapes(60, seed=7)
    flags = [row["unlike"] for row in predict(run, list(seen[:, 0]))]
    assert np.mean(flags) < 0.15
    rng = np.random.default_rng(0)
    strange = [rng.integers(0, 256, (12, 12)).astype(np.uint8) for _ in range(20)]
    checks = [np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((3, 3))).astype(np.uint8) * 255]
    assert all(row["unlike"] for row in predict(run, strange + checks))


def test_about_the_stated_share_of_training_images_is_flagged(run: Run) -> None:
    columns = evaluate(run, dataset(), split="train", baselines=False)["model"]["unlike"]
    assert columns["value"] <= 0.05  # 1 % is stated; a percentile of 60 images a cluster rounds up


def test_centres_of_the_joint_method_follow_in_training_only(run: Run) -> None:
    model: Any = run.model()
    before = model.kept["centres"].clone()
    task: Any = replace(run.task, method="joint")
    images = torch.rand(8, 1, 12, 12)
    views = Views(images, images[:, :0], torch.arange(8), torch.full((8,), -1))
    task.loss(model, images, views)
    assert model.kept["centres"].equal(before)
    model.train()
    task.loss(model, images, views)
    assert not model.kept["centres"].equal(before)


def test_training_sees_two_views_and_evaluation_the_image() -> None:
    task = Cluster(clusters=3)
    pixels, kinds = shapes(6)
    batch = Batch(torch.from_numpy(pixels), {"label": Label(torch.from_numpy(kinds))}, torch.arange(6))
    input, target = task.prepare(batch, Draws.step(0, 0, slice(0, 6), 6), training=True)
    assert not input.equal(target.other)
    torch.testing.assert_close(target.clean, batch.images.float() / 255)
    assert target.label.tolist() == [-1] * 6, "training sees no labels"
    input, truth = task.prepare(batch, Draws.images(0, batch.index), training=False)
    torch.testing.assert_close(input, target.clean)
    assert truth.other is None
    assert truth.label.tolist() == kinds.tolist()
    plain = Cluster(clusters=3, method="kmeans").prepare(batch, Draws.step(0, 0, slice(0, 6), 6), training=True)[1]
    assert plain.other is not None
    assert plain.other.shape[1] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "dbscan"}, "method='dbscan': is not known; choose kmeans, mixture, joint, dec or scan."),
        ({"clusters": 1}, "clusters=1: must be at least 2, or 0 for the criterion to choose; give another number."),
        ({"criterion": "elbow"}, "criterion='elbow': is not known; choose silhouette, gap or bic."),
        ({"most": 2}, "most=2: must be at least 3"),
        ({"pretrain": 1.0}, "pretrain=1.0: must lie in [0, 1)"),
        ({"pull": -1.0}, "pull=-1.0: is a weight; give 0 or more."),
        ({"balance": -0.5}, "balance=-0.5: is a finite weight; give 0 or more."),
        ({"unlike": 0.0}, "unlike=0.0: must lie between 0 and 1; give another share."),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Cluster(**options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hierarchy": "single"}, "hierarchy='single': is not known"),
        ({"cut": 3}, "there is no tree to cut"),
        ({"hierarchy": "ward", "cut": 3, "height": 1.0}, "give one of them"),
        ({"hierarchy": "ward", "height": -1.0}, "is a distance"),
    ],
)
def test_options_of_predict_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        ClusterOptions(**options)
    assert said in str(caught.value)


def test_more_clusters_than_images_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clusters=500: is more than the .* training images"):
        train("cluster", dataset(), None, tmp_path / "run", clusters=500, **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_code_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"latent=200: is larger than the image, which has 144 numbers; give fewer."):
        train("cluster", dataset(), None, tmp_path / "run", clusters=3, **{**SMALL, "latent": 200})
    assert not (tmp_path / "run").exists()


def test_a_sparse_code_must_lie_between_0_and_1() -> None:
    options = {"encoder": [8], "sparsity": 0.1}
    what = {"name": "autoencoder", "channels": 1, "outputs": 1, "size": [4, 4], "options": options}
    with pytest.raises(UsageError, match=r"sparsity=0.1: needs a code between 0 and 1; give --activation sigmoid."):
        _building.build(what)
    model: Any = _building.build({**what, "options": {**options, "activation": "sigmoid"}})
    code = torch.full((5, 8), 0.05)
    assert float(model.penalty(code)) == pytest.approx(0, abs=1e-6)
    expected = 8 * 0.1 * (0.05 * np.log(0.05 / 0.2) + 0.95 * np.log(0.95 / 0.8))
    assert float(model.penalty(torch.full((5, 8), 0.2))) == pytest.approx(expected, rel=1e-5)


# -- answers about many images at once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels, kinds = shapes(30, seed=3)
    place = tmp_path / "images"
    place.mkdir()
    for i, (picture, kind) in enumerate(zip(pixels[:, 0], kinds, strict=True)):
        Image.fromarray(picture).save(place / f"{i:02d}-{kind}.png")
    return place


@pytest.mark.parametrize("linkage", ["ward", "average", "complete"])
def test_a_tree_of_images_parts_the_shapes_and_takes_new_ones(
    run: Run, folder: Path, tmp_path: Path, linkage: str
) -> None:
    new, kinds = shapes(3, seed=9)
    files = []
    for picture, kind in zip(new[:, 0], kinds, strict=True):
        files.append(str(tmp_path / f"new-{kind}.png"))
        Image.fromarray(picture).save(files[-1])
    rows = predict(run, folder, tmp_path / "out", hierarchy=linkage, cut=3, place=tuple(files))
    known, placed, drawn = rows[:30], rows[30:33], rows[33]
    by_kind = {kind: {row["cluster"] for row in known if f"-{kind}" in row["name"]} for kind in range(3)}
    assert [len(found) for found in by_kind.values()] == [1, 1, 1]
    for row in placed:
        kind = int(row["name"][4])
        assert {row["cluster"]} == by_kind[kind]
        assert f"-{kind}." in row["nearest"]
    with Image.open(drawn["file"]) as picture:
        assert picture.size[0] > 500


def test_files_are_copied_by_cluster_and_never_overwritten(run: Run, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "sorted"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    rows = predict(run, folder, sort_into=str(target))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    for row in rows:
        assert Path(row["copy"]).read_bytes() == before[row["name"]]
        assert Path(row["copy"]).parent.name == f"cluster-{row['cluster']:02d}"
    first = {file: file.read_bytes() for file in target.rglob("*.png")}
    predict(run, folder, sort_into=str(target))
    assert {file: file.read_bytes() for file in first} == first
    assert len(list(target.rglob("*.png"))) == 60
    with pytest.raises(UsageError, match=r"contains 00-0.png, which is to be sorted; name another folder."):
        predict(run, folder, sort_into=str(folder))
    with pytest.raises(UsageError, match="copies files, and arrays were given"):
        predict(run, list(shapes(3)[0][:, 0]), sort_into=str(target))


def test_more_clusters_than_images_cannot_be_cut(run: Run, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"cut=31: the tree has 30 images; give a number from 1 to 30."):
        predict(run, folder, hierarchy="ward", cut=31)


def test_deep_and_transparent_images_are_answered_and_a_broken_one_is_named(run: Run, tmp_path: Path) -> None:
    picture = shapes(1)[0][0, 0]
    Image.fromarray(picture.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([picture] * 3 + [np.full_like(picture, 255)])).save(tmp_path / "clear.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = {row["name"]: row for row in predict(run, tmp_path, hierarchy="average", cut=1)}
    assert rows["deep.png"]["cluster"] == rows["clear.png"]["cluster"]
    assert "error" in rows["broken.png"]


def test_equal_codes_make_no_clusters_and_no_tree(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.tasks.cluster import answers

    monkeypatch.setattr(answers, "_codes", lambda model, pictures, unit: np.zeros((len(pictures), 4), np.float32))
    with pytest.raises(UsageError, match=r"^hierarchy='ward': the model gives all 30 images one and the same code"):
        predict(run, folder, hierarchy="ward", cut=3)

    def collapsed(different: int) -> Any:
        def codes(model: Any, batches: Any, unit: bool, most: Any) -> tuple[torch.Tensor, torch.Tensor]:
            values = torch.arange(60).remainder(different).float()[:, None].expand(60, 4)
            return values, torch.arange(60)

        return codes

    for different, said in ((1, "are all equal"), (2, "have 2 different values, fewer than the 3 clusters")):
        monkeypatch.setattr(training, "_all_codes", collapsed(different))
        with pytest.raises(UsageError, match=rf"^codes: those of the 60 training images {said}; train with"):
            train("cluster", dataset(), None, tmp_path / "run", clusters=3, epochs=1, **SMALL)
