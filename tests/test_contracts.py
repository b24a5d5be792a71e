# SPDX-License-Identifier: Apache-2.0
"""Over the catalogues: every task with every model that fits trains, saves, loads, and answers the same."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import _catalog, data
from pellucid._options import options_of
from pellucid.data.dataset import Dataset
from pellucid.data.draws import Draws
from pellucid.data.targets import Target
from pellucid.inference import evaluate, predict
from pellucid.models import _building
from pellucid.run import Run, load
from pellucid.tasks import (
    AnnotatesAnswers,
    AnswersInBoxes,
    AnswersLevels,
    AnswersOptions,
    AnswersParts,
    AnswersViews,
    BaselinesOnFeatures,
    ChoosesEvidence,
    ChoosesThreshold,
    DecidesByThreshold,
    DrawsAnswers,
    DrawsForReport,
    DrawsRecords,
    Exports,
    ExportsProbabilities,
    FindsBoxes,
    KnowsChance,
    LearnsFromImages,
    MeasuresAgreement,
    MeasuresModel,
    MeasuresSlowly,
    MeasuresWithModel,
    MultiPlayer,
    ReadsPages,
    Records,
    RemarksOnAnswers,
    Snapshots,
    SuitsModel,
    UpdatesBuffers,
    WritesFiles,
    WritesForms,
    rows_of,
    summarise,
    taken,
)
from pellucid.training.recipe import Recipe
from pellucid.training.training import train

# models that need larger images, or a name, than the others; every other option keeps its default
OPTIONS: dict[str, dict[str, Any]] = {
    "timm": {"name": "test_resnet.r160_in1k"},
    "vgg": {"size": 32, "depth": 11, "hidden": (64,)},
    "unet": {"widths": (8, 16)},
    "encoder_decoder": {"widths": (8, 16)},
    "lama": {"widths": (8, 16), "blocks": 1},
    "coarse_to_fine": {"widths": (8, 16)},
    "factorized": {"width": 16, "qualities": 3},
    "hyperprior": {"width": 16, "side": 4, "hidden": 16, "qualities": 3},
    "pix2pix": {"widths": (8, 16), "critic_widths": (8, 16)},
    "lenet": {"size": 16, "widths": (8, 16), "hidden": (32,)},
    "efficientnet_lite0": {"pretrained": False},  # weights that may not be here
    "mobilenet_v2": {"pretrained": False},
    "fast_rcnn": {"widths": (8, 16, 16), "width": 16, "hidden": 32, "proposals": 50},
}
ASKED = {
    "read": {"single": True}
}  # options of predict by which an image is what evaluate measures: a letter, not a page
SMALLER = {"classify": "digits", "cluster": "digits"}  # 8×8 instead of 32×32 px, where the largest networks are trained
# px: smaller than the example's, where the largest networks are trained; convnet divides its side by eight for localize
SIZES: dict[Any, dict[str, Any]] = {
    "localize": {"size": 16},
    "detect": {"size": 32},
    ("localize", "convnet"): {"size": 32},
    "landmarks": {"size": 16},
    "read": {"size": 16},
    ("landmarks", "convnet"): {"size": 32},
}
EPOCHS = {"resnet": 2, "vgg": 2}  # ten million weights, written after each of them; of the others 4
TASKS, MODELS = _catalog.names("tasks"), _catalog.names("models")


@functools.cache
def small(task: str) -> Dataset:
    """A few dozen of the task's own example images, or of smaller ones."""
    kind = _catalog.find("tasks", task)
    whole = data.open(SMALLER.get(task, kind.example))  # type: ignore[attr-defined]
    splits = {
        part: split.select(range(min(len(split), {"train": 96}.get(part, 24)))) for part, split in whole.splits.items()
    }
    return whole.replace(splits=splits)


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The task's own model after an epoch; nothing that is measured here is written into it."""
    return train(request.param, small(request.param), None, tmp_path_factory.mktemp(request.param) / "run", epochs=1,
                 batch_size=16, device="cpu", progress=False)  # fmt: skip


@functools.cache
def simple(task: str) -> dict[str, Records]:
    """The records of the task's baselines."""
    dataset = small(task)
    _, made = asked(task).read(dataset)
    size = None if made.keeps_size else dataset.size
    found: dict[str, Records] = made.baselines(dataset.splits["train"], dataset.splits["test"], size)
    return found


def asked(task: str) -> Any:
    """The task with its default options and model."""
    kind: Any = _catalog.find("tasks", task)
    return kind().for_model(kind.default_model)


def fits(task: str, model: str) -> bool:
    kind: Any = _catalog.find("tasks", task)
    return bool(_catalog.find("models", model).output in kind.accepts)  # type: ignore[attr-defined]


