# SPDX-License-Identifier: Apache-2.0
"""Partial and gated convolutions, the U-Net with them, LeNet's plan and pix2pix, against sums written out and counts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._gated import GatedBlock
from pellucid.models._surroundings import surroundings
from pellucid.models.lenet import Lenet
from pellucid.models.pix2pix import Pix2pix
from pellucid.models.pix2pix.critics import around
from pellucid.models.unet import Unet
from pellucid.models.unet.masked import PartialConv


def test_partial_convolution_equals_its_equation_written_out() -> None:
    torch.manual_seed(0)
    layer = PartialConv([2, 1], 3)
    with torch.no_grad():
        assert layer.convolution.bias is not None
        layer.convolution.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
    image = torch.randn(1, 3, 5, 6)
    known = (torch.rand(1, 2, 5, 6) > 0.6).float()
    answer, grown = layer(image, known)
    whole = torch.cat([known[:, :1], known[:, :1], known[:, 1:]], dim=1)  # a mask a channel
    weight, bias = layer.convolution.weight, layer.convolution.bias
    x, m = (F.pad(part, (1, 1, 1, 1))[0] for part in (image, whole))
    for row in range(5):
        for column in range(6):
            window, mask = (part[:, row : row + 3, column : column + 3] for part in (x, m))
            some = float(mask.sum())
            if some == 0:  # Liu et al. 2018, eq. 1, second line
                assert float(answer[0, :, row, column].detach().abs().max()) == 0
                assert float(grown[0, 0, row, column]) == 0
                continue
            expected = (weight * (window * mask)).sum((1, 2, 3)) * (27 / some) + bias
            assert answer[0, :, row, column].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-4)
            assert float(grown[0, 0, row, column]) == 1


def test_partial_convolution_of_a_whole_image_is_an_ordinary_one_inside() -> None:
    layer = PartialConv([4], 5)
    image = torch.randn(2, 4, 9, 9)
    answer, _ = layer(image, torch.ones(2, 1, 9, 9))
    assert torch.allclose(answer[:, :, 1:-1, 1:-1], layer.convolution(image)[:, :, 1:-1, 1:-1], atol=1e-5)


def test_gated_convolution_equals_its_equation() -> None:
    block = GatedBlock(2, 4)
    image = torch.randn(2, 2, 7, 8)
    features = image
    for layer in block.convolutions:
        values, gates = (
            F.conv2d(features, layer.weight[part], layer.bias[part], padding=1) for part in (slice(4), slice(4, 8))
        )
        features = values.clamp_min(0) / (1 + (-gates).exp())
    assert torch.allclose(block(image), features, atol=1e-5)


@pytest.mark.parametrize("convolution", ["plain", "partial", "gated"])
@pytest.mark.parametrize("channels", [1, 3])
def test_unet_with_a_mask_begins_with_its_input_and_takes_any_size(convolution: str, channels: int) -> None:
    torch.manual_seed(0)
    model = Unet(channels + 1, channels, (32, 32), widths=(4, 8, 8), convolution=convolution)  # type: ignore[arg-type]
    input = torch.rand(2, channels + 1, 27, 45)
    input[:, -1] = 0
    input[:, -1, 5:15, 20:30] = 1
    assert torch.equal(model(input), input[:, :channels])
    torch.nn.init.normal_(model.head.weight)
    model(input).square().mean().backward()
    assert all(
        parameter.grad is not None and bool(parameter.grad.any())
        for parameter in model.parameters()
        if parameter.ndim > 1
    )


def test_partial_unet_does_not_look_into_the_hole() -> None:
    torch.manual_seed(0)
    model = Unet(2, 1, (32, 32), widths=(4, 8), convolution="partial")
    torch.nn.init.normal_(model.head.weight)
    input = torch.rand(1, 2, 32, 32)
    input[:, 1] = 0
    input[:, 1, 5:15, 10:20] = 1
    other = input.clone()
    other[:, 0, 5:15, 10:20] = 0.9
    added = [model(one) - one[:, :1] for one in (input, other)]
    assert torch.allclose(added[0], added[1], atol=1e-5)


def test_what_is_added_scales_with_the_contrast_around_the_hole() -> None:
    torch.manual_seed(0)
    model = Unet(2, 1, (32, 32), widths=(4, 8), convolution="gated")
    torch.nn.init.normal_(model.head.weight)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:20, 10:20] = 1
    picture = 0.5 + 20 * torch.randn(1, 1, 32, 32)  # so lively that the least deviation does not count
    added = model(torch.cat([picture, mask], 1)) - picture
    twice = model(torch.cat([2 * picture + 7, mask], 1)) - (2 * picture + 7)
    assert float((twice - 2 * added).detach().norm()) < 0.02 * float(twice.detach().norm())


def test_surroundings_are_the_ring_of_known_pixels() -> None:
    picture, mask = torch.rand(2, 3, 40, 50), torch.zeros(2, 1, 40, 50)
    mask[:, :, 15:20, 20:30] = 1
    mean, deviation = surroundings(picture, mask)
    ring = np.zeros((40, 50), bool)
    ring[7:28, 12:38] = True
    ring[15:20, 20:30] = False
    for one, m, d in zip(picture.numpy(), mean, deviation, strict=True):
        assert m.flatten().numpy() == pytest.approx(one[:, ring].mean(1), abs=1e-5)
        assert float(d) == pytest.approx(np.sqrt(one[:, ring].var(1).mean()) + 0.02, abs=1e-5)
    assert torch.isfinite(torch.cat([part.flatten() for part in surroundings(picture, mask * 0)])).all()


def test_lenet_is_the_textbook_network() -> None:
    with torch.device("meta"):  # shapes without numbers: the real one has 57 million
        shapes = [tuple(parameter.shape) for parameter in Lenet(2, 6000, (300, 200)).parameters()]
    assert shapes[::2] == [(64, 2, 3, 3), (256, 64, 3, 3), (64, 73 * 48 * 256), (64, 64), (6000, 64)]
    model = Lenet(2, 5, (30, 22), widths=(4, 6), hidden=(7, 8))
    assert (
        sum(p.numel() for p in model.parameters())
        == (9 * 2 + 1) * 4 + (9 * 4 + 1) * 6 + (6 * 6 * 4 + 1) * 7 + 8 * 8 + 9 * 5
    )
    with pytest.raises(UsageError, match=r"^size=9×12: is below 10×10 px, the smallest that model='lenet' takes"):
        Lenet(1, 5, (9, 12))


def test_pix2pix_answers_as_its_unet_and_its_critic_sees_patches() -> None:
    torch.manual_seed(0)
    model = Pix2pix(2, 1, (32, 32), widths=(4, 8), critic_widths=(4, 8)).eval()
    input = torch.rand(2, 2, 32, 32)
    assert torch.equal(model(input), model.generator(input))
    pair = torch.rand(1, 3, 64, 64)
    changed = pair.clone()
    changed[..., 40:, 40:] = 0
    difference = (model.critic(pair) - model.critic(changed)).detach().abs()[0, 0]
    assert difference.shape == (16, 16)
    assert float(difference[:6, :6].max()) == 0  # far patches do not see it
    assert float(difference[-1, -1]) > 0
    for layer in model.critic:
        if isinstance(layer, torch.nn.Conv2d):
            norm = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
            assert norm < 1.6, "the spectral norm is near 1 after one iteration"


@torch.no_grad()
def test_a_critic_of_the_whole_and_the_hole_sees_both_and_lama_can_paint() -> None:
    torch.manual_seed(0)
    model = Pix2pix(
        2, 1, (128, 128), widths=(4, 8), critic_widths=(4, 8), generator="lama", judge="global_local"
    ).eval()
    input = torch.rand(2, 2, 128, 128)
    input[:, 1] = 0
    input[:, 1, 70:90, 20:50] = 1
    assert torch.equal(model(input), model.generator(input)) and torch.equal(model(input), input[:, :1])
    pair = torch.cat([input, torch.rand(2, 1, 128, 128)], dim=1)
    score = model.critic(pair)
    assert score.shape == (2, 1)
    for far in (True, False):  # outside of the 64 px around the hole only the view of the whole sees it
        changed = pair.clone()
        changed[:, 2, slice(0, 30) if far else slice(75, 85), slice(90, 128) if far else slice(30, 40)] = 0
        assert float((model.critic(changed) - score).abs().min()) > 1e-6
    changed = pair[:, :, torch.randperm(128)]  # a hole in strips: rows of it far apart
    assert around(changed, changed[:, 1], 64).shape == (2, 3, 64, 64)


def test_the_part_around_a_hole_has_its_centre_and_stays_in_the_picture() -> None:
    pictures = torch.arange(2 * 40 * 50, dtype=torch.float32).view(2, 1, 40, 50)
    mask = torch.zeros(2, 40, 50)
    mask[0, 18:22, 20:30], mask[1, 0:3, 45:50] = 1, 1
    part = around(pictures, mask, 16)
    assert torch.equal(part[0], pictures[0, :, 12:28, 17:33])
    assert torch.equal(part[1], pictures[1, :, 0:16, 34:50])
    assert torch.equal(around(pictures, mask, 64), pictures)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"generator": "vae"}, r"^generator='vae': is not known; choose unet, lama or coarse_to_fine"),
        ({"judge": "all"}, r"^judge='all': is not known; choose patches or global_local"),
        ({"generator": "lama", "convolution": "gated"}, r"^convolution='gated': is an option of generator='unet'"),
    ],
)
def test_bad_options_of_pix2pix_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Pix2pix(2, 1, (32, 32), **options)
    with pytest.raises(UsageError, match=r"^judge='global_local': looks around holes, and this task has none"):
        Pix2pix(1, 1, (32, 32), judge="global_local")
