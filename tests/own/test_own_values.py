# SPDX-License-Identifier: Apache-2.0
"""Values of a wrong type, names that are misspelt, and what help and completion list."""

from __future__ import annotations

import inspect
import pydoc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid
from pellucid._values import check_kind
from pellucid.errors import UnknownNameError, UsageError
from pellucid.training.recipe import Recipe
from pellucid.training.training import train


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": "ten"}, "epochs='ten': must be a whole number; give e.g. epochs=10."),
        ({"epochs": 2.5}, "epochs=2.5: must be a whole number; give e.g. epochs=10."),
        ({"epochs": True}, "epochs=True: must be a whole number; give e.g. epochs=10."),
        ({"epochs": None}, "epochs=None: must be a whole number; give e.g. epochs=10."),
        ({"hidden": 64}, "hidden=64: must be a list; write hidden=[64]."),
        ({"hidden": "64"}, "hidden='64': must be a list, each a whole number; write e.g. hidden=[10]."),
        ({"hidden": [64, "x"]}, "hidden=[64, 'x']: must be a list, each a whole number; write e.g. hidden=[10]."),
        ({"lr": "x"}, "lr='x': must be a number or None; give e.g. lr=0.1."),
        ({"flip": "yes"}, "flip='yes': must be True or False; give e.g. flip=True."),
        ({"dropout": [0.1]}, "dropout=[0.1]: must be a number; give e.g. dropout=0.1."),
        (
            {"optimizer": 3},
            "optimizer=3: must be 'sgd' or 'momentum' or 'nesterov' or 'adam' or 'adamw'; give another value.",
        ),
        ({"randaugment": 2}, "randaugment=2: must be a list; write randaugment=[2]."),
        ({"positive": 1}, "positive=1: must be a text or None; give another value."),
        ({"log": "tensorbord"}, "log='tensorbord': is not known; choose tensorboard, wandb or mlflow."),
    ],
)
def test_a_wrong_type_is_one_sentence(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as fault:
        train("classify", "digits", "mlp", tmp_path / "run", progress=False, **options)
    assert str(fault.value) == sentence
    assert not (tmp_path / "run").exists()


def test_the_same_of_predictions_evaluations_and_lenses(tmp_path: Path) -> None:
    run = train(
        "classify", "digits", "mlp", tmp_path / "run", hidden=(4,), epochs=1, limit=64, device="cpu", progress=False
    )
    image = np.zeros((8, 8), np.uint8)
    for call, sentence in (
        (
            lambda: run.predict(image, batch_size="ten"),
            "batch_size='ten': must be a whole number; give e.g. batch_size=10.",
        ),
        (lambda: run.evaluate(batch_size=2.5), "batch_size=2.5: must be a whole number; give e.g. batch_size=10."),
        (
            lambda: run.look("occlusion", image, tmp_path, patch="x"),
            "patch='x': must be a whole number or None; give e.g. patch=10.",
        ),
    ):
        with pytest.raises(UsageError) as fault:
            call()
        assert str(fault.value) == sentence
    with pytest.raises(UnknownNameError, match=r"option='epoch' is not known; did you mean 'epochs'\?"):
        train("classify", "digits", "mlp", tmp_path / "other", epoch=3)
    with pytest.raises(UnknownNameError, match=r"option='patches' is not known; did you mean 'patch'\?"):
        run.look("occlusion", image, tmp_path, patches=3)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.int64(3), int), (3, float), (np.float32(0.5), float), (np.bool_(True), bool), ([1, 2], tuple[int, ...]),
        (np.array([1, 2]), tuple[int, ...]), (None, float | None), (Path("a"), str | None), ("x", object), ((), tuple[float, ...]),
    ],
)  # fmt: skip
def test_what_is_of_the_type_passes(value: object, kind: Any) -> None:
    check_kind("option", value, kind)


def test_every_default_is_of_its_own_type() -> None:
    from pellucid import _catalog
    from pellucid._options import options_of
    from pellucid.models import _building

    for name, option in options_of(Recipe).items():
        check_kind(name, option.default, option.kind)
    for task in _catalog.names("tasks"):
        for name, option in options_of(_catalog.find("tasks", task)).items():
            check_kind(name, option.default, option.kind)
    for model in _catalog.names("models"):
        for name, (kind, default, _) in _building.options(model).items():
            check_kind(name, default, kind)


def test_help_and_completion_list_the_options_of_the_training() -> None:
    signature = inspect.signature(pellucid.train)
    assert {*inspect.signature(Recipe).parameters} <= {*signature.parameters}
    assert signature.parameters["epochs"].default == 10
    assert [*signature.parameters][-1] == "options"
    shown = pydoc.plain(pydoc.render_doc(pellucid.train))
    assert "epochs: passes over the training images" in shown
    assert "momentum: momentum coefficient of momentum and nesterov" in shown
