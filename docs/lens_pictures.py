# SPDX-License-Identifier: Apache-2.0
"""The pictures in the pages on lenses: chelsea (a cat) and coffee through EfficientNet-Lite0, else small runs.

python docs/lens_pictures.py [LENS…]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from skimage import data

import pellucid
from pellucid import _catalog
from pellucid.data.embedded import strokes


@dataclass(frozen=True)
class Look:
    """What a lens looks at for its picture (a method of `Subjects`), and its options."""

    subject: str
    options: dict[str, Any] = field(default_factory=dict)
    width: int = 1400  # px, at most
    bars: bool = True  # whether the few pixels of colour bars count as much as the many of photographs


# One line for each lens. Any other looks at the digits with its defaults.
LOOKS: dict[str, Look] = {
    "occlusion": Look("network", {"patch": 48, "stride": 8}),
    "attribution": Look("network", {"method": "grad_cam"}),
    "guided_backprop": Look("network"),
    "adversarial": Look("network", {"method": "pgd", "epsilon": "4/255"}, width=800, bars=False),
    "embedding": Look("digits"),
    "neighbours": Look("digits"),
    "confusion": Look("glyphs"),
    "curves": Look("sizes"),
    "filters": Look("network", bars=False),
    "learning_rate": Look("beginning"),
    "flow": Look("deep"),
    "proposals": Look("detector", width=1600, bars=False),
    "page": Look("reader", width=1600, bars=False),
}


class Subjects:
    """The network on the two photographs, and runs that are trained here when they are needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def network(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """EfficientNet-Lite0, which knows ImageNet, and a cat and a cup of coffee."""
        files = []
        for name in ("chelsea", "coffee"):
            files.append(self.folder / f"{name}.png")
            Image.fromarray(getattr(data, name)()).save(files[-1])
        return "efficientnet_lite0", files, {}

    def digits(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """A small convolutional network on the embedded digits."""
        return self._run("digits", data="digits", model="convnet", widths=(16, 32), epochs=6), [], {}

    def glyphs(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """The same on rendered letters and digits, in fonts that it has not seen."""
        return self._run("glyphs", data="glyphs", model="convnet", widths=(16, 32), epochs=6, batch_size=64), [], {}

    def sizes(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """Three trainings on different numbers of images."""
        options: dict[str, Any] = {"model": "mlp", "hidden": (64,), "epochs": 30, "batch_size": 32, "lr": 0.01}
        runs = [self._run(f"limit={n}", data="digits", limit=n, schedule="constant", **options) for n in (40, 160, 640)]
        return runs[0], [], {"runs": [str(run.path) for run in runs[1:]]}

    def beginning(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """A training on the digits that has not begun."""
        return "classify", [], {"data": "digits", "model": "convnet", "widths": (16, 32)}

    def deep(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """The same with eight dense layers, whose weights are too small."""
        hidden = {"hidden": (64,) * 8, "initialisation": "uniform", "device": "cpu"}
        return "classify", [], {"data": "digits", "model": "mlp", **hidden}

    def detector(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """A detector of the shapes in scenes."""
        return self._run("detector", "detect", data="scenes", flip=True, epochs=16, batch_size=16), [], {}

    def reader(self) -> tuple[Any, list[Path], dict[str, Any]]:
        """The default training of `read`, and a page that is drawn here."""
        run = self._run("reader", "read", epochs=8)
        file = self.folder / "drawn page.png"
        draw_page(["WATER THE FERN", "CALL 0471 2258", "BOX OF QUINCES"], file)
        return run, [file], {}

    def _run(self, name: str, task: str = "classify", **options: Any) -> pellucid.Run:
        folder = self.folder / name
        if not folder.exists():
            pellucid.train(task, out=folder, seed=0, device="cpu", progress=False, **options)
            pellucid.evaluate(folder, baselines=False)
        return pellucid.Run(folder)


def draw_page(lines: list[str], file: Path, tall: float = 34.0) -> None:
    """A page written by rule, on paper with a shadow, askew by four degrees."""
    rng = np.random.default_rng(4)
    height, width = round(tall * (2.6 + 1.9 * len(lines))), round(tall * 1.3 * max(map(len, lines)))
    ink = np.zeros((2 * height, 2 * width), np.uint8)  # twice as large, and then averaged
    for number, line in enumerate(lines):
        x, y = 1.6 * tall, tall * (1.2 + 1.9 * number)
        for letter in line:
            if letter == " ":
                x += 0.7 * tall
                continue
            own = strokes.paths(letter, 1, rng)[0]
            left = min(stroke[:, 0].min() for stroke in own)
            points = [np.rint(2 * ((stroke - (left, 0)) * tall + (x, y))).astype(np.int32) for stroke in own]
            cv2.polylines(ink, points, False, 255, 8, cv2.LINE_AA)
            x += tall * (max(stroke[:, 0].max() for stroke in own) - left + 0.36)
    turn = cv2.getRotationMatrix2D((width, height), -4, 1.0)
    small = cv2.resize(
        cv2.warpAffine(ink, turn, (2 * width, 2 * height)), (width, height), interpolation=cv2.INTER_AREA
    )
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 1.2)
    paper = (0.82 + 0.02 * grain) * (1 - 0.45 / (1 + np.exp(-(across + 0.5 * down - 0.9) / 0.06)))
    page = paper * (1 - 0.75 * small / 255)
    Image.fromarray((255 * page.clip(0, 1)).round().astype(np.uint8)).save(file)


def main() -> None:
    """Look, and keep a picture of a size that fits a page."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(Path(folder))
        for lens in sys.argv[1:] or _catalog.names("lenses"):
            chosen = LOOKS.get(lens, Look("digits"))
            subject: Callable[[], tuple[Any, list[Path], dict[str, Any]]] = getattr(subjects, chosen.subject)
            what, images, more = subject()
            out = Path(folder) / "looks"
            view = pellucid.look(what, lens, images, out, progress=True, **chosen.options, **more)
            keep(
                out / f"{lens}.png", Path(__file__).parent / "pictures" / f"lens_{lens}.png", chosen.width, chosen.bars
            )
            shutil.rmtree(out)
            print(f"{lens}: {view.words}", flush=True)


def keep(picture: Path, where: Path, widest: int, bars: bool) -> None:
    """A copy at most so many px wide, in 256 colours."""
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB")
    small.thumbnail((widest, 2 * widest))
    method = Image.Quantize.MAXCOVERAGE if bars else Image.Quantize.MEDIANCUT
    small.quantize(256, method).save(where, optimize=True)


if __name__ == "__main__":
    main()
