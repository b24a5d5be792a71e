# SPDX-License-Identifier: Apache-2.0
"""Worksheets of networks' parts without writing equations: one family a file, each found by its name when it is asked for.

>>> convolution = builder("convolution")
>>> print(convolution([1, 2, 3, 4], [1, -1]).solve().value("z_1"))
-1
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from pellucid.errors import UnknownNameError

__all__ = ["BUILDERS", "builder"]

BUILDERS: Final[Mapping[str, str]] = {
    "average_pooling": "pooling:average_pooling",
    "batch_norm": "batch_norm:batch_norm",
    "box_measures": "measures:box_measures",
    "convolution": "convolution:convolution",
    "counted_measures": "measures:counted_measures",
    "dense": "dense:dense",
    "gan": "losses:gan",
    "gru": "gru:gru",
    "localization": "losses:localization",
    "lstm": "lstm:lstm",
    "mask_measures": "measures:mask_measures",
    "max_pooling": "pooling:max_pooling",
    "mlp": "mlp:mlp",
    "optimizer": "optimisers:optimizer",
    "psnr": "losses:psnr",
    "residual": "residual:residual",
    "rnn": "rnn:rnn",
    "softmax": "softmax:softmax",
    "vae": "losses:vae",
}
"""Name of a builder -> `module:function` in this folder; the function returns a `Worksheet`."""


def builder(name: str) -> Callable[..., Any]:
    """A builder by its name, imported only now.

    >>> builder("psnr").__name__
    'psnr'

    Raises:
        UnknownNameError: there is no such builder.
    """
    if name not in BUILDERS:
        raise UnknownNameError("builder", name, BUILDERS)
    module, _, function = BUILDERS[name].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"pellucid.worked.builders.{module}"), function)
    return found
