# SPDX-License-Identifier: Apache-2.0
"""Maps: that they separate what is apart, stay where they are when images are placed, can be read again, and open anywhere."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as peer_trustworthiness
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.lenses import Labelled, Network, Splits
from pellucid.lenses._codes import chosen_layer, of_images
from pellucid.lenses._index import Index
from pellucid.lenses.embedding import Embedding
from pellucid.lenses.embedding.agreement import kept, trustworthiness
from pellucid.lenses.embedding.maps import Map, fit, place
from pellucid.looking.looking import look

KINDS = np.repeat(np.arange(3), 50)


def clusters(each: int = 50, seed: int = 0) -> np.ndarray[Any, Any]:
    """Three groups of codes (3·each, 6), far from one another."""
    dice = np.random.default_rng(seed)
    return (np.repeat(10 * np.eye(3, 6), each, axis=0) + dice.standard_normal((3 * each, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def chart() -> Map:
    return fit(clusters(), "tsne", perplexity=12, seed=3)


def near_on(map: Map, places: np.ndarray[Any, Any], k: int = 5) -> np.ndarray[Any, Any]:
    return Index(map.places).search(places, k)[0]


def test_what_is_apart_in_feature_space_is_apart_on_the_map(chart: Map) -> None:
    near, _ = Index(chart.places).search(chart.places, 5, np.arange(150))
    assert (KINDS[near] == KINDS[:, None]).all()
    assert np.abs(chart.places.max(0) + chart.places.min(0)).max() < 1e-9


def test_the_same_seed_gives_the_same_map(chart: Map) -> None:
    np.testing.assert_array_equal(fit(clusters(), "tsne", perplexity=12, seed=3).places, chart.places)


def test_placing_moves_nothing(chart: Map) -> None:
    before = chart.places.tobytes(), chart.codes.tobytes()
    place(chart, clusters(4, seed=1))
    assert (chart.places.tobytes(), chart.codes.tobytes()) == before


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_an_image_of_the_map_lands_on_itself(chart: Map, method: Any) -> None:
    map = chart if method == "tsne" else fit(clusters(), method)
    np.testing.assert_array_equal(place(map, map.codes[40:60]), map.places[40:60])


def test_nearly_the_same_image_lands_beside_itself(chart: Map) -> None:
    almost = chart.codes + np.float32(1e-3)
    gap = np.linalg.norm(place(chart, almost) - chart.places, axis=1)
    _, apart = Index(chart.places).search(chart.places, 5, np.arange(150))
    assert np.median(gap) < np.median(apart[:, 4])


def test_new_images_come_to_their_like_and_not_by_each_other(chart: Map) -> None:
    new = clusters(6, seed=1)
    places = place(chart, new)
    assert (KINDS[near_on(chart, places)] == np.repeat(np.arange(3), 6)[:, None]).mean() > 0.99
    np.testing.assert_allclose(place(chart, new[7:8]), places[7:8], atol=1e-9)
    np.testing.assert_allclose(place(chart, new[::-1]), places[::-1], atol=1e-9)


def test_pca_is_the_peers_projection() -> None:
    codes, new = clusters(), clusters(4, seed=2)
    map, peer = fit(codes, "pca"), PCA(2).fit(codes.astype(np.float64))
    for ours, theirs in ((map.places, peer.transform(codes)), (place(map, new), peer.transform(new))):
        signs = np.sign((ours * theirs).sum(0))
        shifted = theirs * signs
        np.testing.assert_allclose(ours - ours.mean(0), shifted - shifted.mean(0), atol=1e-4)


def test_trustworthiness_is_the_peers(chart: Map) -> None:
    everyone = np.arange(150)
    for places in (chart.places, np.random.default_rng(0).standard_normal((150, 2))):
        beside, _ = Index(places).search(places, 7, everyone)
        ours = trustworthiness(chart.codes, chart.codes, beside, everyone).mean()
        assert ours == pytest.approx(peer_trustworthiness(chart.codes, places, n_neighbors=7), abs=1e-4)


def test_a_faithful_map_keeps_all_neighbours_and_chance_few() -> None:
    flat = np.random.default_rng(0).standard_normal((200, 2))
    rows = np.arange(200)
    near, _ = Index(flat).search(flat, 10, rows)
    beside, _ = Index(flat @ [[0, 2], [-2, 0]]).search(flat @ [[0, 2], [-2, 0]], 10, rows)
    assert kept(near, beside).mean() == 1
    chance, _ = Index(flat[::-1]).search(flat, 10, rows)
    assert kept(near, chance).mean() == pytest.approx(10 / 199, abs=0.04)


# -- the lens


class Codes(nn.Module):
    """Gives its images' first six pixels as codes, and their largest of the first three as the class."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :6] * 20 * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)[:, :3]


