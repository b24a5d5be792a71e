# SPDX-License-Identifier: Apache-2.0
"""Tensors that a task stores in a model, whose number and shapes are only known once it has seen the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

__all__ = ["Kept"]


@final
class Kept(nn.Module):
    """Buffers by name, of any shape, saved and loaded with the weights; empty at first.

    >>> import torch
    >>> one, other = Kept(), Kept()
    >>> one.put(centres=torch.ones(10, 3))
    >>> other.load_state_dict(one.state_dict()), other["centres"].shape, "spread" in other
    (<All keys matched successfully>, torch.Size([10, 3]), False)
    """

    def put(self, **tensors: Tensor) -> None:
        """Store these tensors, replacing those of the same names."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())

    def drop(self, *names: str) -> None:
        """Remove these tensors, if they exist."""
        for name in names:
            self._buffers.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._buffers

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._buffers[name]
        assert tensor is not None
        return tensor

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Replace everything by what the file holds, nothing included."""
        inside = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
        self.drop(*self._buffers)
        device = next((value.device for value in self.buffers()), None)
        self.put(**{name: value if device is None else value.to(device) for name, value in inside.items()})
