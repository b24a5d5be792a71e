# SPDX-License-Identifier: Apache-2.0
"""Any classifier of timm (PyTorch Image Models), by its name in that library."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Frozen, Normalize, check_share
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
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        inner = body_channels(channels, pretrained)
        body, features = _body(name, inner, size, pretrained and fetch)
        config = body.pretrained_cfg
        self.fixed_size: tuple[int, int] | None = size if config.get("fixed_input_size") else None
        self.normalize = (
            Normalize(3, tuple(config["mean"]), tuple(config["std"])) if pretrained else Normalize(channels)
        )
        self.backbone: nn.Module = Frozen(body) if frozen else body
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, outputs))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.backbone(self.normalize(as_colour(images, self.normalize)))  # (B, features)
        logits: Tensor = self.head(features)
        return logits


def _body(name: str, channels: int, size: tuple[int, int], pretrained: bool) -> tuple[Any, int]:
    """timm's model without its head, and the number of its features for an image of this size."""
    import timm

    config = timm.get_pretrained_cfg(name)
    bound = config is not None and config.fixed_input_size

    def make(size: tuple[int, int], pretrained: bool) -> Any:
        positions = {"img_size": size} if bound else {}
        return timm_model(name, pretrained, in_chans=channels, num_classes=0, **positions)

    body: Any = None
    try:
        body = make(size, pretrained)
        return body, _features(body, channels, size)
    except UsageError:
        raise
    except Exception as fault:  # each architecture raises its own error for an image that is too small
        for side in (side for side in _SIZES if side > min(size)):
            try:
                _features(make((side, side), False) if bound else body, channels, (side, side))
            except Exception:
                continue
            raise UsageError(
                f"size={size[0]}×{size[1]}: timm's {name!r} cannot take this size, but takes {side}×{side} px; "
                f"give --size {side}, or another model."
            ) from fault
        raise UsageError(
            f"name={name!r}: this timm model does not give a vector of features ({fault}); choose another."
        ) from fault


@torch.no_grad()
def _features(body: nn.Module, channels: int, size: tuple[int, int]) -> int:
    body.eval()
    answer = body(torch.zeros(1, channels, *size))
    body.train()
    if not isinstance(answer, Tensor) or answer.ndim != 2 or not bool(answer.isfinite().all()):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"the answer to one image is {shape}")
    return answer.shape[1]
