# SPDX-License-Identifier: Apache-2.0
"""The layer tables of texts, files, models by name and torch modules. Torch is imported only for models and modules."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.worked.layers.checking import LayerReport
    from pellucid.worked.layers.table import LayerRow, LayerTable

__all__ = ["checked_layers", "layer_table", "module_table", "named_module", "named_table"]

_LARGEST = 100_000  # bytes of a specification file


def layer_table(
    what: str, size: tuple[int, ...] | None = None, outputs: int | None = None, batch: int = 1
) -> LayerTable:
    """The layer table of a specification, of a file that contains one, or of a model by name.

    >>> layer_table("input 8x8x1; conv 4 of 3x3").parameters
    40

    Args:
        what: layers separated by semicolons or lines, a file, or a name as in `named_module`.
        size: shape of a model's images, (C, H, W).
        outputs: a model's classes or output channels.
        batch: samples per batch, for the memory.

    Raises:
        UsageError: not a specification, an option that does not apply, or a file that is too large.
    """
    from pellucid.worked.layers.layers import table

    if batch < 1:
        raise UsageError(f"batch={batch}: must be at least 1; give 1 or more samples.")
    is_text, title, what = _specification(what)
    if not is_text:
        return named_table(what, size, outputs, batch)
    if size or outputs:
        raise UsageError("size, outputs: apply to a model by name only; leave them out, the layers have their own.")
    layers = table(what, batch=batch)
    layers.title = title
    return layers


def checked_layers(
    what: str, answers: Path, size: tuple[int, ...] | None = None, outputs: int | None = None
) -> LayerReport:
    """Somebody's sizes and parameters, in a file, checked against a layer table.

    Args:
        what: as for `layer_table`.
        answers: the file.
        size: shape of a model's images, (C, H, W).
        outputs: a model's classes or output channels.

    Raises:
        UsageError: not a specification, or a file that cannot be read.
    """
    from pellucid.worked.layers.checking import check_layers
    from pellucid.worked.layers.layers import check_table

    try:
        given = answers.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as fault:
        raise UsageError(
            f"answers={str(answers)!r}: cannot be read ({fault.strerror}); name a text of answers."
        ) from None
    is_text, _, text = _specification(what)
    if is_text and not (size or outputs):
        return check_table(text, given)
    return check_layers(layer_table(what, size, outputs), given)


def _specification(what: str) -> tuple[bool, str, str]:
    """Whether this is a text, its title, and the text itself or the name of a model."""
    from pellucid.worked.layers.specification import is_shape

    begins = what[:20].split()[:1]
    is_text, title = (
        [word.lower().rstrip(":") for word in begins] == ["input"] or is_shape(what.split(";")[0]),
        "layers",
    )
    if not is_text and len(what) < 1000 and Path(what).is_file():
        if Path(what).stat().st_size > _LARGEST:
            raise UsageError(f"what={what!r}: is larger than {_LARGEST:,} bytes; a table has at most 2,000 layers.")
        is_text, title, what = True, Path(what).stem, Path(what).read_text(encoding="utf-8", errors="replace")
    if not is_text and (";" in what or " " in what):
        raise UsageError(f"what={what[:60]!r}: must begin with the input; write `32x32x3; …` first.")
    return is_text, title, what


def named_module(
    name: str, size: tuple[int, ...] | None = None, outputs: int | None = None
) -> tuple[nn.Module, tuple[int, ...]]:
    """A module by name, without weights, and the shape of its images, (C, H, W).

    >>> named_module("torchvision/resnet18")[1]
    (3, 224, 224)

    Args:
        name: `torchvision/NAME`, or a name from `pellucid list models`.
        size: shape of the images, (C, H, W).
        outputs: classes or output channels.

    Raises:
        UnknownNameError: no such model.
        UsageError: a shape without three axes.
    """
    import torch

    from pellucid import _catalog

    owner, _, inner = name.partition("/")
    shape = size or ((3, 224, 224) if inner else (1, 32, 32))
    if len(shape) != 3:
        raise UsageError(f"size={shape}: must be the shape of an image; give channels, height and width.")
    if owner == "torchvision" and inner:
        from torchvision import models

        known = models.list_models(module=models)
        if inner not in known:
            raise UnknownNameError("model", name, [f"torchvision/{model}" for model in known])
        more = {} if outputs is None else {"num_classes": outputs}
        if inner in ("googlenet", "inception_v3"):
            more["init_weights"] = False  # initialising them takes minutes, and a table needs none
        if inner == "inception_v3" and size is None:
            shape = (3, 299, 299)
        with torch.device("meta"):  # shapes without memory
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
        size: shape of the images, (C, H, W); by default the model's own.
        outputs: classes or output channels; by default the model's own, or 10.
        batch: samples per batch, for the memory.
    """
    import torch

    module, shape = named_module(name, size, outputs)
    return module_table(module, torch.empty(1, *shape, device="meta"), title=name, batch=batch)