def images(each: int, seed: int) -> Tensor:
    """Images (3·each, 1, 3, 4) whose codes are the clusters, moved into [0, 1]."""
    codes = torch.from_numpy(clusters(each, seed))
    return torch.cat([codes / 20 + 0.25, torch.zeros(len(codes), 6)], 1).reshape(-1, 1, 3, 4)


def parts(new: Tensor, names: tuple[str, ...] = ()) -> tuple[Network, Splits]:
    """A run with 150 training images of three classes, and new ones."""

    def batches(split: str, size: int = 64, limit: int | None = None) -> Iterator[Labelled]:
        assert split == "train"
        every = torch.from_numpy(np.unique(np.linspace(0, 149, min(limit or 150, 150)).round().astype(np.int64)))
        for places in every.split(size):
            yield Labelled(
                images(50, 0)[places], torch.from_numpy(KINDS)[places], [f"own/{i}" for i in places], places, None
            )

    network = Network(Codes().eval(), new, names, ("a", "b", "c"), title="codes")
    return network, Splits(batches, {"train": 150, "test": 0})


def test_far_images_are_flagged_and_near_ones_not() -> None:
    new = images(3, 1)
    new[4] = 1.0
    view = Embedding(method="pca").look(*parts(new, tuple(f"n{i}" for i in range(9))))
    assert view["unlike"].tolist() == [i == 4 for i in range(9)]
    assert view["new_distance"][4, 0] > view["nearest_limit"] >= np.quantile(view["distance"][:, 0], 0.98)
    assert "n4 at" in view.words
    assert view["where"] == "encode"
    np.testing.assert_array_equal(view["label"], KINDS)
    assert "None is unlike" in Embedding(method="pca").look(*parts(images(3, 0)[[0, 4]])).words


def test_the_quality_of_placing_is_told_beside_fitting_anew() -> None:
    view = Embedding(perplexity=12, nearest=5).look(*parts(images(8, 1)))
    assert view["new_kept"].shape == view["new_kept_refitted"].shape == (24,)
    assert view["new_kept"].mean() > 0.6 * view["new_kept_refitted"].mean() > 0.2
    assert "in a new fit of everything" in view.words
    assert "new_kept_refitted" not in Embedding(method="pca", refit=False).look(*parts(images(2, 1))).numbers


def test_a_map_is_read_again_and_stays(tmp_path: Path) -> None:
    model = Codes()
    first = look(model, "embedding", images(20, 0), tmp_path, perplexity=8)
    assert "new" not in first.numbers
    out = tmp_path / "later"
    later = look(model, "embedding", images(2, 1), out, map=str(tmp_path / "embedding.npz"))
    assert later["map"].tobytes() == first["map"].tobytes()
    assert later["new"].shape == (6, 2)
    again = look(model, "embedding", images(20, 0)[3:5], out, map=str(out / "embedding.npz"))
    assert again["map"].tobytes() == first["map"].tobytes()
    assert again["new"].tobytes() == first["map"][3:5].tobytes()
    with torch.no_grad():
        model.scale += 0.5
    with pytest.raises(UsageError, match="another model"):
        look(model, "embedding", images(2, 1), out, map=str(tmp_path / "embedding.npz"))


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "b.npz", map=np.zeros((3, 2)))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(UsageError, match="holds no map"):
            Embedding(map=str(tmp_path / name)).look(*parts(images(2, 1)))
    with pytest.raises(UsageError, match="does not exist"):
        Embedding(map=str(tmp_path / "none.npz")).look(*parts(images(2, 1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "mds"}, "method='mds'"),
        ({"limit": 3}, "limit=3"),
        ({"perplexity": 0.5}, r"perplexity=0\.5"),
        ({"nearest": 0}, "nearest=0"),
        ({"quantile": 0.0}, "quantile=0"),
        ({"map": "a.npz", "method": "pca"}, "is fixed by the earlier map"),
        ({"layer": "nowhere"}, "nowhere"),
        ({"split": "test"}, "split='test'"),
    ],
)
def test_an_option_that_cannot_be_is_said(options: dict[str, Any], words: str) -> None:
    network, splits = parts(images(2, 1))

    def empty(split: str, size: int = 64, limit: int | None = None) -> Iterator[Labelled]:
        if split != "train":
            raise UsageError(f"split={split!r}: is empty")
        return splits.batches(split, size, limit)

    with pytest.raises(UsageError, match=words):
        Embedding(**options).look(network, dataclasses.replace(splits, batches=empty))


