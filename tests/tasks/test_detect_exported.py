# SPDX-License-Identifier: Apache-2.0
"""An exported detector: proposals and suppression are in the file, and its boxes are those of predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detected import SMALL, brief, scenes
from numpy.typing import NDArray
from torchvision.ops import batched_nms

import pellucid
from pellucid import _boxes, exporting
from pellucid.errors import PellucidError
from pellucid.exporting import export, facts
from pellucid.models import Proposals, Regions
from pellucid.run import Run
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.exported import NAMES, Exported, disagreement

Outputs = list[NDArray[Any]]


def run_file(file: Path, images: NDArray[np.float32]) -> Outputs:
    """The outputs of an exported file for images (B, 3, H, W)."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == [*NAMES]
        return list(session.run(None, {"images": images}))
    module = torch.export.load(file).module()
    return [output.detach().numpy() for output in module(torch.from_numpy(images))]


def agree(file: Path, run: Run, count: int, batch: int, least: float) -> int:
    """Assert that a file's answers are predict's within half a pixel; returns how many were compared."""
    images = scenes(test=count)["test"].images.array  # (N, 3, 64, 64)
    rows = pellucid.predict(run, [image.transpose(1, 2, 0) for image in images], threshold=least)
    classes, compared = json.loads(facts(file)["classes"]), 0
    for start in range(0, count, batch):
        boxes, scores, labels, _ = run_file(file, images[start : start + batch].astype(np.float32) / 255)
        for k, row in enumerate(rows[start : start + batch]):
            # a score that is as near to the threshold as rounding may be on either side of it
            own = [one for one in row["detections"] if one["score"] > least + 1e-4]
            wanted = np.array([[one[side] for side in ("x0", "y0", "x1", "y1")] for one in own]).reshape(-1, 4)
            got = np.flatnonzero(scores[k] > least - 1e-4)
            assert len(got) >= len(own)
            far = np.abs(wanted[:, None] - boxes[k][got][None]).max(2) if len(own) and len(got) else np.ones((0, 1))
            assert (far.min(1) <= 0.5).all() if len(own) else True
            for one, place in zip(own, far.argmin(1) if len(own) else [], strict=True):
                assert classes[labels[k][got[place]]] == one["label"] or (far[own.index(one)] <= 0.5).sum() > 1
            assert int((scores[k] > least + 1e-4).sum()) <= row["objects"] <= len(got)
            compared += len(own)
    return compared


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return brief(tmp_path_factory.mktemp("detect") / "run", epochs=3)


@pytest.fixture(scope="module")
def onnx_file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("onnx"), ["onnx"])[0]


@pytest.mark.slow
def test_onnx_has_the_boxes_of_predict(run: Run, onnx_file: Path) -> None:
    assert agree(onnx_file, run, 6, 4, 0.1) > 10


@pytest.mark.slow
def test_the_file_says_what_its_outputs_are(run: Run, onnx_file: Path) -> None:
    said = facts(onnx_file)
    assert run.threshold is not None
    assert float(said["threshold"]) == pytest.approx(run.threshold.value)
    assert said["input"] == "float32 images in [0, 1], (batch, 3, 64, 64)" and json.loads(said["classes"]) == list(
        run.classes
    )
    assert all(name in said["output"] for name in NAMES)
    assert said["size"].startswith("images of another size are resized to that of the input first")
    images = np.random.default_rng(0).random((3, 3, 64, 64), np.float32)
    boxes, scores, labels, count = run_file(onnx_file, images)
    assert boxes.shape[:2] == scores.shape == labels.shape and count.shape == (3,)
    assert (np.diff(scores) <= 0).all() and (count == (scores >= run.threshold.value).sum(1)).all()
    assert boxes.min() >= 0 and boxes.max() <= 64


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_both_forms_agree_with_predict_on_a_hundred_images(tmp_path: Path, form: Any) -> None:
    run = pellucid.train(
        "detect", scenes(400, 40, 40), None, tmp_path / "run",
        **{**SMALL, "widths": (16, 32, 32), "width": 32, "hidden": 64, "epochs": 6, "lr": 0.003},
    )  # fmt: skip
    [file] = export(run, tmp_path, [form])
    assert agree(file, run, 100, 16, 0.2) > 50


@pytest.mark.slow
def test_soft_suppression_is_exported_too(tmp_path: Path) -> None:
    run = brief(tmp_path / "run", soft=True)
    [file] = export(run, tmp_path, ["onnx"])
    assert agree(file, run, 6, 4, 0.1) > 10


