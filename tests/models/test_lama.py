# SPDX-License-Identifier: Apache-2.0
"""lama: its Fourier transform against torch's, how far its blocks see, and what it begins with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.models.lama import Lama
from pellucid.models.lama.fourier import FourierBlock, FourierUnit, from_frequencies, to_frequencies
from pellucid.models.lama.lama import DilatedBlock

SIZES = [(1, 1), (1, 6), (5, 1), (2, 2), (5, 7), (6, 8), (38, 25), (64, 33)]


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_those_of_torch_there_and_back(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, *size, generator=generator)
    real, imaginary = to_frequencies(maps)
    expected = torch.fft.rfft2(maps, norm="ortho")
    assert torch.allclose(real, expected.real, atol=1e-5)
    assert torch.allclose(imaginary, expected.imag, atol=1e-5)
    # any numbers, not only those that a real map has: a network gives such
    real, imaginary = (torch.randn(real.shape, generator=generator) for _ in range(2))
    back = torch.fft.irfft2(torch.complex(real, imaginary), s=size, norm="ortho")
    assert torch.allclose(from_frequencies(real, imaginary, size[1]), back, atol=1e-5)


def test_a_fourier_unit_is_the_papers() -> None:
    torch.manual_seed(0)
    unit, maps = FourierUnit(4), torch.randn(2, 4, 6, 9)
    spectrum = torch.fft.rfft2(maps, norm="ortho")
    mixed = torch.relu(unit.mix(torch.cat([spectrum.real, spectrum.imag], dim=1)))
    expected = torch.fft.irfft2(torch.complex(mixed[:, :4], mixed[:, 4:]), s=(6, 9), norm="ortho")
    assert torch.allclose(unit(maps), expected, atol=1e-5)


def seen(model: nn.Module, input: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """Where (H, W) the input changes the answer at a place."""
    input = input.clone().requires_grad_(True)
    model(input)[0, 0, row, column].backward()
    assert input.grad is not None
    return input.grad[0].abs().amax(0) > 0


def lively(model: nn.Module) -> nn.Module:
    """With numbers other than zero in all that training starts from zero."""
    torch.manual_seed(0)
    for value in model.parameters():
        if not value.abs().sum():
            nn.init.normal_(value, std=0.1)
    return model


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({"mixing": "fourier", "blocks": 1}, True),
        ({"mixing": "dilated", "blocks": 2}, False),
        ({"mixing": "dilated", "blocks": 8}, True),
    ],
)
def test_the_view_is_larger_than_the_hole(options: dict[str, Any], whole: bool) -> None:
    """One Fourier block sees all of a picture; two dilated ones do not see across the hole, eight do."""
    model = lively(Lama(2, 1, (128, 128), widths=(8, 16), **options)).double()
    input = torch.rand(1, 2, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    input[:, 1:] = 0
    input[:, 1:, 40:90, 40:90] = 1
    # without the statistics of the surroundings, which would see the ring around the hole
    model.residual = False  # type: ignore[assignment]
    reached = seen(model, input, 64, 64)
    assert bool(reached[60:68, 60:68].all())
    sides = [reached[:40].any(), reached[90:].any(), reached[:, :40].any(), reached[:, 90:].any()]
    edges = [reached[0].any(), reached[-1].any(), reached[:, 0].any(), reached[:, -1].any()]
    assert all(edges) if whole else not all(sides)


@pytest.mark.parametrize("mixing", ["fourier", "dilated"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fold", [1, 4])
def test_it_begins_with_its_input_at_any_size(mixing: str, channels: int, fold: int) -> None:
    model = Lama(channels + 1, channels, (32, 32), widths=(4, 8), blocks=2, mixing=mixing, fold=fold)  # type: ignore[arg-type]
    for size in [(32, 32), (33, 50), (9, 8)]:
        images = torch.rand(2, channels + 1, *size)
        images[:, -1] = 0
        images[:, -1, 2:5, 3:6] = 1
        assert torch.equal(model(images), images[:, :-1])


@torch.no_grad()
def test_a_correction_follows_the_contrast_around_the_hole_and_not_its_brightness() -> None:
    model = lively(Lama(2, 1, (32, 32), widths=(4, 8), blocks=2)).eval()
    picture, mask = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 1, 32, 32)
    mask[..., 10:20, 10:20] = 1
    dark, bright, strong = (
        model(torch.cat([part, mask], dim=1)) - part for part in (100 * picture, 100 * picture + 30, 200 * picture)
    )
    assert float(dark.abs().max()) > 0.01
    assert torch.allclose(dark, bright, atol=0.02 * float(dark.abs().max()))
    assert torch.allclose(2 * dark, strong, atol=0.02 * float(dark.abs().max()))


def test_blocks_start_as_the_identity() -> None:
    features = torch.rand(2, 8, 5, 7)
    for block in (FourierBlock(8, 6), FourierBlock(8, 8), DilatedBlock(8, 4)):
        assert torch.equal(block(features), features)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"blocks": 0}, r"^blocks=0: must be at least 1; give e\.g\. 6\.$"),
        ({"fold": 0}, r"^fold=0: is the side of a block in px; give 1 or more, e\.g\. 4\.$"),
        ({"mixing": "wavelet"}, r"^mixing='wavelet': is not known; choose fourier or dilated\.$"),
        ({"global_share": 1.0}, r"^global_share=1\.0: is a share"),
        ({"widths": ()}, r"^widths=\(\): must be whole numbers"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Lama(2, 1, (32, 32), **options)
