# SPDX-License-Identifier: Apache-2.0
"""The operations of a forward pass, counted by torch's own formulas, without loading torch's compiler."""

from __future__ import annotations

from typing import Any, final

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Operations", "Watching"]


class Watching(TorchDispatchMode):
    """Sees every tensor operation.

    A mode of torch's asks its compiler not to compile it, and importing the compiler for that takes more than a second. Nothing is
    compiled where these modes are at work.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


@final
class Operations(Watching):
    """Counts multiply–adds of convolutions, matrix products and attention, by the formulas of `FlopCounterMode`.

    >>> import torch
    >>> with torch.no_grad(), Operations() as counter:
    ...     _ = torch.nn.Linear(64, 32)(torch.zeros(2, 64))
    >>> counter.total  # multiply–adds
    4096
    """

    def __init__(self) -> None:
        super().__init__()
        self._twice = 0

    @property
    def total(self) -> int:
        """Multiply–adds so far; torch counts a multiplication and its addition apart."""
        return self._twice // 2

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = function._overloadpacket
        if packet not in flop_registry:
            with self:  # an operation made of others counts by these
                parts = function.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
        output = function(*args, **kwargs)
        if packet in flop_registry:
            self._twice += int(flop_registry[packet](*args, **kwargs, out_val=output))
        return output
