# SPDX-License-Identifier: Apache-2.0
"""`merge`: redundant filters found, made one, and the smaller model trained on, until nothing merges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.errors import RunError, UsageError
from pellucid.files import make_folder, write_atomically, write_json
from pellucid.inference import evaluate
from pellucid.models import _building
from pellucid.models._merging import Mergeable
from pellucid.run import Run
from pellucid.training.recipe import Recipe
from pellucid.training.training import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Merged", "groups", "merge"]


@final
@dataclass(frozen=True)
class Merged:
    """What came of merging at one threshold."""

    threshold: float
    kept: dict[str, tuple[int, int]]  # layer -> filters before, after
    rounds: int
    parameters: int
    loss: float  # of the validation, or of the last training row where there is none
    main: float | None  # the deciding measure on the test images
    run: Path

    @property
    def filters(self) -> int:
        """Filters that are left, over all layers."""
        return sum(after for _, after in self.kept.values())


def groups(filters: NDArray[np.floating], threshold: float) -> list[list[int]]:
    """Groups of filters (F, …) whose mean cosine similarity stays above a threshold, by agglomerative clustering.

    Average linkage on 1 − cosine (Ayinde & Zurada 2016, algorithm 1); every filter stands in one group.

    >>> groups(np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]), 0.9)
    [[0, 1], [2]]
    >>> groups(np.eye(2), 1.5)
    Traceback (most recent call last):
    pellucid.errors.UsageError: threshold=1.5: is a cosine similarity; give a number from -1 to 1.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    _check(threshold)
    count = len(filters)
    if count < 2:
        return [[i] for i in range(count)]
    flat = np.asarray(filters, np.float64).reshape(count, -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    apart = np.clip(1 - unit @ unit.T, 0, 2)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    # strictly above the threshold: at 1, filters that point the same way but for rounding stay apart from nothing
    labels = fcluster(tree, max(1 - threshold, 0.0) + 1e-9, "distance")
    found: dict[int, list[int]] = {}
    for place, label in enumerate(labels.tolist()):
        found.setdefault(label, []).append(place)
    return sorted(found.values())


def merge(
    run: Run | str | Path,
    threshold: float | Sequence[float] = (0.9, 0.8, 0.7),
    out: str | Path | None = None,
    *,
    epochs: int = 3,
    progress: bool = True,
) -> list[Merged]:
    """Merge redundant filters of a run's model at each threshold, and train the smaller models on.

    Filters whose cosine similarity exceeds the threshold are grouped and each group becomes one; then the model is trained
    on for some epochs, and all that is done again until nothing merges. Every smaller model is a run of its own. Written
    are merging.json, merging.png (filters kept, loss and deciding measure against the threshold) and filters.png.

    Args:
        run: the run, or its folder; its model has `filters` and `merged`.
        threshold: one or more cosine similarities.
        out: the folder for the runs, the table and the pictures; by default merged/ in the run's folder.
        epochs: of training on, after each merging.
        progress: show each training's progress.

    Raises:
        UsageError: a threshold that is no cosine similarity, or a model without filters that can be merged.
    """
    run = run if isinstance(run, Run) else Run(run)
    wanted = [threshold] if isinstance(threshold, (int, float)) else [*threshold]
    for each in wanted:
        _check(each)
    if not wanted:
        raise UsageError("threshold=(): names none; give one or more, e.g. --threshold 0.9 0.8.")
    if epochs < 1:
        raise UsageError(f"epochs={epochs}: must be at least 1; give another value.")
    if run.status != "finished":
        raise RunError(f"run={str(run.path)!r}: is not finished; {run.resuming}.")
    model = run.model("last")
    if not isinstance(model, Mergeable):
        name = run.info["model"]["name"]
        raise UsageError(f"model={name!r}: has no filters that can be merged; train an autoencoder.")
    folder = Path(out) if out is not None else run.path / "merged"
    make_folder(folder)
    rows = [_row(1.0, model, model, 0, run)]
    pictures = {"before": _first(model)}
    for each in sorted(set(map(float, wanted)), reverse=True):
        made, small, rounds = _until_nothing_merges(run, each, folder / f"threshold-{each:g}", epochs, progress)
        rows.append(_row(each, model, small, rounds, made))
        pictures[f"threshold {each:g}"] = _first(small)
    write_json(folder / "merging.json", [_told(row) for row in rows])
    for name, figure in (("merging", _plot(rows, run.main.key)), ("filters", _tiles(pictures, run))):
        with write_atomically(folder / f"{name}.png") as draft:
            figure.savefig(draft, format="png", bbox_inches="tight", facecolor="white")
    return rows


def _check(threshold: float) -> None:
    if not -1 <= threshold <= 1:
        raise UsageError(f"threshold={threshold}: is a cosine similarity; give a number from -1 to 1.")


def _until_nothing_merges(
    run: Run, threshold: float, folder: Path, epochs: int, progress: bool
) -> tuple[Run, nn.Module, int]:
    """Merge and train on, round after round; the last round's run, its model, and how many rounds there were."""
    current, model, rounds = run, run.model("last"), 0
    while True:  # every round leaves fewer filters, so that it ends
        assert isinstance(model, Mergeable)
        filters = {name: weights.detach().numpy() for name, weights in model.filters().items()}
        similar = {name: groups(weights, threshold) for name, weights in filters.items()}
        if all(len(similar[name]) == len(weights) for name, weights in filters.items()):
            break
        rounds += 1
        current = _train_on(run, model.merged(similar), folder / f"round-{rounds}", epochs, progress)
        model = current.model("last")
    if rounds and current.metrics is None:
        evaluate(current, baselines=False)
    return current, model, rounds


def _train_on(run: Run, model: nn.Module, path: Path, epochs: int, progress: bool) -> Run:
    """A run of a smaller model that sets out from its weights, with the options of the first run."""
    default = dataclasses.asdict(Recipe())
    changed = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.info["recipe"].items()
        if name in default and value != default[name]
    }
    options = {**_building.describe(model)["options"], **changed, "size": run.size, "epochs": epochs, "warmup": None}
    return train(
        run.task, run.data(), run.info["model"]["name"], path, progress=progress, weights=model.state_dict(), **options
    )


