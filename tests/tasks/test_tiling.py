# SPDX-License-Identifier: Apache-2.0
"""Tiles: what a pointwise model answers whole it answers in tiles, at any size, without seams."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid.tasks._tiling import tiled


class Pointwise(nn.Module):
    """Three channels out of each pixel; notes the sizes that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[int, ...]] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.asked.add(tuple(images.shape[2:]))
        return torch.cat([images[:, :1], 1 - images[:, :1], images[:, :1] ** 2], 1)


class Flat(nn.Module):
    """The mean of its tile everywhere: tiles put side by side would show every seam."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True).expand(images.shape)


sides = st.integers(1, 40)


@settings(max_examples=60)
@given(sides, sides, st.integers(1, 12), st.integers(1, 12), st.integers(1, 2))
def test_a_pointwise_model_answers_the_same_in_tiles(
    height: int, width: int, tall: int, wide: int, channels: int
) -> None:
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(height * 50 + width))
    model = Pointwise()
    found = tiled(model, images, (tall, wide))
    assert model.asked == {(tall, wide)}
    torch.testing.assert_close(found, model(images))


def test_an_image_of_exactly_one_tile_is_answered_as_it_is() -> None:
    images = torch.rand(3, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tiled(Flat(), images, (8, 6)), Flat()(images))


def test_seams_are_blended_away() -> None:
    images = torch.zeros(1, 1, 64, 64)
    images[..., 32:] = 1  # beside each other, flat answers would jump by 1
    found = tiled(Flat(), images, (16, 16))
    jumps = found.diff(dim=3).abs().max()
    assert float(jumps) < 0.15
    assert float(found[..., :8].max()) == 0 and float(found[..., -8:].min()) == 1


def test_images_do_not_touch_each_other() -> None:
    images = torch.rand(4, 1, 21, 33, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tiled(Flat(), images, (8, 8))[2:3], tiled(Flat(), images[2:3], (8, 8)))
