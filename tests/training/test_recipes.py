# SPDX-License-Identifier: Apache-2.0
"""Options that go together under one name: what they set, what wins over them, and what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pellucid import _catalog
from pellucid.cli.binding import bind
from pellucid.errors import UnknownNameError, UsageError
from pellucid.tasks.denoise import Denoise
from pellucid.training.settings import Settings


@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_every_recipe_sets_options_that_there_are(task: str) -> None:
    kind: Any = _catalog.find("tasks", task)
    for name, own in kind.recipes.items():
        sets = {option: value for option, value in own.items() if option != "model"}
        made = Settings.of(task, None, {"recipe": name})
        assert made.model == own.get("model", kind.default_model)
        plain = Settings.of(task, made.model, {})
        found = {**made.task_options, **made.model_options, **vars(made.recipe)}
        assert {option: found[option] for option in sets} == dict(sets)
        # nothing else changes, and nothing is set that is the default already
        before = {**plain.task_options, **plain.model_options, **vars(plain.recipe)}
        assert {option for option, value in found.items() if before.get(option) != value} == {*sets}


def test_options_that_are_given_win_also_where_they_are_the_defaults() -> None:
    made = Settings.of("denoise", None, {"recipe": "thorough", "epochs": 10, "flip": False})
    assert (made.recipe.epochs, made.task_options["flip"]) == (10, False)
    assert (made.recipe.batch_size, made.task_options["turn"]) == (32, True)
    words = ["denoise", "--recipe", "thorough", "--epochs", "10", "--no-flip", "--lr=0.002"]
    asked = bind("train", words).keywords  # type: ignore[attr-defined]
    assert (asked["recipe"], asked["epochs"], asked["flip"], asked["lr"]) == ("thorough", 10, False, 0.002)
    assert "turn" not in asked
    assert "epochs" not in bind("train", ["denoise", "--epochs", "10"]).keywords  # type: ignore[attr-defined]


def test_the_command_of_a_run_has_the_options_themselves() -> None:
    made = Settings.of("denoise", None, {"recipe": "thorough"})
    line = made.command("patches", "runs/x")
    assert "recipe" not in line
    again = bind("train", line.split()[2:]).keywords  # type: ignore[attr-defined]
    again = {name: value for name, value in again.items() if name not in ("data", "model", "out")}
    assert Settings.of("denoise", "unet", again) == made


def test_recipes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="recipe='thorow' is not known; did you mean 'thorough'"):
        Settings.of("denoise", None, {"recipe": "thorow"})
    with pytest.raises(UsageError, match=r"^recipe='thorough': segment has none; leave it out"):
        Settings.of("segment", None, {"recipe": "thorough"})
    with pytest.raises(
        UsageError, match=r"^recipe='thorough': sets .*=True, and the task already has its options; give its name"
    ):
        Settings.of(Denoise(), None, {"recipe": "thorough"})
    assert Settings.of("classify", None, {"recipe": None}) == Settings.of("classify", None, {})


def test_a_recipe_for_one_model_says_so_where_another_lacks_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Denoise, "recipes", {"wide": {"widths": (8, 16)}})
    assert Settings.of("denoise", None, {"recipe": "wide"}).model_options["widths"] == (8, 16)
    with pytest.raises(
        UsageError, match=r"^recipe='wide': sets widths=\(8, 16\), which autoencoder does not have; .* choose unet"
    ):
        Settings.of("denoise", "autoencoder", {"recipe": "wide"})


def test_a_recipe_may_name_its_model() -> None:
    words = ["generate", "--recipe", "thorough", "--encoder", "300", "200"]  # an option of that model
    asked = bind("train", words).keywords  # type: ignore[attr-defined]
    made = Settings.of("generate", None, {"recipe": "thorough", "encoder": asked["encoder"]})
    assert (made.model, made.model_options["batch_norm"], made.model_options["encoder"]) == ("vae", True, (300, 200))
    assert Settings.of("generate", "vae", {"recipe": "thorough", "encoder": (300, 200)}) == made
    for other in ("gan", "conv_vae"):
        with pytest.raises(
            UsageError, match=f"^recipe='thorough': is for model='vae', not {other}; leave out one of the two"
        ):
            Settings.of("generate", other, {"recipe": "thorough"})


def test_a_thorough_classifier_is_one_command() -> None:
    words = ["classify", "--recipe", "thorough", "--flip", "--epochs", "26"]
    asked = bind("train", words).keywords  # type: ignore[attr-defined]
    made = Settings.of("classify", None, {name: asked[name] for name in ("recipe", "flip", "epochs")})
    assert (made.model, made.model_options["widths"], made.model_options["pool"]) == ("convnet", (64, 128, 256), True)
    assert (made.recipe.optimizer, made.recipe.peak, made.recipe.epochs) == ("nesterov", 0.1, 26)
    assert (made.task_options["flip"], made.task_options["crop"], made.task_options["label_smoothing"]) == (
        True,
        2,
        0.1,
    )
    assert (
        Settings.of("classify", None, {"recipe": "thorough"}).task_options["flip"] is False
    )  # digits are not mirrored
    with pytest.raises(UsageError, match=r"^recipe='thorough': sets .*, which resnet does not have; .* choose convnet"):
        Settings.of("classify", "resnet", {"recipe": "thorough"})


def test_the_help_lists_what_a_recipe_sets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bind("train", ["denoise", "-h"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "thorough: --epochs 70 --batch-size 32 --lr 0.001 --ema 0.999 --flip --turn --exposure 1.0" in shown
    with pytest.raises(SystemExit):
        bind("train", ["segment", "-h"])
    assert "--recipe" not in capsys.readouterr().out
