# SPDX-License-Identifier: Apache-2.0
"""Frozen means frozen: the record proves it tensor by tensor, and one changed bit fails the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid import weights
from pellucid.errors import TrainingError, UsageError
from pellucid.models import Frozen
from pellucid.run import Run
from pellucid.training import training as module

SMALL: dict[str, Any] = {
    "name": "mobilenetv3_small_050", "size": 32, "limit": 64, "batch_size": 32, "epochs": 1, "device": "cpu", "progress": False,
}  # fmt: skip


def trained(out: Path, **options: Any) -> Run:
    return pellucid.train("classify", "digits", "timm", out, **{**SMALL, **options})


def test_the_record_has_every_frozen_tensor_before_and_after(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", frozen=True)
    frozen, tensors = run.info["frozen"], weights.load(run.path / "last.safetensors").tensors
    inside = {name for name in tensors if name.startswith("backbone.")}
    assert set(frozen["each"]) == inside
    assert any("running_mean" in name for name in inside), "batch-norm statistics too"
    assert frozen["before"] == frozen["after"]
    assert frozen["fixed"] + frozen["trained"] == run.info["parameters"]
    assert frozen["trained"] == sum(value.numel() for name, value in tensors.items() if name.startswith("head."))
    assert all(weights.digest({name: tensors[name]}) == digest for name, digest in frozen["each"].items())
    assert trained(tmp_path / "free").info["frozen"] is None


def test_one_bit_that_changes_fails_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = module.take_step

    def meddling(learner: Any, *given: Any) -> Any:
        body = next(one for one in learner.model.modules() if isinstance(one, Frozen))
        statistics = next(value for name, value in body.state_dict().items() if name.endswith("running_var"))
        statistics.view(torch.int32)[0] ^= 1
        return step(learner, *given)

    monkeypatch.setattr(module, "take_step", meddling)
    monkeypatch.setattr(module.Plan, "steps", 1)
    with pytest.raises(TrainingError, match=r"frozen=True: 1 of \d+ frozen tensors changed in training \(backbone"):
        trained(tmp_path / "run", frozen=True)
    assert Run(tmp_path / "run").status == "failed"


def test_a_resumed_run_is_compared_with_what_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = module.stopping
    monkeypatch.setattr(module, "stopping", lambda accelerator, stop, step: step == 1)
    begun = trained(tmp_path / "run", frozen=True).info["frozen"]
    monkeypatch.setattr(module, "stopping", stopping)
    ended = trained(tmp_path / "run", frozen=True).info["frozen"]
    assert begun["each"] == ended["each"]
    assert begun["before"] == ended["before"] == ended["after"]


STAGED: dict[str, Any] = {"frozen": True, "epochs": 3, "unfreeze": "last", "after": 2}


def test_unfreezing_trains_the_last_layers_from_its_epoch_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = module.stopping
    run = trained(tmp_path / "run", **STAGED)
    frozen, tensors = run.info["frozen"], weights.load(run.path / "last.safetensors").tensors
    assert frozen["before"] == frozen["after"]
    free = [name for name in tensors if name.startswith("backbone.") and name not in frozen["each"]]
    assert free
    assert not any("running" in name for name in free), "batch norm keeps its statistics"
    share = sum(tensors[name].numel() for name in free) / (frozen["fixed"] + frozen["trained"])
    assert 0.2 < share < 0.6
    monkeypatch.setattr(module, "stopping", lambda accelerator, stop, step: step == 4)  # two epochs of two steps
    trained(tmp_path / "part", **STAGED)
    part = weights.load(tmp_path / "part" / "last.safetensors").tensors
    assert any(not torch.equal(part[name], tensors[name]) for name in free), "the third epoch changed them"
    alone = trained(tmp_path / "alone", **{**STAGED, "unfreeze": "never", "after": None})
    before = weights.load(alone.path / "last.safetensors").tensors
    assert all(torch.equal(part[name], before[name]) for name in free), "and the first two did not"
    monkeypatch.setattr(module, "stopping", stopping)
    resumed = weights.load(trained(tmp_path / "part", **STAGED).path / "last.safetensors").tensors
    assert all(torch.equal(value, resumed[name]) for name, value in tensors.items()), "as if never stopped"


def test_unfreezing_without_effect_is_refused(tmp_path: Path) -> None:
    for options, sentence in (
        ({"unfreeze": "all"}, "unfreeze='all': has no effect on a model without a frozen backbone; add --frozen."),
        ({"frozen": True, "after": 0}, "after=0: has no effect unless something is unfrozen"),
        ({"frozen": True, "unfreeze": "all", "after": 1}, "after=1: must lie between 0 and epochs - 1"),
    ):
        with pytest.raises(UsageError) as caught:
            trained(tmp_path / "run", **options)
        assert sentence in str(caught.value)
        assert not (tmp_path / "run").exists()
