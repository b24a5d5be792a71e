# SPDX-License-Identifier: Apache-2.0
"""Decoding and resizing 2,000 JPEGs into the store, against a DataLoader with two workers and Pillow.

Claims: at least 1.5× as fast for the first opening and 50× for the second. The script also reports processor time, which other work
on the machine disturbs less, and the mean difference of the pixels from Pillow's antialiased resize of the fully decoded image.

    python benchmarks/decoding.py [--images 2000] [--size 128] [--rounds 3]
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pellucid import data
from pellucid.data.batches import store
from pellucid.data.decoding import opened
from pellucid.data.decoding.jpeg import sound
from pellucid.data.decoding.pictures import resize, resize_by_pillow
from pellucid.data.embedded.embedded import photograph


def draw(folder: Path, images: int) -> None:
    """Save crops of real photographs: 500×375 px, two classes, JPEG quality 90."""
    rng = np.random.default_rng(0)
    sources = [photograph("skimage", "data", f"{name}.png", colour=True) for name in ("astronaut", "coffee", "chelsea")]
    for i in range(images):
        source = sources[i % 3]
        height = int(rng.integers(200, 290))
        width = min(source.shape[2], round(height * 4 / 3))
        top, left = rng.integers(0, source.shape[1] - height + 1), rng.integers(0, source.shape[2] - width + 1)
        piece = source[:, top : top + height, left : left + width].transpose(1, 2, 0)
        path = folder / "train" / "ab"[i % 2] / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)


class Folder(TorchDataset[torch.Tensor]):
    """The usual way: open, convert, resize, to tensor."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.files[index]).convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def parts(files: list[Path], size: int, rounds: int) -> dict[str, float]:
    """Processor time of an image in milliseconds for the steps of a first opening and their rivals, on this thread alone."""
    contents = [file.read_bytes() for file in files]

    def drafted(content: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(content))
        image.draft(None, (image.width // 2, image.height // 2))
        return image

    halves = [np.asarray(drafted(content)).transpose(2, 0, 1) for content in contents]
    works: dict[str, Callable[[int], object]] = {
        "header, Pillow": lambda i: opened(contents[i]),
        "half size, Pillow": lambda i: drafted(contents[i]).load(),
        "half size, OpenCV": lambda i: cv2.imdecode(np.frombuffer(contents[i], np.uint8), cv2.IMREAD_REDUCED_COLOR_2),
        "half size, as opened here": lambda i: sound(contents[i], drafted(contents[i]), (500, 375)),
        "whole, Pillow": lambda i: Image.open(io.BytesIO(contents[i])).load(),
        "whole, as opened here": lambda i: sound(contents[i], opened(contents[i]), (500, 375)),
        "resize, Pillow": lambda i: resize_by_pillow(halves[i], (size, size)),
        "resize, as opened here": lambda i: resize(halves[i], (size, size)),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            before = time.thread_time()
            for i in range(len(files)):
                work(i)
            taken[name].append(1000 * (time.thread_time() - before) / len(files))
    return {name: round(statistics.median(values[1:]), 3) for name, values in taken.items()}


def processor_seconds() -> float:
    """Those that this process and its workers, once they have ended, have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "photos", Path(place) / "cache"
        os.environ["PELLUCID_CACHE"] = str(cache)
        draw(folder, asked.images)
        files = sorted(folder.rglob("*.jpg"))
        size = (asked.size, asked.size)

        def ours() -> torch.Tensor:
            dataset = data.open(folder)
            parts = [
                store(split, size, 3, fingerprint=f"{dataset.fingerprint}-{name}")
                for name, split in dataset.splits.items()
            ]
            return torch.cat([part.batch(torch.arange(1)).images for part in parts])

        def first() -> float:
            shutil.rmtree(cache, ignore_errors=True)
            return timed(ours)

        def loader() -> None:
            kept = torch.empty(len(files), 3, *size, dtype=torch.uint8)
            start = 0
            for batch in DataLoader(Folder(files, asked.size), batch_size=128, num_workers=2):
                kept[start : start + len(batch)] = batch
                start += len(batch)

        busy: dict[str, list[float]] = {}

        def watched(name: str, rival: Callable[[], float]) -> Callable[[], float]:
            def run() -> float:
                before = processor_seconds()
                seconds = rival()
                busy.setdefault(name, []).append(processor_seconds() - before)
                return seconds

            return run

        plain = {
            "pellucid, first opening": first,
            "pellucid, second opening": lambda: timed(ours),
            "DataLoader, two workers, Pillow": lambda: timed(loader),
        }
        rivals = {name: watched(name, rival) for name, rival in plain.items()}
        taken = in_turn(rivals, asked.rounds)
        busy = {name: seconds[1:] for name, seconds in busy.items()}
        dataset = data.open(folder)
        kept = store(dataset.splits["train"], size, 3, fingerprint=f"{dataset.fingerprint}-train")
        steps = parts(files[:60], asked.size, asked.rounds)
        names = [folder / name for name in dataset.splits["train"].names[:200]]
        exact = torch.stack([Folder(names, asked.size)[i] for i in range(len(names))])
        difference = (kept.batch(torch.arange(len(names))).images.int() - exact.int()).abs().float()
    report(
        f"{asked.images} JPEGs of 500×375 px, decoded and resized to {asked.size}×{asked.size} px",
        n=asked.images,
        rounds=asked.rounds,
        seed=0,
        median_seconds={name: round(statistics.median(values), 4) for name, values in taken.items()},
        median_processor_seconds={name: round(statistics.median(values), 4) for name, values in busy.items()},
        processor_milliseconds_of_parts=steps,
        first_against_dataloader_by_processor_time=round(
            ratio(busy, "pellucid, first opening", "DataLoader, two workers, Pillow"), 2
        ),
        first_against_dataloader=round(ratio(taken, "pellucid, first opening", "DataLoader, two workers, Pillow"), 2),
        second_against_first=round(ratio(taken, "pellucid, second opening", "pellucid, first opening"), 1),
        second_against_dataloader=round(ratio(taken, "pellucid, second opening", "DataLoader, two workers, Pillow"), 1),
        pixel_difference={"mean": round(float(difference.mean()), 3), "largest": int(difference.max()), "of": 255},
    )


if __name__ == "__main__":
    main()
