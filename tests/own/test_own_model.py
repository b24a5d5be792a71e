# SPDX-License-Identifier: Apache-2.0
"""A model of one's own: trained like any other, and recorded with its source."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ownnets import IMAGES, SMALL, Net, Other, forget, make, seen
from torch import Tensor, nn

from pellucid.errors import PellucidWarning, RunError, UsageError
from pellucid.inference import predict
from pellucid.models._own import tried
from pellucid.own import parts, sources
from pellucid.reporting.reporting import report
from pellucid.run import Run, load
from pellucid.tasks.classify import Classify
from pellucid.training.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", Net(), tmp_path_factory.mktemp("own") / "run", **SMALL)


def test_the_answers_are_those_of_the_module_with_the_weights(trained: Run) -> None:
    model: Any = trained.model()
    bare = Net()
    bare.load_state_dict(model.net.state_dict())
    images = torch.stack([torch.from_numpy(image)[None] for image in IMAGES]).float() / 255
    expected = bare.eval()(images).softmax(1)
    rows = trained.predict(IMAGES)
    for row, probabilities in zip(rows, expected.tolist(), strict=True):
        assert [*row["probabilities"].values()] == pytest.approx(probabilities, abs=1e-5)


def test_images_come_to_it_in_the_unit_range_as_they_are(trained: Run) -> None:
    seen.clear()
    predict(trained, IMAGES)
    assert min(low for low, _ in seen) == 0.0
    assert max(high for _, high in seen) == 1.0


def test_the_module_that_was_given_stays_as_it_was(tmp_path: Path) -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = train("classify", "digits", net, tmp_path / "run", **SMALL)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    model: Any = run.model()
    assert not torch.equal(before["last.weight"], model.net.last.weight)


def test_it_sets_out_from_the_weights_of_the_module_that_was_given(tmp_path: Path) -> None:
    net = Net()
    run = train("classify", "digits", net, tmp_path / "run", lr=1e-12, weight_decay=0.0, **SMALL)
    model: Any = run.model()
    torch.testing.assert_close(model.net.state_dict(), net.state_dict())


def test_evaluate_export_and_look_take_it(trained: Run, tmp_path: Path) -> None:
    measured = trained.evaluate(baselines=False)
    images = trained.data().splits["test"]
    answers = trained.predict(images.images.read(0, 1)[0])
    assert measured["n"] == len(images)
    assert answers[0]["label"] in trained.classes
    view = trained.look("filters", out=tmp_path)
    model: Any = trained.model()
    assert any(
        np.array_equal(numbers.ravel(), model.net.first.weight.detach().numpy().ravel())
        for numbers in view.numbers.values()
    )
    plain = train("classify", "digits", make, tmp_path / "run", **SMALL)
    [file] = plain.export(tmp_path / "files", formats=["torch"])
    graph: Any = torch.export.load(file).module()
    batch = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(graph(batch), plain.model()(batch).softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("verb", [report, load])
def test_a_module_that_is_no_run_is_one_sentence(verb: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^run=Net: is neither a run nor its folder; .* take a module with its weights"
    ):
        verb(Net())


def test_a_class_gets_channels_and_outputs_and_its_options(tmp_path: Path) -> None:
    run = train("classify", "digits", Net, tmp_path / "run", width=3, **SMALL)
    model: Any = run.model()
    assert model.net.first.weight.shape == (3, 1, 3, 3)
    assert run.info["model"]["options"] == {"width": 3}
    asked = train("classify", "digits", Net, tmp_path / "dict", model_options={"width": 4}, **SMALL)
    assert asked.info["model"]["options"] == {"width": 4}
    bound = train("classify", "digits", functools.partial(Net, width=5), tmp_path / "partial", **SMALL)
    assert bound.info["model"]["options"] == {"width": 5}


def test_two_trainings_of_a_class_with_one_seed_are_equal(tmp_path: Path) -> None:
    one, other = (train("classify", "digits", Net, tmp_path / name, **SMALL) for name in ("one", "other"))
    assert one.digest == other.digest


def test_a_function_that_makes_a_module(tmp_path: Path) -> None:
    run = train("classify", "digits", make, tmp_path / "run", **SMALL)
    assert run.info["model"]["own"]["how"] == "function"
    assert run.predict(IMAGES)[0]["label"] in run.classes


def test_the_record_says_class_file_source_and_its_digest(trained: Run) -> None:
    own = trained.info["model"]["own"]
    assert (own["class"], own["file"], own["how"]) == ("Net", "ownnets.py", "instance")
    assert "class Net(nn.Module):" in own["source"]
    assert "WIDTH = 6" in own["source"]  # what it uses belongs to it
    assert hashlib.sha256(own["source"].encode()).hexdigest() == own["digest"]


def test_a_class_for_a_model_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    run = train("classify", "digits", "mlp", tmp_path / "run", hidden=(4,), **SMALL)
    with pytest.raises(UsageError, match=r"model=Net: the run has model='mlp' of pellucid's own; leave it out"):
        load(run.path, model=Net)


def test_a_training_goes_on_with_the_same_class_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = train("classify", "digits", Net, out, **SMALL)
    assert train("classify", "digits", Net, out, **SMALL).digest == first.digest
    with pytest.raises(RunError, match=r"holds a run with name='ownnets:Net', not 'ownnets:Other'"):
        train("classify", "digits", Other, out, **SMALL)
    info = json.loads((out / "run.json").read_text())
    info["model"]["own"]["source"] += "# once\n"
    info["model"]["own"]["digest"] = sources.digest_of(info["model"]["own"]["source"])
    (out / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match=r"holds a run of model Net of another source \(digest"):
        train("classify", "digits", Net, out, **SMALL)


def test_an_interrupted_training_of_a_module_resumes_bit_for_bit(tmp_path: Path) -> None:
    net = Net()
    whole = train("classify", "digits", net, tmp_path / "whole", **{**SMALL, "epochs": 3})

    class Stop(Exception):
        pass

    def interrupt(epoch: int, row: Any, model: nn.Module) -> None:
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train("classify", "digits", net, tmp_path / "parts", callback=interrupt, **{**SMALL, "epochs": 3})
    resumed = train("classify", "digits", net, tmp_path / "parts", **{**SMALL, "epochs": 3})
    assert resumed.status == "finished"
    assert resumed.digest == whole.digest


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"model=Sequential: gives \(3, 7\) for images \(3, 1, 8, 8\), "
            r"and classify needs \(N, outputs\) with N = 3 and "
            r"outputs = 10"),
        (nn.Conv2d(1, 10, 3), r"gives \(3, 10, 6, 6\) for images"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 10)), r"cannot take images \(3, 1, 8, 8\) in \[0, 1\] \(RuntimeError"),
        (nn.LSTM(8, 10), r"cannot take images|gives a tuple"),
        (3, r"model=3: is neither a name nor a class"),
        ("my.py:Net", r"model='my.py:Net': there is no file my.py"),
        (lambda outputs: 5, r"makes a int, not an nn.Module"),
        (nn.Linear, r"needs in_features, out_features; give it as an option, or in model_options"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_one_sentence(model: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence) as fault:
        train("classify", "digits", model, tmp_path / "run", **SMALL)
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "run").exists()


def test_other_tasks_check_the_shape_that_they_need(tmp_path: Path) -> None:
    small = {**SMALL, "limit": 8, "batch_size": 4, "size": 16}
    with pytest.raises(
        UsageError, match=r"gives \(3, 1, 14, 14\) for images .*, and denoise needs \(N, outputs, H, W\)"
    ):
        train("denoise", "digits", nn.Conv2d(1, 1, 3), tmp_path / "run", **{**small, "size": 16})
    run = train("denoise", "digits", nn.Conv2d(1, 1, 3, padding=1), tmp_path / "good", **{**small, "size": 8})
    assert run.info["model"]["own"]["output"] == "map"


def test_outputs_that_no_shape_tells_are_to_be_declared() -> None:
    description = {"channels": 3, "outputs": 2, "size": [8, 8], "options": {}}
    name = parts.take("models", nn.Conv2d(3, 1, 3)).name
    own = parts.find("models", str(name))
    assert own is not None
    with pytest.raises(
        UsageError, match=r"detect needs a regions, which no shape tells; declare it as the class's `output`"
    ):
        tried(own, description, ("regions",), "detect")


def test_a_module_bound_to_one_size_says_so(tmp_path: Path) -> None:
    run = train("classify", "digits", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), tmp_path / "run", **SMALL)
    model: Any = run.model()
    assert (model.output, model.fixed_size) == ("dense", (8, 8))


def test_a_module_trains_in_training_mode_however_it_was_given(tmp_path: Path) -> None:
    modes: list[bool] = []

    class Watched(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            modes.append(self.training and torch.is_grad_enabled())
            return super().forward(images)

    train("classify", "digits", nn.Sequential(nn.Flatten(), Watched(64, 10)).eval(), tmp_path / "run", **SMALL)
    assert modes.count(True) == 256 // 64


def test_layers_that_are_made_with_the_first_batch(tmp_path: Path) -> None:
    run = train("classify", "digits", nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), tmp_path / "run", **SMALL)
    model: Any = run.model()
    assert model.net[1].weight.shape == (10, 64)


def test_an_average_of_the_weights_and_weights_to_begin_with(tmp_path: Path) -> None:
    first = train("classify", "digits", Net, tmp_path / "first", ema=0.9, **SMALL)
    before: Any = first.model()
    again = train("classify", "digits", Net, tmp_path / "again", weights=first, lr=1e-12, weight_decay=0.0, **SMALL)
    after: Any = again.model()
    torch.testing.assert_close(after.net.state_dict(), before.net.state_dict())
    bare = Net().state_dict()  # by the names that they have in the module alone
    third: Any = train(
        "classify", "digits", Net, tmp_path / "third", weights=bare, lr=1e-12, weight_decay=0.0, **SMALL
    ).model()
    torch.testing.assert_close(third.net.state_dict(), bare)


def test_an_option_of_the_name_of_another_goes_into_model_options(tmp_path: Path) -> None:
    def with_seed(outputs: int, seed: int = 0, momentum: float = 0.5) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs), nn.Dropout(momentum))

    options = {"seed": 7, "momentum": 0.25}
    run = train("classify", "digits", with_seed, tmp_path / "run", model_options=options, **SMALL)
    model: Any = run.model()
    assert model.net[2].p == 0.25
    assert (run.info["seed"], run.info["recipe"]["momentum"]) == (0, 0.9)
    assert "model_options={'seed': 7, 'momentum': 0.25}" in run.info["command"]
    plain = train("classify", "digits", with_seed, tmp_path / "plain", seed=3, **SMALL)
    assert (plain.info["seed"], plain.info["model"]["options"]) == (3, {})
    with pytest.raises(UsageError, match=r"option='wide' is not known"):
        train("classify", "digits", with_seed, tmp_path / "no", model_options={"wide": 3}, **SMALL)
    with pytest.raises(UsageError, match=r"seed=.*: cannot be recorded in run.json"):
        train("classify", "digits", with_seed, tmp_path / "no", model_options={"seed": torch.zeros(1)}, **SMALL)


def test_another_training_gets_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only the first weights, the settings or the augmentation differ; the same call finds its run again."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    one, other = Net(), Net()
    found = [train("classify", "digits", net, **SMALL).path for net in (one, other, one, Net(slope=0.1))]
    found += [train("classify", "digits", one, augment=lambda images, targets: images, **SMALL).path]
    assert found[0] == found[2]
    assert len(set(found)) == 4


def test_first_weights_that_count_for_nothing_are_said(tmp_path: Path) -> None:
    train("classify", "digits", Net(), tmp_path / "run", **SMALL)
    with pytest.warns(PellucidWarning, match=r"the weights that it is given with now are not those that it began with"):
        train("classify", "digits", Net(), tmp_path / "run", **SMALL)


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    run = train(Mine(label_smoothing=0.1), "digits", "mlp", tmp_path / "run", hidden=(4,), **SMALL)
    assert run.info["task"]["own"]["class"] == "Mine"
    assert run.evaluate(baselines=False)["main"] == "accuracy"
    assert isinstance(run.task, Mine)
    forget()
    info = json.loads((run.path / "run.json").read_text())
    info["task"]["own"]["module"] = "not.here"
    (run.path / "run.json").write_text(json.dumps(info))
    with pytest.raises(
        RunError, match=r"its task is Mine of the module 'not.here', .* give it again with load\(.*, task=Mine\)"
    ):
        Run(run.path).task  # noqa: B018
    again = load(run.path, task=Mine)
    assert isinstance(again, Run)
    assert isinstance(again.task, Mine)


class Mine(Classify):  # type: ignore[misc]
    """Which class does an image show, in my own way?"""


def test_the_report_says_whose_class_it_is(trained: Run) -> None:
    from pellucid.reporting.measures import options

    run = load(trained.path, model=Net())
    assert isinstance(run, Run)
    group = options(run)[0]
    assert group["changed"] == [("model", f"Net of ownnets.py, source {trained.info['model']['own']['digest'][:12]}")]
