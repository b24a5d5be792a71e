# SPDX-License-Identifier: Apache-2.0
"""The gradient check for torch modules. Torch is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.worked.network.gradient_check import GradientReport

__all__ = ["check_module"]


def check_module(
    module: nn.Module, inputs: Tensor, target: Any, loss: Callable[[Tensor, Any], Tensor], **options: Any
) -> GradientReport:
    """Check the gradients that autograd computes for a module against central differences, in float64.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    >>> check_module(module, torch.randn(5, 3), torch.zeros(5, 2), torch.nn.functional.mse_loss).verdict
    'right'

    Args:
        module: called in its present mode, with the same random draws in every call; it is left unchanged.
        inputs: a batch.
        target: the second argument of `loss`; floats are converted to float64.
        loss: (output, target) ↦ a scalar.
        options: step, tolerance, entries and seed of `pellucid.worked.network.gradient_check.check_gradient`.

    Raises:
        DataError: a module without trainable parameters, or a loss that is not a scalar.
    """
    import torch

    from pellucid.worked.network.gradient_check import check_gradient

    def double(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.detach().double().cpu() if floats else value

    learned = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    fixed = {name: double(parameter) for name, parameter in module.named_parameters() if not parameter.requires_grad}
    buffers = {name: double(buffer) for name, buffer in module.named_buffers()}
    if not learned:
        raise DataError("module: has no parameters that require a gradient; call requires_grad_() on some.")
    given, wanted = double(inputs), double(target)

    def function(parameters: dict[str, Any]) -> tuple[float, Mapping[str, Any]]:
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
        # copies of the buffers, since batch norm updates its running averages in place
        state = {**tensors, **fixed, **{name: buffer.clone() for name, buffer in buffers.items()}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # dropout must drop the same values in every call
            value = loss(torch.func.functional_call(module, state, (given,)), wanted)
        if value.numel() != 1:
            raise DataError(f"loss.shape={tuple(value.shape)}: a gradient needs a scalar; reduce it.")
        slopes = torch.autograd.grad(value, [*tensors.values()], allow_unused=True)
        return value.item(), {
            name: np.zeros(tensor.shape) if slope is None else slope.numpy()
            for (name, tensor), slope in zip(tensors.items(), slopes, strict=True)
        }

    return check_gradient(function, {name: double(parameter).numpy() for name, parameter in learned.items()}, **options)
