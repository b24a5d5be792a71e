# SPDX-License-Identifier: Apache-2.0
"""The picture in the page on data: a photograph as --fit squash, crop and pad bring it to a square.

python docs/fit_pictures.py
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.datasets import load_sample_image

from pellucid.data.fits import Fit, middle
from pellucid.data.fitting import fit_array

PICTURES = Path(__file__).parent / "pictures"
_SIDE = 160  # px
_PART = (slice(60, 380), slice(0, 640))  # of the photograph: 2:1


def fits() -> Figure:
    """The photograph at its own size, with what a crop takes, and as it is after each."""
    image = np.ascontiguousarray(load_sample_image("flower.jpg")[_PART].transpose(2, 0, 1))  # (3, 320, 640)
    height, width = image.shape[1:]
    figure = Figure(figsize=(7.6, 1.8), dpi=130, layout="constrained")
    first, *others = figure.subplots(1, 4, width_ratios=[width / height, 1, 1, 1])
    first.imshow(image.transpose(1, 2, 0), interpolation="antialiased")
    left, top, right, bottom = middle((height, width), (_SIDE, _SIDE))
    first.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ls="--", lw=1.2, ec="white"))
    first.set_title(f"the image, {width}×{height} px", fontsize=9)
    for axes, fit in zip(others, get_args(Fit), strict=True):
        axes.imshow(fit_array(image, (_SIDE, _SIDE), fit).transpose(1, 2, 0), interpolation="antialiased")
        axes.set_title(f"--fit {fit}", fontsize=9)
    for axes in (first, *others):
        axes.set(xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    drawn = io.BytesIO()
    fits().savefig(drawn, facecolor="white", bbox_inches="tight", pad_inches=0.04)
    Image.open(drawn).convert("RGB").quantize(256).save(PICTURES / "fits.png", optimize=True)
