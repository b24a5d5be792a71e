# SPDX-License-Identifier: Apache-2.0
"""`look`: what it writes, whose images it takes, and that neither a view nor a fault leaves anything behind."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid import _catalog
from pellucid.errors import PellucidError, UnknownNameError, UsageError
from pellucid.exporting import export
from pellucid.inference import evaluate
from pellucid.lenses import Evaluation, Network
from pellucid.looking.looking import look
from pellucid.looking.subjects import of_run
from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = train("classify", "digits", "mlp", tmp_path_factory.mktemp("looking") / "run", epochs=1, limit=256,
                 hidden=(8,), device="cpu", progress=False)  # fmt: skip
    evaluate(made, baselines=False)
    return made


@pytest.mark.parametrize("lens", _catalog.names("lenses"))
def test_the_picture_and_the_numbers_lie_in_the_folder(seen: Run, tmp_path: Path, lens: str) -> None:
    view = look(seen, lens, out=tmp_path, **({"limit": 60} if lens == "embedding" else {}))
    with Image.open(tmp_path / f"{lens}.png") as image:
        assert min(image.size) > 200
    with np.load(tmp_path / f"{lens}.npz", allow_pickle=False) as numbers:
        assert set(numbers.files) == {*view.numbers, "axes"}
        for name in view.numbers:
            np.testing.assert_array_equal(numbers[name], view.numbers[name])


def test_by_default_it_lies_with_the_run(run: Run) -> None:
    look(str(run.path), "confusion")
    assert (run.figures / "confusion.png").exists()


def test_confusion_counts_what_was_evaluated(run: Run, tmp_path: Path) -> None:
    matrix = look(run, "confusion", out=tmp_path).numbers["confusion"]
    assert run.metrics is not None
    assert matrix.sum() == run.metrics["n"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(run.metrics["model"]["accuracy"]["value"])


def test_own_images_are_those_of_the_test_split(run: Run) -> None:
    network = of_run(run).part(Network)
    assert network is not None
    test = run.data().splits["test"]
    assert set(network.names) <= set(test.names)
    for name, image in zip(network.names, network.images, strict=True):
        stored = test.images.read(list(test.names).index(name), 1)
        np.testing.assert_allclose(image.numpy(), stored / np.float32(255), atol=1e-6)


def test_named_images_are_looked_at(run: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    found = [
        look(run, "occlusion", images, out=tmp_path / "out", patch=2).numbers["drop"]
        for images in (str(tmp_path), [*pixels])
    ]
    assert len(found[0]) == 3
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_options_reach_the_lens(run: Run, tmp_path: Path) -> None:
    assert look(run, "occlusion", out=tmp_path, patch=4, stride=4).numbers["drop"].shape[1:] == (2, 2)


class Classifier(nn.Module):
    """A ready classifier for 6×6 colour images, in training mode as a careless caller hands it over."""

    size, classes = (6, 6), ("dark", "bright")

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.calls, self.most = 0, most

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.most:
            raise RuntimeError("out of memory")
        mean = self.drop(x).mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def test_any_torch_classifier_can_be_looked_at(tmp_path: Path) -> None:
    view = look(Classifier(), "occlusion", np.full((40, 20), 200, np.uint8), out=tmp_path)
    assert view.numbers["map"].shape == (1, 6, 6)
    assert view.numbers["class"].tolist() == [1]


def test_after_a_fault_nothing_is_left(tmp_path: Path) -> None:
    model = Classifier(most=2).train()
    with pytest.raises(RuntimeError, match="out of memory"):
        look(model, "occlusion", np.zeros((6, 6), np.uint8), out=tmp_path / "out", memory=1e-9)
    assert all(module.training for module in model.modules()), "it was in training mode before"
    assert not any(module._forward_hooks for module in model.modules())
    assert not (tmp_path / "out").exists()


def test_the_name_of_a_file_is_no_folder(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"map.png': is called like a file, and a look writes several; give a folder, as in '.*map'"
    ):
        look(run, "filters", out=tmp_path / "map.png")
    with pytest.raises(UsageError, match=r"net.onnx': is called like a file, and export writes several; give a folder"):
        export(run, out=tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_curves_and_confusion_need_no_data(run: Run, tmp_path: Path) -> None:
    """A run that was moved to where its data are not still shows what it holds."""
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    info: dict[str, Any] = json.loads((moved / "run.json").read_text())
    info["data"]["what"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(info))
    for lens in ("curves", "confusion"):
        alone, whole = look(moved, lens).words, look(run, lens, out=tmp_path).words
        assert alone == whole or alone == f"{whole} Without images: the data are not available."
    with pytest.raises(PellucidError, match="gone"):
        look(moved, "occlusion")


def test_the_records_of_other_images_are_not_shown_with_these(run: Run, tmp_path: Path) -> None:
    """Rows that are not as many as the split's images are not those of its images."""
    same, fewer = (tmp_path / name for name in ("same", "fewer"))
    for folder in (same, fewer):
        shutil.copytree(run.path, folder)
    info: dict[str, Any] = json.loads((fewer / "run.json").read_text())
    info["data"]["images"]["test"] -= 1
    (fewer / "run.json").write_text(json.dumps(info))
    evaluations = [of_run(Run(folder)).part(Evaluation) for folder in (same, fewer)]
    assert [one is not None and one.images is not None for one in evaluations] == [True, False]


def test_a_mistake_is_one_sentence(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'occlusion'"):
        look(run, "oclusion")
    with pytest.raises(UnknownNameError, match="did you mean 'patch'"):
        look(run, "occlusion", pach=3)
    with pytest.raises(UsageError, match=r"none\.png"):
        look(run, "occlusion", str(tmp_path / "none.png"))
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"broken\.png"):
        look(run, "occlusion", str(tmp_path / "broken.png"))


def test_no_figure_of_a_task_has_the_name_of_a_lens() -> None:
    """Both lie in a run's figures/, so that one would overwrite the other."""
    names: set[str] = set()
    for file in Path(pellucid.__file__).parent.joinpath("tasks").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "NamedFigure":
                first = call.args[0]
                assert isinstance(first, ast.Constant), f"{file}:{call.lineno}"
                names.add(str(first.value))
    assert len(names) > 10
    assert not names & set(_catalog.names("lenses"))
