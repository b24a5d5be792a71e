# SPDX-License-Identifier: Apache-2.0
"""Objects in photographs: `train detect` against torchvision's `fasterrcnn_mobilenet_v3_large_320_fpn`.

Both train for the same wall time on the same images: ours as `train detect` does it, validation after each epoch included; the
peer by a plain torch loop that is fed by our data path (images decoded and resized once, and augmented in batches), so that none of its
time goes into files, and that validates nothing. Its recipe is the usual one: AdamW with gradients clipped, a linear warm-up over the
first tenth of the time and a cosine after it, the average of the weights that ours has too, and bf16 where that is faster.
It is trained twice: at our size, and at the size of its name, with the shorter side at 320 px.

Without `--weights` both begin from scratch. With it both begin with the same ImageNet weights of MobileNetV2, as those of
MobileNetV3 come in no package: the peer is then torchvision's `FasterRCNN` with its feature pyramid on that backbone, everything
else as in that model, and batch norm fixed, as torchvision has it.

Measured on the test images: AP50 by our measure, with the paired interval of the difference, and by faster-coco-eval. Images a second
from arrays of pixels to lists of boxes, one at a time and eight at a time. Seconds for the proposals of an image. RoI pooling
against `torchvision.ops.roi_pool`, with and without gradients. All of these take turns. Claims: ahead in AP50, at least 1.5 × as
many images a second in prediction, RoI pooling at least as fast, proposals in less than 0.1 s an image.

    python benchmarks/detection.py [FOLDER] [--minutes 10] [--weights] [--backbone mobilenet_v2] [--size 240 320] [--rounds 3]

FOLDER has annotated images; without it, embedded scenes are taken, which are easy. `--minutes 0` measures the speed alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import in_turn, ratio, report, table, timed
from _torchvision_detector import AUGMENT, CLIP, RATE, Peer, answers, coco, detected
from torch import Tensor, nn
from torchvision.ops import roi_pool

import pellucid
from pellucid import data
from pellucid.comparison.difference import paired
from pellucid.data.dataset import Split
from pellucid.data.targets import Boxes
from pellucid.inference import examples
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.models.fast_rcnn.pooling import max_pool
from pellucid.models.fast_rcnn.proposing import best
from pellucid.run import Run
from pellucid.tasks import summarise
from pellucid.tasks.detect import metrics
from pellucid.tasks.detect.objects import Detected

# (images, regions of each, maps (C, H, W), stride): as in this benchmark's training, in its prediction, and larger ones
POOLING = (
    (8, 64, (64, 30, 40), 8), (1, 300, (64, 30, 40), 8), (8, 300, (64, 30, 40), 8), (8, 64, (64, 60, 80), 4),
    (1, 300, (256, 50, 68), 16), (2, 512, (256, 50, 68), 16),
)  # fmt: skip
LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}  # ours has the first one


def ours_and_truth(run: Run, split: Split) -> tuple[Detected, Boxes]:
    """Our detections in the test images, and the objects, in the px of the training size."""
    groups = [
        (answer, truth.boxes)
        for _, answer, truth, _ in examples(run, split, np.arange(len(split)), torch.device("cpu"))
    ]
    assert len(groups) == 1, "all images have the training's size"
    return groups[0]


def pooling(rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of both, in the median, and torchvision's time over ours; by case."""
    rows: dict[str, dict[str, float]] = {}
    for (images, regions, (channels, height, width), stride), layout in itertools.product(POOLING, LAYOUTS):
        generator = torch.Generator().manual_seed(0)
        maps = torch.rand(images, channels, height, width, generator=generator)
        maps = maps.contiguous(memory_format=LAYOUTS[layout])
        frame = torch.tensor([width, height]) * stride
        middle = torch.rand(images, regions, 2, generator=generator) * frame
        half = 0.5 * (8 + torch.rand(images, regions, 2, generator=generator).square() * 0.6 * min(frame))
        corners = torch.cat([middle - half, middle + half], 2).clamp_min(0).minimum(frame.repeat(2) - 1.0)
        listed = list(corners)

        def ours(maps: Tensor, corners: Tensor = corners, stride: int = stride) -> Tensor:
            return max_pool([maps], [stride], corners, 7)

        def theirs(maps: Tensor, listed: list[Tensor] = listed, stride: int = stride) -> Tensor:
            return roi_pool(maps, listed, 7, 1 / stride)

        def forward(pool: Callable[[Tensor], Tensor], maps: Tensor = maps) -> float:
            with torch.no_grad():
                return timed(lambda: [pool(maps) for _ in range(5)]) / 5

        def both(pool: Callable[[Tensor], Tensor], maps: Tensor = maps) -> float:
            grown = maps.clone().requires_grad_()
            return timed(lambda: [pool(grown).sum().backward() for _ in range(5)]) / 5

        with contextlib.redirect_stderr(io.StringIO()):
            taken = in_turn({"ours": lambda: forward(ours), "theirs": lambda: forward(theirs)}, 3 * rounds)
            trained = in_turn({"ours": lambda: both(ours), "theirs": lambda: both(theirs)}, 3 * rounds)
        row = {}
        for name, seconds in (("forward", taken), ("with gradient", trained)):
            row |= {f"{name}, ms": round(1e3 * statistics.median(seconds["ours"]), 2),
                    f"{name}, torchvision ms": round(1e3 * statistics.median(seconds["theirs"]), 2),
                    f"{name}, ratio": round(ratio(seconds, "ours", "theirs"), 2)}  # fmt: skip
        rows[f"{images} images, {regions} regions, {channels} × {height} × {width}, {layout}"] = row
    return rows


