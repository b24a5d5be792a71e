# SPDX-License-Identifier: Apache-2.0
"""Filters: receptive fields against brute force, exciting patches against a plain search, and weights at the very start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import correlate2d
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses import Network, Splits
from pellucid.lenses.filters import Filters
from pellucid.lenses.filters.layers import Reader, chosen, first_layer
from pellucid.lenses.filters.receptive import support
from pellucid.lenses.filters.search import peaks
from pellucid.looking.looking import look
from pellucid.looking.subjects import of_run
from pellucid.models import _building
from pellucid.run import Run
from pellucid.training.training import train


class Skip(nn.Module):
    """Down, up by a transposed convolution, and joined with what was before."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, stride=2)
        self.up, self.last = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1), nn.Conv2d(4, 1, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x)
        low = F.pad(self.up(self.inner(high)), (0, 1, 1, 0))
        return self.last(torch.cat([high[:, :, 1:-1, 1:-1], low[:, :, : high.shape[2] - 2, : high.shape[3] - 2]], 1))


class Gated(nn.Module):
    """A scale for each map, from the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.gate, self.two = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.one(x)
        return self.two(maps * self.gate(maps.mean((2, 3), keepdim=True)).sigmoid())


class Untraceable(nn.Module):
    """Its forward asks for pixels, so that it cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.relu(self.one(x))) if float(x.detach().sum()) > -1 else x


NETWORKS: dict[str, nn.Module] = {
    "strides": nn.Sequential(nn.Conv2d(1, 2, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(2, 2, (3, 2), padding=(1, 0))),
    "pools": nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 1, 2), nn.AvgPool2d(2), nn.Conv2d(1, 2, 1)),
    "enlarged": nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)),
    "skip": Skip(),
}  # fmt: skip


def reached(model: nn.Module, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w, H, W): which outputs change with which pixel, found by changing each; weights are made positive for it."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.abs() + 0.1)
        plain = torch.rand(1, 1, *size, dtype=torch.float64)
        changed = plain.repeat(size[0] * size[1], 1, 1, 1)
        changed.view(len(changed), -1).diagonal().add_(1000.0)
        model.double()
        moved = (model(changed) - model(plain)).abs().amax(1) > 1e-9  # (H·W, h, w)
        model.float()
    return moved.permute(1, 2, 0).reshape(*moved.shape[1:], *size).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_fields_are_those_of_brute_force(name: str) -> None:
    model = NETWORKS[name].eval()
    reader = Reader(model, torch.full((1, 13, 15), 0.5))
    last = reader.layers[-1]
    field = reader.fields(last)
    assert field is not None
    seen = reached(model, (13, 15))
    assert seen.shape[:2] == last.shape[1:]
    for row in range(seen.shape[0]):
        for column in range(seen.shape[1]):
            rows, columns = (np.flatnonzero(seen[row, column].any(axis)) for axis in (1, 0))
            expected = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
            assert field.box(row, column) == tuple(int(side) for side in expected), (row, column)


def test_fields_by_gradients_are_those_of_the_graph() -> None:
    model = NETWORKS["strides"].eval()
    image = torch.zeros(1, 13, 15)
    exact = Reader(model, image).fields(Reader(model, image).layers[-1])
    assert exact is not None
    for row, column in ((0, 0), (3, 4), (6, 6)):
        assert support(model, image, row, column) == exact.box(row, column)


def test_a_forward_that_cannot_be_followed_is_measured_and_that_is_said() -> None:
    model = Untraceable().eval()
    with torch.no_grad():
        model.one.bias.fill_(1.0)  # no unit is off
    images = torch.rand(6, 1, 9, 9)
    view = Filters(top=2, filters=3).look(Network(model=model, images=images))
    assert "measured by gradients" in view.words
    for filter in range(2):
        row, column = view["row/two"][filter, 0], view["column/two"][filter, 0]
        first = max(0, 2 * row - 1), max(0, 2 * column - 1)
        last = 2 * row + 4, 2 * column + 4
        assert view["box/two"][filter, 0].tolist() == [*first, *(min(9, side) for side in last)]


