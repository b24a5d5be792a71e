# SPDX-License-Identifier: Apache-2.0
"""What some tasks give beside their answers: boxes in which others look, and files of an own form.

The machinery asks for these as for those in `_contract` and `_answering`, with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pellucid.data.targets import Boxes

__all__ = ["AnswersInBoxes", "FindsBoxes", "WritesFiles"]


@runtime_checkable
class FindsBoxes(Protocol):
    """An answer has boxes around objects, in which another run can look."""

    def boxes_of(self, prediction: Any) -> Boxes:
        """The boxes of each image with their scores, in px of the frame of the answer; none where nothing was found."""


@runtime_checkable
class AnswersInBoxes(Protocol):
    """`predict` can look into a box of each image instead of the whole of it; the options are `crop` and `boxes`."""

    @property
    def around(self) -> float:
        """How much is seen around a box, in shares of its longer side: what training images show around theirs."""

    def nothing(self, name: str, why: str) -> dict[str, Any]:
        """The row of an image that has nothing to look into, and why it has not."""


@runtime_checkable
class WritesFiles(Protocol):
    """`predict` writes its answers in further forms too."""

    def files(
        self, rows: Sequence[Mapping[str, Any]], titles: Sequence[str], sizes: Sequence[tuple[int, int]], options: Any
    ) -> dict[str, bytes]:
        """The contents of further files by their names.

        Args:
            rows: the answers, without those to images that cannot be read.
            titles: a name without ending for each row's own file.
            sizes: (H, W) of each image in px.
            options: an instance of the task's `predict_options`.
        """
