# SPDX-License-Identifier: Apache-2.0
"""How a training's steps are computed: timed with a clock of the tests' own, kept for later, overruled, and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from pellucid import restoring
from pellucid.run import Run
from pellucid.training import choosing
from pellucid.training.choice import Choice
from pellucid.training.choosing import chosen, fastest
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan
from pellucid.training.step import Learner
from pellucid.training.training import train
from pellucid.weights import load

NET: dict[str, Any] = {"widths": (4,), "limit": 64, "batch_size": 16, "epochs": 2, "device": "cpu"}
CPU = torch.device("cpu")


class Machine:
    """Takes a time that the test sets for each way to compute, and says how often it was asked."""

    def __init__(self) -> None:
        self.now, self.steps = 0.0, 0
        self.seconds = {
            "fp32, contiguous": 1.0,
            "fp32, channels-last": 1.0,
            "bf16, contiguous": 1.0,
            "bf16, channels-last": 1.0,
        }

    def clock(self) -> float:
        return self.now

    def take_step(self, learner: Learner, *given: object) -> None:
        self.now += self.seconds[learner.choice.title]
        self.steps += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine on which every training is worth measuring, with a cache of its own and the rule of AVX2."""
    made = Machine()
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(choosing, "_WORTH", 0)
    monkeypatch.setattr(choosing, "take_step", made.take_step)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(choosing, "computes_bfloat16", lambda device: True)
    return made


@pytest.fixture
def parts(machine: Machine) -> Callable[..., tuple[Plan, torch.nn.Module, Feed]]:
    def make(**options: Any) -> tuple[Plan, torch.nn.Module, Feed]:
        plan = Plan.of("classify", "digits", "convnet", {**NET, **options})
        return plan, plan.build(), Feed(plan)

    return make


def never() -> NoReturn:
    raise AssertionError("something was measured")


@pytest.mark.parametrize(
    ("seconds", "best", "calls"),
    [
        ((1.0, 0.8, 0.9), 1, (11, 11, 11)),
        ((1.0, 0.97, 1.2), 0, (11, 11, 11)),  # a gain of 3 % is not told from none
        ((1.0, 0.9, 9.0), 1, (11, 11, 3)),  # what is far behind is timed twice
        ((0.1, 2.0, 3.0), 0, (3, 3, 3)),  # nothing is left to compare
        ((10.0, 40.0, 60.0), 0, (2, 2, 2)),  # nor is it after the first round where that takes long
    ],
)
def test_the_fastest_wins_and_the_usual_way_unless_another_gains(
    seconds: tuple[float, ...], best: int, calls: tuple[int, ...]
) -> None:
    now, made = 0.0, [0, 0, 0]

    def work(one: int) -> None:
        nonlocal now
        now += seconds[one]
        made[one] += 1

    winner, taken = fastest((0, 1, 2), work, lambda: now, most=100.0)
    assert winner == best and tuple(made) == calls
    assert [taken[one] for one in (0, 1, 2)] == pytest.approx(seconds)


def test_a_slow_moment_does_not_decide() -> None:
    """The machine is busy while the better one has its first turn."""
    times: dict[str, Iterator[float]] = {"usual": iter([9.0, *[1.0] * 19]), "better": iter([9.0, 4.0, *[0.7] * 19])}
    now = 0.0

    def work(one: str) -> None:
        nonlocal now
        now += next(times[one])

    assert fastest(("usual", "better"), work, lambda: now, most=100.0)[0] == "better"


@pytest.mark.parametrize("best", ["fp32, channels-last", "bf16, contiguous", "bf16, channels-last", "fp32, contiguous"])
def test_the_way_that_is_fastest_here_is_chosen_once_and_kept(machine: Machine, parts: Any, best: str) -> None:
    machine.seconds[best] = 0.5
    plan, model, feed = parts()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    found = chosen(plan, model, feed, clock=machine.clock)
    assert (found.title, found.how) == (best, "measured") and found.found["seconds"][best] == 0.5
    assert found.sentence.startswith(
        f"measured on this machine: {best}: a step of {found.found['images']} images takes 0.5 s"
    )
    # the model is still as it was, and so are the random numbers
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    again = chosen(plan, model, feed, clock=never)
    assert (again.title, again.how, again.found) == (best, "cached", found.found)


