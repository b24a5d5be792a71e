# SPDX-License-Identifier: Apache-2.0
"""The convolutional VAE with residual blocks and batch norm: shapes, what it starts as, and that without them it is as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.models.conv_vae import ConvVae


def made(size: tuple[int, int] = (28, 28), channels: int = 1, **options: Any) -> Any:
    given = {"widths": (4, 6), "hidden": 8, "latent": 3, **options}
    return _building.build(
        {"name": "conv_vae", "channels": channels, "outputs": channels, "size": [*size], "options": given}
    )


@pytest.mark.parametrize("size", [(28, 28), (7, 6), (13, 30)])
@pytest.mark.parametrize("widths", [(4,), (4, 6)])
@pytest.mark.parametrize(("blocks", "batch_norm"), [(0, True), (1, False), (2, True)])
def test_pictures_have_the_images_size(
    size: tuple[int, int], widths: tuple[int, ...], blocks: int, batch_norm: bool
) -> None:
    model = made(size, 3, widths=widths, blocks=blocks, batch_norm=batch_norm).train()
    images = torch.rand(5, 3, *size)
    given = model(images, torch.randn(5, 2, 3))
    assert given.decoded.shape == (5, 2, 3, *size)
    assert given.mean.shape == (5, 3)
    assert sum(isinstance(part, nn.PixelShuffle) for part in model.decoder) == (blocks > 0)
    norms = sum(isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)) for part in model.modules())
    # after each convolution and each hidden dense layer of both halves, and twice in each block
    assert norms == batch_norm * (2 * (len(widths) + 1 + 2 * blocks) + (blocks == 0))
    (given.decoded.square().mean() + given.mean.square().mean()).backward()
    still = {name for name, value in model.named_parameters() if value.grad is None}
    assert not still


def test_a_block_changes_nothing_at_first_and_learns() -> None:
    model = made(blocks=1, batch_norm=True).train()
    block = next(part for part in model.encoder if hasattr(part, "layers"))
    maps = torch.randn(4, 6, 7, 7)
    assert torch.equal(block(maps), maps)
    block(maps).square().mean().backward()
    assert float(block.layers[-1].weight.grad.abs().max()) > 0
    with torch.no_grad():
        block.layers[-1].weight.fill_(0.1)
    torch.testing.assert_close(block(maps), maps + block.layers(maps))


def test_without_them_it_is_the_network_of_earlier_runs() -> None:
    kinds = [type(part).__name__ for half in (made().encoder, made().decoder) for part in half]
    assert kinds == [
        "Pad", "Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "Flatten", "Linear", "LeakyReLU", "Linear",
        "Linear", "LeakyReLU", "Linear", "Unflatten", "LeakyReLU", "ConvTranspose2d", "LeakyReLU", "ConvTranspose2d", "LeakyReLU",
        "Conv2d", "Crop",
    ]  # fmt: skip
    # weights at the places of version 0.1.0
    assert [name for name in made().state_dict() if name.endswith(".weight")] == [
        *(f"encoder.{place}.weight" for place in (1, 3, 6, 8)),
        *(f"decoder.{place}.weight" for place in (0, 2, 5, 7, 9)),
    ]


def test_a_negative_number_of_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^blocks=-1: must not be negative; give e\.g\. 1, or 0 for none"):
        ConvVae(1, 1, (28, 28), blocks=-1)
