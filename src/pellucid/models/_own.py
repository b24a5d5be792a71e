# SPDX-License-Identifier: Apache-2.0
"""Models of the user's own: made from their class, function or instance, wrapped, and tried on a batch before they are trained."""

from __future__ import annotations

import copy
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, cast, final, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pellucid.errors import UsageError, brief
from pellucid.models._contract import MARGIN, OutputKind
from pellucid.models._layers import Normalize
from pellucid.own.parts import Own, settings_of

__all__ = ["OwnModel", "build", "check_json", "declared", "options", "tried"]

# names under which a class may ask for what every model gets
_ASKED = {
    "channels": "channels",
    "in_channels": "channels",
    "outputs": "outputs",
    "classes": "outputs",
    "num_classes": "outputs",
    "n_classes": "outputs",
    "size": "size",
}
_SHAPES: Mapping[str, tuple[str, ...]] = {  # of the outputs whose kind follows from their shape
    "vector": ("N", "outputs"),
    "dense": ("N", "outputs"),
    "map": ("N", "outputs", "H", "W"),
    "reconstruction": ("N", "outputs", "H", "W"),
    "heatmap": ("N", "outputs", f"h + {2 * MARGIN}", f"w + {2 * MARGIN}"),
}
_PLAIN = {"heatmap": {"vector"}, "dense": {"map"}}  # kinds that are declared where a task takes these too
_TRIED = 3  # images of the batch


@final
class OwnModel(nn.Module):
    """A module of the user's own as the machinery takes it; `net` is the module, and images come to it in [0, 1] as they are.

    >>> model = OwnModel(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "vector", 1, None)
    >>> model(torch.zeros(3, 1, 2, 2)).shape, model.net[1].out_features
    (torch.Size([3, 2]), 2)

    Other attributes, such as the `encode` that some tasks call, are those of the module.
    """

    def __init__(self, net: nn.Module, output: OutputKind, channels: int, fixed: tuple[int, int] | None) -> None:
        super().__init__()
        self.net = net
        self.kind, self.fixed_size = output, fixed
        if not isinstance(getattr(net, "normalize", None), Normalize):
            plain = Normalize(channels)
            plain.pretrained = True  # images stay as they are
            self.unchanged = plain

    @property
    def output(self) -> OutputKind:
        """The kind of its output."""
        return self.kind

    @property
    def normalize(self) -> Normalize:
        """The module's own first layer, where it is a `Normalize`; else one that changes nothing, and is not called."""
        own = getattr(self.net, "normalize", None)
        return own if isinstance(own, Normalize) else self.unchanged

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "net":
                raise
            return getattr(super().__getattr__("net"), name)

    def forward(self, images: Tensor, *others: Any, **named: Any) -> Any:
        return self.net(images, *others, **named)


def options(own: Own) -> dict[str, tuple[Any, Any, str]]:
    """The options of a class or function: its parameters but for channels, outputs and size; type, default and meaning."""
    if own.prototype is not None:
        return {}
    found = {}
    for name, parameter in _parameters(own).items():
        if name in _ASKED or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        kind = parameter.annotation
        if kind is parameter.empty or isinstance(kind, str):
            kind = type(default) if default is not None else str
        if kind in (tuple, list):
            kind = types.GenericAlias(tuple, (type(default[0]) if default else str, ...))
        found[name] = (kind, default, "")
    return found


def build(own: Own, description: Mapping[str, Any]) -> OwnModel:
    """The model that a description says, with the part of the user's own.

    Raises:
        UsageError: it cannot be made of its options, or makes no module.
    """
    recorded = description.get("own", {})
    net = _net(own, description)
    size = tuple(description["size"]) if recorded.get("fixed", False) else None
    return OwnModel(net, recorded.get("output", "vector"), description["channels"], cast(Any, size))


def declared(own: Own) -> str:
    """The kind of output that a class, or an instance, says it gives; "" where it says none."""
    said = getattr(own.kind if own.prototype is None else own.prototype, "output", None)
    return said if isinstance(said, str) and said in get_args(OutputKind) else ""


