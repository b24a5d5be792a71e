# SPDX-License-Identifier: Apache-2.0
"""Models from their JSON descriptions and back, and the table of a model's layers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import _catalog
from pellucid.errors import UnknownNameError
from pellucid.models import _own
from pellucid.models._external import load_external
from pellucid.own import parts

__all__ = ["build", "describe", "layer_table", "load_external", "may_fit", "options", "output_of", "parameter_count"]

_LARGE = 100_000_000  # weights between two of a description's numbers, of pixels, units or classes
_FIXED = ("channels", "outputs", "size")  # parameters of every model; the others are its options


def build(description: Mapping[str, Any], *, fetch: bool = True) -> Any:
    """A model from its description.

    >>> model = build({"name": "mlp", "channels": 1, "outputs": 10, "size": [8, 8], "options": {"hidden": [32]}})
    >>> describe(model)["options"]
    {'hidden': (32,)}

    Args:
        description: "name", "channels", "outputs", "size" [H, W] and "options".
        fetch: load pretrained weights if the options ask for them; not needed if weights are loaded afterwards.

    Raises:
        UnknownNameError: an unknown model or option.
        UsageError: images that the architecture cannot take, or weights that are unavailable.
    """
    name = description["name"]
    own = parts.recorded("models", description)
    kind = _catalog.find("models", name)
    known = options(name)
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in description["options"].items()}
    for option in given:
        if option not in known:
            raise UnknownNameError("option", option, known)
    height, width = description["size"]
    if own is not None:
        ready = _own.build(own, {**description, "options": given})
        ready.__dict__["description"] = {**description, "size": [height, width], "options": given}
        return ready
    extra = {"fetch": fetch} if "fetch" in inspect.signature(kind).parameters else {}
    model = kind(description["channels"], description["outputs"], (height, width), **given, **extra)
    model.description = {**description, "size": [height, width], "options": given}
    return model


def describe(model: nn.Module) -> dict[str, Any]:
    """The description from which a model was built."""
    description: Any = model.description
    return dict(description)


def may_fit(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether a model that would take hundreds of megabytes has these tensors; others are built as fast as this is found out.

    >>> may_fit({"name": "mlp", "channels": 1, "outputs": 10, "size": [8, 8], "options": {"hidden": [10**9]}}, {})
    False
    """
    height, width = description["size"]
    if parts.is_own(description["name"]):  # it may be an instance, which is there already
        return True
    numbers = [description["channels"] * height * width, description["outputs"]]
    for value in description["options"].values():
        numbers += [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]
    first, second, *_ = sorted(map(abs, numbers), reverse=True)
    if first * second < _LARGE:
        return True
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes a damaged record asks for
            expected = build(description, fetch=False).state_dict()
    except Exception:  # it cannot be built so, or not at all: then building it says why
        return True
    return {name: value.shape for name, value in expected.items()} == {name: v.shape for name, v in tensors.items()}


def output_of(name: str, plain: str) -> str:
    """The kind of a model's output, before it is built; `plain` for one of the user's own that declares none.

    >>> output_of("mlp", "map")
    'dense'
    """
    own = parts.find("models", name) if parts.is_own(name) else None
    kind: Any = _catalog.find("models", name)
    return str(kind.output) if own is None else _own.declared(own) or plain


def options(name: str) -> dict[str, tuple[Any, Any, str]]:
    """The options of a model by name: type, default and meaning, from its signature and docstring.

    >>> options("mlp")["dropout"]
    (<class 'float'>, 0.0, "share of each hidden layer's units dropped in training")

    Those of a model of the user's own, which was not given in this process, are not known: {}.
    """
    if parts.is_own(name):
        own = parts.find("models", name)
        return {} if own is None else _own.options(own)
    kind = _catalog.find("models", name)
    meanings = _meanings(inspect.getdoc(kind) or "")
    return {
        option: (parameter.annotation, parameter.default, meanings.get(option, ""))
        for option, parameter in inspect.signature(kind, eval_str=True).parameters.items()
        if option not in (*_FIXED, "fetch")
    }


def _meanings(document: str) -> dict[str, str]:
    """The entries of a docstring's Args section."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", document, re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.|\n        )+)", section.group(1) if section else "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).rstrip(". ") for name, text in entries}


def parameter_count(model: nn.Module) -> int:
    """The number of parameters, frozen ones included.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters())


