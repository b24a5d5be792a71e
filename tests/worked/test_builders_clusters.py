# SPDX-License-Identifier: Apache-2.0
"""t-SNE, k-means, agglomerative clustering, the entropy of a code and the sketch of a step, against scikit-learn, SciPy and torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.cluster.hierarchy import linkage as merges
from scipy.stats import entropy as scipy_entropy
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.manifold import _t_sne

from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.worked.builders import builder
from pellucid.worked.builders.agglomerative import Agglomerative
from pellucid.worked.builders.entropy import Entropy
from pellucid.worked.builders.kmeans import KMeans as Steps

agglomerative, entropy, kmeans, tsne = map(builder, ("agglomerative", "entropy", "kmeans", "tsne"))


def points(seed: int, count: int, width: int, digits: int = 1) -> list[list[float]]:
    return np.random.default_rng(seed).uniform(-4, 4, (count, width)).round(digits).tolist()  # type: ignore[no-any-return]


def pairs(count: int) -> list[tuple[int, int]]:
    return [*itertools.combinations(range(1, count + 1), 2)]


@pytest.mark.parametrize("width", [1, 2])
def test_similarities_and_a_step_of_t_sne(width: int) -> None:
    """p by NumPy from its definition, q, the divergence and its gradient by scikit-learn; the step is −lr times the gradient."""
    for seed in range(6):
        x, y = np.array(points(seed, 4, 2)), np.array(points(seed + 50, 4, width))
        sigma = np.random.default_rng(seed).uniform(0.8, 3, 4).round(1)
        affinity = np.exp(-((x[:, None] - x[None]) ** 2).sum(2) / (2 * sigma[:, None] ** 2))
        np.fill_diagonal(affinity, 0)
        conditional = affinity / affinity.sum(1, keepdims=True)
        P = (conditional + conditional.T) / 8
        condensed = np.array([P[i - 1, j - 1] for i, j in pairs(4)])
        divergence, gradient = _t_sne._kl_divergence(y.ravel(), condensed, 1, 4, width)
        solution = tsne(x.tolist(), y.tolist(), sigma.tolist(), lr=0.5).solve()
        np.testing.assert_allclose([float(solution.value(f"p_{i}_{j}")) for i, j in pairs(4)], condensed, rtol=1e-10)
        assert float(solution.value("C")) == pytest.approx(divergence, rel=1e-9)
        names = [f"_{i}_{k}" if width > 1 else f"_{i}" for i in range(1, 5) for k in range(1, width + 1)]
        np.testing.assert_allclose(
            [float(solution.value(f"g{name}")) for name in names], gradient, rtol=1e-8, atol=1e-12
        )
        # by the chain rule through b, Z and q, checked by central differences
        mine = solution.gradient("C", [f"y{name}" for name in names])
        np.testing.assert_allclose([float(mine[f"y{name}"]) for name in names], gradient, rtol=1e-8, atol=1e-12)
        after = [float(value) for _, value in solution.answers[-1].results]
        np.testing.assert_allclose(after, y.ravel() - 0.5 * gradient, rtol=1e-8, atol=1e-12)
        q = [float(solution.value(f"q_{i}_{j}")) for i, j in pairs(4)]
        assert 2 * sum(q) == pytest.approx(1) == 2 * condensed.sum()


def test_steps_of_k_means_are_scikit_learns() -> None:
    for seed in range(12):
        x = np.array(points(seed, 7, 2))
        begin = x[[0, 3]]
        steps = 1 + seed % 4
        theirs = KMeans(2, init=begin, n_init=1, max_iter=steps, algorithm="lloyd", tol=0).fit(x)
        solution = kmeans(x.tolist(), begin.tolist(), steps).solve()
        done = max(step for step in range(1, steps + 1) if f"J_{step}" in solution.values)
        centres = [[float(solution.value(f"m_{done}_{k}_{c}")) for c in (1, 2)] for k in (1, 2)]
        np.testing.assert_allclose(centres, theirs.cluster_centers_, rtol=1e-9)
        sums = [float(solution.value(f"J_{step}")) for step in range(1, done + 1)]
        assert sums == sorted(sums, reverse=True)
        distances = ((x[:, None] - np.array(begin)[None]) ** 2).sum(2)
        assert sums[0] == pytest.approx(distances.min(1).sum())


def test_k_means_stops_where_nothing_changes() -> None:
    sheet = kmeans([0, 1, 8, 9], [0, 1], 20)
    assert "J_4" not in sheet and any("In step 3 no point changes" in str(words) for words in sheet.remarks)
    table: Any = Steps(x="0; 1; 8; 9", centres="0; 1", steps=20).grids(sheet.solve())[0]
    assert [row[1:] for row in table.rows[:4]] == [("1", "1", "1"), ("2", "1", "1"), ("2", "2", "2"), ("2", "2", "2")]


@pytest.mark.parametrize("how", ["single", "complete", "average"])
def test_merges_are_scipys_and_scikit_learns(how: Any) -> None:
    for seed in range(8):
        count, width = 3 + seed % 4, 1 + seed % 2
        x = points(seed, count, width, 2)
        given = x if width > 1 else [row[0] for row in x]
        solution = agglomerative(given, how).solve()
        theirs = merges(np.array(x), how)
        heights = [float(solution.value(f"h_{step}")) for step in range(1, count)]
        np.testing.assert_allclose(heights, theirs[:, 2], rtol=1e-12)
        text = "; ".join(" ".join(map(str, row)) for row in x)
        table: Any = Agglomerative(text, linkage=how).grids(solution)[0]
        assert [row[1] for row in table.rows] == [
            f"{int(min(a, b)) + 1} and {int(max(a, b)) + 1}" for a, b in theirs[:, :2]
        ]
        peer = AgglomerativeClustering(2, linkage=how).fit(np.array(x))
        last = {int(name) for name in str(table.rows[-2][3]).split(", ")} if count > 2 else set()
        groups = [{i + 1 for i, label in enumerate(peer.labels_) if label == each} for each in (0, 1)]
        assert any(last <= group for group in groups)


def test_an_exercise_does_not_give_away_the_groups() -> None:
    for sheet, held in (
        (kmeans([0, 1, 8, 9], [0, 1]), ["J_1", "m_1_1"]),
        (agglomerative([0, 1, 4, 9]), ["d_3_5", "h_2"]),
    ):
        assert all(sheet.is_held(name) for name in held)
        assert not sheet.is_held("h_1" if "h_1" in sheet else "d_1_1_2")


def test_the_entropy_is_scipys_and_a_huffman_code_the_best() -> None:
    """H ≤ l < H + 1; no code with lengths that fulfil Kraft's inequality is shorter, which all lengths are tried for."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        counts = random.integers(1, 12, random.integers(2, 6)).tolist()
        solution = entropy(counts).solve()
        H, mean = float(solution.value("H")), float(solution.value("l"))
        assert pytest.approx(scipy_entropy(counts, base=2), rel=1e-12) == H
        assert H - 1e-12 <= mean < H + 1
        assert solution.value("K") == 1
        share = np.array(counts) / sum(counts)
        lengths = itertools.product(range(1, len(counts)), repeat=len(counts))
        best = (
            min(float(share @ np.array(each)) for each in lengths if sum(2.0**-n for n in each) <= 1)
            if len(counts) > 2
            else 1
        )
        assert mean == pytest.approx(best)
        assert float(solution.value("r")) == pytest.approx(mean - H, abs=1e-12)


