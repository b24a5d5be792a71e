# SPDX-License-Identifier: Apache-2.0
"""A model of one's own: trained like any other, recorded with its source, and never executed from a run."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import PellucidWarning, RunError, UsageError
from pellucid.inference import predict
from pellucid.models._own import tried
from pellucid.own import files, parts, sources
from pellucid.run import Run, load
from pellucid.tasks.classify import Classify
from pellucid.training.training import train

WIDTH = 6


class Net(nn.Module):
    """A small network for digits."""

    def __init__(self, channels: int = 1, outputs: int = 10, width: int = WIDTH, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Linear(width * 4, outputs)

    def forward(self, images: Tensor) -> Tensor:
        plain = images.detach()
        seen.append((float(plain.min()), float(plain.max())))
        maps = F.leaky_relu(self.first(images), self.slope)
        return self.last(F.adaptive_avg_pool2d(maps, 2).flatten(1))  # type: ignore[no-any-return]


class Other(Net):
    """Other arithmetic with weights of the same names and shapes."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(1 - images)


def make(outputs: int, deep: bool = False) -> nn.Module:
    layers = [nn.Flatten(), nn.LazyLinear(8)] if deep else [nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 if deep else 64, outputs))


seen: list[tuple[float, float]] = []
SMALL: dict[str, Any] = {"epochs": 1, "device": "cpu", "progress": False, "limit": 256, "batch_size": 64}
IMAGES = [np.full((8, 8), shade, np.uint8) for shade in (0, 100, 255)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", Net(), tmp_path_factory.mktemp("own") / "run", **SMALL)


def changed(run: Run, tmp_path: Path, **changes: Any) -> Path:
    """A copy of a run whose record of its model differs."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    info = json.loads((copy / "run.json").read_text())
    info["model"]["own"] |= changes
    (copy / "run.json").write_text(json.dumps(info))
    return copy


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
    torch.testing.assert_close(graph(batch).softmax(1), plain.model()(batch).softmax(1), rtol=1e-4, atol=1e-5)


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
    assert (own["class"], own["file"], own["how"]) == ("Net", "test_own_model.py", "instance")
    assert "class Net(nn.Module):" in own["source"]
    assert "WIDTH = 6" in own["source"]  # what it uses belongs to it
    assert hashlib.sha256(own["source"].encode()).hexdigest() == own["digest"]


def test_a_source_of_another_digest_is_refused(trained: Run, tmp_path: Path) -> None:
    copy = changed(trained, tmp_path, source="class Net: ...")
    with pytest.raises(RunError, match=r"holds a source of another digest"):
        Run(copy)


def test_no_code_of_a_run_is_executed(trained: Run, tmp_path: Path) -> None:
    """A process that did not get the class says so; a module that lies about is not imported, and no recorded function called."""
    source = "import pathlib\npathlib.Path('sprung').touch()\nfrom torch import nn\nclass Net(nn.Module): ...\n"
    (tmp_path / "trap.py").write_text(source)
    records = [
        {"module": "trap", "class": "Net", "how": "class", "file": "trap.py"},
        {"module": "__main__", "class": "Net", "how": "class"},
        {"module": "os", "class": "system", "how": "function"},
        {"module": "subprocess", "class": "Popen", "how": "class"},
        {"module": "trap", "class": "Net", "how": "instance"},
    ]
    copies = []
    for number, record in enumerate(records):
        (tmp_path / str(number)).mkdir()
        copies.append(
            str(
                changed(
                    trained,
                    tmp_path / str(number),
                    source=source,
                    digest=sources.digest_of(source),
                    settings="",
                    **record,
                )
            )
        )
    code = textwrap.dedent(f"""
        import pellucid
        from pellucid.errors import RunError
        for path in {copies!r}:
            try:
                pellucid.load(path).model()
            except RunError as fault:
                print(fault)
    """)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("no code of a run is executed; give it again with load(") == len(records)
    assert len(done.stdout.strip().splitlines()) == len(records)
    assert "or --model trap.py:Net" in done.stdout
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (3, True),
        ("relu", True),
        ([1, 2.5], True),
        ("a/b.pt", False),
        ("a.pt", False),
        ("http://x", False),
        ([["x.pt"]], False),
    ],
)
def test_an_importable_class_is_not_made_with_paths(value: object, good: bool) -> None:
    record = {"module": "torch.nn.modules.linear", "class": "Linear", "how": "class"}
    assert (files.importable(record, nn.Module, {"option": value}) is nn.Linear) == good


def test_an_installed_class_loads_and_others_do_not() -> None:
    known = {"module": "torchvision.models.alexnet", "class": "AlexNet", "how": "class"}
    found = files.importable(known, nn.Module, {})
    assert found is not None
    assert found.__name__ == "AlexNet"
    assert files.importable({**known, "how": "function", "class": "alexnet"}, nn.Module, {}) is None
    assert files.importable({**known, "class": "nn"}, nn.Module, {}) is None
    assert files.importable({"module": "antigravity", "class": "x", "how": "class"}, nn.Module, {}) is None


def test_a_name_that_is_a_file_makes_no_run(trained: Run, tmp_path: Path) -> None:
    copy = changed(trained, tmp_path)
    info = json.loads((copy / "run.json").read_text())
    for name in ("trap.py:Net", "sub/trap:Net", "other:Net"):
        record = {**info, "model": {**info["model"], "name": name}}
        if name == "other:Net":
            del record["model"]["own"]
        (copy / "run.json").write_text(json.dumps(record))
        with pytest.raises(RunError, match=r"model.name is"):
            Run(copy)


def forget() -> None:
    """As in a process that was given nothing."""
    parts._given.clear()
    parts._latest.clear()


def test_a_run_loads_with_its_class_or_an_instance_given_again(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained.predict(IMAGES)
    for given in (Net(), Net):
        forget()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = load(trained.path, model=given)
            assert isinstance(run, Run)
            assert run.predict(IMAGES) == expected


def test_a_wrong_class_with_fitting_weights_is_said(trained: Run) -> None:
    with pytest.warns(PellucidWarning, match=r"its model was Net, and Other is another class"):
        load(trained.path, model=Other)
    forget()
    parts.take("models", Net())


def test_other_settings_of_the_same_class_are_said(trained: Run) -> None:
    with pytest.warns(PellucidWarning, match=r"with other settings \(itself.slope = 0.5\)"):
        load(trained.path, model=Net(slope=0.5))
    forget()
    parts.take("models", Net())


def test_another_source_of_the_same_name_is_said(trained: Run, tmp_path: Path) -> None:
    source = trained.info["model"]["own"]["source"] + "# once it was so\n"
    copy = changed(trained, tmp_path, source=source, digest=sources.digest_of(source))
    with pytest.warns(PellucidWarning, match=r"another source \(digest [0-9a-f]{12}, was [0-9a-f]{12}\)"):
        run = load(copy, model=Net)
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        assert isinstance(run, Run)
        run.model()


def test_weights_that_do_not_fit_are_one_sentence(trained: Run) -> None:
    with pytest.warns(PellucidWarning, match="other settings"):
        run = load(trained.path, model=Net(width=3))
    assert isinstance(run, Run)
    with pytest.raises(
        RunError, match=r"does not fit its model as Net is now \(.*\); give the class as it was"
    ) as fault:
        run.model()
    assert "\n" not in str(fault.value)
    forget()
    parts.take("models", Net())


def test_a_class_for_a_model_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    run = train("classify", "digits", "mlp", tmp_path / "run", hidden=(4,), **SMALL)
    with pytest.raises(UsageError, match=r"model=Net: the run has model='mlp' of pellucid's own; leave it out"):
        load(run.path, model=Net)


def test_a_training_goes_on_with_the_same_class_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = train("classify", "digits", Net, out, **SMALL)
    assert train("classify", "digits", Net, out, **SMALL).digest == first.digest
    with pytest.raises(RunError, match=r"holds a run with name='test_own_model:Net', not 'test_own_model:Other'"):
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

    group = options(trained)[0]
    assert group["changed"] == [
        ("model", f"Net of test_own_model.py, source {trained.info['model']['own']['digest'][:12]}")
    ]
