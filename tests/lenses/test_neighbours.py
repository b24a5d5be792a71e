# SPDX-License-Identifier: Apache-2.0
"""Neighbours against a peer's search and against copies that were planted across splits."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from pellucid import data
from pellucid._catalog import find
from pellucid.errors import UsageError
from pellucid.lenses import Labelled, Network, Splits, _index
from pellucid.lenses.neighbours import Neighbours
from pellucid.looking.looking import look
from pellucid.run import Run
from pellucid.training.training import train


def codes(n: int, seed: int = 0, wide: int = 16) -> np.ndarray[Any, Any]:
    dice = np.random.default_rng(seed)
    return (dice.integers(0, 8, (n, 1)) * 3 + dice.standard_normal((n, wide))).astype(np.float32)


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_the_search_is_the_peers(memory: int) -> None:
    base, asked = codes(300), codes(20, seed=1)
    near, distance = _index.Index(base, memory).search(asked, 7)
    far, peer = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(base.astype(np.float64)).kneighbors(asked)
    np.testing.assert_array_equal(near, peer)
    np.testing.assert_allclose(distance, far, atol=1e-6)


def test_an_image_is_not_its_own_neighbour_but_a_copy_is() -> None:
    base = codes(50) + np.float32(1e4)  # where |a|² + |b|² − 2ab cancels to nothing
    base[33] = base[12]
    near, distance = _index.Index(base).search(base, 3, np.arange(50))
    assert not (near == np.arange(50)[:, None]).any()
    assert near[12, 0] == 33 and near[33, 0] == 12
    assert distance[12, 0] == distance[33, 0] == 0
    assert (np.delete(distance[:, 0], [12, 33]) > 0).all()


def test_beyond_its_limit_an_index_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_index, "EXACT", 1000)
    monkeypatch.setattr(_index, "_PROBES", 40)
    base = codes(4000)
    index = _index.Index(base)
    assert "faiss" in index.kind
    asked = codes(50, seed=1)
    near, distance = index.search(asked, 5)
    far, peer = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(base.astype(np.float64)).kneighbors(asked)
    found = np.mean([len({*a} & {*b}) / 5 for a, b in zip(near.tolist(), peer.tolist(), strict=True)])
    assert found > 0.9
    np.testing.assert_allclose(distance[near == peer], far[near == peer], atol=1e-6)
    assert index.recall(5) > 0.9
    np.testing.assert_array_equal(_index.Index(base).search(asked, 5)[0], near)


def test_the_index_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_index, "EXACT", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pellucid\[index\]"):
        _index.Index(codes(20))


# -- the lens


class Plain(nn.Module):
    """Codes that are the pixels, and two classes."""

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)


def splits() -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(0)
    made = {part: torch.rand(n, 1, 4, 4, generator=dice) for part, n in (("train", 40), ("val", 8), ("test", 12))}
    made["test"][5] = made["train"][17] + 1e-3  # planted: nearly a copy
    made["val"][2] = made["train"][3]  # planted: a copy
    made["train"][30] = made["train"][31]  # a copy inside a split
    return made


def parts(asked: Tensor, names: tuple[str, ...] = ()) -> tuple[Network, Splits]:
    own = splits()

    def batches(split: str, size: int = 64, limit: int | None = None) -> Iterator[Labelled]:
        count = len(own[split])
        every = torch.from_numpy(
            np.unique(np.linspace(0, count - 1, min(limit or count, count)).round().astype(np.int64))
        )
        for places in every.split(size):
            yield Labelled(own[split][places], places % 2, [f"{split}_{i}" for i in places], places, None)

    network = Network(Plain(), asked, names, ("even", "odd"), title="plain")
    return network, Splits(batches, {part: len(images) for part, images in own.items()})


def test_planted_duplicates_across_splits_are_found_and_no_others() -> None:
    view = Neighbours(k=3).look(*parts(splits()["test"][:2], ("test_0", "test_1")))
    pairs = [{*pair} for pair in view["duplicate_name"].tolist()]
    assert pairs == [{"train_3", "val_2"}, {"train_17", "test_5"}]
    assert [{*pair} for pair in view["duplicate_split"].tolist()] == [{"train", "val"}, {"train", "test"}]
    np.testing.assert_allclose(view["duplicate_distance"], [0, 4e-3], atol=1e-5)
    assert (view["duplicate_pixels"] < 0.005).all()
    assert "2 near-duplicates across splits" in view.words and "train_3 (train) and val_2 (val)" in view.words
    assert view["limit"] == pytest.approx(0.1 * view["typical"])
    view.figure.savefig("/dev/null", format="png")


def test_a_lower_share_finds_exact_copies_alone() -> None:
    view = Neighbours(duplicate=0.0).look(*parts(splits()["test"][:1]))
    assert view["duplicate_name"].tolist() == [["train_3", "val_2"]]


def test_the_nearest_are_told_with_split_label_and_distance() -> None:
    asked = splits()["train"][9:10] + 1e-3
    view = Neighbours(k=4).look(*parts(asked, ("photo.png",)))
    assert (view["neighbour_name"][0, 0], view["neighbour_split"][0, 0], view["neighbour_label"][0, 0]) == (
        "train_9",
        "train",
        1,
    )
    assert view["distance"][0, 0] == pytest.approx(4e-3, rel=1e-2)
    assert (np.diff(view["distance"][0]) >= 0).all()
    assert "nearest to photo.png is train_9 of train (odd)" in view.words
    every = torch.cat([*splits().values()]).flatten(1)
    true = (every - asked.flatten(1)).norm(dim=1).sort().values[:4]
    np.testing.assert_allclose(view["distance"][0], true, atol=1e-5)


def test_an_own_image_is_not_its_own_neighbour() -> None:
    view = Neighbours(k=2).look(*parts(splits()["test"], tuple(f"test_{i}" for i in range(12))))
    for i, near in enumerate(view["neighbour_name"].tolist()):
        assert f"test_{i}" not in near
    assert view["neighbour_name"][5, 0] == "train_17"
    # another image that happens to be called so has that one as its neighbour
    other = Neighbours(k=1).look(*parts(splits()["test"][4:5] + 0.05, ("test_4",)))
    assert other["neighbour_name"].tolist() == [["test_4"]]


def test_a_folder_and_a_ready_model(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (5, 24, 24, 3), np.uint8)
    for i, image in enumerate([*pixels, pixels[1]]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    )
    view = look(model, "neighbours", str(tmp_path), tmp_path / "out")
    assert view["neighbour_name"][1, 0] == "5.png" and view["distance"][1, 0] == 0
    assert view["duplicate_name"].tolist() == [["1.png", "5.png"]]
    assert view["neighbour"].shape == (6, 5)
    assert "1 near-duplicate among them" in view.words
    assert model.training and not model[0]._forward_hooks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", "mlp", tmp_path_factory.mktemp("neighbours") / "run", epochs=1, limit=256,
                 hidden=(8,), device="cpu", progress=False)  # fmt: skip


def test_a_copy_planted_in_a_runs_data_is_found(run: Run, tmp_path: Path) -> None:
    whole = data.open("digits")
    parts = {part: split.select(range(20)) for part, split in whole.splits.items()}
    parts["test"] = whole.splits["train"].select([7, *range(100, 119)])
    view = look(run, "neighbours", out=tmp_path, data=whole.replace(splits=parts))
    first = view["duplicate_name"][0].tolist()
    assert first[0] == first[1] == whole.splits["train"].names[7]
    assert sorted(view["duplicate_split"][0].tolist()) == ["test", "train"]
    assert view["duplicate_distance"][0] == 0 and view["duplicate_pixels"][0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [({"k": 0}, "k=0"), ({"limit": 0}, "limit=0"), ({"duplicate": 2.0}, "duplicate=2"), ({"layer": "none"}, "none")],
)
def test_an_option_that_cannot_be_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Neighbours(**options).look(*parts(splits()["test"][:1]))


def test_one_image_has_no_neighbours() -> None:
    with pytest.raises(UsageError, match="no neighbours among themselves"):
        Neighbours().look(Network(model=Plain(), images=torch.zeros(1, 1, 4, 4)))


def test_equal_codes_of_different_images_have_no_neighbours() -> None:
    layer = nn.Linear(16, 4)
    nn.init.constant_(layer.bias, -100.0)
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU())
    pictures = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match=r"^layer=…: gives these 5 images one and the same code"):
        Neighbours(layer="2").look(Network(model, pictures))
    copies = Neighbours(layer="0", k=1).look(Network(model, pictures[:1].expand(3, -1, -1, -1)))
    assert (copies["distance"] == 0).all(), "copies of one picture have equal codes rightly"


@pytest.mark.parametrize("lens", ["attribution", "neighbours"])
def test_a_figure_that_is_drawn_later_needs_no_model(lens: str) -> None:
    """It is drawn once, after the model has its own mode and gradients again."""
    network, own = parts(splits()["test"][:2])
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    network = dataclasses.replace(network, model=model)
    given = (network,) if lens == "attribution" else (network, own)
    options: dict[str, Any] = {"depths": 0, "tested": 0} if lens == "attribution" else {"layer": "0", "k": 2}
    view = find("lenses", lens)(**options).look(*given)

    def never(*given: object) -> None:
        raise AssertionError("the model was called")

    model.forward = never  # type: ignore[assignment, method-assign]
    assert view.figure.axes and view.figure is view.figure