@torch.no_grad()
def proposing(model: FastRcnn, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Seconds from one image to its proposals, and those that come after the maps of the backbone."""
    image = torch.rand(1, 3, *size)

    def after(maps: list[Tensor]) -> None:
        scores, offsets = model.proposer(maps)
        best(scores, offsets, model.grid.corners(maps), size, model.proposals, model.covered)

    maps = model.pyramid(model.backbone(image))
    rivals = {
        "from the image": lambda: timed(lambda: after(model.pyramid(model.backbone(image)))),
        "from the maps": lambda: timed(lambda: after(maps)),
    }
    return {name: round(statistics.median(seconds), 4) for name, seconds in in_turn(rivals, 3 * rounds).items()}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", nargs="?", type=Path)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--weights", action="store_true")
    options.add_argument("--backbone", default="mobilenet_v2")
    options.add_argument("--size", type=int, nargs=2, default=(240, 320))
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--ema", type=float, default=0.99)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    size = (asked.size[0], asked.size[1])
    dataset = data.open(asked.folder if asked.folder is not None else "scenes")
    test, classes = dataset.splits["test"], dataset.classes
    named = (round(320 / min(size) * size[0]), round(320 / min(size) * size[1]))
    peers_by_name = {f"torchvision, {h} × {w}": Peer(asked, dataset, (h, w)) for h, w in dict.fromkeys([size, named])}
    given: dict[str, Any] = {
        "model": "fast_rcnn", "backbone": asked.backbone, "size": size, "batch_size": asked.batch, "lr": RATE,
        "clip": CLIP, "ema": asked.ema, "device": "cpu", "progress": False, **AUGMENT,
    }  # fmt: skip
    if asked.backbone != "convnet":
        given["pretrained"] = asked.weights
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        limit = min(8 * asked.batch, len(dataset.splits["train"]))
        run = pellucid.train("detect", dataset, out=place / "brief", limit=limit, **{**given, "epochs": 3})
        ends = {(row["split"], row["epoch"]): row["seconds"] for row in run.history}
        # of the second epoch on; the first one has the first calls
        ours_each = statistics.median(
            (ends["train", n] - ends["val", n - 1]) / (limit // asked.batch * asked.batch) for n in (2, 3)
        )
        validation = statistics.median(ends["val", n] - ends["train", n] for n in (2, 3))
        each = {
            "pellucid": ours_each,
            **{name: peer.seconds_of() / asked.batch for name, peer in peers_by_name.items()},
        }
        models: dict[str, nn.Module] = {}
        spent, seen = {"pellucid": 0.0}, {"pellucid": 0}
        images = len(dataset.splits["train"])
        if asked.minutes:
            epochs = max(2, round(60 * asked.minutes / (ours_each * images + validation)))
            run = pellucid.train("detect", dataset, out=place / "run", **{**given, "epochs": epochs})
            spent["pellucid"], seen["pellucid"] = float(run.info["seconds"]), epochs * images
        for name, peer in peers_by_name.items():
            models[name], spent[name], seen[name] = peer.made().eval(), 0.0, 0
            if asked.minutes:
                begun = time.perf_counter()
                models[name], seen[name] = peer.trained(spent["pellucid"])
                spent[name] = time.perf_counter() - begun
        arrays = [test.images.read(i, 3).transpose(1, 2, 0).copy() for i in range(len(test))]
        found, truth = ours_and_truth(run, test)
        every = {
            "pellucid": found,
            **{name: detected(answers(model, arrays, 8), arrays, size) for name, model in models.items()},
        }
        records = {name: metrics.columns(one, truth) for name, one in every.items()}
        main_metric = metrics.metrics(classes)[0]
        measured = {name: summarise([main_metric], own)[main_metric.key] for name, own in records.items()}
        by_coco = {name: coco(one, truth, len(classes), size) for name, one in every.items()}
        ahead = {name: str(paired(main_metric, [records["pellucid"]], records[name])[0]) for name in models}
        rates: dict[int, dict[str, list[float]]] = {}
        for batch in (1, 8):
            routes: dict[str, Callable[[], float]] = {
                "pellucid": lambda batch=batch: timed(lambda: pellucid.predict(run, arrays, batch_size=batch))
            }
            for name, model in models.items():
                routes[name] = lambda batch=batch, model=model: timed(lambda: answers(model, arrays, batch))
            rates[batch] = in_turn(routes, asked.rounds)
        model = run.model()
        assert isinstance(model, FastRcnn)
        proposals = proposing(model, size, asked.rounds)
    rows = {
        name: {
            "AP50": str(measured[name]), "by coco": f"{by_coco[name]:.4f}", "ours ahead by": ahead.get(name, ""),
            "trained s": round(spent[name]), "images seen": seen[name], "training ms/image": round(1e3 * each[name], 1),
            **{f"images/s, {batch}": round(len(arrays) / statistics.median(taken[name]), 1) for batch, taken in rates.items()},
            **{f"ours ×, {batch}": round(ratio(taken, "pellucid", name), 2) for batch, taken in rates.items()},
        }
        for name in every
    }  # fmt: skip
    pools = pooling(asked.rounds)
    table(rows)
    table(pools)
    report(
        "detection", data=dataset.name, images={part: len(split) for part, split in dataset.splits.items()},
        minutes=asked.minutes, backbone=asked.backbone, weights=asked.weights, size=size, batch=asked.batch, seed=0,
        bf16={name: peer.fast for name, peer in peers_by_name.items()}, detectors=rows, seconds_for_proposals=proposals, roi_pooling=pools,
    )  # fmt: skip


if __name__ == "__main__":
    main()
