"""Random answers and truths of a detector, with every kind of error among them, and what pycocotools' rules make of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.targets import Boxes
from pellucid.tasks.detect.objects import Detected

SIZE = 320  # px a side


def tensors(rows: Sequence[Any], kind: torch.dtype, *shape: int) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(row, np.float64).reshape(-1, *shape)).to(kind) for row in rows]


def truth_of(
    corners: Sequence[Any], labels: Sequence[Any] | None = None, ignored: Sequence[Any] | None = None
) -> Boxes:
    """Boxes of images; all of class 0 if no labels are given."""
    labels = [[0] * len(row) for row in corners] if labels is None else labels
    crowds = None if ignored is None else tensors(ignored, torch.bool)
    return Boxes(tensors(corners, torch.float32, 4), tensors(labels, torch.int64), None, crowds)


def answer_of(
    corners: Sequence[Any],
    scores: Sequence[Any],
    labels: Sequence[Any] | None = None,
    threshold: float = 0.5,
    proposals: Sequence[Any] | None = None,
) -> Detected:
    labels = [[0] * len(row) for row in corners] if labels is None else labels
    ranked = None if proposals is None else tensors(proposals, torch.float32, 4)
    return Detected(
        tensors(corners, torch.float32, 4),
        tensors(labels, torch.int64),
        tensors(scores, torch.float32),
        torch.full((len(corners),), threshold),
        ranked,
        None if ranked is None else [torch.linspace(1, 0, len(row)) for row in ranked],
    )


def random_sets(
    images: int, classes: int, seed: int = 0, crowds: bool = True, most: int = 9, extra: int = 6
) -> tuple[Detected, Boxes]:
    """Objects of any size, some of them crowds, and answers near them (moved, doubled, of another class) and elsewhere."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in ("true", "label", "crowd", "ours", "own", "score")}
    for _ in range(images):
        count = int(rng.integers(0, most + 1))
        true = boxes(rng, count)
        label = rng.integers(0, classes, count)
        copies = rng.integers(0, 3, count)  # of each object: missed, found, found twice
        near = np.repeat(true, copies, 0)
        side = np.tile(near[:, 2:] - near[:, :2], 2)
        near = near + rng.normal(0, 0.08, near.shape) * side
        near = np.sort(near.reshape(-1, 2, 2), 1).reshape(-1, 4)
        named = np.repeat(label, copies)
        swapped = rng.random(len(named)) < 0.2
        named = np.where(swapped, rng.integers(0, classes, len(named)), named)
        far = boxes(rng, int(rng.integers(0, extra + 1)))
        ours = np.concatenate([near, far])
        rows["true"].append(true)
        rows["label"].append(label)
        rows["crowd"].append((rng.random(count) < 0.15) & crowds)
        rows["ours"].append(ours)
        rows["own"].append(np.concatenate([named, rng.integers(0, classes, len(far))]))
        rows["score"].append(rng.random(len(ours)))
    answer = answer_of(rows["ours"], rows["score"], rows["own"])
    return answer, truth_of(rows["true"], rows["label"], rows["crowd"])


def boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 4) from a few px to most of the image."""
    side = np.exp(rng.uniform(np.log(8), np.log(250), (count, 2)))
    low = rng.uniform(0, 1, (count, 2)) * (SIZE - side)
    return np.concatenate([low, low + side], 1)


def coco_precision(answer: Detected, truth: Boxes, classes: int) -> Mapping[str, Any]:
    """The average precision (IoUs, classes, ranges) of faster-coco-eval, NaN where a class has no objects."""
    from faster_coco_eval import COCO, COCOeval_faster

    annotations: list[dict[str, Any]] = []
    for i, corners in enumerate(truth.corners):
        crowd = truth.ignored[i] if truth.ignored is not None else torch.zeros(len(corners), dtype=torch.bool)
        for box, label, ignored in zip(
            corners.double().tolist(), truth.labels[i].tolist(), crowd.tolist(), strict=True
        ):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": label, "bbox": [x, y, w, h],
                                "area": w * h, "iscrowd": int(ignored)})  # fmt: skip
    found = [
        {"image_id": i, "category_id": label, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "score": score}
        for i, corners in enumerate(answer.corners)
        for b, label, score in zip(
            corners.double().tolist(), answer.labels[i].tolist(), answer.scores[i].double().tolist(), strict=True
        )
    ]
    content = {
        "images": [{"id": i, "width": SIZE, "height": SIZE} for i in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(content)
        judge = COCOeval_faster(known, known.loadRes(found), iouType="bbox")
        judge.evaluate()
        judge.accumulate()
    table = np.asarray(judge.eval["precision"])[..., -1]  # (IoUs, recalls, classes, ranges)
    table = np.where(table < 0, np.nan, table)
    return {"precision": table.mean(1)}