def test_gates_of_the_whole_image_are_named_and_left_out() -> None:
    view = Filters(layer="two", top=1).look(Network(model=Gated().eval(), images=torch.rand(3, 1, 12, 12)))
    assert "receptive field 5×5 px, apart from factors of the whole image at mul" in view.words
    top, left, bottom, right = view["box/two"][0, 0].tolist()
    assert (bottom - top, right - left) == (5, 5)


# -- what excites


def test_the_strongest_patches_are_those_of_a_plain_search() -> None:
    dice = np.random.default_rng(0)
    kernel, images = dice.standard_normal((3, 4)), dice.random((30, 11, 12)).astype(np.float32)
    images[17, 4:7, 2:6] = kernel > 0  # the patch that excites most of all within [0, 1]
    model = nn.Sequential(nn.Conv2d(1, 2, (3, 4), bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(np.stack([kernel, -kernel]))[:, None])
    view = Filters(top=5).look(Network(model=model.eval(), images=torch.from_numpy(images)[:, None]))
    assert view["image/0"][0, 0] == 17
    assert view["box/0"][0, 0].tolist() == [4, 2, 7, 6]
    assert view["score/0"][0, 0] == pytest.approx(kernel.clip(0).sum(), rel=1e-5)
    for filter, sign in enumerate((1, -1)):
        answers = np.stack([correlate2d(image, sign * kernel, "valid") for image in images])
        best = answers.reshape(30, -1).max(1)
        order = np.argsort(-best)[:5]
        np.testing.assert_array_equal(view["image/0"][filter], order)
        np.testing.assert_allclose(view["score/0"][filter], best[order], rtol=1e-4)
        for rank, place in enumerate(order):
            row, column = np.unravel_index(answers[place].argmax(), answers[place].shape)
            assert view["box/0"][filter, rank].tolist() == [row, column, row + 3, column + 4]


def test_a_batch_norm_can_turn_a_filters_sign() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[1].weight.fill_(-2.0)
        model[1].bias.fill_(3.0)
    images = torch.linspace(0.1, 0.9, 9).view(9, 1, 1, 1).expand(9, 1, 4, 4)
    view = Filters(top=1).look(Network(model=model.eval(), images=images))
    assert view["image/0"].tolist() == [[0]]  # the darkest
    assert view["score/0"][0, 0] == pytest.approx(3 - 2 * 0.1, abs=1e-3)
    assert view["maps/0"][8, 0, 0, 0] == pytest.approx(3 - 2 * 0.9, abs=1e-3)


def test_few_images_have_several_places_that_are_apart() -> None:
    image = torch.zeros(1, 1, 20, 20)
    for row, column, bright in ((2, 3, 1.0), (2, 4, 0.9), (12, 15, 0.8), (17, 2, 0.6)):
        image[0, 0, row, column] = bright
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]).view(1, 1, 3, 3))
    view = Filters(top=3).look(Network(model=model, images=image))
    places = list(zip(view["row/0"][0].tolist(), view["column/0"][0].tolist(), strict=True))
    assert places == [(2, 3), (12, 15), (17, 2)]
    assert view["image/0"].tolist() == [[0, 0, 0]]


def test_peaks_are_local_maxima() -> None:
    maps = torch.rand(2, 3, 9, 9)
    score, row, column = peaks(maps, 4, apart=3)
    assert score.shape == (2, 4, 3)
    assert torch.equal(score[:, 0], maps.flatten(2).amax(2))
    assert (score.diff(dim=1) <= 0).all()
    for turn in range(1, 4):
        assert (((row[:, 0] - row[:, turn]).abs() >= 3) | ((column[:, 0] - column[:, turn]).abs() >= 3)).all()


# -- weights and maps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("filters") / "run"
    return train(
        "classify", "digits", "convnet", folder, epochs=1, limit=96, device="cpu", progress=False, widths=(6,), seed=7
    )


