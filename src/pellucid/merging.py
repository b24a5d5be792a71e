# SPDX-License-Identifier: Apache-2.0
"""`merge`: similar filters are merged and the smaller model is fine-tuned, until no more filters merge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._png import drawn
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
    """The result of merging at one threshold."""

    threshold: float
    kept: dict[str, tuple[int, int]]  # layer -> filters before, after
    rounds: int
    parameters: int
    loss: float  # on the validation images, or of the last training row without them
    main: float | None  # the task's main measure on the test images
    run: Path

    @property
    def filters(self) -> int:
        """The remaining filters of all layers."""
        return sum(after for _, after in self.kept.values())


def groups(filters: NDArray[np.floating], threshold: float) -> list[list[int]]:
    """Groups of filters (F, …) with a mean cosine similarity above a threshold, by agglomerative clustering.

    A filter's bias belongs to it: `merge` gives it as the last of the filter's numbers. Average linkage on 1 − cosine (Ayinde
    & Zurada 2016, algorithm 1); every filter belongs to one group.

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
    # the tolerance merges filters that differ by rounding alone, even at a threshold of 1
    labels = fcluster(tree, max(1 - threshold, 0.0) + 1e-9, "distance")
    members: dict[int, list[int]] = {}
    for place, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(place)
    return sorted(members.values())


def merge(
    run: Run | str | Path,
    threshold: float | Sequence[float] = (0.9, 0.8, 0.7),
    out: str | Path | None = None,
    *,
    epochs: int = 3,
    progress: bool = True,
) -> list[Merged]:
    """Merge similar filters of a run's model at each threshold, and fine-tune the smaller models.

    Filters whose cosine similarity exceeds the threshold are grouped, and each group becomes one filter; then the model is
    fine-tuned for some epochs. This is repeated until no more filters merge. Every smaller model is a run of its own. The
    results are in merging.json, merging.png (filters, loss and main measure against the threshold) and filters.png.

    Args:
        run: the run, or its folder; its model has `filters` and `merged`.
        threshold: one or more cosine similarities.
        out: the folder for the runs, the table and the pictures; by default merged/ in the run's folder.
        epochs: epochs of fine-tuning after each round of merging.
        progress: show a progress bar for each training.

    Raises:
        UsageError: a threshold that is not a cosine similarity, or a model without filters that can be merged.
    """
    run = run if isinstance(run, Run) else Run(run)
    thresholds = [threshold] if isinstance(threshold, (int, float)) else [*threshold]
    for value in thresholds:
        _check(value)
    if not thresholds:
        raise UsageError("threshold=(): is empty; give one or more, e.g. --threshold 0.9 0.8.")
    if epochs < 1:
        raise UsageError(f"epochs={epochs}: must be at least 1; give another value.")
    if run.status != "finished":
        raise RunError(f"run={str(run.path)!r}: is not finished; {run.resuming}.")
    model = run.model("last")
    if not isinstance(model, Mergeable):
        name = run.model_name
        raise UsageError(f"model={name!r}: has no filters that can be merged; train an autoencoder.")
    folder = Path(out) if out is not None else run.path / "merged"
    make_folder(folder)
    rows = [_row(1.0, model, model, 0, run)]
    pictures = {"before": _first(model)}
    for value in sorted(set(map(float, thresholds)), reverse=True):
        last, small, rounds = _until_nothing_merges(run, value, folder / f"threshold-{value:g}", epochs, progress)
        rows.append(_row(value, model, small, rounds, last))
        pictures[f"threshold {value:g}"] = _first(small)
    write_json(folder / "merging.json", [_record(row) for row in rows])
    for name, figure in (("merging", _plot(rows, run.main.key)), ("filters", _tiles(pictures, run))):
        with write_atomically(folder / f"{name}.png") as draft:
            draft.write_bytes(drawn(figure))
    return rows


def _check(threshold: float) -> None:
    if not -1 <= threshold <= 1:
        raise UsageError(f"threshold={threshold}: is a cosine similarity; give a number from -1 to 1.")