def module_table(module: nn.Module, *inputs: Tensor, title: str = "", batch: int = 1) -> LayerTable:
    """The layer table of a torch module; its total is the number of values in `module.parameters()`.

    >>> import torch
    >>> table = module_table(torch.nn.LSTM(8, 16, batch_first=True), torch.zeros(1, 5, 8))
    >>> table.rows[1].formula
    '4·(8·16 + 16·16 + 2·16)'

    Args:
        module: left unchanged.
        inputs: a batch of its inputs; only their shapes and types matter.
        title: of the table; by default the module's class.
        batch: samples per batch, for the memory.

    Raises:
        DataError: inputs that the module does not accept.
    """

    import sympy

    from pellucid.bridging.rows import channels_last, row_of
    from pellucid.bridging.tracing import trace
    from pellucid.worked.layers.table import LayerTable

    if not inputs:
        raise DataError("inputs=(): the sizes depend on the input; give one batch.")
    traced = trace(module, inputs)
    # torch's recurrent layers take (steps, N, features) unless batch_first is set
    steps_first = bool(traced.calls) and getattr(traced.calls[0].layer, "batch_first", True) is False
    rows = [_input_row(tuple(inputs[0].shape[1:] if not steps_first else inputs[0].shape[::2]))]
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    aliases = {every[0]: every for every in names.values()}  # a tied parameter has several names
    counted: dict[int, str] = {}  # id of a parameter -> the layer that counted it
    last = False
    for call in traced.calls:
        own = dict(call.layer.named_parameters())
        fresh = {name: parameter for name, parameter in own.items() if id(parameter) not in counted}
        last = channels_last(call, last)
        row = row_of(call, fresh, bool(own) and len(fresh) < len(own), last)
        shared = sorted({counted[id(parameter)] for parameter in own.values() if id(parameter) in counted})
        if shared:
            row.note = f"shares the parameters of {', '.join(shared)}, counted there"
        counted |= {id(parameter): call.name for parameter in fresh.values()}
        rows.append(row)
    rows += _left_over(module, counted, traced.unused)
    notes = [f"shared: {' = '.join(every)}" for every in aliases.values() if len(every) > 1]
    unused = [name for name in aliases if name in traced.unused]
    if unused:
        size = sum(parameter.numel() for name, parameter in module.named_parameters() if name in traced.unused)
        notes.append(f"unused: {', '.join(unused)} ({size:,} parameters): the output does not depend on them")
    table = LayerTable(title or type(module).__name__, rows, notes=notes, batch=batch)
    # the tracer counts every matrix product, the rows only those of layers
    samples = int(inputs[0].shape[0])
    counted_macs = int(table.macs) * (samples or 1)
    if traced.macs > counted_macs:
        table.outside = sympy.Integer((traced.macs - counted_macs) // max(samples, 1))
    return table


def _input_row(shape: tuple[int, ...]) -> LayerRow:
    import sympy

    from pellucid.worked.layers.table import LayerRow

    last = (*shape[1:], shape[0]) if len(shape) > 2 else shape  # channels last
    return LayerRow("input", tuple(map(sympy.Integer, last)))


def _left_over(module: nn.Module, counted: dict[int, str], unused: frozenset[str]) -> list[LayerRow]:
    """Rows for parameters outside the layers that were called, by the module that owns them."""
    import sympy

    from pellucid.worked.layers.table import LayerRow

    rows = []
    seen = set(counted)
    for owner, inner in module.named_modules():
        parameters = inner.named_parameters(recurse=False)
        own = {name: parameter for name, parameter in parameters if id(parameter) not in seen}
        seen |= {id(parameter) for parameter in own.values()}
        if not own:
            continue
        prefix = f"{owner}." if owner else ""
        idle = all(f"{prefix}{name}" in unused for name in own)
        rows.append(
            LayerRow(
                f"{owner or type(module).__name__}: {', '.join(own)}",
                (),
                formula=" + ".join("·".join(map(str, parameter.shape)) or "1" for parameter in own.values()),
                parameters=sympy.Integer(sum(math.prod(parameter.shape) for parameter in own.values())),
                biases=sympy.Integer(sum(parameter.numel() for name, parameter in own.items() if "bias" in name)),
                note="unused" if idle else "used directly, not in the call of a layer",
            )
        )
    return rows