def test_what_is_exported_is_what_predict_computes() -> None:
    """Without any file: the module's boxes are those of the task, hard and soft, in any batch."""
    from pellucid.models.fast_rcnn import FastRcnn

    torch.manual_seed(0)
    model = FastRcnn(
        3, 4, (64, 64), **{name: SMALL[name] for name in ("widths", "width", "hidden", "proposals", "bins")}
    ).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        model.classes.weight.mul_(100)
        for soft in (False, True):
            boxes, scores, labels, count = Exported(model, 0.5, soft)(images)
            found = Detect(soft=soft).predict(model, images)
            for k in range(3):
                n = len(found.scores[k])
                assert torch.allclose(scores[k, :n], found.scores[k], atol=1e-5)
                assert torch.equal(labels[k, :n], found.labels[k])
                assert torch.allclose(boxes[k, :n], found.corners[k], atol=1e-3)
                assert int(count[k]) == int((found.scores[k] >= 0.5).sum())


def test_suppression_of_a_batch_is_that_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    low = 50 * torch.rand(5, 200, 2, generator=generator)
    corners = torch.cat([low, low + 5 + 20 * torch.rand(5, 200, 2, generator=generator)], 2)
    scores = torch.rand(5, 200, generator=generator)
    labels = torch.randint(0, 7, (5, 200), generator=generator)
    kept = _boxes.kept(corners, scores, labels, 0.5)
    for k in range(5):
        assert sorted(batched_nms(corners[k], scores[k], labels[k], 0.5).tolist()) == kept[k].nonzero()[:, 0].tolist()


def test_a_file_with_other_boxes_is_not_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid import exporting

    def shifted(graph: Any, draft: Path, about: Any, names: Any) -> Any:
        module = run.task.exportable(run.model())  # type: ignore[attr-defined]

        def answer(images: torch.Tensor) -> Any:
            with torch.no_grad():
                boxes, *others = module(images)
            return boxes + 1, *others

        return answer

    monkeypatch.setattr(exporting, "_Graphs", lambda *given: [(None, False)])
    monkeypatch.setattr(exporting, "_write_torch", shifted)
    with pytest.raises(PellucidError, match=r"model\.pt2: differs from the model in \d+ of \d+ detections"):
        export(run, tmp_path, ["torch"])
    assert not list(tmp_path.iterdir())


def test_rounding_is_no_disagreement() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = [
        60 * torch.rand(2, 100, 4, generator=generator), torch.rand(2, 100, generator=generator),
        torch.zeros(2, 100, dtype=torch.int64), torch.tensor([3, 4]),
    ]  # fmt: skip
    order = torch.randperm(100, generator=generator)
    got = [wanted[0][:, order] + 1e-3, wanted[1][:, order], wanted[2][:, order], wanted[3]]
    assert disagreement(wanted, got) is None
    assert disagreement(wanted, [wanted[0], wanted[1], 1 - wanted[2], wanted[3]]) == "in 200 of 200 detections"
    assert disagreement(wanted, [*wanted[:3], wanted[3] + 50]) is not None


def test_of_equal_scores_the_first_counts_as_in_predict() -> None:
    """Regions that are pooled from the same places of a map have the very same score, and boxes of their own."""

    class Same(torch.nn.Module):
        threshold = torch.tensor(0.5)

        def get_buffer(self, target: str) -> torch.Tensor:
            return self.threshold

        def forward(self, images: torch.Tensor) -> Regions:
            count = 64
            corners = torch.tensor([8.0, 8, 24, 24]) + torch.linspace(0, 4, count)[:, None]
            logits = torch.tensor([0.0, 2.0, 1.0]).expand(1, count, 3)
            none = torch.zeros(1, 1, 4)
            proposals = Proposals(corners[None], torch.zeros(1, count))
            return Regions(proposals, corners[None], logits, torch.zeros(1, count, 2, 4), none[0], none[:, :, 0], none)

    model, images = Same(), torch.zeros(1, 3, 64, 64)
    boxes, scores, labels, _ = Exported(model, 0.5, False)(images)
    found = Detect().predict(model, images)
    count = int((scores > 0).sum())
    assert len(found.labels[0]) == count < 10
    assert torch.equal(found.labels[0], labels[0, :count])
    torch.testing.assert_close(boxes[0, :count], found.corners[0])
    torch.testing.assert_close(boxes[0, 0], torch.tensor([8.0, 8, 24, 24]))


def test_the_graph_of_an_export_runs_where_gradients_are_recorded() -> None:
    """As it does for somebody who loads a file and asks it at once."""
    from pellucid.models.fast_rcnn import FastRcnn

    torch.manual_seed(0)
    options = {name: SMALL[name] for name in ("widths", "width", "hidden", "proposals", "bins")}
    module = Exported(FastRcnn(3, 4, (64, 64), **options).eval(), 0.5, False)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        graph = exporting._graph(module, images, {}).module()
        wanted = module(images)
    for own, theirs in zip(graph(images), wanted, strict=True):
        torch.testing.assert_close(own.detach(), theirs)