def _until_nothing_merges(
    run: Run, threshold: float, folder: Path, epochs: int, progress: bool
) -> tuple[Run, nn.Module, int]:
    """Merge and fine-tune, round after round; returns the last round's run, its model, and the number of rounds."""
    current, model, rounds = run, run.model("last"), 0
    while True:  # ends, since each round leaves fewer filters
        assert isinstance(model, Mergeable)
        similar = {name: groups(units, threshold) for name, units in _units(model).items()}
        if all(len(group) == 1 for groups_of in similar.values() for group in groups_of):
            break
        rounds += 1
        current = _fine_tune(run, model.merged(similar), folder / f"round-{rounds}", epochs, progress)
        model = current.model("last")
    if rounds and current.metrics is None:
        evaluate(current, baselines=False)
    return current, model, rounds


def _units(model: Mergeable) -> dict[str, NDArray[np.floating]]:
    """Each layer's units with all that they compute with, (F, inputs + 1): their weights, and the bias as one more of them.

    A unit computes (weights, bias)·(inputs, 1), so units of equal weights and other biases are not the same.
    """
    units = {}
    for name, weights in model.filters().items():
        flat = weights.detach().flatten(1)
        layer = model.get_submodule(name) if isinstance(model, nn.Module) else None
        bias = getattr(layer, "bias", None)
        units[name] = (flat if bias is None else torch.cat([flat, bias.detach()[:, None]], dim=1)).numpy()
    return units


def _fine_tune(run: Run, model: nn.Module, path: Path, epochs: int, progress: bool) -> Run:
    """A run that starts from the weights of a smaller model, with the options of the first run."""
    default = dataclasses.asdict(Recipe())
    changed = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.info["recipe"].items()
        if name in default and name != "weights" and value != default[name]
    }
    options = {**_building.describe(model)["options"], **changed, "size": run.size, "epochs": epochs, "warmup": None}
    return train(run.task, run.data(), run.model_name, path, progress=progress, weights=model.state_dict(), **options)


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


def _record(row: Merged) -> dict[str, Any]:
    """A row of merging.json."""
    kept = {name: {"before": before, "after": after} for name, (before, after) in row.kept.items()}
    return {**dataclasses.asdict(row), "kept": kept, "filters": row.filters, "run": str(row.run)}


def _first(model: nn.Module) -> Tensor:
    assert isinstance(model, Mergeable)
    return next(iter(model.filters().values())).detach()


def _plot(rows: Sequence[Merged], main: str) -> Figure:
    """Remaining filters, loss and the main measure, against the threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 2.9), dpi=150, layout="constrained")
    panels = {
        "filters": [row.filters for row in rows],
        "loss": [row.loss for row in rows],
        main.replace("_", " "): [np.nan if row.main is None else row.main for row in rows],
    }
    for axes, (title, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.plot([row.threshold for row in rows], values, marker="o", ms=4, color="#4a6fa5")
        axes.set(title=title, xlabel="cosine threshold (1: not merged)")
        axes.invert_xaxis()
        axes.title.set_fontsize(10)
    return figure


def _tiles(pictures: Mapping[str, Tensor], run: Run) -> Figure:
    """The first layer's filters of each model, one block per model."""
    from matplotlib.figure import Figure

    columns, shown = 24, 96
    blocks = {}
    for title, weights in pictures.items():
        tiles = weights.float()  # (F, C, h, w), or of dense layers (F, C·H·W)
        tiles = tiles if tiles.ndim == 4 else tiles.reshape(len(tiles), run.channels, *run.size)
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
        count = len(pictures[title])
        heading = f"{title}: {count} filters" + (f", the first {shown}" if count > shown else "")
        grid[line, 0].text(0, 0.1, heading, fontsize=9, transform=grid[line, 0].transAxes)
        for place, tile in enumerate(block):
            axes = grid[line + 1 + place // columns, place % columns]
            axes.imshow(tile[0] if len(tile) == 1 else tile.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
        line += 1 + -(-len(block) // columns)
    return figure
