# SPDX-License-Identifier: Apache-2.0
"""The pictures in the page on localize: the four ratios of two boxes, and answers of a run.

python docs/localize_pictures.py [RUN]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

PICTURES = Path(__file__).parent / "pictures"
_SIDE = 24  # px of the image with the two boxes
_TRUE, _OURS = (3, 5, 15, 19), (8, 8, 21, 21)  # x0, y0, x1, y1
_ABOVE, _BELOW, _REST = "#d95f02", "#fdcf9b", "#f0f0f0"
_COLOURS = {"T": "#1b9e77", "B": "#4a6fa5"}


def inside(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """(H, W): the pixels of a box."""
    mask = np.zeros((_SIDE, _SIDE), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def ratios() -> Figure:
    """Each ratio as the pixels above the line within those below it."""
    true, ours = inside(_TRUE), inside(_OURS)
    panels = {
        "tpr = |B ∩ T| / |T|": (true & ours, true),
        "tnr = |Ω − (B ∪ T)| / |Ω − T|": (~true & ~ours, ~true),
        "ppv = |B ∩ T| / |B|": (true & ours, ours),
        "IoU = |B ∩ T| / |B ∪ T|": (true & ours, true | ours),
    }
    figure = Figure(figsize=(10, 2.9), dpi=150, layout="constrained")
    for axes, (title, (above, below)) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        picture = np.empty((_SIDE, _SIDE, 3))
        for mask, colour in ((~below, _REST), (below, _BELOW), (above, _ABOVE)):
            picture[mask] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        axes.imshow(picture, interpolation="nearest")
        for name, box in (("T", _TRUE), ("B", _OURS)):
            _outline(axes, name, box)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"{above.sum()} / {below.sum()} px = {above.sum() / below.sum():.2f}", fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def _outline(axes: Any, name: str, box: tuple[int, int, int, int]) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    style = {"fill": False, "edgecolor": _COLOURS[name], "linewidth": 2}
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, **style))
    x, y = (x0, y0 - 1.2) if name == "T" else (x1 - 1.5, y1 + 1.2)
    axes.text(x, y, name, color=_COLOURS[name], fontsize=10, weight="bold", va="center")


def answers(folder: str) -> Figure:
    """Eight test images of a run, evenly spread, with truth and answer."""
    import torch

    import pellucid
    from pellucid._spread import evenly_spread
    from pellucid.inference import examples

    run = pellucid.load(folder)
    test = run.data()["test"]
    [(input, answer, truth, names)] = examples(run, test, evenly_spread(8, len(test)), torch.device("cpu"))
    figure: Figure = run.task.draw(input, answer, truth, names, run.classes)
    return figure


if __name__ == "__main__":
    ratios().savefig(PICTURES / "localize_ratios.png", facecolor="white")
    if len(sys.argv) > 1:
        answers(sys.argv[1]).savefig(PICTURES / "localize.png", facecolor="white")
