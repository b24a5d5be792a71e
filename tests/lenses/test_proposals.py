# SPDX-License-Identifier: Apache-2.0
"""The way of an image through a detector: each step's boxes and values against plain loops, torchvision and the answer itself."""

from __future__ import annotations

import csv
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import nms, roi_pool

from pellucid.data.annotations.converting import convert
from pellucid.data.embedded.scenes import draw
from pellucid.data.targets import Boxes
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.lenses import Network, View
from pellucid.lenses.proposals import Proposals
from pellucid.looking.looking import look
from pellucid.looking.subjects import of_run
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.reporting.reporting import report
from pellucid.reporting.way import way
from pellucid.run import Run
from pellucid.tasks.detect import Detect
from pellucid.training.training import train

SMALL: dict[str, Any] = {"widths": (8, 8, 16, 16), "width": 8, "hidden": 16, "proposals": 40}


def detector() -> FastRcnn:
    """Untrained, and more sure of itself than such a network is."""
    torch.manual_seed(0)
    model = FastRcnn(3, 2, (64, 64), **SMALL).eval()
    with torch.no_grad():
        model.classes.weight *= 2000
        for head in (*model.proposer.objectness, *model.proposer.offsets):
            head.weight *= 40
    return model


@functools.cache
def seen(truth: bool = True) -> tuple[Network, View]:
    model, images = detector(), torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    # an object where a region is, one that is half as wide, one where there is nothing; and none
    near = model(images).corners[0, [3, 20]] + torch.tensor([[1.0, 0, 0, 0]])
    near[1, 2] = near[1, ::2].mean()
    objects = torch.cat([near, torch.tensor([[0.0, 0, 2, 2]])])
    known = [Boxes([objects], [torch.tensor([0, 1, 1])]), Boxes([objects[:0]], [torch.zeros(0, dtype=torch.int64)])]
    names = {"names": ("one", "two"), "classes": ("cat", "dog")}
    network = Network(model, images, **names, answer=Detect().predict, truth=known if truth else ())
    return network, Proposals().look(network)


def overlaps(one: Any, other: Any) -> float:
    """The IoU of two boxes."""
    wide, tall = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(0.0, wide) * max(0.0, tall)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (sum(sizes) - shared)) if shared else 0.0


def test_candidates_are_the_best_boxes_of_the_grid_and_suppression_is_torchvisions() -> None:
    network, view = seen()
    model, regions = network.model, network.model(network.images)
    for i in range(2):
        np.testing.assert_array_equal(view["grid"][i], regions.grid.numpy())
        np.testing.assert_allclose(view["objectness"][i], regions.objectness[i].detach().sigmoid(), atol=1e-6)
        best = np.argsort(-regions.objectness[i].detach().numpy(), kind="stable")[: len(view["candidates"][i])]
        for rank, place in enumerate(best[:30]):
            x0, y0, x1, y1 = (float(end) for end in regions.grid[place])
            dx, dy, dw, dh = regions.grid_offsets[i, place].detach().numpy() * [0.1, 0.1, 0.2, 0.2]
            x, y = (x0 + x1) / 2 + dx * (x1 - x0), (y0 + y1) / 2 + dy * (y1 - y0)
            w, h = (x1 - x0) * np.exp(dw), (y1 - y0) * np.exp(dh)
            box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [48, 64, 48, 64])
            np.testing.assert_allclose(view["candidates"][i, rank], box, atol=1e-3)
        corners, scores = (torch.from_numpy(view[name][i]) for name in ("candidates", "candidate_score"))
        kept = set(nms(corners, scores, model.covered).tolist())
        assert {*np.flatnonzero(view["covered"][i] == 0)} == kept
        assert view["counts"][i, 2] == len(kept) < len(corners)


def test_regions_scores_and_answers_are_those_of_the_model_and_the_task() -> None:
    network, view = seen()
    regions, found = network.model(network.images), Detect().predict(network.model, network.images)
    np.testing.assert_allclose(view["regions"], regions.corners.numpy(), atol=1e-4)
    np.testing.assert_allclose(view["probability"], regions.logits.detach().softmax(2).numpy(), atol=1e-5)
    for i in range(2):
        n = len(found.scores[i])
        np.testing.assert_allclose(view["answers"][i, :n], found.corners[i].detach(), atol=1e-3)
        np.testing.assert_array_equal(view["answer_label"][i, :n], found.labels[i])
        assert view["counts"][i, 4] == sum(score >= 0.5 for score in found.scores[i].tolist())
    assert view["counts"][:, 4].max() > 0


def test_pooled_values_are_those_of_the_shown_regions_on_the_map() -> None:
    _, view = seen()
    for i in range(2):
        shown = view["shown"][i][view["shown"][i] >= 0]
        assert len(shown) and len({*shown.tolist()}) == len(shown)
        rois = torch.cat([torch.zeros(len(shown), 1), torch.from_numpy(view["regions"][i, shown])], 1)
        peer = roi_pool(torch.from_numpy(view["map"][i])[None], rois, 7, 1 / float(view["stride"][i]))
        np.testing.assert_allclose(view["pooled"][i, : len(shown)], peer, atol=1e-5)


