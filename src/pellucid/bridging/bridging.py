# SPDX-License-Identifier: Apache-2.0
"""Bridges from torch modules to the worked half: their layer table and their gradient check. Torch is imported when one is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.worked.layers.table import LayerTable, Row
    from pellucid.worked.network.gradient_check import GradientReport

__all__ = ["check_module", "layer_table", "module_table", "named_module", "named_table"]

_LARGEST = 100_000  # bytes of a specification


def check_module(
    module: nn.Module, inputs: Tensor, target: Any, loss: Callable[[Tensor, Any], Tensor], **options: Any
) -> GradientReport:
    """The gradient check for a torch module: what autograd returns against central differences, in float64.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    >>> check_module(module, torch.randn(5, 3), torch.zeros(5, 2), torch.nn.functional.mse_loss).verdict
    'right'

    Args:
        module: it is called in its present mode and left as it was; what it draws at random is drawn alike in every call.
        inputs: a batch.
        target: what `loss` takes as its second argument; floats are turned to float64.
        loss: (output, target) ↦ a scalar.
        options: step, tolerance, entries and seed of `pellucid.worked.network.gradient_check.check_gradient`.

    Raises:
        DataError: the module has no parameters to learn, or the loss is no scalar.
    """
    import torch

    from pellucid.worked.network.gradient_check import check_gradient

    def double(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.detach().double().cpu() if floats else value

    learned = {name: each for name, each in module.named_parameters() if each.requires_grad}
    fixed = {name: double(each) for name, each in module.named_parameters() if not each.requires_grad}
    buffers = {name: double(each) for name, each in module.named_buffers()}
    if not learned:
        raise DataError("module: it has no parameters that require a gradient; there is nothing to check.")
    given, wanted = double(inputs), double(target)

    def function(parameters: dict[str, Any]) -> tuple[float, Mapping[str, Any]]:
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
        # batch norm writes to its running averages: to copies of them
        state = {**tensors, **fixed, **{name: each.clone() for name, each in buffers.items()}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            value = loss(torch.func.functional_call(module, state, (given,)), wanted)
        if value.numel() != 1:
            raise DataError(f"loss.shape={tuple(value.shape)}: a gradient is that of a scalar; reduce it.")
        slopes = torch.autograd.grad(value, [*tensors.values()], allow_unused=True)
        return value.item(), {
            name: np.zeros(tensor.shape) if slope is None else slope.numpy()
            for (name, tensor), slope in zip(tensors.items(), slopes, strict=True)
        }

    return check_gradient(function, {name: double(each).numpy() for name, each in learned.items()}, **options)


def layer_table(
    what: str, size: tuple[int, ...] | None = None, outputs: int | None = None, batch: int = 1
) -> LayerTable:
    """The layer table of a text specification, of a file with one, or of a model by name.

    >>> layer_table("input 8x8x1; conv 4 of 3x3").parameters
    40

    Args:
        what: layers between semicolons or lines, a file, or a name as `named_module` takes it.
        size: a model's images, (C, H, W).
        outputs: classes or channels that a model gives.
        batch: samples at a time, for the memory.

    Raises:
        UsageError: no layers, an option that does not belong to them, or a file that cannot be read.
    """
    from pellucid.worked.layers.layers import table

    if batch < 1:
        raise UsageError(f"batch={batch}: memory is told for at least one sample; give 1 or more.")
    written, title = what.split()[:1] == ["input"], "layers"
    if not written and len(what) < 1000 and Path(what).is_file():
        if Path(what).stat().st_size > _LARGEST:
            raise UsageError(f"what={what!r}: is larger than {_LARGEST:,} bytes; a table is of at most 2,000 layers.")
        written, title, what = True, Path(what).stem, Path(what).read_text(encoding="utf-8", errors="replace")
    if not written and (";" in what or " " in what):
        raise UsageError(f"what={what[:60]!r}: layers begin with what comes in; write `input 32x32x3; …` first.")
    if not written:
        return named_table(what, size, outputs, batch)
    if size or outputs:
        raise UsageError("size, outputs: they belong to a model by name; layers tell their own, leave them out.")
    found = table(what, batch=batch)
    found.title = title
    return found


def named_module(
    name: str, size: tuple[int, ...] | None = None, outputs: int | None = None
) -> tuple[nn.Module, tuple[int, ...]]:
    """A module by name, without weights, and the shape of the images it is made for, (C, H, W).

    >>> named_module("torchvision/resnet18")[1]
    (3, 224, 224)

    Args:
        name: `torchvision/NAME`, or a name from `pellucid list models`.
        size: the images' shape (C, H, W).
        outputs: classes or channels that come out.

    Raises:
        UnknownNameError: there is no such model.
    """
    import torch

    from pellucid import _catalog

    owner, _, inner = name.partition("/")
    shape = size or ((3, 224, 224) if inner else (1, 32, 32))
    if len(shape) != 3:
        raise UsageError(f"size={shape}: a model takes images; give channels, height and width.")
    if owner == "torchvision" and inner:
        from torchvision import models

        known = models.list_models(module=models)
        if inner not in known:
            raise UnknownNameError("model", name, [f"torchvision/{each}" for each in known])
        more = {} if outputs is None else {"num_classes": outputs}
        if inner in ("googlenet", "inception_v3"):
            more["init_weights"] = False  # drawing them takes minutes and a table needs none
        if inner == "inception_v3" and size is None:
            shape = (3, 299, 299)
        with torch.device("meta"):
            return models.get_model(inner, weights=None, **more), shape
    if inner:
        raise UnknownNameError("model", name, ["torchvision/NAME", *_catalog.names("models")])
    kind = _catalog.find("models", name)
    return kind(shape[0], outputs or 10, shape[1:]), shape


def named_table(
    name: str, size: tuple[int, ...] | None = None, outputs: int | None = None, batch: int = 1
) -> LayerTable:
    """The layer table of a model by name.

    >>> named_table("torchvision/resnet50").parameters
    25557032

    Args:
        name: `torchvision/NAME`, or a name from `pellucid list models`.
        size: the images' shape (C, H, W); by default the model's own.
        outputs: classes or channels that come out; by default the model's own, or 10.
        batch: samples at a time, for the memory.
    """
    import torch

    module, shape = named_module(name, size, outputs)
    return module_table(module, torch.empty(1, *shape, device="meta"), title=name, batch=batch)


def module_table(module: nn.Module, *inputs: Tensor, title: str = "", batch: int = 1) -> LayerTable:
    """The layer table of a torch module; its totals are those of `module.parameters()`.

    >>> import torch
    >>> table = module_table(torch.nn.LSTM(8, 16, batch_first=True), torch.zeros(1, 5, 8))
    >>> table.rows[1].formula
    '4·(8·16 + 16·16 + 2·16)'

    Args:
        module: it is left as it was.
        inputs: one batch of what it takes; only shapes and types count.
        title: the table's; by default the module's class.
        batch: samples at a time, for the memory.

    Raises:
        DataError: the module does not take these inputs.
    """
    import sympy

    from pellucid.bridging.formulas import row_of
    from pellucid.bridging.tracing import trace
    from pellucid.worked.layers.table import LayerTable

    if not inputs:
        raise DataError("inputs=(): the sizes depend on what comes in; give one batch of it.")
    found = trace(module, inputs)
    steps_first = bool(found.calls) and getattr(found.calls[0].layer, "batch_first", True) is False
    rows = [_input_row(tuple(inputs[0].shape[1:] if not steps_first else inputs[0].shape[::2]))]
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    first = {every[0]: every for every in names.values()}
    counted: dict[int, str] = {}
    for call in found.calls:
        own = dict(call.layer.named_parameters())
        fresh = {name: each for name, each in own.items() if id(each) not in counted}
        row = row_of(call, fresh, repeated=bool(own) and len(fresh) < len(own))
        shared = sorted({counted[id(each)] for each in own.values() if id(each) in counted})
        if shared:
            row.note = f"its parameters are those of {', '.join(shared)}, counted there"
        counted |= {id(each): call.name for each in fresh.values()}
        rows.append(row)
    rows += _left_over(module, counted, found.unused)
    notes = [f"shared: {' = '.join(every)}" for every in first.values() if len(every) > 1]
    unused = [name for name in first if name in found.unused]
    if unused:
        size = sum(each.numel() for name, each in module.named_parameters() if name in found.unused)
        notes.append(f"unused: {', '.join(unused)} ({size:,} parameters): the output does not depend on them")
    table = LayerTable(title or type(module).__name__, rows, notes=notes, batch=batch)
    counted_macs = int(table.macs) * int(inputs[0].shape[0] or 1)
    if found.macs > counted_macs:
        outside = sympy.Integer((found.macs - counted_macs) // max(int(inputs[0].shape[0]), 1))
        table.notes.append(
            f"{int(outside):,} multiply–accumulates more are matrix products outside these layers, as in attention"
        )
    return table


def _input_row(shape: tuple[int, ...]) -> Row:
    import sympy

    from pellucid.worked.layers.table import Row

    last = (*shape[1:], shape[0]) if len(shape) > 2 else shape  # channels last
    return Row("input", tuple(sympy.Integer(each) for each in last))


def _left_over(module: nn.Module, counted: dict[int, str], unused: frozenset[str]) -> list[Row]:
    """Rows of the parameters that no called layer holds, by the module that owns them."""
    import sympy

    from pellucid.worked.layers.table import Row

    rows = []
    seen = set(counted)
    for owner, inner in module.named_modules():
        own = {name: each for name, each in inner.named_parameters(recurse=False) if id(each) not in seen}
        seen |= {id(each) for each in own.values()}
        if not own:
            continue
        prefix = f"{owner}." if owner else ""
        idle = all(f"{prefix}{name}" in unused for name in own)
        rows.append(
            Row(
                f"{owner or type(module).__name__}: {', '.join(own)}",
                (),
                formula=" + ".join("·".join(map(str, each.shape)) or "1" for each in own.values()),
                parameters=sympy.Integer(sum(math.prod(each.shape) for each in own.values())),
                biases=sympy.Integer(sum(each.numel() for name, each in own.items() if "bias" in name)),
                note="unused" if idle else "used directly, not by a layer's own call",
            )
        )
    return rows