def test_too_few_images_are_said() -> None:
    with pytest.raises(UsageError, match="needs at least 6"):
        Embedding().look(Network(model=Codes(), images=images(1, 0)))


class Reader(HTMLParser):
    """Collects what a page refers to, and its data."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.inside = ""
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        self.references += [str(known[name]) for name in ("src", "href", "action", "data") if name in known]
        self.inside = str(known.get("id", "")) if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self.inside == "data":
            self.data += data


def test_the_page_stands_alone_and_holds_all() -> None:
    wild = tuple(f"</script><b onload='x'>{i}" for i in range(6))
    view = Embedding(method="pca", nearest=4).look(*parts(images(2, 1), wild))
    text = view.files["embedding.html"].decode()
    page = Reader()
    page.feed(text)
    assert page.references == []
    assert not re.search(
        r"https?:|//\w|@import|url\(|fetch\(|XMLHttp|import\s*\(", re.sub(r"data:image/[^\"]*", "", text)
    )
    assert "b" not in page.tags and page.tags.count("script") == 2
    data = json.loads(page.data)
    assert len(data["x"]) == len(data["near"]) == len(data["name"]) == 156
    assert data["fitted"] == 150 and data["name"][150:] == list(wild)
    np.testing.assert_allclose(data["x"][:150], view["map"][:, 0], rtol=1e-3, atol=1e-3)
    assert data["near"][150:] == view["new_nearest"].tolist()
    assert data["sheet"].startswith("data:image/png;base64,")


def test_a_folder_of_colour_images_of_several_sizes(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(dice.integers(0, 256, (20 + i % 2, 30, 3), np.uint8)).save(tmp_path / f"{i}.png")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    view = look(model, "embedding", str(tmp_path), tmp_path / "out", method="pca")
    assert view["thumbnail"].shape[0] == 8 and view["thumbnail"].shape[3] == 3
    assert view["name"].tolist() == [f"{i}.png" for i in range(8)]
    assert "the input of 3 (8 numbers)" in view.words
    assert (tmp_path / "out" / "embedding.html").exists()


def test_codes_of_several_lengths_are_said() -> None:
    class Own(nn.Module):
        def encode(self, x: Tensor) -> Tensor:
            return x.flatten(1)

        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(UsageError, match="several sizes"):
        of_images(Network(model=Own(), images=[torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)]), None)


def test_a_network_that_ends_in_a_picture_is_asked_for_its_widest_layer() -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 1, 3))
    assert chosen_layer(Network(network, torch.zeros(1, 1, 16, 16)), None) == "2"
    assert chosen_layer(Network(network, torch.zeros(1, 1, 16, 16)), "0") == "0"
    assert chosen_layer(Network(Codes(), torch.zeros(1, 1, 3, 4)), None) is None


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match=r"pellucid\[umap\]"):
        fit(clusters(), "umap")


@pytest.mark.slow  # numba compiles
def test_umap_maps_and_places_too() -> None:
    map = fit(clusters(), "umap", perplexity=10, seed=1)
    near, _ = Index(map.places).search(map.places, 5, np.arange(150))
    assert (KINDS[near] == KINDS[:, None]).mean() > 0.99
    before = map.places.tobytes()
    places = place(map, clusters(6, seed=1))
    assert (KINDS[near_on(map, places)] == np.repeat(np.arange(3), 6)[:, None]).mean() > 0.95
    assert map.places.tobytes() == before


def dead(images: int) -> Network:
    """A model all of whose units are dead, and different images."""
    layer = nn.Linear(16, 4)
    nn.init.constant_(layer.bias, -100.0)
    pictures = torch.rand(images, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Network(nn.Sequential(nn.Flatten(), layer, nn.ReLU()), pictures)


@pytest.mark.parametrize("method", ["tsne", "pca", "umap"])
def test_equal_codes_have_no_map(method: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^layer=…: gives these 12 images 1 different code, and a map needs at least 6;"
    ):
        Embedding(method=method, layer="2").look(dead(12))
    few = np.repeat(np.eye(5), 4, axis=0)
    with pytest.raises(UsageError, match="gives these 20 images 5 different codes"):
        fit(few, method)
    assert np.isfinite(fit(np.concatenate([few, -few]), "tsne").places).all()
