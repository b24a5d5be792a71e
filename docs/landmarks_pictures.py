# SPDX-License-Identifier: Apache-2.0
"""The pictures in the page on landmarks: answers, errors by point, cumulative errors, and what places one point.

python docs/landmarks_pictures.py RUN
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pellucid
from pellucid.inference import examples
from pellucid.looking.looking import look
from pellucid.run import Run

PICTURES = Path(__file__).parent / "pictures"
_SHOWN = 4  # best and worst answers
_CORNER = "part_45"  # the outer corner of the left eye


def main(folder: str) -> None:
    """Draw the pictures of a run on 68 points that was evaluated."""
    run = pellucid.load(folder)
    assert isinstance(run, Run)
    split = run.data()["test"]
    order = np.argsort(-run.task.ranking(run.records()))
    places = np.concatenate([order[:_SHOWN], order[-_SHOWN:][::-1]])
    [(input, answer, truth, names)] = examples(run, split, places, torch.device("cpu"))
    run.task.draw(input, answer, truth, names, run.classes).savefig(PICTURES / "landmarks.png")
    for name, own in (("errors_by_point", "landmarks_points"), ("cumulative_errors", "landmarks_curve")):
        shutil.copyfile(run.figures / f"{name}.png", PICTURES / f"{own}.png")
    image: Any = split.images.read(int(order[_SHOWN]), 3).transpose(1, 2, 0)
    look(run, "occlusion", [image], follow=_CORNER, patch=24, stride=8).figure.savefig(
        PICTURES / "landmarks_corner.png", dpi=110, bbox_inches="tight"
    )


if __name__ == "__main__":
    main(sys.argv[1])
