# SPDX-License-Identifier: Apache-2.0
"""Trees of codes against scikit-learn and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from pellucid.errors import UsageError
from pellucid.tasks.cluster import dendrogram
from pellucid.tasks.cluster.hierarchy import Tree

CODES = np.random.default_rng(0).normal(size=(80, 5))
LINKAGES = ["ward", "average", "complete"]


@pytest.mark.parametrize("kind", LINKAGES)
def test_a_cut_is_scikit_learns(kind: str) -> None:
    tree = Tree(CODES, kind)
    for k in (2, 5, 11):
        mine = tree.cut(k)
        assert adjusted_rand_score(mine, AgglomerativeClustering(k, linkage=kind).fit_predict(CODES)) == 1
        assert (np.diff(np.bincount(mine)) <= 0).all(), "numbered from the largest"
    assert (np.diff(tree.heights) >= 0).all()


@pytest.mark.parametrize("kind", LINKAGES)
def test_a_cut_at_a_height_undoes_what_is_above(kind: str) -> None:
    tree = Tree(CODES, kind)
    between = float(tree.heights[-4] + tree.heights[-3]) / 2  # three mergers lie above
    assert adjusted_rand_score(tree.cut_at(between), tree.cut(4)) == 1


@pytest.mark.parametrize("kind", LINKAGES)
def test_a_new_code_joins_where_the_linkage_would_have_put_it(kind: str) -> None:
    """Against SciPy on all codes and the new one, which comes last into a tight group far from another."""
    rng = np.random.default_rng(2)
    codes = np.concatenate([rng.normal(0, 0.1, (6, 3)), rng.normal(9, 0.1, (7, 3))])
    new = np.array([1.5, 1.5, 1.5])
    tree = Tree(codes, kind)
    found = tree.place(new, tree.cut(2))
    links = linkage(np.concatenate([codes, new[None]]), kind)
    [joined] = [row for row in links if 13 in row[:2]]
    assert found.height == pytest.approx(joined[2], rel=1e-6)
    assert found.cluster == tree.cut(2)[0]
    assert found.nearest < 6


@pytest.mark.parametrize("kind", LINKAGES)
def test_a_known_code_is_placed_beside_itself(kind: str) -> None:
    tree = Tree(np.concatenate([CODES[:20], CODES[20:40] + 30]), kind)
    cut = tree.cut(2)
    for place in (3, 25):
        found = tree.place(tree.codes[place], cut)
        assert found.cluster == cut[place]


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cut=4: the tree has 3 images; give a number from 1 to 3."):
        Tree(np.eye(3), "ward").cut(4)
    with pytest.raises(UsageError, match="images=1: a tree needs at least two"):
        Tree(np.eye(1), "ward")


def test_a_tree_of_two_thousand_images_is_drawn_with_few_pictures() -> None:
    rng = np.random.default_rng(0)
    codes, pictures = rng.normal(size=(2000, 10)), torch.rand(2000, 1, 28, 28)
    tree = Tree(codes, "ward")
    figure = dendrogram.draw(tree, tree.cut(10), pictures)
    figure.canvas.draw()
    # every drawn node carries a picture: 23 mergers, and up to three members below each of 24 branches
    assert 1 + 23 + 24 <= len(figure.axes) <= 1 + 23 + 3 * 24


def test_a_tree_of_two_can_be_drawn() -> None:
    figure = dendrogram.draw(Tree(np.eye(2), "average"), np.array([0, 1]), torch.rand(2, 3, 4, 4))
    assert len(figure.axes) == 1 + 1 + 2
