# SPDX-License-Identifier: Apache-2.0
"""The pictures of a page, each inside it: figures, thumbnails, answers, and what lenses have drawn of a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _catalog
from pellucid.data.dataset import Dataset, Split
from pellucid.data.inspection import contact_sheet
from pellucid.errors import DataError
from pellucid.inference import examples
from pellucid.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["answers", "compact", "inline", "looks", "pictures", "png", "sheet", "svg", "thumbnail"]

_WORST, _BEST = 8, 4  # examples shown
_WIDEST = 1500  # px: of a lens's picture on the page


def pictures(run: Run, metrics: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What was drawn of the model as a whole when it was measured."""
    found = []
    for each in (metrics or {}).get("pictures", ()):
        file = run.figures / f"{each['name']}.png"
        if file.exists():
            found.append({**each, "picture": inline(file.read_bytes(), "png")})
    return found


def answers(run: Run, data: Dataset) -> list[dict[str, Any]]:
    """The worst and the best answers, by the task's own ranking."""
    metrics, records = run.metrics, run.records()
    assert metrics is not None
    ranking = run.task.ranking(records)
    order = np.argsort(np.nan_to_num(ranking, nan=-np.inf), kind="stable")
    split = data.splits[metrics["split"]]
    if len(order) != len(split):
        return []
    chosen = {
        "The worst answers": order[: min(_WORST, len(order))],
        "The best answers": order[::-1][: min(_BEST, len(order))],
    }
    return [
        {"title": title, "pictures": _drawn(run, split, places), "places": places.tolist()}
        for title, places in chosen.items()
    ]


def _drawn(run: Run, split: Split, places: NDArray[np.int64]) -> list[str]:
    """Pictures of the answers; where one below the other would be tall, halves that stand side by side."""
    figures = _figures(run, split, places)
    if len(places) > 1 and any(tall > 1.2 * wide for wide, tall in (figure.get_size_inches() for figure in figures)):
        half = -(-len(places) // 2)
        figures = _figures(run, split, places[:half]) + _figures(run, split, places[half:])
    return [png(figure) for figure in figures]


def _figures(run: Run, split: Split, places: NDArray[np.int64]) -> list[Figure]:
    found = examples(run, split, places, torch.device("cpu"))
    return [run.task.draw(input, prediction, target, names, run.classes) for input, prediction, target, names in found]


def sheet(data: Dataset | None) -> str | None:
    """A contact sheet of the training images, if these can be read."""
    if data is None:
        return None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            return inline(
                contact_sheet(data, Path(folder) / "sheet.png", columns=16, rows=10, side=64).read_bytes(), "png"
            )
        except DataError:
            return None


def png(figure: Figure) -> str:
    """A figure as an address that holds it, in pixels."""
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight", facecolor="white")
    return inline(out.getvalue(), "png")


def svg(figure: Figure) -> str:
    """A figure as an address that holds it, in lines."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pellucid"}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return inline(out.getvalue(), "svg+xml")


def inline(content: bytes, kind: str) -> str:
    """A picture's content as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def looks(run: Run) -> list[dict[str, str]]:
    """What lenses were used on this run: each one's picture, the words in it, and its page of its own, if any."""
    from PIL import Image

    found = []
    for name in _catalog.names("lenses"):
        file = run.figures / f"{name}.png"
        if not file.exists():
            continue
        with Image.open(file) as picture:
            said = str(picture.info.get("Description", ""))
            shown = picture.convert("RGB")
        shown.thumbnail((_WIDEST, 4 * _WIDEST))
        page = file.with_suffix(".html")
        found.append(
            {"name": name, "words": said, "picture": compact(shown), "page": page.name if page.exists() else ""}
        )
    return found


def thumbnail(image: Tensor, side: int = 64) -> str:
    """An image (C, H, W) in [0, 1] as an address of its own, at most `side` px; of more planes the first are shown.

    >>> thumbnail(torch.zeros(1, 4, 4))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    planes = image[:3] if len(image) >= 3 else image[:1]
    pixels = (planes.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy().transpose(1, 2, 0)
    shown = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    if max(shown.size) > side:
        shown.thumbnail((side, side))
    return compact(shown)


def compact(picture: Image) -> str:
    """An image as an address that holds it: as PNG, or as JPEG where that is less than half of it."""
    written = {}
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        out = io.BytesIO()
        picture.save(out, format=kind, **options)
        written[kind] = out.getvalue()
    kind = "jpeg" if 2 * len(written["jpeg"]) < len(written["png"]) else "png"
    return inline(written[kind], kind)
