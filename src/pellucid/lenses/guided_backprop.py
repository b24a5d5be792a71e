# SPDX-License-Identifier: Apache-2.0
"""guided_backprop: what in the image a filter, a layer or a class is said to answer to (Springenberg et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses.attribution import Attribution

__all__ = ["GuidedBackprop"]


@final
@dataclass(frozen=True)
class GuidedBackprop(Lens):
    """The gradient of a class, a layer or a filter, of which at each ReLU only what is positive goes on to the image.

    The pictures are sharp, and known to redraw the image's edges whatever the network has learnt (Adebayo et al. 2018; Nie,
    Zhang & Patel 2018): the test by random weights stands beside each. The same as `attribution` with
    `--method guided_backprop`.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[[[3.0]]], [[[-1.0]]]]))
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[0, 0, 1, 2] = 1  # where the filter answers most
    >>> GuidedBackprop(layer="1", filter=0).look(Subject(model=model, images=image))["map"][0, 1].tolist()
    [0.0, 0.0, 3.0, 0.0]
    """

    follow: str | None = None
    """the class whose score is followed, by name or number; by default each image's top one"""
    layer: str | None = None
    """the layer whose mean output is followed, not a class"""
    filter: int | None = None
    """the filter of the layer whose strongest output is followed"""
    depths: int = 8
    """depths down to which the layers are drawn anew for the test by weights; 0 for no such test"""
    tested: int = 6
    """images that are tested, spread evenly; of the others there is the map alone"""

    def __post_init__(self) -> None:
        self._same()

    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='guided_backprop': needs a model and at least one image; name an image file.")
        return self._same().look(subject)

    def _same(self) -> Attribution:
        return Attribution(
            "guided_backprop", self.follow, self.layer, self.filter, depths=self.depths, tested=self.tested
        )
