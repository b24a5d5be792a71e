# SPDX-License-Identifier: Apache-2.0
"""A module by itself: measured, asked and exported as a run with its weights is, and left as it was."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ownnets import IMAGES, SMALL, Net, seen
from torch import nn

from pellucid.errors import PellucidError, UsageError
from pellucid.exporting import export, facts
from pellucid.inference import evaluate, predict
from pellucid.own import parts
from pellucid.run import Run
from pellucid.tasks.classify import Classify
from pellucid.training.training import train

DIGITS = [*"0123456789"]
MEASURED = ("n", "main", "model", "baselines", "on_same_images", "details", "split", "data")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", Net(), tmp_path_factory.mktemp("bare") / "run", **SMALL)


def of(run: Run) -> Any:
    """The module of a run of one's own, in training mode as after a loop of one's own."""
    model: Any = run.model()
    return model.net.train()


def test_its_measures_are_those_of_the_run(trained: Run) -> None:
    wanted, found = evaluate(trained, "digits"), evaluate(of(trained), "digits", task="classify")
    assert {name: found[name] for name in MEASURED} == {name: wanted[name] for name in MEASURED}
    assert found["weights"] is None


def test_its_answers_are_those_of_the_run(trained: Run, tmp_path: Path) -> None:
    wanted = predict(trained, IMAGES)
    given = predict(of(trained), IMAGES, tmp_path / "out", task="classify", classes=DIGITS, size=8)
    assert given == wanted
    assert (tmp_path / "out" / "predictions.json").exists()
    assert predict(of(trained), IMAGES, task=Classify(), data="digits") == wanted
    larger = [image.repeat(2, 0).repeat(3, 1) for image in IMAGES]
    assert predict(of(trained), larger, task="classify", classes=DIGITS, size=(8, 8)) == predict(trained, larger)


def test_its_files_are_those_of_the_run(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    run = train("classify", "digits", net, tmp_path / "run", **SMALL)
    [wanted] = export(run, formats=["torch"])
    [found] = export(of(run), tmp_path / "bare", ["torch"], task="classify", classes=DIGITS, size=8)
    assert facts(found) == facts(wanted)
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = [torch.export.load(file).module()(images) for file in (found, wanted)]
    assert torch.equal(*outputs)
    assert (
        evaluate(of(run), "digits", task="classify", baselines=False)["model"]
        == evaluate(run, baselines=False)["model"]
    )


def test_it_stays_as_it_was(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = of(trained)
    net.first.eval()  # modes that differ
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = {name: module.training for name, module in net.named_modules()}
    known, rng = (dict(parts._latest), dict(parts._given)), torch.get_rng_state()
    evaluate(net, "digits", task="classify", baselines=False)
    predict(net, IMAGES, task="classify", classes=DIGITS, size=8)
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert (dict(parts._latest), dict(parts._given)) == known
    assert torch.equal(rng, torch.get_rng_state())
    assert not [*tmp_path.iterdir()]


def test_threads_get_the_answers_of_their_own_module() -> None:
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(6)]
    settings: dict[str, Any] = {"task": "classify", "classes": DIGITS, "size": 8}
    wanted = [predict(net, IMAGES, **settings) for net in nets]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda net: predict(net, IMAGES, **settings), nets)) == wanted
    assert wanted[0] != wanted[1]


def test_names_of_attributes_are_its_own() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net.classes, net.size, net.description = 10, 3.5, "two layers"  # type: ignore[assignment]
    assert predict(net, IMAGES, task="classify", classes=DIGITS, size=8)[0]["label"] in DIGITS
    net.classes, net.size = DIGITS, [8, 8]  # type: ignore[assignment]
    assert predict(net, IMAGES, task="classify")[0]["label"] in DIGITS


def test_dropout_does_not_answer() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 10)).train()
    one, other = (predict(net, IMAGES, task="classify", classes=DIGITS, size=8) for _ in range(2))
    assert one == other


def test_images_come_to_it_in_the_unit_range(trained: Run) -> None:
    seen.clear()
    predict(of(trained), IMAGES, task="classify", classes=DIGITS, size=8)
    assert max(high for _, high in seen) == 1.0
    assert min(low for low, _ in seen) == 0.0


def test_images_of_more_bits_are_read_as_by_the_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 4096, (80, 8, 8)).astype(np.uint16), np.arange(80) % 2
    run = train("classify", data, nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), tmp_path / "run", **SMALL)
    wanted = evaluate(run, data, baselines=False)
    found = evaluate(of(run), data, task="classify", baselines=False)
    assert found["model"] == wanted["model"]


@pytest.mark.filterwarnings("ignore:noise.*other noise than")
def test_it_restores_images_as_the_run_does(tmp_path: Path) -> None:
    run = train("denoise", "digits", nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), tmp_path / "run", **SMALL)
    wanted, found = (
        evaluate(run, "digits", baselines=False),
        evaluate(of(run), "digits", task="denoise", baselines=False),
    )
    assert found["model"] == wanted["model"]
    predict(run, IMAGES, tmp_path / "a")
    predict(of(run), IMAGES, tmp_path / "b", task="denoise", size=8)
    pictures = [[file.read_bytes() for file in sorted((tmp_path / at).glob("*.png"))] for at in "ab"]
    assert len(pictures[0]) >= len(IMAGES)
    assert pictures[0] == pictures[1]


def test_a_model_of_the_catalogue_answers_as_its_run(tmp_path: Path) -> None:
    run = train("classify", "digits", "convnet", tmp_path / "run", widths=(4, 8), batch_norm=True, **SMALL)
    assert predict(run.model(), IMAGES, task="classify", data="digits") == predict(run, IMAGES)
    with pytest.raises(UsageError, match=r"has 10 outputs, and classify needs 2 here"):
        predict(run.model(), IMAGES, task="classify", classes=["a", "b"])


def test_colour_comes_to_its_first_convolution() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    rows = predict(net, IMAGES, task="classify", classes=DIGITS, size=8)
    assert rows == predict(
        net, [np.stack([image] * 3, -1) for image in IMAGES], task="classify", classes=DIGITS, size=8
    )
    assert evaluate(net, "digits", task="classify", baselines=False)["n"] == 364


class Holding(nn.Module):
    """What no copy can be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.made = torch.ones(2, requires_grad=True) * 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2] * self.made


