# SPDX-License-Identifier: Apache-2.0
"""A run with a model of one's own: nothing that it records is executed, and another class is said."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from ownnets import IMAGES, SMALL, Net, Other, changed, forget
from torch import Tensor, nn

from pellucid.errors import PellucidWarning, RunError, UsageError
from pellucid.own import files, parts, sources
from pellucid.run import Run, load
from pellucid.training.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", Net(), tmp_path_factory.mktemp("own") / "run", **SMALL)


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


def test_a_class_that_makes_the_module_with_other_settings_is_said(tmp_path: Path) -> None:
    """The weights fit, and the class is the same: what it makes of its defaults is not what was trained."""
    run = train("classify", "digits", Net(slope=0.5), tmp_path / "run", **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.model()
        again = load(run.path, model=Net)
    assert isinstance(again, Run)
    with pytest.warns(PellucidWarning, match=r"Net now makes its model with other settings \(itself.slope = 0.0\)"):
        again.model()


def test_what_was_typed_is_told_apart_by_its_code(tmp_path: Path) -> None:
    def typed(factor: str) -> type[nn.Module]:
        names: dict[str, Any] = {"__name__": "typed_in"}
        code = f"""
from torch import Tensor, nn

class Typed(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, images):
        return self.last(images.flatten(1)) * {factor}
"""
        exec(code, names)
        made: type[nn.Module] = names["Typed"]
        return made

    run = train("classify", "digits", typed("2"), tmp_path / "run", **SMALL)
    assert "its code in Python 3" in run.info["model"]["own"]["source"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run.path, model=typed("2"))
    with pytest.warns(PellucidWarning, match="another source"):
        load(run.path, model=typed("3"))


def test_two_modules_of_one_class_keep_to_their_runs(tmp_path: Path) -> None:
    """In one process, each run is made with the module that it was trained with."""
    runs = [train("classify", "digits", Net(slope=slope), tmp_path / str(slope), **SMALL) for slope in (0.1, 0.9)]
    for run, slope in zip(runs, (0.1, 0.9), strict=True):
        model: Any = run.model()
        assert model.net.slope == slope


def test_a_ready_model_takes_no_class() -> None:
    with pytest.raises(UsageError, match=r"'mobilenet_v2' is a ready model; leave it out"):
        load("mobilenet_v2", model=Net)


class Chosen(nn.Module):
    """Its settings are a function, a list and a tensor that is no buffer."""

    def __init__(self, act: Any = torch.relu, scales: tuple[float, ...] = (1.0,), shift: float = 0.0) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)
        self.act, self.scales, self.shift = act, [*scales], torch.full((10,), shift)

    def forward(self, images: Tensor) -> Tensor:
        return self.act(self.last(images.flatten(1))) * sum(self.scales) + self.shift


@pytest.mark.parametrize("other", [Chosen(torch.tanh), Chosen(scales=(2.0,)), Chosen(shift=1.0)])
def test_settings_of_any_plain_kind_are_compared(tmp_path: Path, other: nn.Module) -> None:
    run = train("classify", "digits", Chosen(), tmp_path / "run", **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run.path, model=Chosen())
    with pytest.warns(PellucidWarning, match=r"with other settings \(itself\.(act|scales|shift) = "):
        load(run.path, model=other)
