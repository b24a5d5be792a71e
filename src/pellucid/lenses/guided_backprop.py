# SPDX-License-Identifier: Apache-2.0
"""guided_backprop: which pixels a class, a layer or a filter seems to respond to (Springenberg et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pellucid.lenses._contract import Lens, View
from pellucid.lenses._parts import Network
from pellucid.lenses.attribution import Attribution

__all__ = ["GuidedBackprop"]


@final
@dataclass(frozen=True)
class GuidedBackprop(Lens[Network]):
    """The gradient of a class, a layer or a filter; at each ReLU only its positive part goes on to the image.

    The pictures are sharp, and known to reproduce the image's edges whatever the network has learned (Adebayo et al. 2018; Nie,
    Zhang & Patel 2018): the test by random weights is beside each. The same as `attribution` with
    `--method guided_backprop`.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[[[3.0]]], [[[-1.0]]]]))
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[0, 0, 1, 2] = 1  # where the filter responds most
    >>> GuidedBackprop(layer="1", filter=0).look(Network(model, image))["map"][0, 1].tolist()
    [0.0, 0.0, 3.0, 0.0]
    """

    follow: str | None = None
    """class whose score is followed, by name or number, by default each image's top one; of a run that does more than classify, another score of its task, such as a side of the box, or of a detector a detection by class, rank or place"""  # noqa: E501
    layer: str | None = None
    """layer whose mean output is followed instead of a class"""
    filter: int | None = None
    """filter of that layer whose strongest output is followed"""
    depths: int = 8
    """depths down to which the layers are randomised for the test by weights; 0 skips this test"""
    tested: int = 6
    """images that are tested, spread evenly; of the others only the map is made"""

    def __post_init__(self) -> None:
        self._attribution()  # refuses bad options

    def look(self, network: Network) -> View:
        return self._attribution().look(network)

    def _attribution(self) -> Attribution:
        return Attribution(
            "guided_backprop", self.follow, self.layer, self.filter, depths=self.depths, tested=self.tested
        )