def layer_table(model: nn.Module, size: tuple[int, int], channels: int | None = None) -> list[dict[str, Any]]:
    """The layers in the order in which an image passes through them; the model stays unchanged.

    >>> model = build({"name": "mlp", "channels": 1, "outputs": 10, "size": [8, 8], "options": {"hidden": [32]}})
    >>> layer_table(model, (8, 8))[2]
    {'layer': 'layers.1', 'kind': 'Linear(64, 32)', 'output': (32,), 'parameters': 2080, 'operations': 2048}

    "output" is the shape for one image; "operations" counts the multiply-adds of convolutions and matrix products for one
    image. Parameters and operations add up to those of the model.

    Args:
        model: a model with a `description`, or any other module that takes images.
        size: (H, W) of the image in px.
        channels: channels of the image; by default those of the description, else 3.
    """
    from pellucid._operations import Operations

    description = getattr(model, "description", None)
    channels = channels or (description["channels"] if description else 3)
    first = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    image = torch.zeros(1, channels, *size, device=first.device, dtype=first.dtype)
    names = {module: name for name, module in model.named_modules()}
    seen: dict[nn.Module, tuple[int, ...]] = {}  # in the order of their first call
    inner: set[nn.Module] = set()  # called by another module
    stack: list[nn.Module] = []
    # for each module at work: operations before its call, and operations of the modules that it has called
    frames = [[0, 0]]
    own = dict.fromkeys(names, 0)

    def enter(module: nn.Module, _: Any) -> None:
        inner.update(stack)
        stack.append(module)
        seen.setdefault(module, ())
        frames.append([counter.total, 0])

    def leave(module: nn.Module, _: Any, answer: Any) -> None:
        stack.pop()
        before, inside = frames.pop()
        here = counter.total - before
        own[module] += here - inside
        frames[-1][1] += here
        while not isinstance(answer, Tensor):  # the first of several, themselves perhaps of several
            answer = next(iter(answer))
        seen[module] = tuple(answer.shape[1:])

    hooks = [hook for m in names for hook in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    modes = {module: module.training for module in names}
    try:
        with torch.no_grad(), Operations() as counter:
            # images alone pass through one half of an adversarial network: `through` adds the other half's input
            through: Any = getattr(model, "through", lambda image: ())
            model.eval()(image, *through(image))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    parameters = _parameters_of(names, seen, alone=model not in inner)
    rows = []
    for module, shape in seen.items():
        held = parameters.get(names[module], 0)
        if module not in inner or held or own[module]:
            name = names[module] or type(model).__name__
            row = {"layer": name, "kind": _kind(module), "output": shape, "parameters": held}
            rows.append({**row, "operations": own[module]})
    return rows


def _parameters_of(names: Mapping[nn.Module, str], seen: Container[nn.Module], alone: bool) -> dict[str, int]:
    """How many parameters each called module has, with those that it holds and does not call.

    The model itself has none of those, unless it calls nothing (`alone`): they are those of its other half, as of a critic.
    """
    called = {name for module, name in names.items() if module in seen}
    counts: dict[str, int] = {}
    counted: set[nn.Parameter] = set()
    for module, name in names.items():
        own = name in called
        while name not in called:
            name = name.rpartition(".")[0]
        if not (own or name or alone):
            continue
        fresh = {*module.parameters(recurse=False)} - counted
        counted |= fresh
        counts[name] = counts.get(name, 0) + sum(p.numel() for p in fresh)
    return counts


_SHORTER = {
    r"(in|out)_features=": "",
    r"kernel_size=\((\d+), (\d+)\)": r"\1×\2",
    r"(\w+)=\((\d+), \2\)": r"\1 \2",
    r"stride 1(, |$)": "",
    r"(, |^)(bias|inplace|affine|track_running_stats|elementwise_affine|start_dim|end_dim|dilation)[= ][-\w]+": "",
    r"[, ]+$": "",
}


def _kind(module: nn.Module) -> str:
    """What a layer is, briefly: its class and its most important arguments."""
    text = module.extra_repr()
    for long, short in _SHORTER.items():
        text = re.sub(long, short, text)
    return f"{type(module).__name__}({text.replace('=', ' ')})" if text and len(text) <= 60 else type(module).__name__
