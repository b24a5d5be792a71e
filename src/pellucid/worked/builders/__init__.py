# SPDX-License-Identifier: Apache-2.0
"""Worksheets of networks' parts without writing equations: one builder a file, found by its name when it is asked for.

>>> convolution = builder("convolution")
>>> print(convolution([1, 2, 3, 4], [1, -1]).solve().value("z_1"))
-1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pellucid import _catalog

if TYPE_CHECKING:
    from pellucid.worked.forms.contract import Form

__all__ = ["builder"]


def builder(name: str) -> Callable[..., Any]:
    """The function that makes a builder's worksheet from numbers, imported only now.

    >>> print(builder("psnr")([[100, 110]], [[101, 108]]).solve().value("MSE"))
    5/2

    Args:
        name: the name of a file in this folder, as after `pellucid work`.

    Raises:
        UnknownNameError: there is no such builder.
    """
    kind: type[Form] = _catalog.find("worked/builders", name)
    return kind.build
