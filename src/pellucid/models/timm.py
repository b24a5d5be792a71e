# SPDX-License-Identifier: Apache-2.0
"""Any classifier of timm (PyTorch Image Models), by its name in that library."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._backbones import named
from pellucid.models._contract import OutputKind
from pellucid.models._layers import AttentionPool, Frozen, Normalize, check_heads, check_share
from pellucid.models._pretrained import as_colour, body_channels, timm_model

__all__ = ["Timm"]

_SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)  # px, tried upwards


@final
class Timm(nn.Module):
    """A timm model with a new linear layer as its head.

    >>> Timm(1, 10, (64, 64), name="mobilenetv3_small_050").eval()(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 10])

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px; models with position embeddings (ViT, Swin) take no other size.
        name: timm's name, with or without the tag of its weights, e.g. resnet18, convnext_atto, vit_tiny_patch16_224.
        dropout: share of the pooled features dropped in training.
        pretrained: start from timm's weights; grey images are repeated to three channels.
        frozen: train the head only; all other tensors stay fixed, batch-norm statistics included.
        heads: attention maps by which the features are pooled, each with its place; 0 pools them as the model does.

    Raises:
        UsageError: timm has no such model, it cannot take images of this size, or its weights are unavailable.
    """

    output: ClassVar[OutputKind] = "vector"

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        name: str = "mobilenetv3_small_100",
        dropout: float = 0.0,
        pretrained: bool = False,
        frozen: bool = False,
        heads: int = 0,
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        check_heads(heads)
        inner = body_channels(channels, pretrained)
        body, features = _body(name, inner, size, pretrained and fetch, mapped=heads > 0)
        config = body.pretrained_cfg
        self.fixed_size: tuple[int, int] | None = size if config.get("fixed_input_size") else None
        self.normalize = (
            Normalize(3, tuple(config["mean"]), tuple(config["std"])) if pretrained else Normalize(channels)
        )
        self.backbone: nn.Module = Frozen(body) if frozen else body
        pool: list[nn.Module] = []
        if heads:
            pool, features = [AttentionPool(features, heads), nn.Flatten()], heads * (features + 2)
        self.head = nn.Sequential(*pool, nn.Dropout(dropout), nn.Linear(features, outputs))
        self._names, last = list(body.state_dict()), config.get("classifier")
        self._last = last if isinstance(last, str) else ""  # distilled models have two

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        return [named(self, self._names, self._last)]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.backbone(
            self.normalize(as_colour(images, self.normalize))
        )  # (B, features), with heads a map of them
        logits: Tensor = self.head(features)
        return logits


def _body(name: str, channels: int, size: tuple[int, int], pretrained: bool, mapped: bool) -> tuple[Any, int]:
    """timm's model without its head, and the number of its features for an image of this size; `mapped`: not pooled."""
    import timm

    config = timm.get_pretrained_cfg(name)
    bound = config is not None and config.fixed_input_size

    def make(size: tuple[int, int], pretrained: bool) -> Any:
        more: dict[str, Any] = {"img_size": size} if bound else {}
        if mapped:
            more["global_pool"] = ""
        return timm_model(name, pretrained, in_chans=channels, num_classes=0, **more)

    body: Any = None
    try:
        body = make(size, pretrained)
        return body, _features(body, channels, size, mapped)
    except UsageError:
        raise
    except Exception as fault:  # each architecture raises its own error for an image that is too small
        for side in (side for side in _SIZES if side > min(size)):
            try:
                _features(make((side, side), False) if bound else body, channels, (side, side), mapped)
            except Exception:
                continue
            raise UsageError(
                f"size={size[0]}×{size[1]}: timm's {name!r} cannot take this size, but takes {side}×{side} px; "
                f"give --size {side}, or another model."
            ) from fault
        what = "a map of features, which heads need" if mapped else "a vector of features"
        raise UsageError(f"name={name!r}: this timm model does not give {what} ({fault}); choose another.") from fault


@torch.no_grad()
def _features(body: nn.Module, channels: int, size: tuple[int, int], mapped: bool = False) -> int:
    body.eval()
    answer = body(torch.zeros(1, channels, *size))
    body.train()
    # a map whose channels come last, as that of Swin, is none for a convolution
    fits = isinstance(answer, Tensor) and answer.ndim == (4 if mapped else 2)
    last = mapped and fits and answer.shape[1] != body.num_features == answer.shape[3]
    if not fits or last or not bool(answer.isfinite().all()):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"the answer to one image is {shape}")
    width: int = answer.shape[1]
    return width
