# SPDX-License-Identifier: Apache-2.0
"""The contract fits a detector: ragged records, a deciding measure that is no mean over images, and boxes as answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from pellucid import _catalog, compare, data, evaluate, predict, train
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Boxes, target_of
from pellucid.models import OutputKind
from pellucid.tasks import Metric, Ragged, Records, Task
from pellucid.tasks._metrics import Weights

CUTS = ((0, 0), (0, 32), (32, 0), (32, 32))  # upper left corners of the four quarters, in px


def overlap(box: Tensor, others: Tensor) -> float:
    """The largest intersection over union of a box (4,) with others (n, 4)."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (high - low).clamp_min(0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return float((shared / (areas - shared)).max()) if len(others) else 0.0


def average_precision(records: Records, weights: Weights) -> NDArray[np.float64]:
    """(R,): the mean of the precision at each hit over all objects, of boxes from the most to the least certain."""
    order = np.argsort(-records["score"].values, kind="stable")
    weight = weights[:, records["score"].owners[order]]  # (R, boxes)
    hits = weight * records["hit"].values[order]
    precision = hits.cumsum(1) / np.maximum(weight.cumsum(1), 1e-12)
    return np.asarray((precision * hits).sum(1) / (weights @ records["objects"]))


@dataclass(frozen=True)
class Quarters(Task[Tensor, Boxes, Boxes]):
    """In which quarters of an image is something?"""

    least: float = 0.5
    """score from which a quarter is answered"""

    example: ClassVar[str] = "scenes"
    default_model: ClassVar[str] = "convnet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("vector",)
    keeps_size: ClassVar[bool] = False

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(CUTS)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Boxes]:
        return batch.images.float().div_(255), target_of(batch.targets, "boxes", Boxes)

    def loss(self, model: nn.Module, input: Tensor, truth: Boxes) -> dict[str, Tensor]:
        there = [[bool(overlap(box, corners) > 0) for box in quarters()] for corners in truth.corners]
        wanted = torch.tensor(there, dtype=torch.float32)  # (B, 4)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(model(input).float(), wanted)}

    def predict(self, model: nn.Module, input: Tensor) -> Boxes:
        scores = model(input).float().sigmoid()  # (B, 4)
        kept = [row >= self.least for row in scores]
        labels = [torch.zeros(int(some.sum()), dtype=torch.int64) for some in kept]
        return Boxes(
            [quarters()[some] for some in kept], labels, [row[some] for row, some in zip(scores, kept, strict=True)]
        )

    def score(self, input: Tensor, prediction: Boxes, truth: Boxes) -> dict[str, Any]:
        assert prediction.scores is not None
        hits = [
            np.array([overlap(box, corners) > 0.1 for box in boxes], np.float64)
            for boxes, corners in zip(prediction.corners, truth.corners, strict=True)
        ]
        return {
            "score": Ragged.of([row.numpy() for row in prediction.scores]),
            "hit": Ragged.of(hits),
            "objects": np.array([len(corners) for corners in truth.corners]),
        }

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return [Metric("ap", "average precision", over=average_precision)]

    def ranking(self, records: Records) -> NDArray[np.float64]:
        return np.array([hit.mean() if len(hit) else 0.0 for hit in records["hit"]])

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        truth = target_of(test.targets, "boxes", Boxes)
        everywhere = Boxes([quarters()] * len(test), [torch.zeros(4)] * len(test), [torch.ones(4)] * len(test))
        return {"all quarters": self.score(torch.zeros(len(test)), everywhere, truth)}

    def write(self, prediction: Boxes, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        return [{"name": n, "boxes": c.tolist()} for n, c in zip(names, prediction.corners, strict=True)]

    def draw(
        self, input: Tensor, prediction: Boxes, truth: Boxes | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        return Figure()

    def evidence(self, output: Tensor) -> Tensor:
        return output.amax(1)


def quarters() -> Tensor:
    """(4, 4) corners in px."""
    return torch.tensor([[x, y, x + 32, y + 32] for y, x in CUTS], dtype=torch.float32)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task as a member of the catalogue."""
    find = _catalog.find
    monkeypatch.setattr(_catalog, "find", lambda folder, name: Quarters if name == "quarters" else find(folder, name))
    monkeypatch.setattr(Quarters, "__module__", "pellucid.tasks.quarters")
    monkeypatch.setitem(sys.modules, "pellucid.tasks.quarters", sys.modules[__name__])


@pytest.mark.usefixtures("named")
def test_a_detector_trains_is_measured_compared_and_answers(tmp_path: Path) -> None:
    whole = data.open("scenes")
    dataset = whole.replace(splits={part: split.select(range(48)) for part, split in whole.splits.items()})
    options = {"epochs": 2, "batch_size": 16, "widths": (4, 8), "progress": False, "device": "cpu"}
    runs = [train("quarters", dataset, "convnet", tmp_path / str(lr), lr=lr, **options) for lr in (1e-2, 1e-6)]
    assert runs[0].main.key == "ap" and "ap" in runs[0].history[-1]
    found = [evaluate(run, dataset) for run in runs]
    assert found[0]["baselines"]["all quarters"]["ap"]["title"] == "average precision"
    for run in runs:
        records = evaluate_and_keep(run, dataset)
        hit, score = records["hit"], records["score"]
        assert isinstance(hit, Ragged) and len(hit) == 48 and hit.lengths.tolist() == score.lengths.tolist()
        # scikit-learn's average precision is over the hits; here it is over all objects
        share = hit.values.sum() / records["objects"].sum()
        peer = average_precision_score(hit.values, score.values) * share if hit.values.any() else 0.0
        assert run.main.value(records) == pytest.approx(peer, abs=0.02)  # ties in the score are ordered otherwise
    compared = compare(runs, tmp_path / "comparison")
    [gap] = [row.difference for row in compared.rows if row.difference is not None]
    assert gap.paired and gap.low <= gap.value <= gap.high
    rows = predict(runs[0], dataset["test"].images.read(0, channels=3).transpose(1, 2, 0))
    assert all(len(box) == 4 for box in rows[0]["boxes"])


def evaluate_and_keep(run: Any, dataset: Dataset) -> dict[str, Any]:
    """The records of an evaluation, as they come back from the run's folder."""
    from unittest.mock import patch

    with patch.object(type(run), "read", lambda self, what=None: (dataset, self.task)):
        evaluate(run)
    return dict(run.records())