def of_pair(task: str, model: str) -> dict[str, Any]:
    """The options of a small training."""
    return {**SIZES.get(task, {}), **SIZES.get((task, model), {}), **OPTIONS.get(model, {})}


def numbers(output: Any) -> list[torch.Tensor]:
    """The tensors in an output with a row an image; of ranked ones, what they were ranked by."""
    given = getattr(output, "steady", output)
    return [given] if isinstance(given, torch.Tensor) else list(given)


# the slowest models train by default for one task, and for the others in `make test-all`
QUICK = {
    **dict.fromkeys(("cifar_resnet", "efficientnet_lite0", "mobilenet_v2", "resnet", "timm", "vgg"), "classify"),
    "coarse_to_fine": "inpaint",
}
PAIRS = [(task, model) for task in TASKS for model in MODELS if fits(task, model)]
TRAINED = [
    pytest.param(*pair, marks=[] if QUICK.get(pair[1], pair[0]) == pair[0] else pytest.mark.slow) for pair in PAIRS
]


@pytest.mark.parametrize(("task", "model"), TRAINED)
def test_every_task_with_every_model_that_fits(tmp_path: Path, task: str, model: str) -> None:
    dataset = small(task)
    made = train(task, dataset, model, tmp_path / "run", epochs=EPOCHS.get(model, 4), batch_size=16, lr=1e-3, schedule="constant",
                 precision="fp32", device="cpu", progress=False, **of_pair(task, model))  # fmt: skip
    losses = [row["loss"] for row in made.history if row["split"] == "train"]
    assert min(losses[len(losses) // 2 :]) < losses[0], "the loss was not lowered"
    loaded = load(made.path)
    assert isinstance(loaded, Run)
    one, other = made.model(), loaded.model()
    assert not one.training
    images = torch.rand(4, dataset.channels + made.task.extra_planes, *loaded.size)
    with torch.no_grad():
        torch.testing.assert_close(numbers(one(images)), numbers(other(images)))
        single, several = numbers(one(images[1:2])), numbers(one(images))
        torch.testing.assert_close(single, [part[1:2] for part in several], rtol=1e-4, atol=1e-5)
        answers = made.task.predict(one, images)
        single = made.task.predict(one, images[1:2])
    assert isinstance(answers, Target)
    assert len(answers) == 4
    for field in dataclasses.fields(answers):
        whole, part = getattr(answers, field.name), getattr(single, field.name)
        if isinstance(whole, torch.Tensor):
            torch.testing.assert_close(whole[1:2], part, rtol=1e-4, atol=1e-5)
    assert _building.describe(one)["name"] == model
    assert made.task.evidence(one(images)).shape == (4,)


@pytest.mark.parametrize("trained", TASKS, indirect=True)
def test_evaluate_and_predict_are_one_path(trained: Run) -> None:
    """The very inputs that `evaluate` measured, handed to `predict` as arrays, get the same answers."""
    run, task = trained, trained.info["task"]["name"]
    dataset = small(task)
    found: list[Target] = []
    kind: Any = type(run.task)
    original = kind.score

    def spy(self: Any, input: torch.Tensor, prediction: Target, target: Target) -> Any:
        found.append(prediction)
        inputs.append(input)
        return original(self, input, prediction, target)

    inputs: list[torch.Tensor] = []
    kind.score = spy
    try:
        evaluate(run, dataset, baselines=False, batch_size=24)
    finally:
        kind.score = original
    arrays = [image.permute(1, 2, 0).numpy() for batch in inputs for image in batch]
    rows = predict(run, arrays, **ASKED.get(task, {}))
    names = [row["name"] for row in rows]
    expected = [row for batch in found for row in run.task.write(batch, names[: len(batch)], run.classes)]
    assert len(rows) == len(expected)
    for mine, theirs in zip(rows, expected, strict=True):
        for key in theirs:
            if key == "picture":
                assert np.abs(mine[key].astype(int) - theirs[key].astype(int)).max() <= 1
            elif key == "probabilities":
                assert mine[key] == pytest.approx(theirs[key], abs=2e-5)
            elif key == "label":
                assert mine[key] == theirs[key]


@pytest.mark.parametrize("trained", TASKS, indirect=True)
def test_nothing_depends_on_the_batch_size(trained: Run) -> None:
    dataset, main = small(trained.info["task"]["name"]), trained.main.key
    values = [
        evaluate(trained, dataset, baselines=False, batch_size=size)["model"][main]["value"] for size in (1, 7, 24)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_every_baseline_is_measured_on_the_same_images_and_drawn(task: str) -> None:
    dataset, found = small(task), simple(task)
    _, made = asked(task).read(dataset)
    assert len(found) >= 3
    for name, records in found.items():
        metrics = made.metrics(dataset.classes)
        assert main_is_finite(summarise(metrics, records)[metrics[0].key]), name
        assert made.ranking(records).shape == (rows_of(records),)


def test_a_task_has_all_of_what_it_can_do_besides_or_nothing_of_it() -> None:
    """A task that misses one method of a protocol would be taken for one that cannot do it, without a word."""
    protocols = (
        LearnsFromImages,
        SuitsModel,
        KnowsChance,
        MultiPlayer,
        UpdatesBuffers,
        Snapshots,
        MeasuresWithModel,
        MeasuresSlowly,
        MeasuresModel,
        MeasuresAgreement,
        AnswersOptions,
        AnswersParts,
        AnswersLevels,
        AnswersViews,
        AnnotatesAnswers,
        ChoosesThreshold,
        DecidesByThreshold,
        DrawsAnswers,
        DrawsRecords,
        DrawsForReport,
        Exports,
        ExportsProbabilities,
        BaselinesOnFeatures,
        ChoosesEvidence,
        WritesForms,
        AnswersInBoxes,
        FindsBoxes,
        WritesFiles,
        ReadsPages,
        RemarksOnAnswers,
    )
    for task, model in PAIRS:
        made = _catalog.find("tasks", task)().for_model(model)
        for protocol in protocols:
            names = {name for name in (*vars(protocol), *protocol.__annotations__) if name[0] != "_"}
            there = sorted(name for name in names if hasattr(made, name))
            assert not there or isinstance(made, protocol), (task, protocol.__name__, there)


@pytest.mark.parametrize("task", TASKS)
def test_every_measure_is_declared_and_follows_the_images_alone(task: str) -> None:
    """Titles and directions are there; doubled images leave each measure as it is, and so does their order."""
    dataset, records = small(task), next(iter(simple(task).values()))
    _, made = asked(task).read(dataset)
    records = {name: column for name, column in records.items() if name != "index"}
    n = rows_of(records)
    for metric in made.metrics(dataset.classes):
        assert metric.title and metric.better in ("higher", "lower", "neither")
        if not all(name in records for name in metric.needs):
            continue
        value = metric.value(records)
        found = summarise([metric], records)[metric.key]
        slack = 1e-12 * abs(value)  # rounding
        inside = np.isnan(value) or found.low - slack <= value <= found.high + slack
        assert inside, f"{metric.key}: its interval leaves it out"
        # ari is of pairs without repetition, and chance adds less to ami the more images there are
        doubled = [np.tile(np.arange(n), 2)] if metric.key not in ("ari", "ami") else []
        for index in (*doubled, np.random.default_rng(0).permutation(n)):
            assert metric.value(taken(records, index)) == pytest.approx(value, rel=1e-6, nan_ok=True), metric.key
        # drawing an image twice is having it twice
        weights = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), 1).astype(np.float64)
        drawn = taken(records, np.repeat(np.arange(n), weights[0].astype(int)))
        if task != "cluster":  # its matching is that of all images, under any weights
            assert metric.values(records, weights)[0] == pytest.approx(metric.value(drawn), rel=1e-6, nan_ok=True)


def main_is_finite(measure: Any) -> bool:
    return bool(
        np.isfinite([measure.value, measure.low, measure.high]).all() and measure.low <= measure.value <= measure.high
    )


@pytest.mark.parametrize("task", TASKS)
def test_training_inputs_do_not_depend_on_how_a_batch_is_shared(task: str) -> None:
    """Two processes with half a batch each see what one process sees."""
    dataset = small(task)
    _, made = asked(task).read(dataset)
    split = dataset.splits["train"]
    from pellucid.data.batches import store

    size = dataset.size
    assert size is not None
    kept = store(split, size, dataset.channels)
    index = torch.arange(8)
    whole, _ = made.prepare(kept.batch(index), Draws.step(0, 5, slice(0, 8), 8), training=True)
    half, _ = made.prepare(kept.batch(index[4:]), Draws.step(0, 5, slice(4, 8), 8), training=True)
    torch.testing.assert_close(whole[4:], half)


def test_no_two_owners_of_options_share_a_name() -> None:
    """Options are given flat, so that a name must say whose it is: a task's, a training's, or a model's."""
    of_recipe = {field.name for field in dataclasses.fields(Recipe)}
    for task in TASKS:
        kind: Any = _catalog.find("tasks", task)
        of_task = set(options_of(kind))
        assert not of_task & of_recipe
        for model in MODELS:
            assert not set(_building.options(model)) & (of_task | of_recipe), (task, model)
