# SPDX-License-Identifier: Apache-2.0
"""Dense denoising autoencoder 784-128-784 on MNIST-sized data, batch 128: `train` against a hand-written loop and Lightning.

Claims: at least 0.9 × the speed of a hand-written loop over a resident tensor (both with fused Adam), and at least 3.5 × the speed
of Lightning's Trainer with torchvision's dataset and a DataLoader with per-sample transforms. Lightning on the same resident
batches is measured too, which shows the share of the data path.

    python benchmarks/training_dense.py [--images 60000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path

import lightning
import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.models.autoencoder import Autoencoder
from pellucid.training.training import train

BATCH, SIGMA, RATE = 128, 0.5, 1e-3


def network() -> nn.Module:
    return Autoencoder(1, 1, (28, 28), encoder=(128,))


def by_hand(images: Tensor) -> None:
    """A loop written for this one case."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    order = torch.randperm(len(images))
    for start in range(0, len(images) - BATCH + 1, BATCH):
        clean = images[order[start : start + BATCH]].float() / 255
        loss = F.mse_loss(model(clean + SIGMA * torch.randn_like(clean)), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()


class Lit(lightning.LightningModule):
    """The same training as a Lightning module."""

    def __init__(self, noise: bool) -> None:
        super().__init__()
        self.model, self.noise = network(), noise

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        noisy, clean = batch
        loss = F.mse_loss(self.model(noisy), clean)
        self.log("loss", loss, prog_bar=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=RATE, fused=True)


class Noisy(datasets.MNIST):
    """torchvision's MNIST class on arrays in memory, with the per-sample transforms of its tutorials."""

    def __init__(self, images: np.ndarray) -> None:
        self.data, self.targets = torch.from_numpy(images[:, 0]), torch.zeros(len(images), dtype=torch.int64)
        self.transform, self.target_transform = transforms.ToTensor(), None

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clean = self.transform(Image.fromarray(self.data[index].numpy(), mode="L"))
        return clean + SIGMA * torch.randn_like(clean), clean


class Resident:
    """The same batches as the hand-written loop's, as an iterable that Lightning accepts."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __iter__(self):  # type: ignore[no-untyped-def]
        order = torch.randperm(len(self.images))
        for start in range(0, len(self.images) - BATCH + 1, BATCH):
            clean = self.images[order[start : start + BATCH]].float() / 255
            yield clean + SIGMA * torch.randn_like(clean), clean


def with_lightning(loader: object) -> None:
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(Lit(noise=True), loader)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=60000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    warnings.filterwarnings("ignore")
    pixels = np.random.default_rng(0).integers(0, 256, (asked.images, 1, 28, 28), dtype=np.uint8)
    empty = Split(Pixels(pixels[:0]))
    data = Dataset("drawn", {"train": Split(Pixels(pixels)), "val": empty, "test": empty}, fingerprint="drawn")
    resident = torch.from_numpy(pixels)
    loader = DataLoader(Noisy(pixels), BATCH, shuffle=True, drop_last=True, num_workers=0)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train("denoise", data, "autoencoder", Path(folder) / "run", encoder=(128,), noise="gaussian", level=SIGMA, epochs=1,
                  batch_size=BATCH, optimizer="adam", lr=RATE, schedule="constant", precision="fp32", device="cpu",
                  progress=False)  # fmt: skip

    rivals = {
        "pellucid": lambda: timed(ours),
        "hand-written loop": lambda: timed(lambda: by_hand(resident)),
        "Lightning, resident batches": lambda: timed(lambda: with_lightning(Resident(resident))),
        "Lightning, dataset and DataLoader": lambda: timed(lambda: with_lightning(loader)),
    }
    taken = in_turn(rivals, asked.rounds)
    report(
        "dense denoising autoencoder 784-128-784, batch 128, one epoch",
        n=asked.images,
        rounds=asked.rounds,
        seed=0,
        median_seconds={name: round(statistics.median(values), 3) for name, values in taken.items()},
        of_hand_written=round(ratio(taken, "pellucid", "hand-written loop"), 3),
        against_lightning=round(ratio(taken, "pellucid", "Lightning, dataset and DataLoader"), 2),
        against_lightning_on_resident_batches=round(ratio(taken, "pellucid", "Lightning, resident batches"), 2),
    )


if __name__ == "__main__":
    main()