def test_weights_before_are_the_runs_very_start(tmp_path: Path) -> None:
    """A training whose steps are too small to change a float leaves the weights as they were at its start."""
    options: dict[str, Any] = {"epochs": 1, "limit": 32, "device": "cpu", "progress": False, "lr": 1e-30, "seed": 3}
    for task, model, name, more in (
        ("classify", "convnet", "features.0", {"widths": (4,)}),
        ("generate", "conv_vae", None, {}),
    ):
        made = train(task, "digits", model, tmp_path / model, **options, **more)
        view = look(made, "filters", limit=8, filters=4, top=2)
        np.testing.assert_array_equal(view["weights_before"], view["weights_after"])
        assert not view["change"].any() and "from the run's own start, seed 3" in view.words
        if name is not None:
            np.testing.assert_array_equal(
                view["weights_after"], made.model().get_submodule(name).weight.detach().numpy()
            )


def test_a_runs_page(run: Run) -> None:
    view = look(run, "filters", limit=40, filters=4, top=3)
    model: Any = run.model()
    np.testing.assert_array_equal(view["weights_after"], model.features[0].weight.detach().numpy())
    assert (view["change"] > 0).all()
    expected = np.linalg.norm((view["weights_after"] - view["weights_before"]).reshape(6, -1), axis=1)
    np.testing.assert_allclose(
        view["change"], expected / np.linalg.norm(view["weights_before"].reshape(6, -1), axis=1), rtol=1e-5
    )
    assert view["maps/features.0"].shape == (6, 6, 6, 6) and view.axes["maps/features.0"] == (
        "image",
        "filter",
        "y",
        "x",
    )
    assert len(view["searched_name"]) == 40 and (view["searched_label"] >= 0).all()
    assert sorted(view.files) == ["filters_images.png", "filters_maps.png"]
    assert (run.figures / "filters_images.png").read_bytes()[:4] == b"\x89PNG"
    named = look(run, "filters", split="named", top=3)
    assert "Searched 6 images" in named.words and named["searched_name"].tolist() == named["names"].tolist()
    assert look(run, "filters", split="val", limit=12, layer="features.2")["score/features.2"].shape == (6, 9)
    one = look(run, "filters", [np.zeros((8, 8), np.uint8)], limit=12)
    assert list(one.files) == ["filters_images.png"] and one["maps/features.0"].shape[0] == 1


def test_maps_are_what_goes_through_the_model(run: Run) -> None:
    subject = of_run(run)
    network = subject.part(Network)
    assert network is not None
    model: Any = network.model
    view = subject.look(Filters(limit=8))
    images = torch.stack(list(network.images)).to(network.device)
    with torch.no_grad():
        through = model.features[:2](model.normalize(images)).cpu().numpy()
    np.testing.assert_allclose(view["maps/features.0"], through, atol=1e-5)


@pytest.mark.parametrize("planes", [1, 3])
def test_dense_first_layers_are_pictures_of_the_image(planes: int) -> None:
    model = _building.build(
        {"name": "mlp", "channels": planes, "outputs": 4, "size": [5, 6], "options": {"hidden": [7]}}
    ).eval()
    view = Filters(top=2).look(Network(model=model, images=torch.rand(4, planes, 5, 6)))
    own = model.layers[1].weight.detach().numpy()
    np.testing.assert_array_equal(view["weights_after"], own.reshape(7, planes, 5, 6))
    assert "weights_before" not in view.numbers and "no start to compare it with" in view.words
    assert view["maps/layers.1"].shape == (4, 7) and view["box/layers.1"][0, 0].tolist() == [0, 0, 5, 6]
    assert "7 units that see the whole image" in view.words


def test_a_training_that_has_not_begun_has_its_start_alone(tmp_path: Path) -> None:
    view = look("classify", "filters", out=tmp_path, data="digits", model="mlp", hidden=(5,), seed=2, limit=24)
    assert "weights_before" in view.numbers and "weights_after" not in view.numbers
    assert "as initialised (seed 2): no training has begun" in view.words