def _row(threshold: float, before: nn.Module, after: nn.Module, rounds: int, run: Run) -> Merged:
    assert isinstance(before, Mergeable) and isinstance(after, Mergeable)
    old, new = before.filters(), after.filters()
    metrics = run.metrics or evaluate(run, baselines=False)
    measure: Mapping[str, Any] = metrics["model"].get(run.main.key, {})
    history = [row for row in run.history if row["split"] == "val"] or run.history
    last = history[-1]
    return Merged(
        threshold=threshold,
        kept={name: (len(old[name]), len(new[name])) for name in old},
        rounds=rounds,
        parameters=_building.parameter_count(after),
        loss=float(last["loss"]),
        main=measure.get("value"),
        run=run.path,
    )


def _told(row: Merged) -> dict[str, Any]:
    kept = {name: {"before": before, "after": after} for name, (before, after) in row.kept.items()}
    return {**dataclasses.asdict(row), "kept": kept, "filters": row.filters, "run": str(row.run)}


def _first(model: nn.Module) -> Tensor:
    assert isinstance(model, Mergeable)
    return next(iter(model.filters().values())).detach()


def _plot(rows: Sequence[Merged], main: str) -> Figure:
    """Filters kept, loss and the deciding measure, against the threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 2.9), dpi=150, layout="constrained")
    panels = {
        "filters kept": [row.filters for row in rows],
        "loss": [row.loss for row in rows],
        main.replace("_", " "): [np.nan if row.main is None else row.main for row in rows],
    }
    for axes, (title, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.plot([row.threshold for row in rows], values, marker="o", ms=4, color="#4a6fa5")
        axes.set(title=title, xlabel="threshold of the cosine (1: nothing merged)")
        axes.invert_xaxis()
        axes.title.set_fontsize(10)
    return figure


def _tiles(pictures: Mapping[str, Tensor], run: Run) -> Figure:
    """The first layer's filters of each model, a block a model."""
    from matplotlib.figure import Figure

    columns, shown = 24, 96
    blocks = {}
    for title, weights in pictures.items():
        tiles = weights.float() if weights.ndim == 4 else weights.float().reshape(len(weights), run.channels, *run.size)
        tiles = tiles if tiles.shape[1] in (1, 3) else tiles.mean(1, keepdim=True)
        low, high = tiles.flatten(1).amin(1)[:, None, None, None], tiles.flatten(1).amax(1)[:, None, None, None]
        blocks[title] = ((tiles - low) / (high - low).clamp_min(1e-12))[:shown].numpy()
    lines = sum(-(-len(block) // columns) + 1 for block in blocks.values())
    figure = Figure(figsize=(0.36 * columns, 0.36 * lines), dpi=150)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    line = 0
    for title, block in blocks.items():
        told = f"{title}: {len(pictures[title])} filters" + (
            f", the first {shown}" if len(pictures[title]) > shown else ""
        )
        grid[line, 0].text(0, 0.1, told, fontsize=9, transform=grid[line, 0].transAxes)
        for place, tile in enumerate(block):
            axes = grid[line + 1 + place // columns, place % columns]
            axes.imshow(tile[0] if len(tile) == 1 else tile.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
        line += 1 + -(-len(block) // columns)
    return figure
