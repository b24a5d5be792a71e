# SPDX-License-Identifier: Apache-2.0
"""What the equations of a layer need of the worksheet that receives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pellucid.worked.worksheet.tensors import Tensor as Names

__all__ = ["Naming"]


class Naming(Protocol):
    """Gives names to parameters and to what is computed of them."""

    def parameter(self, path: str) -> Names:
        """The names of a parameter's components; a shared parameter is defined once."""

    def named(self, letter: str, node: str, values: Names) -> Names:
        """Equations under an unused name, made of a letter and the name of a node."""
