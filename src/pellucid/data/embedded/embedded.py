# SPDX-License-Identifier: Apache-2.0
"""The datasets that need no network, by name: real ones that installed libraries ship, and drawn ones."""

from __future__ import annotations

import gzip
import importlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish
from pellucid.data.targets import Label
from pellucid.errors import UnknownNameError

__all__ = ["load", "names"]

ABOUT = {
    "digits": "1,797 handwritten digits of 8×8 px, grey, ten classes (scikit-learn)",
    "patches": "natural patches of 64×64 px, grey, split by photograph (scikit-image, scikit-learn, matplotlib)",
    "patches_colour": "the same patches in colour",
    "crops": "natural crops of 128×128 px, grey, from the same photographs and splits; test crops overlap by half",
    "crops_colour": "the same crops in colour",
    "scenes": "drawn shapes on a textured background, 64×64 px, colour, with classes, boxes, masks and keypoints",
    "sparse_scenes": "other such scenes, a third of them without any shape",
    "glyphs": "letters and digits of 32×32 px, grey, 36 classes, rendered from matplotlib's fonts",
    "glyphs_lit": "the same glyphs, each under light from a direction of its own",
    "handprint": "letters and digits of 40×40 px, grey, 36 classes, as pens write them on paper, and rendered from fonts",
    "handprint_text": "the like of small letters and marks too, 80 classes",
}


# module and options of each drawn dataset
_DRAWN: dict[str, tuple[str, dict[str, bool]]] = {
    "scenes": ("scenes", {}),
    "sparse_scenes": ("scenes", {"sparse": True}),
    "glyphs": ("glyphs", {}),
    "glyphs_lit": ("glyphs", {"lit": True}),
    "handprint": ("handprint", {}),
    "handprint_text": ("handprint", {"text": True}),
}


def names() -> list[str]:
    """The names of the embedded datasets.

    >>> names()[-4:]
    ['glyphs', 'glyphs_lit', 'handprint', 'handprint_text']
    """
    return list(ABOUT)


@lru_cache(maxsize=2)  # a report opens its run's data several times
def load(name: str) -> Dataset:
    """An embedded dataset.

    >>> load("digits").size
    (8, 8)

    Raises:
        UnknownNameError: no embedded dataset has that name.
    """
    if name == "digits":
        return _digits()
    kind, _, colour = name.partition("_")
    if name in ABOUT and kind in _SIDES:
        return _patches(name, *_SIDES[kind], colour=bool(colour))
    if name in _DRAWN:
        module, options = _DRAWN[name]
        drawn: Dataset = importlib.import_module(f"pellucid.data.embedded.{module}").draw(**options)
        return drawn
    raise UnknownNameError("data", name, ABOUT)


def _digits() -> Dataset:
    """The UCI optical digits in scikit-learn's copy: counts from 0 to 16 of ink in 4×4 blocks, scaled to 0…255."""
    # a row an image: 64 counts and the digit; the file itself, because importing scikit-learn takes a second
    with gzip.open(_shipped("sklearn", "datasets/data", "digits.csv.gz"), "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, delimiter=",")  # (N, 65)
    pixels = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    label = Label(torch.from_numpy(rows[:, -1].astype(np.int64)))
    whole = Split(Pixels(pixels), {"label": label}, [f"digits/{i}" for i in range(len(pixels))])
    # cut by the first rule that there was, so that results on digits stay comparable
    return finish("digits", {"train": whole}, tuple("0123456789"), cut="threshold")


# package, folder and file of each photograph; the motorcycle's right view is left out, as it shows the same scene
_PHOTOGRAPHS = {
    "train": [
        ("skimage", "data", "astronaut.png"),
        ("skimage", "data", "chelsea.png"),
        ("skimage", "data", "motorcycle_left.png"),
        ("sklearn", "datasets/images", "china.jpg"),
        ("skimage", "data", "brick.png"),
        ("skimage", "data", "grass.png"),
        ("skimage", "data", "hubble_deep_field.jpg"),
        ("matplotlib", "mpl-data/sample_data", "grace_hopper.jpg"),
    ],
    "val": [("skimage", "data", file) for file in ("moon.png", "ihc.png", "coins.png", "gravel.png")],
    "test": [
        ("skimage", "data", "camera.png"),
        ("skimage", "data", "coffee.png"),
        ("skimage", "data", "rocket.jpg"),
        ("sklearn", "datasets/images", "flower.jpg"),
    ],
}
# side in px; number per training photograph, and again at half its size; px between neighbours in the other splits
_SIDES = {"patches": (64, 250, 64), "crops": (128, 150, 64)}


def photograph(package: str, folder: str, file: str, colour: bool) -> NDArray[np.uint8]:
    """A photograph that an installed package ships, (C, H, W) uint8."""
    from pellucid.data.decoding import decode

    return decode(_shipped(package, folder, file), 3 if colour else 1)


def _shipped(package: str, folder: str, file: str) -> Path:
    """A file that an installed package ships; the package is not imported."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / folder / file


def _patches(name: str, side: int, count: int, step: int, colour: bool) -> Dataset:
    """Patches at random places of the training photographs at full and half size; on a grid in the other splits.

    A photograph at half size shows the same things at another scale, with less noise of its own, at no cost.
    """
    from pellucid.data.decoding.pictures import resize_by_pillow

    rng = np.random.default_rng(0)
    splits = {}
    for part, files in _PHOTOGRAPHS.items():
        patches: list[NDArray[np.uint8]] = []
        titles: list[str] = []
        pictures = [(Path(file).stem, photograph(package, folder, file, colour)) for package, folder, file in files]
        if part == "train":
            pictures += [(f"{t}-half", resize_by_pillow(p, (p.shape[1] // 2, p.shape[2] // 2))) for t, p in pictures]
        for title, picture in pictures:
            rows, columns = picture.shape[1] - side + 1, picture.shape[2] - side + 1
            if part == "train":
                # without replacement: no place twice
                places = [divmod(int(k), columns) for k in rng.choice(rows * columns, count, replace=False)]
            else:
                places = [(y, x) for y in range(0, rows, step) for x in range(0, columns, step)]
            for y, x in places:
                patches.append(picture[:, y : y + side, x : x + side])
                titles.append(f"{title}@{y},{x}")
        splits[part] = Split(Pixels(np.stack(patches)), {}, titles)
    return finish(name, splits)
