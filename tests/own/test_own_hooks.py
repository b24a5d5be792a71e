# SPDX-License-Identifier: Apache-2.0
"""Functions of one's own in a training: on batches, on records, and after epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ownnets import TWO_EPOCHS
from torch import Tensor, nn

from pellucid import data
from pellucid.data.targets import Label
from pellucid.errors import RunError, UsageError
from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.training.plan import Plan
from pellucid.training.state import State
from pellucid.training.training import train


def darker(images: Tensor, targets: Any) -> Tensor:
    return images * 0.5


def misses(records: Any) -> Any:
    return records["true"] != records["predicted"]


def most(records: Any) -> Any:
    return records["probabilities"].max()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    own = {"misses": misses, "most": most}
    return train("classify", "digits", "mlp", tmp_path_factory.mktemp("hooks") / "run", measures=own, **TWO_EPOCHS)


def test_augment_sees_every_batch_in_the_unit_range_after_the_tasks_own_changes(tmp_path: Path) -> None:
    seen: list[tuple[tuple[int, ...], float, type, int]] = []

    def look(images: Tensor, targets: Any) -> Tensor:
        seen.append((tuple(images.shape), float(images.max()), type(targets), len(targets)))
        return images

    train("classify", "digits", "mlp", tmp_path / "run", augment=look, **TWO_EPOCHS)
    steps = 2 * 256 // 64
    assert len(seen) == steps + 2  # the first batch is tried before the training, and drawn for figures/batch.png
    assert {shape for shape, *_ in seen} == {(64, 1, 8, 8)}
    assert all(0.9 < high <= 1 and kind is Label and count == 64 for _, high, kind, count in seen)


def test_a_training_with_augment_is_that_on_the_changed_images(tmp_path: Path) -> None:
    """Halving every image in `augment` is training on images at half their brightness."""
    plain = data.open("digits")
    changed = train("classify", plain, "mlp", tmp_path / "own", augment=darker, **TWO_EPOCHS)
    first = next(row for row in changed.history if row["split"] == "train")
    plan = Plan.of("classify", plain, "mlp", {name: value for name, value in TWO_EPOCHS.items() if name != "progress"})
    state = State.begin(plan)
    batch, _ = state.feed.batch(0)
    half = batch.images.float().mul(0.5)
    logits = state.model((half / 255).contiguous())
    label: Any = batch.targets["label"]
    loss = nn.functional.cross_entropy(logits, label.index)
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_random_changes_are_drawn_again_by_a_resumed_training(tmp_path: Path) -> None:
    def noisy(images: Tensor, targets: Any) -> Tensor:
        return (images + 0.1 * torch.randn_like(images)).clamp(0, 1)

    class Stop(Exception):
        pass

    def stop(epoch: int, row: Any, model: nn.Module) -> None:
        raise Stop

    whole = train("classify", "digits", "mlp", tmp_path / "whole", augment=noisy, **TWO_EPOCHS)
    with pytest.raises(Stop):
        train("classify", "digits", "mlp", tmp_path / "parts", augment=noisy, callback=stop, **TWO_EPOCHS)
    assert train("classify", "digits", "mlp", tmp_path / "parts", augment=noisy, **TWO_EPOCHS).digest == whole.digest


def test_augment_may_change_the_targets(tmp_path: Path) -> None:
    def all_threes(images: Tensor, targets: Label) -> tuple[Tensor, Label]:
        return images, Label(torch.full_like(targets.index, 3))

    run = train("classify", "digits", "mlp", tmp_path / "run", augment=all_threes, lr=0.05, **TWO_EPOCHS)
    rows = run.predict([np.zeros((8, 8), np.uint8)])
    assert rows[0]["label"] == "3"


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        (lambda images, targets: images * 255, r"gives values from 0 to 255; images lie in \[0, 1\]"),
        (lambda images, targets: images[:, :, :4], r"gives \(64, 1, 4, 8\) torch.float32 for images \(64, 1, 8, 8\)"),
        (lambda images, targets: (images, None), r"gives targets of the type NoneType for a Label of 64 images"),
        (lambda images, targets: None, r"gives a NoneType for images"),
        (lambda images: images, r"fails on a batch \(TypeError"),
        (lambda images, targets: images / 0, r"gives values from nan to nan"),
        ("flip", r"augment='flip': is no function"),
    ],
)
def test_an_augment_that_cannot_be_is_one_sentence(augment: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence) as fault:
        train("classify", "digits", "mlp", tmp_path / "run", augment=augment, **TWO_EPOCHS)
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_goes_on_with_its_augment_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = train("classify", "digits", "mlp", out, augment=darker, **TWO_EPOCHS)
    record = run.info["hooks"]["augment"]
    assert record["name"] == "darker"
    assert "return images * 0.5" in record["source"]
    with pytest.raises(
        RunError, match=r"holds a run with augment=darker, and none is given now; give the same to resume it"
    ):
        train("classify", "digits", "mlp", out, **TWO_EPOCHS)
    with pytest.raises(RunError, match=r"with augment=darker of another source"):
        train("classify", "digits", "mlp", out, augment=lambda images, targets: images, **TWO_EPOCHS)
    assert train("classify", "digits", "mlp", out, augment=darker, **TWO_EPOCHS).digest == run.digest


def test_features_of_a_frozen_backbone_are_not_kept_where_augment_changes_images(tmp_path: Path) -> None:
    frozen = {**TWO_EPOCHS, "pretrained": False, "frozen": True, "size": 32, "epochs": 1, "limit": 4, "batch_size": 2}
    del frozen["hidden"]
    calls: list[int] = []

    def count(images: Tensor, targets: Any) -> Tensor:
        calls.append(len(images))
        return images

    train("classify", "digits", "mobilenet_v2", tmp_path / "run", augment=count, **frozen)
    assert len(calls) == 2 + 2  # tried and drawn, and two steps
    with pytest.raises(UsageError, match=r"variants=2: would keep features of images that augment= has not changed"):
        train("classify", "digits", "mobilenet_v2", tmp_path / "other", augment=count, variants=2, **frozen)


# -- measures


def test_own_measures_stand_in_the_history_and_beside_the_tasks(measured: Run) -> None:
    rows = [row for row in measured.history if row["split"] == "val"]
    assert all(row["misses"] == pytest.approx(1 - row["accuracy"]) for row in rows)
    found = measured.evaluate(baselines=False)
    accuracy, own, single = (found["model"][name] for name in ("accuracy", "misses", "most"))
    assert own["value"] == pytest.approx(1 - accuracy["value"])
    # of the same resamples: the interval of the error is that of the accuracy, mirrored
    assert (own["low"], own["high"]) == pytest.approx((1 - accuracy["high"], 1 - accuracy["low"]))
    assert single["value"] == pytest.approx(measured.records()["probabilities"].max())
    assert not np.isfinite([np.nan if single[end] is None else single[end] for end in ("low", "high")]).any()


def test_measures_that_were_not_given_again_are_named(measured: Run) -> None:
    fresh = Run(measured.path)
    found = evaluate(fresh, baselines=False)
    assert "misses" not in found["model"]
    assert any("also measured misses, most, by functions that are to be given again" in note for note in found["notes"])
    again = evaluate(fresh, baselines=False, measures={"misses": misses, "most": most})
    assert "misses" in again["model"]
    assert "notes" not in again


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"accuracy": misses}, r"the training has an entry of this name"),
        ({"loss": misses}, r"the training has an entry of this name"),
        ({"x": 3}, r"measures=\{'x': 3\}: is no function"),
        ([misses], r"must be functions by name"),
    ],
)
def test_measures_that_cannot_be(own: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        train("classify", "digits", "mlp", tmp_path / "run", measures=own, **TWO_EPOCHS)


def test_a_measure_of_another_shape_or_without_its_columns_is_one_sentence(measured: Run) -> None:
    with pytest.raises(
        UsageError, match=r"measures=\{'x': …\}: gives the shape \(3,\) for \d+ images; return one number"
    ):
        evaluate(measured.path, baselines=False, measures={"x": lambda records: np.zeros(3)})
    with pytest.raises(UsageError, match=r"\(KeyError: 'boxes'\); their columns are true, "):
        evaluate(measured.path, baselines=False, measures={"x": lambda records: records["boxes"]})


def test_a_measure_that_is_no_number_leaves_a_history_that_can_be_read(tmp_path: Path) -> None:
    run = train("classify", "digits", "mlp", tmp_path / "run", measures={"none": lambda records: np.nan}, **TWO_EPOCHS)
    assert [row["none"] for row in run.history if row["split"] == "val"] == [None, None]
    run.evaluate(baselines=False)
    assert Run(run.path).metrics is not None


# -- after each epoch


def test_callback_gets_epoch_row_and_model_and_ends_the_training(tmp_path: Path) -> None:
    got: list[tuple[int, dict[str, Any], bool]] = []

    def after(epoch: int, row: dict[str, Any], model: nn.Module) -> bool:
        got.append((epoch, row, model.training))
        return epoch < 3

    run = train("classify", "digits", "mlp", tmp_path / "run", callback=after, **{**TWO_EPOCHS, "epochs": 10})
    assert [epoch for epoch, *_ in got] == [1, 2, 3]
    assert [row for _, row, _ in got] == [row for row in run.history if row["split"] == "val"]
    assert not any(training for *_, training in got)
    assert (run.status, run.info["ended"]) == ("finished", "by callback after epoch 3")


def test_a_callback_changes_nothing_of_the_training(tmp_path: Path) -> None:
    def noise(epoch: int, row: Any, model: nn.Module) -> None:
        torch.rand(7)
        model(torch.rand(2, 1, 8, 8))

    plain = train("classify", "digits", "mlp", tmp_path / "plain", dropout=0.5, **TWO_EPOCHS)
    called = train("classify", "digits", "mlp", tmp_path / "called", dropout=0.5, callback=noise, **TWO_EPOCHS)
    assert called.digest == plain.digest
