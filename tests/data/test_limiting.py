# SPDX-License-Identifier: Apache-2.0
"""A part of the training images: exactly so many of each class, by seed, and never more than there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.data.dataset import Pixels, Split
from pellucid.data.limiting import chosen, limited
from pellucid.data.targets import Label
from pellucid.errors import UsageError

LABELS = torch.tensor([0] * 30 + [1] * 12 + [2] * 20)
SPLIT = Split(Pixels(np.zeros((62, 1, 2, 2), np.uint8)), {"label": Label(LABELS)}, [str(i) for i in range(62)])


@pytest.mark.parametrize("count", [1, 5, 12])
def test_each_class_has_exactly_so_many(count: int) -> None:
    few = limited(SPLIT, limit_per_class=count, classes="abc")
    label = few.targets["label"]
    assert isinstance(label, Label)
    assert label.index.bincount().tolist() == [count] * 3
    assert label.index.tolist() == [int(LABELS[int(name)]) for name in few.names]  # targets stay with their images


def test_the_choice_follows_the_seed_and_fewer_are_a_part_of_more() -> None:
    few, more = (set(chosen(SPLIT, None, n, 3, "abc").tolist()) for n in (4, 9))
    assert few < more
    assert set(chosen(SPLIT, None, 4, 4, "abc").tolist()) != few
    assert set(chosen(SPLIT, 10, None, 3).tolist()) < set(chosen(SPLIT, 20, None, 3).tolist())
    assert chosen(SPLIT, 100).tolist() == [*range(62)]


def test_a_class_with_fewer_images_is_named() -> None:
    with pytest.raises(UsageError, match="class 'b' has 12 training images; give at most 12"):
        limited(SPLIT, limit_per_class=13, classes="abc")
    with pytest.raises(UsageError, match="needs images that have a class each"):
        limited(Split(SPLIT.images), limit_per_class=2)