def test_the_rate_of_a_code_of_an_image() -> None:
    solution = entropy([0.5, 0.25, 0.25], ["0", "10", "11"]).solve()
    assert float(solution.value("H")) == 1.5 == solution.value("l")
    rate = entropy([8, 4, 2, 1, 1], pixels=60).solve()
    assert rate.value("B") == 30 and rate.value("R") == 0.5
    table: Any = Entropy("8 4 2 1 1").grids(rate)[0]
    words = [str(row[3]) for row in table.rows]
    assert [len(word) for word in words] == [1, 2, 3, 4, 4]
    assert not any(a != b and b.startswith(a) for a in words for b in words)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tsne([1, 2], [1, 2]), "give 3 to 8 points"),
        (lambda: tsne([1, 2, 3], [1, 2, 3], 0), "sigma: must be a number above 0"),
        (lambda: kmeans([1, 2], [1, 2, 3]), "no more centres than points"),
        (lambda: kmeans([1, 2, 3], [1, 9]), "in step 1 centre 2 is nearest to no point"),
        (lambda: agglomerative([1]), "has 1 points; give 2 to 10"),
        (lambda: entropy([1]), "must be 2 to 40 numbers above 0"),
        (lambda: entropy([1, 1, 1], ["0", "01", "11"]), "0 begins 01"),
        (lambda: entropy([1, 1], ["0", "2"]), "must be 2 words of 0 and 1"),
    ],
)
def test_what_cannot_be_worked_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


LINE = ["--start", "w = 1", "--rules", "nesterov", "momentum"]
PLANE = ["(a - 2)^2/2 + 2*(b - 1)^2", "--start", "a = 0, b = 0", "--rules", "nesterov"]


@pytest.mark.parametrize("words", [LINE, PLANE])
def test_the_sketch_of_a_step_is_a_picture(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "step.png"
    assert main(["work", "optimizer", *words, "--sketch", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert min(picture.shape[:2]) > 300
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert {(0x2A, 0x6F, 0xBB), (0xD1, 0x70, 0x1F), (0x22, 0x22, 0x22)} <= colours  # velocity, gradient, step


def test_the_sketch_shows_the_numbers_of_torch() -> None:
    """The step of the picture is torch's, whose w is the look-ahead point: w_torch = w + ρ·v."""
    from pellucid.worked.builders.optimizer.sketch import last_steps

    sheet = builder("optimizer")("(w - 3)^2/2", {"w": 1}, rules=["nesterov"], steps=3, lr=0.1, rho=0.9)
    (step,) = last_steps(sheet.solve())
    w = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=0.1, momentum=0.9, nesterov=True)
    places, slopes = [], []
    for _ in range(3):
        places.append(w.item())
        optimiser.zero_grad()
        ((w - 3) ** 2 / 2).sum().backward()
        assert w.grad is not None
        slopes.append(w.grad.item())
        optimiser.step()
    assert step.where[0] == pytest.approx(places[-1])
    assert step.slope[0] == pytest.approx(slopes[-1])
    assert step.before[0] + step.carried[0] == pytest.approx(step.where[0])
    assert step.after[0] == pytest.approx(step.where[0] - 0.1 * step.slope[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sketch", "a.pdf"], "is a picture; end the name with .png"),
        (["--sketch", "a.png", "--rules", "adam"], "shows the velocity of momentum or nesterov"),
        (
            ["a + b + c", "--start", "a = 1, b = 1, c = 1", "--sketch", "a.png"],
            "shows one or two parameters, and there are 3",
        ),
    ],
)
def test_a_sketch_that_cannot_be_drawn(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "optimizer", *words]) == 2
    assert said in capsys.readouterr().err
