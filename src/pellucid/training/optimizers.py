# SPDX-License-Identifier: Apache-2.0
"""Torch's optimisers without its compiler, which loads when one of them is made and takes longer than a small training."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["plain"]

# marked as not to be compiled: each marked method loads the compiler when it is first called, whether anything is compiled or not
_MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


@functools.cache
def plain(kind: type[torch.optim.Optimizer]) -> type[Any]:
    """A class of torch's optimisers with the same methods as they are below their marks for the compiler.

    Its updates are those of the class bit for bit: the functions are the same. A model may be compiled; an optimiser is not here.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = plain(torch.optim.SGD)([weight], lr=0.5)
    >>> weight.grad = torch.ones(1)
    >>> optimizer.step()
    >>> weight.item(), isinstance(optimizer, torch.optim.SGD)
    (0.5, True)
    """
    update: Callable[..., Any] = inspect.unwrap(kind.step)

    def step(self: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        with torch.no_grad():  # as torch's own mark does it
            return update(self, closure)

    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _MARKED}
    return type(kind.__name__, (kind,), {**methods, "step": functools.wraps(update)(step)})
