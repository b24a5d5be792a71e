# SPDX-License-Identifier: Apache-2.0
"""Light in cluster: found in the images that need it, left alone in others, kept with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.data.batches import Store, store
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.embedded import embedded, glyphs
from pellucid.data.splitting import finish
from pellucid.data.targets import Label, target_of
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.models import _building
from pellucid.tasks.cluster import Cluster
from pellucid.tasks.cluster.light import Light, differences
from pellucid.training.training import train

SMALL = {"widths": (4, 8), "latent": 4, "device": "cpu", "batch_size": 32, "checkpoint": 1e9, "clusters": 3}


@pytest.fixture(scope="module")
def images() -> dict[str, Store]:
    datasets = (glyphs.draw(1), glyphs.draw(1, lit=True), embedded.load("digits"))
    return {data.name: store(data["train"], data["train"].images.read(0, 1).shape[1:], 1) for data in datasets}


def few(name: str) -> Dataset:
    """Every third class of the glyphs."""
    whole, splits = embedded.load(name), {}
    for part, split in whole.splits.items():
        label = target_of(split.targets, "label", Label).index
        rows = np.flatnonzero(label.numpy() % 3 == 0)
        chosen = split.select(rows)
        pixels = np.stack([chosen.images.read(i, 1) for i in range(len(rows))])
        splits[part] = Split(Pixels(pixels), {"label": Label(label[rows] // 3)}, chosen.names)
    return finish(name, splits, whole.classes[::3])


def test_light_is_found_where_there_is_some(images: dict[str, Store]) -> None:
    """The lamps of `glyphs_lit` shade; the inks and grounds of `glyphs` do not, and `digits` has one of each."""
    lit = Light.of(images["glyphs_lit"])
    assert lit.shading > 1 and lit.exposure > 0.4
    assert Light.of(images["glyphs"]) == Light(0, 0, 0)
    assert Light.of(images["digits"]) == Light(0, 0, 0)


def test_differences_are_those_that_were_made() -> None:
    """Each image stands beside itself under another light, whose plane and exposure are known."""
    rng = np.random.default_rng(0)
    rows = [glyphs.CLASSES.index(letter) for letter in "ALMSXZ"]  # no two of them alike
    fine = torch.from_numpy(glyphs.render("DejaVuSans")[rows])
    letters = fine.unflatten(1, (32, 3)).unflatten(3, (32, 3)).mean((2, 4))
    scenes = (0.2 + 0.3 * letters)[:, None]  # (6, 1, 32, 32)
    slopes, stops = rng.uniform(-0.6, 0.6, (6, 2)), rng.uniform(-0.5, 0.5, 6)  # stops from the middle to a side
    y, x = (np.mgrid[:32, :32] + 0.5) / 16 - 1
    field = slopes[:, [0], None] * x + slopes[:, [1], None] * y + stops[:, None, None]
    lit = scenes * torch.from_numpy(2.0**field).float()[:, None]
    exposure, shading, _ = differences(torch.cat([scenes, lit]))
    root_mean_square = np.sqrt((slopes**2).sum(1) / 3)
    # 1/64 is added to intensities, bright places count more: somewhat less
    np.testing.assert_allclose(exposure[:6], np.abs(stops), rtol=0.25, atol=0.05)
    np.testing.assert_allclose(shading[:6], root_mean_square / np.sqrt(2), rtol=0.2, atol=0.02)


def test_options_go_before_what_was_found(images: dict[str, Store]) -> None:
    found = Cluster(clusters=3, shading=0.0).learn(images["glyphs_lit"])
    assert found.found is not None and found.found.shading > 1
    assert found.light == Light(found.found.exposure, 0.0, found.found.contrast)
    assert f"--exposure {found.found.exposure:g} --shading 0 " in found.findings[0]
    assert found.options["exposure"] is None
    asked = Cluster(clusters=3, exposure=0.0, shading=0.0, image_contrast=0.0)
    assert asked.learn(images["glyphs_lit"]) is asked
    with pytest.raises(UsageError, match=r"shading=9.0: must lie in \[0, 4\]; give another value\."):
        Cluster(shading=9.0)
    with pytest.raises(UsageError, match=r"image_contrast=-1.0: must lie in \[0, 0.95\]; give another value\."):
        Cluster(image_contrast=-1.0)


def test_views_differ_in_light() -> None:
    """Without shifts and turns, the two views of an image are the image times smooth fields."""
    batch = Batch(torch.randint(20, 60, (6, 1, 12, 12), dtype=torch.uint8), {}, torch.arange(6))
    still: Any = {"shift": 0.0, "augment": Cluster().augment.__class__()}
    task = Cluster(clusters=3, exposure=0.5, shading=0.5, image_contrast=0.0, **still)
    draws = Draws.step(0, 0, slice(0, 6), 6)
    view, truth = task.prepare(batch, draws, training=True)
    assert truth.other is not None
    for one in (view, truth.other):
        stops = torch.log2(one / truth.clean).flatten(1)
        assert float(stops.abs().max()) <= 1.0001
        assert float(stops.std(1).min()) > 0.001
    assert not view.allclose(truth.other, atol=0.01)
    plain = Cluster(clusters=3, **still)
    assert plain.prepare(batch, draws, training=True)[0].equal(truth.clean)
    assert task.prepare(batch, draws, training=False)[0].equal(truth.clean)


def test_a_picture_whose_light_is_varied_counts_a_tenth() -> None:
    """Without the contrastive loss the reconstruction is all that a code is learned from, and keeps its weight."""
    torch.manual_seed(0)
    what = {"name": "embedding_autoencoder", "channels": 1, "outputs": 1, "size": [12, 12]}
    model = _building.build({**what, "options": {"widths": (4, 8), "latent": 4}}).train()
    batch = Batch(torch.randint(20, 60, (6, 1, 12, 12), dtype=torch.uint8), {}, torch.arange(6))
    for shading, method, share in ((0.0, "dec", 1.0), (1.0, "dec", 0.1), (1.0, "kmeans", 1.0)):
        task = Cluster(clusters=3, method=method, exposure=0.0, shading=shading, image_contrast=0.0)  # type: ignore[arg-type]
        parts = task.loss(model, *task.prepare(batch, Draws.step(0, 0, slice(0, 6), 6), training=True))
        expected = share * parts["reconstruction"] + 10 * parts.get("contrast", torch.zeros(()))
        torch.testing.assert_close(parts["loss"], expected)


def test_a_run_keeps_what_was_found_and_resumes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pellucid.training.folder import Folder
    from pellucid.training.state import State

    dataset = glyphs.draw(1, lit=True)
    options: Any = {**SMALL, "epochs": 2, "limit": 128}
    whole = train("cluster", dataset, None, tmp_path / "whole", **options)
    light = whole.info["learned"]["light"]
    assert light["shading"] > 1
    assert whole.info["task"]["options"]["shading"] is None
    said = " ".join(capsys.readouterr().err.split())
    assert f"Images that look alike differ in light; training varies it by --exposure {light['exposure']:g}" in said
    assert f"--shading {light['shading']:g}" in said
    original = Folder.save

    def save(self: Folder, state: State) -> None:
        original(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train("cluster", dataset, None, tmp_path / "parts", **options)
    monkeypatch.undo()
    # what another version would find must not matter
    monkeypatch.setattr(Light, "of", classmethod(lambda cls, images: cls(1.0, 0.0, 0.5)))
    parts = train("cluster", dataset, None, tmp_path / "parts", **options)
    assert parts.info["learned"]["light"] == light
    one, other = whole.model("last").state_dict(), parts.model("last").state_dict()
    assert all(one[name].equal(other[name]) for name in one)


def test_a_run_from_before_there_was_light_goes_on_without(images: dict[str, Store]) -> None:
    assert Cluster(clusters=3).learn(images["glyphs_lit"]).recall({}).found is None


@pytest.mark.slow
def test_light_costs_less_than_a_twentieth_of_the_accuracy() -> None:
    """With views that differ in light; without them, much of it is lost."""
    import tempfile

    still: Any = {"exposure": 0.0, "shading": 0.0, "image_contrast": 0.0}
    found: dict[tuple[str, bool], list[float]] = {}
    for name, varied in (("glyphs", True), ("glyphs_lit", True), ("glyphs_lit", False)):
        dataset = few(name)
        for seed in (0, 1):
            with tempfile.TemporaryDirectory() as folder:
                run = train("cluster", dataset, None, folder + "/run", clusters=12, epochs=30, seed=seed, device="cpu",
                            progress=False, **({} if varied else still))  # fmt: skip
                value = evaluate(run, dataset, baselines=False)["model"]["accuracy"]["value"]
            found.setdefault((name, varied), []).append(value)
    means = {key: float(np.mean(values)) for key, values in found.items()}
    assert means["glyphs_lit", True] > means["glyphs", True] - 0.05, found
    assert means["glyphs_lit", True] > means["glyphs_lit", False] + 0.1, found