def test_the_map_of_objectness_has_each_cells_best_box() -> None:
    _, view = seen()
    stride = int(view["stride"][0])
    plain = np.full(view["objectness_map"][0].shape, -1.0)
    for (x0, y0, x1, y1), value in zip(view["grid"][0].tolist(), view["objectness"][0].tolist(), strict=True):
        row, column = int((y0 + y1) / 2 / stride), int((x0 + x1) / 2 / stride)
        plain[row, column] = max(plain[row, column], value)
    np.testing.assert_allclose(view["objectness_map"][0], plain, atol=1e-6)


def test_objects_that_have_a_box_are_counted_at_every_step() -> None:
    network, view = seen()
    assert view["objects"].tolist() == [3, 0]
    answered = view["answer_score"][0] >= view["threshold"][0]
    steps = [view["grid"][0], view["candidates"][0], view["candidates"][0][view["covered"][0] == 0], view["regions"][0],
             view["answers"][0][answered]]  # fmt: skip
    for boxes, found in zip(steps, view["found"][0].tolist(), strict=True):
        best = [
            max((overlaps(box, true) for box in boxes), default=0.0) for true in network.truth[0].corners[0].tolist()
        ]
        assert found == [sum(one >= least for one in best) for least in (0.5, 0.7)]
    assert (view["found"][1] == 0).all()
    loose, strict = view["found"][0, 3].tolist()
    assert 3 > loose >= strict >= 1
    assert f"Of 3 objects in 2 images, {loose} ha" in view.words and f"IoU ≥ 0.7 it is {strict}." in view.words


def test_without_truth_nothing_is_said_about_it() -> None:
    _, view = seen(truth=False)
    assert "object" not in view.words.replace("objectness", "") and "found" not in view.numbers
    rows = list(csv.DictReader(io.StringIO(view.files["proposals.csv"].decode())))
    assert {row["iou"] for row in rows} == {""}


def test_the_table_has_a_row_for_each_region() -> None:
    network, view = seen()
    rows = list(csv.DictReader(io.StringIO(view.files["proposals.csv"].decode())))
    assert len(rows) == 80 and [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    third = rows[42]
    assert third["image"] == "two"
    shares = view["probability"][1, 2]
    assert third["class"] == ("cat", "dog")[int(shares[1:].argmax())]
    assert float(third["probability"]) == pytest.approx(shares[1:].max(), abs=1e-6)
    best = max(overlaps(view["regions"][0, 4], true) for true in network.truth[0].corners[0].tolist())
    assert float(rows[4]["iou"]) == pytest.approx(best, abs=1e-4)


def test_a_model_without_proposals_and_one_without_a_task_are_refused(tmp_path: Path) -> None:
    for model in (nn.Sequential(nn.Flatten(), nn.Linear(64 * 64 * 3, 2)), detector()):
        with pytest.raises(UsageError, match=r"^model: [^.;]+; look at a run of detect\.$"):
            look(model, "proposals", np.zeros((64, 64, 3), np.uint8), tmp_path / "out", size=64)
    assert not (tmp_path / "out").exists()


def run_on_few(folder: Path, data: Any) -> Run:
    return train("detect", data, None, folder, epochs=1, batch_size=8, device="cpu", progress=False, **SMALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("proposals")
    convert(draw({"train": 8, "val": 4, "test": 5}), "coco", folder / "data")
    return run_on_few(folder / "run", folder / "data")


def test_a_run_is_looked_at_and_the_middle_of_its_answers_is_shown(run: Run) -> None:
    view = look(run, "proposals")
    assert sorted(file.name for file in run.figures.glob("proposals*")) == [
        "proposals.csv",
        "proposals.npz",
        "proposals.png",
    ]
    assert view["counts"].shape == (5, 5) and (view["objects"] >= 1).all()
    assert way(run, of_run(run))["words"].startswith(
        f"{view['names'][0]}: of {view['counts'][0, 0]:,} boxes of the grid"
    )
    evaluate(run, baselines=False)
    middle = np.argsort(run.task.ranking(run.records()), kind="stable")[2]
    shown = way(run, of_run(run))
    assert shown["words"].startswith(f"{run.data()['test'].names[middle]}: of ") and "Of " in shown["words"]
    assert shown["picture"].startswith("data:image/png;base64,")


def test_a_detection_of_a_run_is_followed(run: Run, tmp_path: Path) -> None:
    image = run.data()["test"].images.read(0, 3).transpose(1, 2, 0)
    view = look(run, "occlusion", image, tmp_path / "looks", patch=32, stride=32, follow="0.25,0.75")
    x0, y0, x1, y1 = view["box"][0]
    assert x0 <= 16 <= x1 and y0 <= 48 <= y1  # 40 regions of an untrained model are all over the image
    network = of_run(run, image).part(Network)
    assert network is not None
    found = run.task.predict(network.model, network.images[0][None]).corners[0]
    assert float((found.detach() - torch.from_numpy(view["box"][0])).abs().sum(1).min()) < 1e-3


def test_a_model_that_shows_no_steps_has_no_way(tmp_path: Path) -> None:
    run = train("classify", "digits", "mlp", tmp_path / "run", epochs=1, limit=32, device="cpu", progress=False)
    assert way(run, of_run(run)) is None


@pytest.mark.slow
def test_the_report_of_a_detector_shows_the_way(tmp_path: Path) -> None:
    run = run_on_few(tmp_path / "run", "scenes")
    assert "The way of one image" in report(run, maps=1).read_text()