def tried(
    own: Own, description: Mapping[str, Any], accepts: Sequence[OutputKind], task: str, single: bool = False
) -> dict[str, Any]:
    """What a model gives, found out on a batch of noise: the kind of its output, and whether it takes images of one size only.

    Args:
        own: the part of the user's own.
        description: of the model, without these two.
        accepts: the kinds that the task can use.
        task: its name.
        single: whether one output may stand for two classes.

    Raises:
        UsageError: the model cannot take the images, or its output has another shape than the task needs.
    """
    title = own.kind.__name__
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = _net(own, description).eval()
        images = torch.rand(_TRIED, description["channels"], *description["size"])
        try:
            output = net(images)
        except Exception as fault:
            raise UsageError(
                f"model={title}: cannot take images {tuple(images.shape)} in [0, 1] ({type(fault).__name__}: {brief(fault)}); "
                "mend its forward, or give --size."
            ) from fault
        said = declared(own)
        # where a task takes several kinds, the one that none declares is the plain one: see `_building.output_of`
        known = [kind for kind in accepts if kind in _SHAPES and not _PLAIN.get(kind, set()) & {*accepts}]
        if said:
            known = [kind for kind in accepts if kind == said]
            if not known:
                raise UsageError(
                    f"model={title}: gives a {said}, and {task} needs {' or '.join(accepts)}; choose another model."
                )
        elif not known:
            raise UsageError(
                f"model={title}: {task} needs a {' or '.join(accepts)}, which no shape tells; declare it as the class's "
                f"`output`, and see pellucid.models."
            )
        fits = [kind for kind in known if _fits(kind, output, description, single)]
        if not fits:
            needed = " or ".join(dict.fromkeys(f"({', '.join(_SHAPES[kind])})" for kind in known))
            raise UsageError(
                f"model={title}: gives {_shape(output)} for images {tuple(images.shape)}, and {task} needs {needed} with "
                f"N = {_TRIED} and outputs = {description['outputs']}; change its last layer."
            )
        fixed = _bound(net, description)
        settings = settings_of(net)
    kind = fits[0]
    if {"vector", "dense"} <= set(fits):
        kind = "dense" if fixed else "vector"
    return {"output": kind, "fixed": fixed, "built": settings}


def _fits(kind: OutputKind, output: Any, description: Mapping[str, Any], single: bool) -> bool:
    if kind not in _SHAPES:
        return True  # what it gives is no tensor of a known shape: the task's own step finds out
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return False
    outputs, shape = description["outputs"], tuple(output.shape)
    if kind in ("vector", "dense"):  # a single output tells two classes apart
        return shape == (_TRIED, outputs) or (single and outputs == 2 and shape in ((_TRIED,), (_TRIED, 1)))
    if kind == "heatmap":
        return len(shape) == 4 and shape[:2] == (_TRIED, outputs) and min(shape[2:]) > 2 * MARGIN
    return shape == (_TRIED, outputs, *description["size"])


def _shape(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"{tuple(output.shape)}" if output.is_floating_point() else f"{tuple(output.shape)} of {output.dtype}"
    return f"a {type(output).__name__}"


def _bound(net: nn.Module, description: Mapping[str, Any]) -> bool:
    """Whether a module takes images of one size only: dense layers after the last convolution do."""
    declared = getattr(net, "fixed_size", None)
    if declared is not None:
        return True
    height, width = description["size"]
    try:
        net(torch.rand(1, description["channels"], height + 8, width + 16))
    except Exception:  # of any kind: it is a module of somebody else's
        return True
    return False


def _net(own: Own, description: Mapping[str, Any]) -> nn.Module:
    net = copy.deepcopy(own.prototype) if own.prototype is not None else _made(own, description)
    if not isinstance(net, nn.Module):
        raise UsageError(
            f"model={own.kind.__name__}: makes a {type(net).__name__}, not an nn.Module; give a class of modules, or one."
        )
    net = net.cpu().train()  # an instance may have been given as it answers
    if any(is_lazy(value) for value in (*net.parameters(), *net.buffers())):  # made with the first batch
        with torch.no_grad():
            net.eval()(torch.zeros(2, description["channels"], *description["size"]))
        net.train()
    return net


def _made(own: Own, description: Mapping[str, Any]) -> Any:
    title, parameters = own.kind.__name__, _parameters(own)
    values = {
        "channels": description["channels"],
        "outputs": description["outputs"],
        "size": tuple(description["size"]),
    }
    # an option of this name that was given wins: it is the class's own
    given = dict(description["options"])
    asked = {name: values[_ASKED[name]] for name in parameters if name in _ASKED and name not in given}
    missing = [
        name
        for name, one in parameters.items()
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and name not in {**asked, **given}
    ]
    if missing:
        raise UsageError(f"model={title}: needs {', '.join(missing)}; give it as an option, or in model_options.")
    if any(one.kind is one.POSITIONAL_ONLY for one in parameters.values()):
        raise UsageError(f"model={title}: takes values by place only; give its parameters names.")
    try:
        return own.kind(**asked, **given)
    except UsageError:
        raise
    except Exception as fault:
        raise UsageError(
            f"model={title}: cannot be made with {', '.join(f'{k}={v!r}' for k, v in {**asked, **given}.items()) or 'no options'} "
            f"({type(fault).__name__}: {brief(fault)}); change its options."
        ) from fault


def _parameters(own: Own) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(own.kind, eval_str=True).parameters
    except NameError:  # an annotation that is not there at run time
        return inspect.signature(own.kind).parameters
    except (TypeError, ValueError):
        return {}


def check_json(given: Mapping[str, Any]) -> None:
    """Refuse options that run.json could not hold.

    Raises:
        UsageError: a value that is no number, text, list or the like.
    """
    for name, value in given.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{name}={value!r}: cannot be recorded in run.json, so that the model could not be made again; give numbers, texts "
                "or lists, or the module itself."
            ) from None
