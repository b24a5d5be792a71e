# SPDX-License-Identifier: Apache-2.0
"""Regions by selective search instead of the model's own proposals: what training needs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.data.targets import Boxes
from pellucid.models import Proposals
from pellucid.models._selective import proposed, searched

__all__ = ["CONSIDERED", "SOURCES", "Source", "apart", "beside", "proposed", "searched", "without"]

Source: TypeAlias = Literal["learned", "search"]
SOURCES: tuple[Source, ...] = ("learned", "search")

CONSIDERED = 300
"""Proposals of a training image among which its regions are chosen, the best ones."""
_PROPOSED = -1  # the label of a proposal among objects


def beside(objects: Boxes, proposals: Sequence[Tensor]) -> Boxes:
    """Objects and proposals of each image together, so that an augmentation moves both.

    >>> whole = beside(Boxes([torch.zeros(1, 4)], [torch.tensor([2])]), [torch.ones(3, 4)])
    >>> whole.labels[0].tolist(), [len(part[0]) for part in (apart(whole)[0].corners, apart(whole)[1])]
    ([2, -1, -1, -1], [1, 3])
    """
    ignored = objects.ignored or [torch.zeros_like(own, dtype=torch.bool) for own in objects.labels]
    return Boxes(
        [torch.cat([own.float(), new.to(own.device)]) for own, new in zip(objects.corners, proposals, strict=True)],
        [torch.cat([own, own.new_full((len(new),), _PROPOSED)]) for own, new in zip(objects.labels, proposals, strict=True)],
        ignored=[torch.cat([own, own.new_zeros(len(new))]) for own, new in zip(ignored, proposals, strict=True)],
    )  # fmt: skip


def apart(both: Boxes) -> tuple[Boxes, list[Tensor]]:
    """The objects of each image, and its proposals, N of (m, 4)."""
    assert both.ignored is not None, "objects and proposals come from `beside`"
    own = [labels != _PROPOSED for labels in both.labels]

    def chosen(column: list[Tensor]) -> list[Tensor]:
        return [values[rows] for values, rows in zip(column, own, strict=True)]

    objects = Boxes(chosen(both.corners), chosen(both.labels), ignored=chosen(both.ignored))
    return objects, [corners[~rows] for corners, rows in zip(both.corners, own, strict=True)]


def without(choose: Callable[[Proposals], Tensor]) -> Callable[[Proposals], Tensor]:
    """The same choice of regions, but none of the model's own proposals."""
    return lambda proposals: choose(Proposals(proposals.corners[:, :0], proposals.scores[:, :0]))
