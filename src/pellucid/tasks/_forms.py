# SPDX-License-Identifier: Apache-2.0
"""What a task has whose answers are written in several forms, and in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

__all__ = ["WritesForms"]


@runtime_checkable
class WritesForms(Protocol):
    """`predict` writes an answer in further forms beside its first one, and tables over all images."""

    def forms(self, options: Any) -> Mapping[str, str]:
        """The ending of the files of each form that is asked for, by the form's name."""

    def tables(self, options: Any) -> Mapping[str, Sequence[str]]:
        """The columns of each table that is written for all images together, by its file."""

    def written(
        self, input: Any, prediction: Any, names: Sequence[str], classes: Sequence[str], options: Any, scales: Any
    ) -> list[dict[str, Any]]:
        """Rows as `write` gives them, which may have more.

        A row's "files" are bytes by the form's name, to save under the image's name with the form's ending; its "tables" are
        rows by the table's file.

        Args:
            input: images (B, C, H, W) float32 in [0, 1].
            prediction: their answers.
            names: of the images.
            classes: the names of the dataset's classes.
            options: an instance of `predict_options`.
            scales: what is black and white in each image of more than 8 bits, None for others.
        """
