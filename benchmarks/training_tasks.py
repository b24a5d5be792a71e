# SPDX-License-Identifier: Apache-2.0
"""Inpaint, compress, generate and cluster: `train` against a bare loop over a resident tensor, with the same arithmetic.

The bare loop holds all images in one tensor and uses the task's preparation, loss and buffer updates between epochs, and a fused
AdamW; it has no checkpoints, history, progress bar or resumption.

Claim: `train` reaches at least 0.9 × its speed for each task with a typical model.

    python benchmarks/training_tasks.py [--images 12800] [--epochs 5] [--rounds 5] [--only generate]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from torch import Tensor

from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.tasks import UpdatesBuffers, players_of, steps_of
from pellucid.training.plan import Plan
from pellucid.training.training import train

CASES: dict[str, tuple[str, str, int, dict[str, Any]]] = {  # title: task, model, side in px, options
    "inpaint, U-Net with gated convolutions": ("inpaint", "unet", 64, {"widths": (16, 32, 64), "convolution": "gated"}),
    "compress, convolutional codec": ("compress", "factorized", 64, {}),
    "compress, dense codec": ("compress", "dense_codec", 32, {"encoder": (512, 32)}),
    # the bare loop averages no weights
    "generate, dense VAE 784-500-500-50": ("generate", "vae", 28, {"ema": 0.0}),
    "generate, convolutional GAN": ("generate", "conv_gan", 28, {"ema": 0.0}),
    "cluster, convolutional autoencoder": ("cluster", "embedding_autoencoder", 28, {"method": "joint"}),
}
BATCH = 128


def bare(task_name: str, model_name: str, side: int, options: dict[str, Any], images: Tensor, epochs: int) -> None:
    """Some epochs, by hand."""
    options = {**options, "size": side, "batch_size": BATCH, "epochs": epochs, "device": "cpu"}
    plan = Plan.of(task_name, drawn(images), model_name, options)
    task, recipe, cpu = plan.task, plan.recipe, torch.device("cpu")
    model = plan.build().train()
    model.to(memory_format=recipe.memory_format(model, cpu))
    optimizers = {id(player): recipe.make_optimizer(player) for player in players_of(task, model).values()}
    bf16 = recipe.bfloat16(model, cpu)

    def whole() -> Iterator[Batch]:
        for start in range(0, len(images), BATCH):
            yield Batch(images[start : start + BATCH], {}, torch.arange(start, min(start + BATCH, len(images))))

    with torch.no_grad():
        if isinstance(task, UpdatesBuffers):
            task.update_buffers(model, whole, 0, epochs, 0)
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        for step, start in enumerate(range(0, len(images) - BATCH + 1, BATCH)):
            index = order[start : start + BATCH]
            draws = Draws.step(epoch, step, slice(0, BATCH), BATCH)
            input, target = task.prepare(Batch(images[index], {}, index), draws, training=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                for player, losses in steps_of(task, model, input, target):
                    optimizers[id(player)].zero_grad()
                    losses["loss"].backward()
                    if recipe.clip is not None:
                        torch.nn.utils.clip_grad_norm_(player.parameters(), recipe.clip)
                    optimizers[id(player)].step()
                    torch.clear_autocast_cache()
                    losses["loss"].item()
        with torch.no_grad():
            if isinstance(task, UpdatesBuffers):
                task.update_buffers(model, whole, epoch + 1, epochs, 0)


def drawn(images: Tensor) -> Dataset:
    """Images without labels, all for training."""
    empty = Split(Pixels(images[:0].numpy()))
    splits = {"train": Split(Pixels(images.numpy())), "val": empty, "test": empty}
    return Dataset("drawn", splits, fingerprint=f"drawn{tuple(images.shape)}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=12800)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--epochs", type=int, default=5, help="epochs of a training, which share its set-up time")
    options.add_argument("--only", default="", help="part of a case's title")
    asked = options.parse_args()
    warnings.filterwarnings("ignore")
    found = {}
    for title, (task, model, side, given) in CASES.items():
        if asked.only not in title:
            continue
        # smooth images: on noise, an entropy coder and k-means would do work that no photograph asks for
        number = max(2 * BATCH, asked.images * 28 * 28 // (side * side) // BATCH * BATCH)
        random = torch.rand(number, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        smooth = torch.nn.functional.interpolate(random, (side, side), mode="bicubic").clamp(0, 1)
        images = torch.from_numpy((smooth * 255).numpy().astype(np.uint8))

        def ours(task: str = task, model: str = model, images: Tensor = images, given: dict[str, Any] = given) -> None:
            with tempfile.TemporaryDirectory() as folder:
                fair = {"batch_size": BATCH, "epochs": asked.epochs, "device": "cpu", "progress": False}
                train(task, drawn(images), model, Path(folder) / "run", **given, **fair)

        def by_hand(case: tuple[str, str, int, dict[str, Any]] = CASES[title], images: Tensor = images) -> None:
            bare(*case, images, asked.epochs)

        rivals = {"pellucid": lambda ours=ours: timed(ours), "bare loop": lambda by_hand=by_hand: timed(by_hand)}
        taken = in_turn(rivals, asked.rounds)
        found[title] = {
            "n": number,
            "of_bare_loop": round(ratio(taken, "pellucid", "bare loop"), 3),
            "median_seconds": {name: round(statistics.median(values), 3) for name, values in taken.items()},
        }
    report("train against a bare loop, batch 128", rounds=asked.rounds, epochs=asked.epochs, seed=0, cases=found)


if __name__ == "__main__":
    main()
