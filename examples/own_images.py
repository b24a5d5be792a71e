# SPDX-License-Identifier: Apache-2.0
"""From a folder of your own images to predictions; here the script draws discs and squares for it.

A classifier needs only a folder with one subfolder per class. The split into train, val and test depends on the images' content.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

import pellucid


def draw(folder: Path, count: int = 120) -> None:
    """Save 24×24 images of each class, with random position, size and shade."""
    dice = random.Random(0)
    for kind in ("disc", "square"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.new("L", (24, 24), dice.randrange(60))
            side, x, y = dice.randrange(7, 13), dice.randrange(1, 11), dice.randrange(1, 11)
            pen = ImageDraw.Draw(picture)
            shape = pen.ellipse if kind == "disc" else pen.rectangle
            shape((x, y, x + side, y + side), fill=dice.randrange(120, 256))
            picture.save(folder / kind / f"{number:03}.png")


def main(folder: str = "runs/own-images") -> None:
    images = Path(folder) / "images"
    draw(images)
    run = pellucid.train("classify", images, "convnet", Path(folder) / "run", widths=(16, 32), epochs=8, progress=False)
    metrics = pellucid.evaluate(run)
    for owner, measures in {"model": metrics["model"], **metrics["baselines"]}.items():
        accuracy = measures["accuracy"]
        print(f"{owner:20} accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f}–{accuracy['high']:.3f})")
    for row in pellucid.predict(run, [images / "disc" / "000.png", images / "square" / "000.png"]):
        print(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
