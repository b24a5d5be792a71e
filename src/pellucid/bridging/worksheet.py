# SPDX-License-Identifier: Apache-2.0
"""A small torch module as a worksheet with torch's values and gradients. Torch is imported when `from_torch` is called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pellucid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["from_torch", "parameter_names"]

_PARAMETERS: Final = 1_000
_QUANTITIES: Final = 2_500  # inputs, parameters and everything computed
_TERMS: Final = 25_000  # products in all sums, as in the builder `convolution`


def from_torch(
    module: nn.Module,
    inputs: Tensor,
    target: Any,
    loss: str | Callable[..., Any] = "mse",
    *,
    questions: Literal["all", "loss"] = "all",
) -> Worksheet:
    """The worksheet of a small torch module: every quantity by name, the loss L, and the gradient of L.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    >>> _ = module[0].weight.data.fill_(2), module[0].bias.data.fill_(0.5)
    >>> sheet = from_torch(module, torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    >>> print(sheet.solve().value("L"), sheet.solve().derivative("L", "W0_1_1"))
    1/4 1

    Args:
        module: linear layers, convolutions and transposed convolutions (one and two dimensions), poolings, activations, batch norm
            (in training mode with the statistics of the batch), layer norm, nn.MultiheadAttention without masks, flatten, dropout in
            eval mode, sums, differences and products (residuals), in Sequential or in a forward of your own. An attention alone
            gets the inputs as query, key and value.
        inputs: a batch (N, …), x in the worksheet.
        target: as the loss expects it: values (t in the worksheet), or class numbers for cross_entropy.
        loss: mse, bce, bce_with_logits, cross_entropy, or torch's function or module of these with its reduction.
        questions: all: the outputs, L and its derivatives with respect to all parameters; loss: L alone.

    Raises:
        DataError: a module that is too large to work by hand, in training mode where that matters, or with a layer that
            has no worksheet.
        UsageError: an unknown loss.
    """
    from torch import nn

    from pellucid.bridging.equations import EquationWriter
    from pellucid.bridging.losses import add_loss
    from pellucid.worked.worksheet.tensors import ask_gradient, ask_values
    from pellucid.worked.worksheet.worksheet import Worksheet

    called = parameter_names(module)
    if isinstance(module, nn.MultiheadAttention):
        module = _self_attention(module)
        called = {f"layer.{path}": name for path, name in called.items()}
    elif type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential):
        # fx would trace a single layer into its own code; inside a container it stays one node
        module = nn.Sequential(OrderedDict(layer=module))
        called = {f"layer.{path}": name for path, name in called.items()}
    graph = _traced(module, inputs)
    sheet = Worksheet()
    writer = EquationWriter(sheet, module, called)
    output = writer.run(graph, inputs)
    add_loss(sheet, output, target, loss)
    if questions == "all":
        ask_values(sheet, output)
    sheet.ask("L")
    if questions == "all":
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and name in writer.defined:
                ask_gradient(sheet, "L", writer.defined[name])
    return sheet


def parameter_names(module: nn.Module) -> dict[str, str]:
    """The name of each parameter and running average in the worksheet; components add their indices, from 1.

    >>> import torch
    >>> parameter_names(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)))
    {'0.weight': 'W0', '0.bias': 'b0', '1.weight': 'gamma1', '1.bias': 'beta1', '1.running_mean': 'mu1', '1.running_var': 'v1'}

    Args:
        module: `weight` becomes W, or γ in a batch norm, `bias` becomes b, or β; the rest of the path follows.
    """
    called: dict[str, str] = {}  # by path
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
            taken = {*called.values(), "L", "x", "t", "p"}
            free = next(variant for variant in _variants(name) if variant not in taken)
            called[f"{path}.{key}" if path else key] = free
    return {path: name for path, name in called.items() if not path.endswith("num_batches_tracked")}


def _variants(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}{'x' * n}" for n in range(1, 1000))


def _traced(module: nn.Module, inputs: Tensor) -> fx.GraphModule:
    """The module's graph of operations, if it is small enough.

    Raises:
        DataError: a module that is too large, in training mode where that matters, or that cannot be traced.
    """
    import torch
    from torch import fx, nn

    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > _PARAMETERS:
        raise DataError(
            f"module: has {parameters:,} parameters, more than the {_PARAMETERS:,} of a worksheet; use a smaller one."
        )
    for path, inner in module.named_modules():
        drops = isinstance(inner, nn.modules.dropout._DropoutNd) and inner.p > 0
        drops |= isinstance(inner, nn.MultiheadAttention) and inner.dropout > 0
        if inner.training and drops:
            raise DataError(f"module.{path or type(inner).__name__}: is in training mode; call module.eval() first.")
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise DataError(f"inputs.shape={tuple(inputs.shape)}: must be a batch (N, …); put the samples first.")
    if inputs.numel() > _QUANTITIES:
        raise DataError(
            f"inputs.shape={tuple(inputs.shape)}: has {inputs.numel():,} numbers, more than the {_QUANTITIES:,} quantities of a "
            "worksheet; use smaller inputs."
        )
    try:
        graph = fx.symbolic_trace(module)
    except Exception as fault:  # the forward method may raise anything
        raise DataError(
            f"module: {type(module).__name__}'s forward cannot be traced ({type(fault).__name__}: {str(fault)[:80]}); write it "
            "without branches that depend on values."
        ) from None
    if sum(node.op == "placeholder" for node in graph.graph.nodes) != 1:
        raise DataError(f"module: {type(module).__name__} takes several inputs; use one with a single input.")
    counter = _size_counter(graph)
    with torch.no_grad(), _unchanged(module):
        try:
            # before fx's interpreter, which takes seconds to compose an error message; layers may change their input in place
            given = module(inputs.detach().clone())
        except (RuntimeError, ValueError, TypeError) as fault:
            raise DataError(
                f"inputs.shape={tuple(inputs.shape)}: the module does not accept it ({str(fault).splitlines()[-1][:100]}); "
                "reshape it."
            ) from None
        again = counter.run(inputs.detach().clone())
    if isinstance(given, torch.Tensor) and not torch.allclose(given, again, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise DataError(
            f"module: the operations of {type(module).__name__}'s forward give other numbers than the module itself, as where a tensor is "
            "changed in place; write it without."
        )
    if counter.quantities + parameters > _QUANTITIES or counter.terms > _TERMS:
        raise DataError(
            f"module: with these inputs it has {counter.quantities + parameters:,} quantities and sums of {counter.terms:,} "
            f"products, more than the {_QUANTITIES:,} and {_TERMS:,} of a worksheet; use a smaller module or fewer samples."
        )
    return graph


def _self_attention(layer: nn.MultiheadAttention) -> nn.Module:
    """A module that gives an attention its input as query, key and value."""
    from torch import nn

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Any:
            return self.layer(x, x, x, need_weights=False)[0]

    return SelfAttention()


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Put buffers back afterwards: in training mode each run of a batch norm moves its running averages."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])


def _size_counter(graph: fx.GraphModule) -> Any:  # its class exists only once torch is imported
    """An interpreter that counts, as it runs, the quantities and the products in their sums."""
    from torch import Tensor, fx, nn

    class SizeCounter(fx.Interpreter):
        def __init__(self) -> None:
            super().__init__(graph)
            self.quantities = self.terms = 0

        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            inner = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
            if isinstance(inner, nn.MultiheadAttention):
                output = value[0]  # (N, T, D); Q, K, V, scores, weights and their sums are quantities too
                tokens, width = output.shape[1:]
                each = 5 * tokens * width + 2 * inner.num_heads * tokens**2
                self.quantities += len(output) * each
                self.terms += len(output) * (4 * tokens * width**2 + 2 * tokens**2 * width)
            elif isinstance(value, Tensor) and node.op != "output":
                self.quantities += value.numel()
                products = 0
                if isinstance(inner, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
                    # each input value spreads over its kernel; the output is counted below
                    products = int(np.prod(inner.weight.shape[2:])) * inner.in_channels // inner.groups
                elif isinstance(inner, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                    products = int(np.prod(inner.weight.shape[1:]))
                elif isinstance(inner, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)):
                    size = inner.kernel_size
                    products = int(np.prod(size)) if isinstance(size, tuple) else int(size) ** (value.dim() - 2)
                self.terms += value.numel() * products
            return value

    return SizeCounter()
