# SPDX-License-Identifier: Apache-2.0
"""The pictures of a page, embedded as data URIs: figures, thumbnails, answers, and pictures that lenses saved."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _catalog
from pellucid._png import drawn as drawn_png
from pellucid.data.dataset import Dataset, Split
from pellucid.data.inspection import contact_sheet
from pellucid.errors import DataError
from pellucid.inference import examples
from pellucid.run import Run
from pellucid.tasks import DrawsForReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["answers", "batch", "compact", "figures", "inline", "looks", "narrow", "png", "sheet", "svg", "thumbnail"]

_WORST, _BEST = 8, 4  # examples on the page
_ACROSS = 7  # images of a line of the contact sheet, so that its words are read on a phone
_TALL = 5  # height of a picture of answers over its width, from which it is cut into four
_SMALL = (
    256  # px up to which a PNG is compressed as far as it goes: a large one takes 1 % less then, and four times as long
)
_NARROW = 4.2  # inches: 8 points of a wider picture are less than 9 px on a page of 390 px, which has 355 for it
_USUAL = 100.0  # dots per inch of a picture that does not say how many it has
_WIDEST = 1500  # px: of a lens's picture on the page


def figures(run: Run, metrics: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The figures of the model as a whole, that `evaluate` drew and that are drawn now, with titles and captions."""
    drawn: list[dict[str, Any]] = []
    for figure in (metrics or {}).get("pictures", ()):
        file = run.figures / f"{figure['name']}.png"
        # a lens of the same name may have replaced the file since; its pictures carry a caption
        if file.exists() and _caption(file) is None:
            drawn.append({**figure, **_shown(file.read_bytes())})
    records = run.records()
    if metrics is not None and records and isinstance(run.task, DrawsForReport):
        rivals = {name: run.records(f"baselines/{name}") for name in metrics["baselines"]}
        known = {name: table for name, table in rivals.items() if table}
        for one in run.task.report_figures(records, known, run.classes):
            drawn.append({"name": one.name, "title": one.title, "words": one.words, **_shown(drawn_png(one.figure))})
    return drawn


def _shown(content: bytes) -> dict[str, Any]:
    """A PNG as a data URI, and whether it is too wide for a phone: then it keeps its size there, and scrolls."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        inches = picture.width / picture.info.get("dpi", (_USUAL, _USUAL))[0]
    return {"picture": inline(content, "png"), "wide": inches > _NARROW}


def _caption(file: Path) -> str | None:
    """The words that a lens saved in its picture; None for a picture that no lens saved."""
    from PIL import Image

    with Image.open(file) as picture:
        words = picture.info.get("Description")
    return None if words is None else str(words)


def answers(run: Run, data: Dataset) -> list[dict[str, Any]]:
    """The worst and the best answers by the task's ranking."""
    metrics, records = run.metrics, run.records()
    assert metrics is not None
    ranking = run.task.ranking(records)
    order = np.argsort(np.nan_to_num(ranking, nan=-np.inf), kind="stable")
    split = data.splits[metrics["split"]]
    if len(order) != len(split):
        return []
    chosen = {
        "The worst answers": order[: min(_WORST, len(order))],
        "The best answers": order[::-1][: min(_BEST, len(order))].copy(),  # torch takes no negative strides
    }
    return [
        {"title": title, "pictures": _drawn(run, split, places, metrics["weights"]), "places": places.tolist()}
        for title, places in chosen.items()
    ]


def _drawn(run: Run, split: Split, places: NDArray[np.int64], which: Literal["best", "last"]) -> list[str]:
    """Pictures of the answers; two or four parts side by side if a single picture would be tall."""
    drawings = _drawings(run, split, places, which)
    ratio = max(tall / wide for wide, tall in (figure.get_size_inches() for figure in drawings))
    parts = min(len(places), 1 if ratio <= 1.2 else 2 if ratio <= _TALL else 4)
    if parts > 1:
        drawings = [figure for part in np.array_split(places, parts) for figure in _drawings(run, split, part, which)]
    return [png(figure) for figure in drawings]


def _drawings(run: Run, split: Split, places: NDArray[np.int64], which: Literal["best", "last"]) -> list[Figure]:
    answered = examples(run, split, places, torch.device("cpu"), which)
    return [run.task.draw(*batch, run.classes) for batch in answered]


def sheet(data: Dataset | None) -> str | None:
    """A contact sheet of the training images; None if they cannot be read."""
    if data is None:
        return None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            return inline(
                contact_sheet(data, Path(folder) / "sheet.png", columns=_ACROSS, rows=10, side=64).read_bytes(), "png"
            )
        except DataError:
            return None


def png(figure: Figure) -> str:
    """A figure as a data URI, in pixels."""
    return inline(drawn_png(figure), "png")


def narrow(figure: Figure, width: float = 3.8, height: float = 2.8) -> str:
    """A figure with its panels below each other instead of side by side, as vector graphics, for a phone.

    Args:
        figure: a row of panels; it is changed.
        width: of a panel, inches.
        height: of a panel, inches.
    """
    grid = figure.add_gridspec(len(figure.axes), 1)
    for place, axes in enumerate(figure.axes):
        axes.set_subplotspec(grid[place])
    figure.set_size_inches(width, height * len(figure.axes))
    return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as a data URI, as vector graphics."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pellucid"}):
        # what is laid out by constraints is within the figure: a tight box would be found by drawing it once more
        box = "tight" if figure.get_layout_engine() is None else None
        figure.savefig(out, format="svg", bbox_inches=box, metadata={"Date": None})
    return inline(out.getvalue(), "svg+xml")


def batch(run: Run) -> str | None:
    """The first images of the training as the model got them; None for a run without this picture."""
    file = run.figures / "batch.png"
    return inline(file.read_bytes(), "png") if file.exists() else None


def inline(content: bytes, kind: str) -> str:
    """The bytes of a picture as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def looks(run: Run) -> list[dict[str, str]]:
    """The picture of each lens that has looked at this run, its caption, and its interactive page, if it has one."""
    from PIL import Image

    saved = []
    for name in _catalog.names("lenses"):
        file = run.figures / f"{name}.png"
        words = _caption(file) if file.exists() else None
        if words is None:
            continue
        with Image.open(file) as picture:
            shown, looked_at = picture.convert("RGB"), str(picture.info.get("Weights", ""))
        shown.thumbnail((_WIDEST, 4 * _WIDEST))
        if looked_at not in ("", run.digest):
            words = f"Of earlier weights, before the training went on: {words}"
        page = file.with_suffix(".html")
        saved.append(
            {"name": name, "words": words, "picture": compact(shown), "page": page.name if page.exists() else ""}
        )
    return saved


def thumbnail(image: Tensor, side: int = 64) -> str:
    """An image (C, H, W) in [0, 1] as a data URI, at most `side` px; of more than three planes the first are shown.

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
    """An image as a data URI: PNG, or JPEG if that takes less than half the bytes."""
    encoded = {}
    small = max(picture.size) <= _SMALL
    for kind, options in (("png", {"optimize": True} if small else {"compress_level": 6}), ("jpeg", {"quality": 88})):
        out = io.BytesIO()
        picture.save(out, format=kind, **options)
        encoded[kind] = out.getvalue()
    kind = "jpeg" if 2 * len(encoded["jpeg"]) < len(encoded["png"]) else "png"
    return inline(encoded[kind], kind)
