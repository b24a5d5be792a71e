# SPDX-License-Identifier: Apache-2.0
"""Street scenes by class: `unet` with an ImageNet encoder against segmentation_models_pytorch's Unet on the same encoder.

Both begin with the same weights of the same encoder, see the same images with the same augmentation, and train for the same wall
time: `train segment` as it is (bf16 and channels-last where the processor gains from them, images resident as uint8, validated
after every epoch), and a plain torch loop as tutorials write it, with a DataLoader whose two workers decode each image in every
epoch, once in float32 and once in bf16 and channels-last. Each measures how many images a second it trains on, and how many it
answers from files to masks as PNG files; all take turns. Claims: ahead in mean IoU (difference with interval over the test images),
at least 1.5 × as many images a second in training and 1.3 × in prediction.

    python benchmarks/segmentation.py [FOLDER] [--minutes 6] [--encoder efficientnet_lite0] [--size 360 480] [--rounds 2]

FOLDER has images and masks; without it, the embedded scenes are taken, which are easy. `--minutes 0` measures prediction alone.
The peer: pip install segmentation-models-pytorch.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import in_turn, ratio, report
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import pellucid
from pellucid import data
from pellucid.comparison.difference import paired
from pellucid.data.targets import Mask, target_of
from pellucid.inference import evaluation, predict
from pellucid.models.unet.encoder import body
from pellucid.tasks import summarise
from pellucid.tasks.segment import metrics

BATCH, RATE, VOID = 8, 2e-3, 255
MIRROR, SCALE, EXPOSURE = True, 0.25, 0.5  # the augmentation of both
PEERS = {"efficientnet_lite0": "tu-tf_efficientnet_lite0", "mobilenet_v2": "mobilenet_v2"}


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """The usual way: open an image and its mask, resize both, augment, to tensor."""

    def __init__(self, files: list[Path], masks: list[Any], size: tuple[int, int], training: bool) -> None:
        self.files, self.masks, self.size, self.training = files, masks, size, training

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.files[index]) as opened:
            image = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        mask = torch.from_numpy(self.masks[index])[None]
        image = v2.functional.resize(image, list(self.size), antialias=True)
        mask = v2.functional.resize(mask, list(self.size), v2.InterpolationMode.NEAREST)
        if self.training:
            share, bright, turned = torch.rand(3).tolist()
            given: dict[str, Any] = {
                "angle": 0.0,
                "translate": [0, 0],
                "scale": 1 + SCALE * (2 * share - 1),
                "shear": [0.0],
            }
            image = v2.functional.affine(image, **given, interpolation=v2.InterpolationMode.BILINEAR)
            mask = v2.functional.affine(mask, **given, fill=[VOID])
            image = v2.functional.adjust_brightness(image, 2 ** (EXPOSURE * (2 * bright - 1)))
            if turned < 0.5:
                image, mask = image.flip(2), mask.flip(2)
        return image.float() / 255, mask[0].long()


class Peer:
    """The plain loop, once with float32 and once with what makes it fast."""

    def __init__(self, asked: Any, folder: Path, dataset: Any, fast: bool) -> None:
        self.asked, self.fast, self.classes = asked, fast, len(dataset.mask_classes)
        self.files = {part: [folder / name for name in split.names] for part, split in dataset.splits.items()}
        self.masks = {part: masks_of(split) for part, split in dataset.splits.items()}

    def loader(self, part: str, training: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        scenes = Scenes(self.files[part], self.masks[part], self.asked.size, training)
        return DataLoader(scenes, BATCH, shuffle=training, num_workers=2, drop_last=training, persistent_workers=True)

    def made(self) -> nn.Module:
        import segmentation_models_pytorch as smp

        torch.manual_seed(0)
        model = smp.Unet(PEERS[self.asked.encoder], encoder_weights=None, classes=self.classes)
        given = body(self.asked.encoder, 3, pretrained=True)
        own = model.encoder.state_dict()
        tensors = [tensor for stage in given.stages for tensor in stage.state_dict().values()]
        names = [name for name, tensor in own.items()][: len(tensors)]
        if [own[name].shape for name in names] != [tensor.shape for tensor in tensors]:
            raise SystemExit("the peer's encoder has other tensors than ours: nothing can be compared")
        model.encoder.load_state_dict({**own, **dict(zip(names, tensors, strict=True))})
        mean, std = given.normalize.mean, given.normalize.std
        model.register_buffer("mean", mean)
        model.register_buffer("std", std)
        return model.to(memory_format=torch.channels_last) if self.fast else model

    def scores(self, model: Any, images: Tensor) -> Tensor:
        """Scores of images whose sides are padded to multiples of 32, as this library asks."""
        height, width = images.shape[2:]
        images = F.pad((images - model.mean) / model.std, (0, -width % 32, 0, -height % 32), mode="replicate")
        if self.fast:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            scores: Tensor = model(images)
        return scores[:, :, :height, :width].float()

    def trained(self, seconds: float) -> tuple[Any, float, int]:
        """The model after as many seconds (one cycle of the learning rate), how long it took, and its steps."""
        model, loader, steps = self.made(), self.loader("train", True), 0
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
        optimizer.step()  # nothing has a gradient yet: the cycle may begin
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=1001)
        begun = time.perf_counter()
        model.train()
        while True:
            for images, masks in loader:
                spent = time.perf_counter() - begun
                if spent >= seconds:
                    return model, spent, steps
                while cycle.last_epoch < 1000 * spent / seconds:
                    cycle.step()
                loss = F.cross_entropy(self.scores(model, images), masks, ignore_index=VOID)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += 1

    def epoch(self) -> float:
        """The seconds of an epoch, after one."""
        model, loader, ends = self.made(), self.loader("train", True), []
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
        model.train()
        for _ in range(3):
            for images, masks in loader:
                loss = F.cross_entropy(self.scores(model, images), masks, ignore_index=VOID)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            ends.append(time.perf_counter())
        return (ends[-1] - ends[0]) / (len(ends) - 1)

    def answers(self, model: Any) -> Iterator[Tensor]:
        """The classes of the test images' pixels at the images' own size."""
        model.eval()
        truth = iter(self.masks["test"])
        with torch.no_grad():
            for images, _ in self.loader("test", False):
                for scores in self.scores(model, images).softmax(1):
                    yield F.interpolate(scores[None], next(truth).shape, mode="bilinear").argmax(1)[0]

    def prediction(self, model: Any, place: Path) -> None:
        for number, classes in enumerate(self.answers(model)):
            Image.fromarray(classes.to(torch.uint8).numpy()).save(place / f"{number}.png")

    def records(self, model: Any) -> dict[str, Any]:
        found = [
            metrics.columns(answer[None], torch.from_numpy(mask)[None], self.classes)
            for answer, mask in zip(self.answers(model), self.masks["test"], strict=True)
        ]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def masks_of(split: Any) -> list[Any]:
    """The masks of a split at their own size."""
    target = split.targets["mask"]
    if isinstance(target, Mask):
        return list(target_of(split.targets, "mask", Mask).classes.numpy())
    return [source.read() for source in target.sources]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument(
        "folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "shared" / "data" / "camvid"
    )
    options.add_argument("--minutes", type=float, default=6.0)
    options.add_argument("--encoder", choices=PEERS, default="efficientnet_lite0")
    options.add_argument("--size", type=int, nargs=2, default=(360, 480))
    options.add_argument("--rounds", type=int, default=2)
    asked = options.parse_args()
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        print("skipped: pip install segmentation-models-pytorch")
        return
    dataset = data.open(asked.folder)
    few = dataset.splits["val"].select(range(1))
    brief = dataset.replace(splits={"train": dataset.splits["train"], "val": few, "test": few})
    given: dict[str, Any] = {"encoder": asked.encoder, "size": tuple(asked.size), "batch_size": BATCH, "lr": RATE,
                             "flip": MIRROR, "scale": SCALE, "exposure": EXPOSURE, "progress": False}  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        peers = {
            "smp, float32": Peer(asked, asked.folder, dataset, False),
            "smp, bf16": Peer(asked, asked.folder, dataset, True),
        }

        def our_epoch() -> float:
            run = pellucid.train("segment", brief, "unet", place / f"speed{time.monotonic_ns()}", epochs=3, **given)
            ends = [r["seconds"] for r in run.history if r["split"] == "train" and r["epoch"] == int(r["epoch"])]
            return float(ends[-1] - ends[0]) / (len(ends) - 1)

        rivals: dict[str, Any] = {"pellucid": our_epoch}
        rivals |= {name: peer.epoch for name, peer in peers.items()}
        images, count, each = len(dataset.splits["train"]), 1, {}
        if asked.minutes:
            epochs = in_turn(rivals, asked.rounds)
            each = {name: images / statistics.median(seconds) for name, seconds in epochs.items()}
            validation = len(dataset.splits["val"]) / 3 / each["pellucid"]  # forward alone is about a third of a step
            count = max(3, round(60 * asked.minutes / (images / each["pellucid"] + validation)))
        run = pellucid.train("segment", dataset, "unet", place / "run", epochs=count, **given)
        spent = {"pellucid": float(run.info["seconds"])}
        steps = {"pellucid": count * (images // BATCH)}
        records: dict[str, Any] = {}
        models = {}
        for name, peer in peers.items():
            models[name], spent[name], steps[name] = peer.trained(spent["pellucid"] if asked.minutes else 0.0)
        if asked.minutes:
            records = {"pellucid": evaluation(run, dataset, baselines=False).records["model"]}
            records |= {name: peer.records(models[name]) for name, peer in peers.items()}
        files = [asked.folder / name for name in dataset.splits["test"].names]

        def our_prediction() -> float:
            begun = time.perf_counter()
            predict(run, files, place / f"answers{time.monotonic_ns()}")
            return time.perf_counter() - begun

        def their_prediction(name: str) -> float:
            begun = time.perf_counter()
            peers[name].prediction(models[name], place)
            return time.perf_counter() - begun

        answering: dict[str, Any] = {"pellucid": our_prediction}
        answering |= {name: (lambda name=name: their_prediction(name)) for name in peers}
        predicted = in_turn(answering, asked.rounds)
        metric = metrics.METRICS[0]
        measured = {name: summarise([metric], own)[metric.key] for name, own in records.items()}
        report(
            "segmentation",
            data=dataset.name, images={part: len(split) for part, split in dataset.splits.items()},
            encoder=asked.encoder, size=asked.size, seed=0,
            mean_iou={n: f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for n, m in measured.items()},
            ahead_by={n: str(paired(metric, [records["pellucid"]], records[n])[0]) for n in peers if n in records},
            seconds={n: round(s) for n, s in spent.items()}, steps=steps,
            train_images_per_second={n: round(v, 2) for n, v in each.items()},
            training_ratio={n: round(ratio(epochs, "pellucid", n), 2) for n in peers if each},
            predicted_images_per_second={n: round(len(files) / statistics.median(s), 2) for n, s in predicted.items()},
            prediction_ratio={n: round(ratio(predicted, "pellucid", n), 2) for n in peers},
        )  # fmt: skip


if __name__ == "__main__":
    main()