FLAT = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
ONE = IMAGES[0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: evaluate(FLAT, "digits"), r"^task=None: Sequential is a module and does not say what it answers; give task="),
        (lambda: evaluate(FLAT, task="classify"), r"^data=None: Sequential is a module and has no data of its own; give data="),
        (lambda: evaluate(FLAT, "digits", task="classify", which="last"), r"^which='last': is for a run"),
        (lambda: evaluate(FLAT, "digits", task="classify", threshold="chosen"), r"^threshold='chosen': .* give a number"),
        (lambda: evaluate(FLAT, "digits", task="classify", size=0), r"^size=0: must be one or two whole numbers of px"),
        (lambda: evaluate(FLAT, "digits", task="classify", size=9), r"^model=Sequential: cannot take images \(3, 1, 9, 9\)"),
        (lambda: evaluate(FLAT, "scenes", task="classify"), r"^model=Sequential: cannot take images \(3, 3, 64, 64\)"),
        (lambda: predict(FLAT, ONE, task="classify", classes=DIGITS), r"^size=\(\): Sequential is a module and does not say how"),
        (lambda: predict(FLAT, ONE, task="classify", size=8), r"^classes=\(\): classify needs their names; give classes="),
        (lambda: predict(FLAT, ONE, task="landmarks", size=8), r"^data=None: landmarks needs more than size and classes"),
        (lambda: predict(FLAT, ONE, task="detect", classes=DIGITS, size=8), r"^data=None: detect needs more than"),
        (lambda: predict(FLAT, ONE, task="classify", classes="01", size=8), r"^classes='01': is one name; give a list"),
        (lambda: predict(FLAT, ONE, task="classify", classes=["a", "a"], size=8), r"^classes=\['a', 'a'\]: have 'a' twice"),
        (lambda: predict(FLAT, ONE, task="classify", classes=["a", "b"], data="digits"), r"^classes=\['a', 'b'\]: are not those"),
        (lambda: predict(FLAT, ONE, task="classify", classes=["a", "b", "c"], size=8), r"gives \(3, 10\) for images .*outputs = 3"),
        (lambda: predict(FLAT, ONE, task="clasify", classes=DIGITS, size=8), r"^task='clasify' is not known; did you mean 'classify'"),
        (lambda: predict(Net, ONE, task="classify"), r"^task='classify': is for a module by itself"),
        (lambda: predict(Net, ONE), r"^run=the class Net: is neither a run nor its folder"),
        (lambda: predict(nn.Sequential(nn.LazyLinear(2)), ONE, task="classify"), r"^run=Sequential: has layers whose weights"),
        (lambda: predict(Holding(), ONE, task="classify", classes=["a", "b"], size=8), r"^model=Holding: cannot be copied \(RuntimeError"),
        (lambda: export(FLAT, task="classify", classes=DIGITS, size=8), r"^out=None: Sequential is a module and has no folder"),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(PellucidError, match=sentence):
        call()


def test_a_run_has_its_own_task_and_size(trained: Run) -> None:
    for given in ({"task": "classify"}, {"classes": DIGITS}, {"size": 8}, {"data": "digits"}):
        [(name, value)] = given.items()
        with pytest.raises(
            UsageError, match=rf"^{name}={re.escape(repr(value)[:4])}.*: is for a module by itself; a run has its own"
        ):
            predict(trained, IMAGES, **given)  # type: ignore[arg-type]