def test_what_a_measurement_depends_on_makes_another(
    machine: Machine, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(*parts(), clock=machine.clock)
    chosen(*parts(epochs=3, lr=0.5), clock=never)
    for changed in ({"widths": (5,)}, {"batch_size": 8}, {"size": 12}, {"optimizer": "sgd"}):
        with pytest.raises(AssertionError, match="something was measured"):
            chosen(*parts(**changed), clock=never)
    others: list[tuple[Any, str, Callable[[], Any]]] = [
        (choosing._processor, "name", lambda: "another"),
        (choosing._processor, "instructions", lambda: "another"),
        (torch, "get_num_threads", lambda: 3),
    ]
    for place, name, other in others:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, other)
            with pytest.raises(AssertionError, match="something was measured"):
                chosen(*parts(), clock=never)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace('"fp32"', '"fp64"'),
        lambda text: text.replace('"threads": 1', '"threads": "many"'),
        lambda text: text.replace('"task": "classify"', '"task": "denoise"'),
        lambda text: json.dumps({**json.loads(text), "choice": {"how": "rule", "precision": "fp32", "threads": 1}}),
        lambda text: json.dumps({"key": json.loads(text)["key"], "choice": None}),
    ],
)
def test_a_damaged_or_foreign_file_of_the_cache_is_made_again(
    machine: Machine, parts: Any, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    machine.seconds["fp32, channels-last"] = 0.5
    made = parts()
    chosen(*made, clock=machine.clock)
    (file,) = (tmp_path / "cache" / "choices").iterdir()
    whole = json.loads(file.read_text())
    file.write_text(damage(file.read_text()))
    again = chosen(*made, clock=machine.clock)
    assert (again.title, again.how) == ("fp32, channels-last", "measured")
    assert json.loads(file.read_text()).keys() == whole.keys() and chosen(*made, clock=never).how == "cached"


def test_without_a_writable_cache_every_training_measures(
    machine: Machine, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "file" / "cache"))
    made = parts()
    assert [chosen(*made, clock=machine.clock).how for _ in range(2)] == ["measured", "measured"]


def test_options_overrule(machine: Machine, parts: Any) -> None:
    machine.seconds |= {"bf16, channels-last": 0.1, "fp32, channels-last": 0.5}
    found = chosen(*parts(precision="fp32"), clock=machine.clock)
    assert found.title == "fp32, channels-last" and found.found["seconds"].keys() == {found.title, "fp32, contiguous"}
    found = chosen(*parts(channels_last=False), clock=machine.clock)
    assert found.title == "fp32, contiguous" and found.found["seconds"].keys() == {found.title, "bf16, contiguous"}
    for last in (True, False):
        fixed = chosen(*parts(precision="bf16", channels_last=last), clock=never)
        assert (fixed.bfloat16, fixed.channels_last, fixed.how) == (True, last, "rule")


