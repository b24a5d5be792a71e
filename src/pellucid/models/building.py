# SPDX-License-Identifier: Apache-2.0
"""From a JSON-able description to a model and back, and what a model is made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

import torch
from torch import nn

from pellucid import _catalog
from pellucid.errors import UnknownNameError

__all__ = ["build", "describe", "layer_table", "options", "parameter_count"]

_FIXED = ("self", "channels", "outputs", "size")  # what every model takes; the rest are its options


def build(description: Mapping[str, Any], *, fetch: bool = True) -> Any:
    """A model from its description.

    >>> model = build({"name": "mlp", "channels": 1, "outputs": 10, "size": [8, 8], "options": {"hidden": [32]}})
    >>> describe(model)["options"]
    {'hidden': (32,)}

    Args:
        description: "name", "channels", "outputs", "size" [H, W] and "options".
        fetch: load pretrained weights where the options ask for them; not needed where weights are loaded afterwards.

    Raises:
        UnknownNameError: a model or an option that there is not.
        UsageError: images that the architecture cannot take, or weights that cannot be had.
    """
    name = description["name"]
    kind = _catalog.find("models", name)
    known = options(name)
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in description["options"].items()}
    for option in given:
        if option not in known:
            raise UnknownNameError("option", option, known)
    height, width = description["size"]
    extra = {"fetch": fetch} if "fetch" in inspect.signature(kind).parameters else {}
    model = kind(description["channels"], description["outputs"], (height, width), **given, **extra)
    model.description = {**description, "size": [height, width], "options": given}
    return model


def describe(model: nn.Module) -> dict[str, Any]:
    """The description that a model was built from."""
    return dict(model.description)  # type: ignore[arg-type]


def options(name: str) -> dict[str, tuple[Any, Any, str]]:
    """The options of a model, by name: their type, default and meaning, from its signature and docstring.

    >>> options("mlp")["dropout"]
    (<class 'float'>, 0.0, "share of each hidden layer's units that is dropped in training")
    """
    kind = _catalog.find("models", name)
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    meanings = _meanings(inspect.getdoc(kind) or "")
    return {
        option: (hints[option], parameter.default, meanings.get(option, ""))
        for option, parameter in inspect.signature(kind.__init__).parameters.items()  # type: ignore[misc]
        if option not in (*_FIXED, "fetch")
    }


def _meanings(document: str) -> dict[str, str]:
    """The entries of a docstring's Args section."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", document, re.MULTILINE)
    found = re.findall(r"^    (\w+): ((?:.|\n        )+)", section.group(1) if section else "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).rstrip(". ") for name, text in found}


def parameter_count(model: nn.Module) -> int:
    """How many numbers are trained or could be.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters())


def layer_table(model: nn.Module, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The layers that compute, in the order in which they do, for one image of `size` = (H, W).

    >>> rows = layer_table(build({"name": "mlp", "channels": 1, "outputs": 10, "size": [8, 8], "options": {}}), (8, 8))
    >>> rows[1]
    {'layer': 'layers.1', 'kind': 'Linear', 'output': '256', 'parameters': 16640, 'multiplications': 16384}

    Returns:
        Rows with the layer's name and kind, the shape of its output, its parameters, and the multiplications for one image
        (convolutions and dense layers; the others are counted as none); the last row sums up.
    """
    rows: list[dict[str, Any]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return
        count = sum(p.numel() for p in module.parameters(recurse=False))
        row = {"layer": names[module], "kind": type(module).__name__, "output": "×".join(map(str, output.shape[1:]))}
        rows.append({**row, "parameters": count, "multiplications": _multiplications(module, inputs[0], output)})

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    mode = model.training
    try:
        model.eval()
        channels = getattr(model, "description", {}).get("channels", 3)
        like = next(iter(model.parameters()))
        with torch.no_grad():
            model(torch.zeros(1, channels, *size, device=like.device, dtype=like.dtype))
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    total = {"parameters": parameter_count(model), "multiplications": sum(row["multiplications"] for row in rows)}
    return [*rows, {"layer": "total", "kind": "", "output": "", **total}]


def _multiplications(module: nn.Module, input: Any, output: torch.Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * module.weight[0].numel()  # each output value: one kernel
    if isinstance(module, nn.ConvTranspose2d):
        return int(input[0].numel()) * module.weight[0].numel()  # each input value spreads over one kernel
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    return 0
