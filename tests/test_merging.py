# SPDX-License-Identifier: Apache-2.0
"""Redundant filters: groups, joined layers that compute the same, and the whole procedure on a small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.merging import _units, groups, merge
from pellucid.models import _building
from pellucid.models.conv_autoencoder import ConvAutoencoder
from pellucid.run import Run
from pellucid.training.training import train

DENSE = {"name": "autoencoder", "channels": 1, "outputs": 1, "size": [8, 8],
         "options": {"encoder": [6, 5], "activation": "sigmoid"}}  # fmt: skip
CONVOLUTIONAL = {"name": "embedding_autoencoder", "channels": 3, "outputs": 3, "size": [9, 8],
                 "options": {"widths": [6, 5], "latent": 3}}  # fmt: skip
TALL = {"name": "conv_autoencoder", "channels": 3, "outputs": 3, "size": [9, 8],
        "options": {"widths": [6, 5], "code": 3, "activation": "sigmoid"}}  # fmt: skip


def twinned(description: dict[str, Any]) -> Any:
    """A model whose second filter of each layer is its first."""
    torch.manual_seed(0)
    model: Any = _building.build(description)
    with torch.no_grad():
        for layer in model.encoder:
            if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight is not list(model.encoder.parameters())[-2]:
                layer.weight[1], layer.bias[1] = layer.weight[0], layer.bias[0]
    return model


@pytest.mark.parametrize("description", [DENSE, CONVOLUTIONAL, TALL], ids=lambda d: d["name"])
def test_twins_are_joined_without_any_change_of_the_answer(description: dict[str, Any]) -> None:
    model = twinned(description)
    found = {name: groups(weight.detach().numpy(), 0.999) for name, weight in model.filters().items()}
    twins = {name: [[0, 1], *([i] for i in range(2, len(parts) + 1))] for name, parts in found.items()}
    first = next(iter(found))
    assert found[first] == twins[first]
    small = model.merged(found)
    images = torch.rand(4, description["channels"], *description["size"])
    torch.testing.assert_close(small(images), model(images), rtol=1e-4, atol=1e-5)
    assert _building.parameter_count(small) < _building.parameter_count(model)
    again = _building.build(_building.describe(small))
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(again(images), small(images))


def test_groups_are_those_of_the_cosine() -> None:
    turn = np.deg2rad([0, 5, 90, 94, 180])
    filters = np.stack([np.cos(turn), np.sin(turn)], 1) * [[1], [3], [2], [1], [5]]
    assert groups(filters, 0.99) == [[0, 1], [2, 3], [4]]
    assert groups(filters, 0.9999) == [[0], [1], [2], [3], [4]]
    assert groups(filters, -1) == [[0, 1, 2, 3, 4]]
    assert groups(filters[:1], 0.5) == [[0]]


@pytest.mark.parametrize("threshold", [1.01, -1.5, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused_before_anything_is_written(threshold: float, tmp_path: Path) -> None:
    made = train("cluster", "digits", "autoencoder", tmp_path / "run", method="kmeans", encoder=(8,), epochs=1, limit=100,
                 progress=False)  # fmt: skip
    with pytest.raises(UsageError, match="is a cosine similarity; give a number from -1 to 1"):
        merge(made, threshold, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merging_goes_on_until_nothing_merges(tmp_path: Path) -> None:
    made = train("cluster", "digits", "autoencoder", tmp_path / "run", method="kmeans", encoder=(24,), activation="sigmoid",
                 sparsity=0.02, epochs=2, limit=200, progress=False, device="cpu")  # fmt: skip
    rows = merge(made, (0.1, 0.999), tmp_path / "out", epochs=1, progress=False)
    assert [row.threshold for row in rows] == [1.0, 0.999, 0.1]
    assert rows[0].filters == rows[1].filters == 24
    last = rows[-1]
    assert last.rounds >= 1
    assert last.filters < 24
    model: Any = _building.build(json.loads((last.run / "run.json").read_text())["model"])
    assert len(model.filters()["encoder.1"]) == last.filters
    weights = {name: weight.detach().numpy() for name, weight in Run(last.run).model("last").filters().items()}  # type: ignore[operator]
    assert all(len(groups(weight, 0.1)) == len(weight) for weight in weights.values()), "something still merges"
    table = json.loads((tmp_path / "out" / "merging.json").read_text())
    assert [row["filters"] for row in table] == [row.filters for row in rows]
    assert all(row.main is not None and np.isfinite(row.loss) for row in rows)
    for name in ("merging.png", "filters.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


def test_a_model_without_filters_is_refused(tmp_path: Path) -> None:
    made = train("classify", "digits", "mlp", tmp_path / "run", hidden=(8,), epochs=1, limit=100, progress=False)
    with pytest.raises(UsageError, match=r"model='mlp': has no filters that can be merged; train an autoencoder."):
        merge(made, 0.9)


@pytest.mark.parametrize("description", [DENSE, CONVOLUTIONAL, TALL], ids=lambda d: d["name"])
def test_units_that_differ_by_their_bias_alone_are_not_the_same(description: dict[str, Any]) -> None:
    model = twinned(description)
    same = {name: groups(units, 0.99) for name, units in _units(model).items()}
    assert any([0, 1] in found for found in same.values())
    with torch.no_grad():
        for name in model.filters():
            # as far from each other as their weights are long
            model.get_submodule(name).bias[1] += 3 * model.get_submodule(name).weight[1].norm()
    assert all([0, 1] not in groups(units, 0.99) for units in _units(model).values())
    assert any([0, 1] in groups(weight.detach().numpy(), 0.99) for weight in model.filters().values()), "weights alone"


def test_the_filters_of_a_convolutional_autoencoder_are_merged_too(tmp_path: Path) -> None:
    made = train("denoise", "digits", "conv_autoencoder", tmp_path / "run", widths=(8,), code=4, epochs=1, limit=64,
                 device="cpu", progress=False)  # fmt: skip
    last = merge(made, 0.2, tmp_path / "out", epochs=1, progress=False)[-1]
    assert last.rounds >= 1
    assert last.filters < 16
    assert last.main is not None
    made_again: Any = Run(last.run).model("last")
    assert {name: len(units) for name, units in _units(made_again).items()} == {
        name: after for name, (_, after) in last.kept.items()
    }
    assert all(len(groups(units, 0.2)) == len(units) for units in _units(made_again).values()), "something still merges"


def test_widths_of_a_convolutional_autoencoder_must_fit_each_other() -> None:
    for name, count in (("inner_widths", 2), ("decoder_widths", 3)):
        with pytest.raises(UsageError, match=rf"^{name}=\(4,\): must have {count} entries for widths=\(6, 5\)"):
            ConvAutoencoder(1, 1, (8, 8), widths=(6, 5), **{name: (4,)})
