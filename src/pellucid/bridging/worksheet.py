# SPDX-License-Identifier: Apache-2.0
"""A small torch module as a worksheet, whose values and gradients are torch's. Torch is imported when `from_torch` is called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pellucid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["from_torch", "parameter_names"]

_PARAMETERS: Final = 1_000
_QUANTITIES: Final = 2_500  # inputs, parameters and everything between
_TERMS: Final = 25_000  # products of all sums, as many as `convolution` has


def from_torch(
    module: nn.Module,
    inputs: Tensor,
    target: Any,
    loss: str | Callable[..., Any] = "mse",
    *,
    questions: Literal["all", "loss"] = "all",
) -> Worksheet:
    """The worksheet of a small torch module: every quantity by its name, the loss L, and L's gradient by every parameter.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    >>> _ = module[0].weight.data.fill_(2), module[0].bias.data.fill_(0.5)
    >>> sheet = from_torch(module, torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    >>> print(sheet.solve().value("L"), sheet.solve().derivative("L", "W0_1_1"))
    1/4 1

    Args:
        module: linear layers, convolutions (one and two dimensions), poolings, activations, batch norm in eval mode, flatten,
            dropout in eval mode, sums and differences and products (residuals), in Sequential or in a forward of your own.
        inputs: a batch (N, …); it is x in the worksheet.
        target: what the loss takes: values (t), or class numbers for cross_entropy.
        loss: mse, bce, bce_with_logits, cross_entropy, or torch's function or module of these with its reduction.
        questions: all: the outputs, L and its derivative by every parameter; loss: L alone.

    Raises:
        DataError: a module that is too large to be worked by hand, in training mode where that matters, or with a layer that
            has no worksheet.
        UsageError: a loss that is not known.
    """
    from torch import nn

    from pellucid.bridging.layers import Walk
    from pellucid.bridging.losses import put_loss
    from pellucid.worked.worksheet.tensors import ask_all, ask_slopes
    from pellucid.worked.worksheet.worksheet import Worksheet

    called = parameter_names(module)
    if type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential):
        # a layer alone would be traced into its own code
        module, called = (
            nn.Sequential(OrderedDict(layer=module)),
            {f"layer.{name}": each for name, each in called.items()},
        )
    graph = _traced(module, inputs)
    sheet = Worksheet()
    walk = Walk(sheet, module, called)
    output = walk.run(graph, inputs)
    put_loss(sheet, output, target, loss)
    if questions == "all":
        ask_all(sheet, output)
    sheet.ask("L")
    if questions == "all":
        for name, each in module.named_parameters():
            if each.requires_grad and name in walk.placed:
                ask_slopes(sheet, "L", walk.placed[name])
    return sheet


def parameter_names(module: nn.Module) -> dict[str, str]:
    """What each parameter and each running average is called in the worksheet; a component has its places, from 1, behind it.

    >>> import torch
    >>> parameter_names(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)))
    {'0.weight': 'W0', '0.bias': 'b0', '1.weight': 'gamma1', '1.bias': 'beta1', '1.running_mean': 'mu1', '1.running_var': 'v1'}

    Args:
        module: `weight` is W, or γ of a batch norm, `bias` is b, or β; the rest of the path follows.
    """
    found: dict[str, str] = {}
    for path, inner in module.named_modules():
        norm = type(inner).__name__.startswith("BatchNorm")
        letters = {"weight": "W", "bias": "b"}
        if norm:
            letters = {"weight": "gamma", "bias": "beta", "running_mean": "mu", "running_var": "v"}
        own = [*inner.named_parameters(recurse=False), *inner.named_buffers(recurse=False)]
        for key, _ in own:
            where = "".join(part for part in path.replace("_", ".").split("."))
            letter = letters.get(key, key.replace("_", ""))
            name = f"{letter}{where}" if not where or where[0].isdigit() else f"{letter}_{where}"
            taken = {*found.values(), "L", "x", "t", "p"}
            found[f"{path}.{key}" if path else key] = next(each for each in _variants(name) if each not in taken)
    return {name: each for name, each in found.items() if not name.endswith("num_batches_tracked")}


def _variants(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}{'x' * n}" for n in range(1, 1000))


def _traced(module: nn.Module, inputs: Tensor) -> fx.GraphModule:
    """The module's graph of operations, once it is known to be small enough.

    Raises:
        DataError: it is too large, in training mode where that matters, or cannot be traced.
    """
    import torch
    from torch import fx, nn

    parameters = sum(each.numel() for each in module.parameters())
    if parameters > _PARAMETERS:
        raise DataError(
            f"module: has {parameters:,} parameters, and a worksheet, worked by hand, at most {_PARAMETERS:,}; take a smaller one."
        )
    for path, inner in module.named_modules():
        drops = isinstance(inner, nn.modules.dropout._DropoutNd) and inner.p > 0
        if inner.training and (drops or isinstance(inner, nn.modules.batchnorm._NormBase)):
            raise DataError(f"module.{path or type(inner).__name__}: is in training mode; call module.eval() first.")
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise DataError(
            f"inputs.shape={tuple(inputs.shape)}: must be a batch (N, …); put the samples in the first place."
        )
    if inputs.numel() > _QUANTITIES:
        raise DataError(
            f"inputs.shape={tuple(inputs.shape)}: are {inputs.numel():,} numbers, and a worksheet has at most {_QUANTITIES:,} "
            "quantities; take smaller ones."
        )
    try:
        graph = fx.symbolic_trace(module)
    except Exception as fault:  # a forward is anybody's code
        raise DataError(
            f"module: {type(module).__name__}'s forward cannot be traced ({type(fault).__name__}: {str(fault)[:80]}); write it "
            "without branches on numbers."
        ) from None
    if sum(node.op == "placeholder" for node in graph.graph.nodes) != 1:
        raise DataError(f"module: {type(module).__name__} takes several inputs; give one that takes one.")
    counts = _Counting(graph)
    with torch.no_grad():
        try:
            module(inputs.detach())  # before the interpreter, which takes seconds to word a mistake
        except (RuntimeError, ValueError, TypeError) as fault:
            raise DataError(
                f"inputs.shape={tuple(inputs.shape)}: the module does not take it ({str(fault).splitlines()[-1][:100]}); reshape it."
            ) from None
        counts.run(inputs.detach())
    if counts.quantities + parameters > _QUANTITIES or counts.terms > _TERMS:
        raise DataError(
            f"module: with these inputs it has {counts.quantities + parameters:,} quantities and sums of {counts.terms:,} products, "
            f"and a worksheet at most {_QUANTITIES:,} and {_TERMS:,}; take a smaller one, or fewer samples."
        )
    return graph


def _Counting(graph: fx.GraphModule) -> Any:  # a class of torch's that is known only when it is imported
    """An interpreter that counts the quantities and the products of sums as it runs."""
    from torch import Tensor, fx, nn

    class Counting(fx.Interpreter):
        def __init__(self) -> None:
            super().__init__(graph)
            self.quantities = self.terms = 0

        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            if isinstance(value, Tensor) and node.op != "output":
                self.quantities += value.numel()
                inner = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
                products = 0
                if isinstance(inner, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                    products = int(np.prod(inner.weight.shape[1:]))
                elif isinstance(inner, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)):
                    size = inner.kernel_size
                    products = int(np.prod(size)) if isinstance(size, tuple) else int(size) ** (value.dim() - 2)
                self.terms += value.numel() * products
            return value

    return Counting()
