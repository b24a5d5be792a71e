# SPDX-License-Identifier: Apache-2.0
"""Finding the layer that a lens needs, and recording what passes layers, without changing the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pellucid.errors import UnknownNameError, UsageError

__all__ = [
    "CONVOLUTIONS",
    "feature_layer",
    "features",
    "floating",
    "guarded",
    "last_convolution",
    "layers_in_order",
    "recorded",
    "reinitialised",
]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@contextmanager
def guarded(*modules: Any) -> Iterator[None]:
    """Modules in eval mode with in-place activations turned off; then modes, hooks, gradients and flags are as before.

    A model whose weights are not float32 gets its images in their type.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    >>> with guarded(model):
    ...     hook = model[0].register_forward_hook(print)
    ...     model.training, model[1].inplace
    (False, False)
    >>> model.training, model[1].inplace, len(model[0]._forward_hooks)
    (True, True, 0)
    """
    parts: list[Any] = list(
        {id(part): part for module in modules if isinstance(module, nn.Module) for part in module.modules()}.values()
    )
    kinds = [name for name in vars(nn.Module()) if "_hooks" in name]
    before = [
        (part, part.training, getattr(part, "inplace", None), {kind: list(getattr(part, kind, ())) for kind in kinds})
        for part in parts
    ]
    weights = [(p, p.requires_grad, p.grad) for part in parts for p in part.parameters(recurse=False)]
    try:
        for weight, _, _ in weights:
            weight.grad = None  # a backward pass would add to it
        for part, _, inplace, _ in before:
            part.training = False
            if isinstance(inplace, bool):
                part.inplace = False  # an activation in place would overwrite what a hook has kept
        for module in modules:
            if isinstance(module, nn.Module) and floating(module) != torch.float32:
                module.register_forward_pre_hook(_cast)
        yield
    finally:
        for part, mode, inplace, hooks in before:
            part.training = mode
            if inplace is not None:
                part.inplace = inplace
            for kind, kept in hooks.items():
                table = getattr(part, kind, {})
                for key in [key for key in table if key not in kept]:  # the model's own hooks stay
                    del table[key]
        for weight, flag, gradient in weights:
            weight.requires_grad_(flag)
            weight.grad = gradient


def floating(model: nn.Module) -> torch.dtype:
    """The type of numbers that a model computes with: that of its first weight.

    >>> floating(nn.Linear(1, 1).double()), floating(nn.Flatten())
    (torch.float64, torch.float32)
    """
    weights = [*model.parameters(), *model.buffers()]
    return next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)


def _cast(model: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Images in the type of a model's weights, as images come in float32."""
    return tuple(part.to(floating(model)) if _is_float(part) else part for part in given)


def _is_float(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point()


@contextmanager
def recorded(
    modules: Mapping[str, nn.Module] | Sequence[nn.Module], side: Literal["input", "output"] = "output"
) -> Iterator[dict[Any, list[Tensor]]]:
    """What passes modules while the block runs: by name (or place) a tensor for each call, still in the autograd graph.

    >>> layer = nn.Conv2d(1, 2, 3)
    >>> with recorded({"conv": layer}) as seen, torch.no_grad():
    ...     _ = layer(torch.zeros(1, 1, 5, 5))
    >>> seen["conv"][0].shape
    torch.Size([1, 2, 3, 3])
    """
    named = modules if isinstance(modules, Mapping) else dict(enumerate(modules))
    seen: dict[Any, list[Tensor]] = {}
    with ExitStack() as stack:
        for name, module in named.items():

            def note(_: nn.Module, given: Any, answer: Any, name: Any = name) -> None:
                tensor = _first(given if side == "input" else answer)
                if tensor is not None:
                    seen.setdefault(name, []).append(tensor)

            stack.callback(module.register_forward_hook(note).remove)
        yield seen


def layers_in_order(model: nn.Module, image: Tensor) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """The innermost modules in the order of their first call on an image (C, H, W), with the shape of their output.

    >>> [name for name, _, _ in layers_in_order(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 2, 2))]
    ['0', '1']
    """
    leaves = {name: part for name, part in model.named_modules() if not any(True for _ in part.children())}
    with recorded(leaves) as seen, torch.no_grad():
        model(image[None])  # a dict keeps the order in which the modules were first called
    return [(name, leaves[name], tuple(tensors[0].shape)) for name, tensors in seen.items()]


def last_convolution(model: nn.Module, image: Tensor, layer: str | None = None) -> tuple[str, nn.Module]:
    """The last convolution that an image (C, H, W) passes with more than one pixel left, or the named layer.

    >>> name, _ = last_convolution(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3)), torch.zeros(1, 9, 9))
    >>> name
    '2'

    Raises:
        UnknownNameError: no layer has this name.
        UsageError: the model has no convolution.
    """
    if layer is not None:
        return layer, _named(model, layer)
    passed = layers_in_order(model, image)
    # a map of a single pixel, as in squeeze and excitation, says nothing about places
    spatial = [(name, part) for name, part, shape in passed if isinstance(part, CONVOLUTIONS) and max(shape[2:]) > 1]
    if not spatial:
        raise UsageError("layer=None: the model has no convolution; name a layer, or choose a convolutional model.")
    return spatial[-1]


def feature_layer(model: nn.Module, image: Tensor) -> tuple[str, nn.Module, Literal["input", "output"]]:
    """The layer that gives an image's (C, H, W) features: the last dense one by its input, else the last convolution."""
    passed = layers_in_order(model, image)
    # before the last dense layer, whose output is the answer itself
    dense = [(name, part) for name, part, _ in passed if isinstance(part, nn.Linear)]
    if dense:
        return *dense[-1], "input"
    return *last_convolution(model, image), "output"


@torch.no_grad()
def features(model: nn.Module, images: Tensor, layer: str | None = None) -> tuple[Tensor, str]:
    """(B, D) codes of images (B, C, H, W) and the layer that they are from; see `Network.features`.

    >>> codes, where = features(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)), torch.zeros(5, 1, 2, 2))
    >>> codes.shape, where
    (torch.Size([5, 3]), 'the input of 2')
    """
    encode = getattr(model, "encode", None)
    if layer is None and callable(encode):
        codes = _first(encode(images))
        if codes is not None:
            return codes.flatten(1).float(), "encode"
    side: Literal["input", "output"] = "output"
    if layer is None:
        name, part, side = feature_layer(model, images[0])
    else:
        name, part = layer, _named(model, layer)
    with recorded({name: part}, side) as seen:
        model(images)
    if not seen:
        raise UsageError(f"layer={name!r}: no tensor passes it; name another layer.")
    codes = seen[name][-1].float()  # of a module that is used several times, the last call
    if codes.ndim == 4:  # (B, C, H, W)
        codes = codes.mean((2, 3))
    elif codes.ndim == 3:  # (B, tokens, D)
        codes = codes.mean(1)
    return codes.flatten(1), f"the {side} of {name}"


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    """A copy of a model in eval mode, each layer initialised again by its own `reset_parameters`.

    >>> layer = nn.Linear(2, 2)
    >>> bool((reinitialised(layer, 0).weight == layer.weight).any())
    False
    """
    made = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in made.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    return made.eval()


def _named(model: nn.Module, layer: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in known or not layer:
        raise UnknownNameError("layer", layer, [name for name in known if name])
    return known[layer]


def _first(given: Any) -> Tensor | None:
    """The first tensor in what a module takes or gives."""
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, (tuple, list)):
        return next((tensor for part in given if (tensor := _first(part)) is not None), None)
    return None
