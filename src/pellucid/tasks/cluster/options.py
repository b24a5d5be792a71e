# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for clustering, and the task as the other files here need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

from torch import Tensor, nn

from pellucid.data.fits import Fit
from pellucid.errors import UsageError, check_choice
from pellucid.tasks._answering import PredictOptions

__all__ = ["ClusterOptions", "ClusterTask"]

_LINKAGES = ("none", "ward", "average", "complete")


class ClusterTask(Protocol):
    """The options of `Cluster` that the files here read, and what they call of it."""

    @property
    def method(self) -> str: ...
    @property
    def fitting(self) -> Fit: ...
    @property
    def soft(self) -> bool: ...
    @property
    def clusters(self) -> int: ...
    @property
    def criterion(self) -> str: ...
    @property
    def most(self) -> int: ...
    @property
    def pretrain(self) -> float: ...
    @property
    def weight(self) -> float: ...
    @property
    def balance(self) -> float: ...
    @property
    def unlike(self) -> float: ...
    @property
    def agreement(self) -> float: ...
    @property
    def faithfulness(self) -> float: ...
    def predict(self, model: nn.Module, input: Tensor) -> Any: ...
    def write(self, prediction: Any, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]: ...


@final
@dataclass(frozen=True)
class ClusterOptions(PredictOptions):
    """Build a tree of the images, cut it, place new images in it, or sort files into folders by cluster."""

    hierarchy: Literal["none", "ward", "average", "complete"] = "none"
    """linkage of an agglomerative tree of the images' codes, drawn as a dendrogram; none: no tree"""
    cut: int = 0
    """cut the tree into this many clusters; 0: as many as the model has"""
    height: float = 0.0
    """cut the tree at this height instead of into a number of clusters"""
    place: tuple[str, ...] = ()
    """image files to place in the tree of the other images"""
    sort_into: str = ""
    """folder to copy the image files into, sorted by cluster; nothing is moved or overwritten"""

    def __post_init__(self) -> None:
        check_choice("hierarchy", self.hierarchy, _LINKAGES)
        if self.cut < 0:
            raise UsageError(f"cut={self.cut}: is a number of clusters; give 1 or more.")
        if self.height < 0:
            raise UsageError(f"height={self.height}: is a distance; give a positive number.")
        if self.cut and self.height:
            raise UsageError(f"cut={self.cut}, height={self.height}: both say where to cut; give one of them.")
        if self.hierarchy == "none" and (self.cut or self.height or self.place):
            raise UsageError("hierarchy='none': there is no tree to cut or to place images in; give --hierarchy ward.")
