# SPDX-License-Identifier: Apache-2.0
"""Shared by the benchmarks: torchvision's detector in a plain training loop, and AP50 by faster-coco-eval."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import detection as peers
from torchvision.models.detection import backbone_utils
from torchvision.ops import misc

from pellucid.data.batches import store
from pellucid.data.dataset import Dataset
from pellucid.data.draws import Draws
from pellucid.data.targets import Boxes
from pellucid.data.transforms import Augment
from pellucid.models._backbones import mobilenet
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.objects import Detected, Sought

RATE, CLIP = 1e-3, 10.0  # of ours too
AUGMENT = {"flip": True, "scale": 0.2, "exposure": 0.3}  # of ours too
WARM = 0.1  # of the time


class Peer:
    """Torchvision's detector in a plain loop."""

    def __init__(self, asked: Any, dataset: Dataset, size: tuple[int, int]) -> None:
        self.asked, self.dataset, self.size = asked, dataset, size
        self.task = Detect(augment=Augment(**AUGMENT))
        self.fast = False
        self.images = store(dataset.splits["train"], size, 3, memory_share=0.9)

    def made(self) -> nn.Module:
        torch.manual_seed(0)
        given: dict[str, Any] = {
            "num_classes": 1 + len(self.dataset.classes),
            "min_size": min(self.size),
            "max_size": max(self.size),
        }
        if not self.asked.weights:
            return peers.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, **given)
        body = mobilenet(weights=True)
        backbone = backbone_utils._mobilenet_extractor(body, True, 6)
        for name, module in list(backbone.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                fixed = misc.FrozenBatchNorm2d(module.num_features, module.eps)
                state = {key: value for key, value in module.state_dict().items() if key != "num_batches_tracked"}
                fixed.load_state_dict(state)
                owner, _, own = name.rpartition(".")
                setattr(backbone.get_submodule(owner), own, fixed)
        anchors = peers.anchor_utils.AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
        return peers.FasterRCNN(backbone, rpn_anchor_generator=anchors, rpn_pre_nms_top_n_test=150,
                                rpn_post_nms_top_n_test=150, rpn_score_thresh=0.05, **given)  # fmt: skip

    def batches(self) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        """Shuffled batches without end."""
        count, step, size = len(self.dataset.splits["train"]), 0, self.asked.batch
        generator = torch.Generator().manual_seed(0)
        while True:
            order = torch.randperm(count, generator=generator)
            for start in range(0, count - size + 1, size):
                batch = self.images.batch(order[start : start + size])
                images, truth = self.task.prepare(batch, Draws.step(0, step, slice(0, size), size), training=True)
                step += 1
                yield list(images), [_target(truth, k) for k in range(size)]

    def step(self, model: nn.Module, optimizer: Any, batch: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            loss = sum(model(*batch).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    def trained(self, seconds: float) -> tuple[nn.Module, int]:
        """The average of the weights after so many seconds, and how many images were seen."""
        model = self.made().train()
        average = copy.deepcopy(model)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.01)
        begun, seen = time.perf_counter(), 0
        for batch in self.batches():
            share = (time.perf_counter() - begun) / seconds
            if share >= 1:
                break
            rate = share / WARM if share < WARM else 0.5 + 0.5 * math.cos(math.pi * (share - WARM) / (1 - WARM))
            optimizer.param_groups[0]["lr"] = RATE * max(rate, 0.01)
            self.step(model, optimizer, batch)
            seen += len(batch[0])
            keep = min(self.asked.ema, seen / (seen + 10 * len(batch[0])))
            with torch.no_grad():
                for own, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    own.lerp_(new, 1 - keep) if own.is_floating_point() else own.copy_(new)
        return average.eval(), seen

    def seconds_of(self, steps: int = 4) -> float:
        """Of a training step, in fp32 or bf16, whichever is faster."""
        found = {}
        for self.fast in (False, True):
            model = self.made().train()
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
            stream = self.batches()
            self.step(model, optimizer, next(stream))
            begun = time.perf_counter()
            for _ in range(steps):
                self.step(model, optimizer, next(stream))
            found[self.fast] = (time.perf_counter() - begun) / steps
        self.fast = found[True] < found[False]
        return found[self.fast]


def _target(truth: Sought, k: int) -> dict[str, Tensor]:
    boxes = truth.corners[k]
    sound = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1) & ~truth.ignored[k]
    return {"boxes": boxes[sound], "labels": truth.labels[k][sound] + 1}


@torch.inference_mode()
def answers(model: nn.Module, images: list[NDArray[np.uint8]], batch: int) -> list[dict[str, Tensor]]:
    """Arrays (H, W, 3) to boxes in their px, by torchvision's own route: the model resizes."""
    found: list[dict[str, Tensor]] = []
    for start in range(0, len(images), batch):
        own = images[start : start + batch]
        found += model([torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div_(255) for image in own])
    return found


def detected(rows: list[dict[str, Tensor]], images: list[NDArray[np.uint8]], size: tuple[int, int]) -> Detected:
    """A peer's answers in the px of our training size, in which all are measured."""
    scales = [torch.tensor([size[1] / image.shape[1], size[0] / image.shape[0]]).repeat(2) for image in images]
    corners = [row["boxes"] * scale for row, scale in zip(rows, scales, strict=True)]
    return Detected(
        corners, [row["labels"] - 1 for row in rows], [row["scores"] for row in rows], torch.full((len(rows),), 0.5)
    )


def coco(answer: Detected, truth: Boxes, classes: int, size: tuple[int, int]) -> float:
    """AP50 by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    def box(corners: Any) -> list[float]:
        return [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]

    crowds = truth.ignored or [torch.zeros(len(own), dtype=torch.bool) for own in truth.labels]
    known = [
        {"image_id": i, "category_id": k, "bbox": box(c), "area": box(c)[2] * box(c)[3], "iscrowd": int(crowd)}
        for i, (rows, labels, own) in enumerate(zip(truth.corners, truth.labels, crowds, strict=True))
        for c, k, crowd in zip(rows.double().tolist(), labels.tolist(), own.tolist(), strict=True)
        if c[2] > c[0] and c[3] > c[1]
    ]
    found = [
        {"image_id": i, "category_id": k, "bbox": box(c), "score": s}
        for i, (rows, labels, own) in enumerate(zip(answer.corners, answer.labels, answer.scores, strict=True))
        for c, k, s in zip(rows.double().tolist(), labels.tolist(), own.double().tolist(), strict=True)
    ]
    if not found:
        return 0.0
    content = {
        "images": [{"id": i, "height": size[0], "width": size[1]} for i in range(len(truth))],
        "annotations": [{"id": number, **one} for number, one in enumerate(known, 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO(content)
        judge = COCOeval_faster(whole, whole.loadRes(found), iouType="bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1])