@pytest.mark.parametrize(
    ("task", "data", "model", "options", "narrow"),
    [
        ("denoise", None, "unet", {"widths": (4, 8)}, "down.1.2"),
        ("generate", "digits", "gan", {}, "discriminator.layers.4"),
        ("compress", "digits", "dense_codec", {}, None),
    ],
)
def test_other_tasks(
    tmp_path: Path, task: str, data: str, model: str, options: dict[str, Any], narrow: str | None
) -> None:
    view = look(task, "filters", out=tmp_path, data=data, model=model, limit=8, filters=3, top=2, **options)
    looked = [name.removeprefix("score/") for name in view.numbers if name.startswith("score/")]
    assert len(looked) >= 2 and (narrow is None or narrow in looked)
    assert all(np.isfinite(view[f"score/{name}"]).all() for name in looked)


def test_images_of_several_sizes_in_grey_and_colour(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    given = [dice.integers(0, 256, shape, np.uint8) for shape in ((14, 20), (9, 31, 3))]
    for planes in (1, 3):
        view = look(nn.Sequential(nn.Conv2d(planes, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3)), "filters", given, tmp_path)
        assert view["maps/0"].shape == (2, 4, 12, 29)
        assert np.isnan(view["maps/0"][1, :, 7:]).all() and np.isfinite(view["maps/0"][1, :, :7]).all()
        assert view["weights_after"].shape == (4, planes, 3, 3)
        assert view["score/2"].shape == (5, 9) and set(view["image/2"].ravel().tolist()) <= {0, 1}


def test_layers_that_are_shown() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.again(self.again(self.first(x))).mean((2, 3)))

    image = torch.rand(3, 12, 12)
    reader = Reader(Shared().eval(), image)
    assert [layer.name for layer in reader.layers] == ["first", "again", "again, use 2", "head"]
    assert [layer.name for layer in chosen(reader.layers, None, 6)] == ["first", "again", "again, use 2"]
    assert [layer.name for layer in chosen(reader.layers, None, 2)] == ["first", "again, use 2"]
    assert first_layer(Shared().eval(), image) == "first"
    assert first_layer(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), image) is None
    bottleneck = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2), nn.Conv2d(8, 3, 1))
    assert [layer.name for layer in chosen(Reader(bottleneck, image).layers, None, 6)] == ["0", "1"]


def test_the_filter_that_speaks_for_a_class_is_named() -> None:
    from collections.abc import Iterator

    from pellucid.lenses import Labelled

    images = torch.rand(12, 1, 6, 6) * 0.3
    labels = torch.arange(12) % 3
    images[labels == 2, :, 2:4] += 0.7
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([torch.rand(1, 3, 3) * 0.01, torch.ones(1, 3, 3)]))

    def batches(split: str, size: int = 64, limit: int | None = None) -> Iterator[Labelled]:
        for part in torch.arange(12).split(5):
            yield Labelled(images[part], labels[part], [f"{split}/{i}" for i in part.tolist()], part, None)

    network = Network(model, images[:2], classes=("a", "b", "bright"))
    view = Filters(top=4).look(network, Splits(batches, {"train": 12}))
    assert "Filter 1 of 0 is the most specific to one class: 4 of its 4 strongest images are of bright." in view.words
    assert {view["searched_name"][place] for place in view["image/0"][1]} == {f"train/{i}" for i in (2, 5, 8, 11)}


# -- refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"filters": 0}, "filters=0: must be at least 1"),
        ({"top": 0}, "top=0: must be at least 1"),
        ({"limit": 0}, "limit=0: must be at least 1"),
        ({"split": "tests"}, "split='tests': is not known; choose train, val, test or named"),
    ],
)
def test_refused_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Filters(**options)


def test_refused_models() -> None:
    images = torch.rand(2, 1, 4, 4)
    with pytest.raises(UsageError, match="no convolution and no dense layer"):
        Filters().look(Network(model=nn.Flatten(), images=images))
    with pytest.raises(UnknownNameError, match="layer='1' is not known"):
        Filters(layer="1").look(Network(model=nn.Sequential(nn.Conv2d(1, 2, 2)), images=images))
