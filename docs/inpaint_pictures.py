# SPDX-License-Identifier: Apache-2.0
"""The sheet on the page of inpaint: ten holes in photographs that no network has seen, filled by a run and by each simple method.

python docs/inpaint_pictures.py RUN

The run is one on `crops`, trained as the page says. The crops are spread evenly over the test images; nobody chose them.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from pellucid import load
from pellucid._spread import evenly_spread
from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.run import Run
from pellucid.tasks import _figures
from pellucid.tasks.inpaint import Inpaint, baselines

PICTURES = Path(__file__).parent / "pictures"
_HOLES = 10


def sheet(run: Run) -> Figure:
    """One row a hole: what is given, the answers with their PSNR in the hole, and the truth."""
    split, task = run.data()["test"], run.task
    assert isinstance(task, Inpaint)
    places = torch.from_numpy(evenly_spread(_HOLES, len(split)))
    images = torch.from_numpy(np.stack([split.images.read(int(k), run.channels) for k in places]))
    # the holes of `evaluate`
    input, truth = task.prepare(Batch(images, {}, places), Draws.images(int(run.info["seed"]), places), training=False)
    mask = input[:, -1:]
    with torch.no_grad():
        network = task.predict(run.model("last").eval(), input).pixels
    columns = {"given": torch.where(mask > 0, torch.ones(()), truth.pixels), "network": network}
    whole, holes = list(truth.pixels.numpy()), list(mask[:, 0].numpy() > 0)
    for method in baselines.METHODS:
        columns[method] = torch.from_numpy(np.stack(baselines.fill(method, whole, holes)))
    return _figures.pictures(columns, truth.pixels, [split.names[int(k)] for k in places], where=mask)


if __name__ == "__main__":
    drawn = io.BytesIO()
    made = load(sys.argv[1])
    assert isinstance(made, Run)
    sheet(made).savefig(drawn, facecolor="white", dpi=80)
    Image.open(drawn).convert("L").save(PICTURES / "inpaint_sheet.png", optimize=True)
