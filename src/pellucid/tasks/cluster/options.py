# SPDX-License-Identifier: Apache-2.0
"""What the parts of a clustering know of each other: what it is asked, and which of its options they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.tasks._contract import PredictOptions

__all__ = ["ClusterOptions", "Clustering"]

_LINKAGES = ("none", "ward", "average", "complete")


class Clustering(Protocol):
    """The task, as the files beside it see it: its options, and what it answers."""

    @property
    def method(self) -> str: ...
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
    def unlike(self) -> float: ...
    @property
    def agreement(self) -> float: ...
    def predict(self, model: nn.Module, input: Tensor) -> Any: ...
    def write(self, prediction: Any, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]: ...


@final
@dataclass(frozen=True)
class ClusterOptions(PredictOptions):
    """What a clustering may be asked about images besides the cluster of each."""

    hierarchy: Literal["none", "ward", "average", "complete"] = "none"
    """a tree of the images' codes by agglomerative clustering, drawn as a dendrogram"""
    cut: int = 0
    """cut the tree into this many clusters; 0: as many as the model has"""
    height: float = 0.0
    """cut the tree at this height in place of a number of clusters"""
    place: tuple[str, ...] = ()
    """image files to be placed in the tree of the others"""
    sort_into: str = ""
    """a folder into which the image files are copied by cluster; nothing is moved or overwritten"""

    def __post_init__(self) -> None:
        if self.hierarchy not in _LINKAGES:
            raise UsageError(f"hierarchy={self.hierarchy!r}: is not known; choose {', '.join(_LINKAGES)}.")
        if self.cut < 0:
            raise UsageError(f"cut={self.cut}: is a number of clusters; give 1 or more.")
        if self.height < 0:
            raise UsageError(f"height={self.height}: is a distance; give a positive number.")
        if self.cut and self.height:
            raise UsageError(
                f"height={self.height}: a tree is cut at a height or into cut={self.cut}; give one of them."
            )
        if self.hierarchy == "none" and (self.cut or self.height or self.place):
            raise UsageError("hierarchy='none': there is no tree to cut or to place in; give --hierarchy ward.")