def test_a_short_training_a_dense_model_and_a_compiled_one_measure_nothing(
    machine: Machine, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.of("classify", "digits", "mlp", {"hidden": (4,), "limit": 64, "device": "cpu"})
    assert chosen(plan, plan.build(), Feed(plan), clock=never).how == "rule"
    assert chosen(*parts(compile=True), clock=never).how == "rule"
    monkeypatch.setattr(choosing, "_WORTH", 2 * 64 * 64 + 1)  # epochs, images, px of each
    assert chosen(*parts(), clock=never).title == "fp32, contiguous"
    monkeypatch.setattr(choosing, "_WORTH", 2 * 64 * 64)
    assert chosen(*parts(), clock=machine.clock).how == "measured"


def test_half_the_threads_are_taken_where_they_are_faster(
    machine: Machine, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    count = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda given: count.__setitem__(0, given))
    found = chosen(*parts(), clock=machine.clock)
    assert found.threads == 4 and count == [4] and found.found["threads_seconds"] == {"4": 1.0, "2": 1.0}
    monkeypatch.setattr(machine, "take_step", None)
    monkeypatch.setattr(choosing, "take_step", lambda *given: setattr(machine, "now", machine.now + count[0]))
    found = chosen(*parts(widths=(6,)), clock=machine.clock)
    assert found.threads == 1 and ", 1 thread: " in found.sentence
    with found.computing():
        assert count == [1]
    assert count == [4]


def test_the_first_of_several_processes_decides(machine: Machine, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    import accelerate.utils

    plan, model, feed = parts()
    machine.seconds["bf16, channels-last"] = 0.5
    sent: list[Any] = []

    def broadcast(objects: list[Any], from_process: int) -> None:
        assert from_process == 0
        if objects[0] is None:
            objects[0] = json.loads(json.dumps(sent[0]))
        else:
            sent.append(objects[0])

    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", broadcast)
    first, second = (
        dataclasses.replace(
            plan, accelerator=SimpleNamespace(num_processes=2, is_main_process=main, device=CPU, process_index=0)
        )  # type: ignore[arg-type]
        for main in (True, False)
    )
    found = chosen(first, model, feed, clock=machine.clock)
    assert chosen(second, model, feed, clock=never) == found and found.title == "bf16, channels-last"


def test_a_resumed_training_takes_the_recorded_choice_and_ends_bit_for_bit_the_same(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.seconds["bf16, channels-last"] = 0.5
    chooses = choosing.chosen
    monkeypatch.setattr(
        "pellucid.training.training.chosen", lambda *given, **named: chooses(*given, **named, clock=machine.clock)
    )
    options = {**NET, "progress": False, "checkpoint": 0.0}
    whole = train("classify", "digits", "convnet", tmp_path / "whole", **options)
    assert whole.info["choice"]["how"] == "measured" and whole.info["environment"]["precision"] == "bf16"

    class Killed(Exception):
        pass

    def killed(epoch: int, row: object, model: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        train("classify", "digits", "convnet", tmp_path / "run", **options, callback=killed)
    # the machine does another thing now, and has forgotten what it did
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(choosing, "take_step", lambda *given: never())
    resumed = train("classify", "digits", "convnet", tmp_path / "run", **options)
    assert resumed.info["choice"] == {**whole.info["choice"], "how": "cached"}
    assert resumed.info["environment"]["memory_format"] == "channels_last"
    one, other = (load(run.path / "last.safetensors") for run in (whole, resumed))
    assert one.digest == other.digest


def test_a_record_of_another_processor_counts_for_nothing(machine: Machine, parts: Any) -> None:
    found = chosen(*parts(), clock=machine.clock)
    environment = {
        "device": "cpu",
        "processor": choosing._processor.name(),
        "instructions": choosing._processor.instructions(),
    }
    record = {"environment": environment, "choice": {**found.facts, "precision": "bf16"}}
    plan, model, feed = parts()
    assert chosen(plan, model, feed, record, clock=never).title == "bf16, contiguous"
    for name in environment:
        other = chosen(plan, model, feed, {**record, "environment": {**environment, name: "another"}}, clock=never)
        assert (other.title, other.how) == ("fp32, contiguous", "rule")
    assert chosen(plan, model, feed, {"environment": environment}, clock=never).how == "rule"  # of an earlier version


@pytest.mark.parametrize("last", [True, False])
def test_answers_are_computed_in_the_layout_that_was_measured(tmp_path: Path, last: bool) -> None:
    run = train("classify", "digits", "convnet", tmp_path / "run", **{**NET, "epochs": 1, "progress": False})
    assert run.info["choice"]["how"] == "rule" and "answers" not in run.info["choice"]
    run.update(
        choice={**run.info["choice"], "answers": {"memory_format": "channels_last" if last else "contiguous_format"}}
    )
    run = Run(run.path)
    usual = torch.backends.cpu.get_cpu_capability() == "AVX512"
    for processor, expected in ((run.info["environment"]["processor"], last), ("another", usual)):
        run.info["environment"]["processor"] = processor
        quick = restoring.hastened(run, run.model(), CPU)
        first = next(one for one in quick.modules() if isinstance(one, torch.nn.Conv2d) and one.in_channels > 1)
        assert first.weight.is_contiguous(memory_format=torch.channels_last) == expected


@pytest.mark.parametrize(
    "facts", [None, [], {}, {"how": "rule", "precision": "fp32", "memory_format": "channels_last", "threads": True}]
)
def test_facts_that_are_none_of_a_choice_are_refused(facts: Any) -> None:
    with pytest.raises(ValueError, match=r"holds|is no object"):
        Choice.of(facts)
