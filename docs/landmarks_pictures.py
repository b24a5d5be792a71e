# SPDX-License-Identifier: Apache-2.0
"""The pictures in the page on landmarks: answers, errors by point, cumulative errors, and what places one point.

python docs/landmarks_pictures.py RUN
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import pellucid
from pellucid.looking.looking import look
from pellucid.run import Run

PICTURES = Path(__file__).parent / "pictures"
_CORNER = "part_45"  # the outer corner of the left eye


def face() -> NDArray[np.uint8]:
    """The face of NASA's photograph of Eileen Collins, which is in the public domain, (240, 240, 3)."""
    whole: Any = data.astronaut()
    return np.ascontiguousarray(whole[:240, 110:350])


def main(folder: str) -> None:
    """Draw the pictures of a run on 68 points that was evaluated."""
    run = pellucid.load(folder)
    assert isinstance(run, Run)
    with TemporaryDirectory() as place:
        large = Image.fromarray(face()).resize((720, 720), Image.Resampling.LANCZOS)
        large.save(Path(place) / "face.png")
        pellucid.predict(run, Path(place) / "face.png", out=Path(place) / "answers", progress=False)
        shutil.copyfile(Path(place) / "answers" / "face.png", PICTURES / "landmarks.png")
    for name, own in (("errors_by_point", "landmarks_points"), ("cumulative_errors", "landmarks_curve")):
        shutil.copyfile(run.figures / f"{name}.png", PICTURES / f"{own}.png")
    look(run, "occlusion", [face()], follow=_CORNER, patch=24, stride=8).figure.savefig(
        PICTURES / "landmarks_corner.png", dpi=110, bbox_inches="tight"
    )


if __name__ == "__main__":
    main(sys.argv[1])
