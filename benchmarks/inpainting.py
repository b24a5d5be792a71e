# SPDX-License-Identifier: Apache-2.0
"""Inpainting: crop faces to 300×200 px from photographs with landmarks, and compare a run with classical methods, pairwise.

    python benchmarks/inpainting.py faces ../shared/data/faces68 faces300     # writes faces300/{train,val,test}/*.png
    python benchmarks/inpainting.py compare runs/faces                        # the differences inside the holes, with intervals

The folder of faces has `face_landmarks.csv` (name, x and y of 68 points), and more of the same in `helen/`. Each photograph in the
folder itself shows a different person; every second one, by name, is for testing. `helen/` is for training, except every twelfth
face, which is for validation; faces that resemble a test face (correlation above 0.9 at 30×20 px) are left out.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 300, 200  # px
ALIKE = 0.9


def landmarks(folder: Path) -> list[tuple[Path, NDArray[np.float64]]]:
    """The photographs of a folder and their landmarks (68, 2) as x, y in px, sorted by name."""
    with (folder / "face_landmarks.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return sorted((folder / row[0], np.array(row[1:], float).reshape(-1, 2)) for row in rows)


def face(path: Path, points: NDArray[np.float64]) -> Image.Image:
    """A grey face: 15 % wider than its landmarks, 1.5 times as high as wide, and inside the photograph."""
    photograph = Image.open(path).convert("L")
    low, high = points.min(0), points.max(0)
    width = max(1.15 * (high - low)[0], 0.9 * (high - low)[1])
    width = min(width, photograph.width, photograph.height * WIDTH / HEIGHT)
    height = width * HEIGHT / WIDTH
    x, y = (low + high) / 2 - [width / 2, 0.56 * height]
    x, y = min(max(0, x), photograph.width - width), min(max(0, y), photograph.height - height)
    box = (x, y, x + width, y + height)
    return photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box)


def faces(folder: Path, out: Path) -> None:
    """Crop all faces and split them by person."""
    own = [(path.stem, face(path, points)) for path, points in landmarks(folder)]
    more = [(path.stem, face(path, points)) for path, points in landmarks(folder / "helen")]
    splits = {"test": own[::2], "train": own[1::2], "val": more[::12]}
    small = np.stack([_small(picture) for _, picture in splits["test"]])
    rest = [one for place, one in enumerate(more) if place % 12]
    alike = [name for name, picture in rest if (small @ _small(picture)).max() > ALIKE]
    splits["train"] = splits["train"] + [one for one in rest if one[0] not in alike]
    for part, pictures in splits.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        for name, picture in pictures:
            picture.save(out / part / f"{name}.png")
        print(f"{part}: {len(pictures)} faces")
    print(f"left out, too similar to a test face: {', '.join(alike) or 'none'}")


def _small(picture: Image.Image) -> NDArray[np.float64]:
    """A face at 30×20 px with mean 0 and length 1."""
    pixels = np.asarray(picture.resize((20, 30), Image.Resampling.BOX), float).ravel()
    pixels -= pixels.mean()
    return pixels / np.linalg.norm(pixels)


def compare(run: Path) -> None:
    """Print the network minus each classical method inside the same holes, with bootstrap intervals over the images."""
    from pellucid.tasks._metrics import mean, summarise

    records = np.load(run / "records.npz", allow_pickle=False)
    mine = {name: records[f"model/{name}"] for name in ("psnr", "ssim", "mae")}
    for way in dict.fromkeys(key.split("/")[1] for key in records.files if key.startswith("baselines/")):
        index = records[f"baselines/{way}/index"]
        said = []
        for name, unit in (("psnr", " dB"), ("ssim", ""), ("mae", "")):
            difference = mine[name][index] - records[f"baselines/{way}/{name}"]
            found = summarise([mean(name, name)], {name: difference})[name]
            said.append(f"{name} {found.value:+.4g}{unit} ({found.low:+.4g} to {found.high:+.4g})")
        better = float((mine["psnr"][index] > records[f"baselines/{way}/psnr"]).mean())
        print(f"network − {way}: {', '.join(said)}; better on {100 * better:.0f} % of {len(index)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("faces")
    cut.add_argument("folder", type=Path)
    cut.add_argument("out", type=Path)
    commands.add_parser("compare").add_argument("run", type=Path)
    given = parser.parse_args()
    if given.command == "faces":
        faces(given.folder, given.out)
    else:
        compare(given.run)


if __name__ == "__main__":
    main()
