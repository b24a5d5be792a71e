# SPDX-License-Identifier: Apache-2.0
"""The transforms of the convolutional codecs: 8×8 px to `codes` numbers and back, by a linear path beside a network."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._conditional import Conditional
from pellucid.models._contract import Compressed, OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior

__all__ = ["SCALE", "SIDE", "Blockwise", "checked"]

SIDE = 8
"""Each code represents a block of 8×8 px."""
SCALE = 16.0
"""Grey levels of a coefficient, per unit of a code."""


class _Transforms(NamedTuple):
    """What a codec analyses and synthesises by."""

    encoder: nn.Sequential
    decoder: nn.Sequential
    down: nn.Conv2d  # the linear path, and back
    up: nn.ConvTranspose2d
    spread: list[float]  # of each code before training


def checked(channels: int, outputs: int, width: int, blocks: int, code: int | None) -> int:
    """The number of codes for a block; by default 64 per channel of the image.

    Raises:
        UsageError: an option out of range.
    """
    if outputs != channels:
        raise UsageError(
            f"outputs={outputs}: must equal the image's {channels} channels; choose a task that restores its input."
        )
    codes = SIDE * SIDE * channels if code is None else code
    for name, value, least in (("width", width, 1), ("blocks", blocks, 0), ("code", codes, 1)):
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name}={value!r}: must be a whole number of at least {least}; give e.g. --{name} 64.")
    return codes


class Blockwise(nn.Module):
    """A codec of 8×8 px to `codes` numbers and back, without the density of its codes, `prior`."""

    output: ClassVar[OutputKind] = "code"
    fixed_size: ClassVar[None] = None
    stride: ClassVar[tuple[int, int]] = (SIDE, SIDE)

    prior: Prior | Conditional

    def __init__(self, channels: int, width: int, blocks: int, codes: int) -> None:
        super().__init__()
        self.normalize = Normalize(channels)
        self.encoder, self.decoder, self.down, self.up, self.spread = _transforms(channels, width, blocks, codes)

    def analyse(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W) in [0, 1] before quantisation: (B, codes, ⌈H/8⌉, ⌈W/8⌉) float32."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
        learned = self.encoder(self.normalize(padded)).float()
        with torch.autocast(images.device.type, enabled=False):  # a level of 64 needs more than bfloat16's 8 bits
            codes: Tensor = self.down(padded.float() - self.normalize.mean) + learned
        return codes

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """The images of codes (B, codes, h, w): (B, C, *size) float32, not yet clipped to [0, 1]."""
        learned = self.decoder(codes / 4).float() * self.normalize.std
        with torch.autocast(codes.device.type, enabled=False):
            images: Tensor = self.up(codes.float()) + self.normalize.mean + learned
        return images[:, :, : size[0], : size[1]]

    def forward(self, images: Tensor, quality: Tensor | None = None) -> Tensor | Compressed:
        """Images coded and decoded, (B, C, H, W), at the middle quality.

        With qualities (B,), also the bits (B,) of each image under the learned density, in training those of noisy codes.
        """
        restored: Tensor | Compressed = self.prior(self, images, quality)
        return restored


def _transforms(channels: int, width: int, blocks: int, codes: int) -> _Transforms:
    """Strided convolutions with residual blocks to `codes` numbers for each 8×8 px and back, and a linear path.

    The linear path is a block transform that starts as the cosine transform and is learned too, so that training begins at the
    level of JPEG and the network learns to do better.
    """
    wide = 2 * width
    encoder = nn.Sequential(
        nn.Conv2d(channels, width, 8, stride=4, padding=2),
        *(_Residual(width) for _ in range(blocks)),
        nn.Conv2d(width, wide, 4, stride=2, padding=1),
        *(_Residual(wide) for _ in range(blocks)),
        nn.Conv2d(wide, codes, 3, padding=1),
    )
    decoder = nn.Sequential(
        nn.Conv2d(codes, wide, 3, padding=1),
        *(_Residual(wide) for _ in range(blocks)),
        nn.ConvTranspose2d(wide, width, 4, stride=2, padding=1),
        *(_Residual(width) for _ in range(blocks)),
        nn.ConvTranspose2d(width, channels, 8, stride=4, padding=2),
    )
    basis, frequency = _cosines(channels, codes)
    down = nn.Conv2d(channels, codes, SIDE, stride=SIDE, bias=False)
    up = nn.ConvTranspose2d(codes, channels, SIDE, stride=SIDE, bias=False)
    with torch.no_grad():
        down.weight.copy_(basis * 255 / SCALE)
        up.weight.copy_(basis * SCALE / 255)
        # the network starts as a small correction of the linear path
        for half, share in ((encoder, 0.3), (decoder, 0.1)):
            last = half[-1]
            assert isinstance(last, (nn.Conv2d, nn.ConvTranspose2d))
            last.weight.mul_(share)
    # in natural images, amplitudes fall with frequency
    spread = [16.0 if f == 0 else 0.5 if f < 0 else 4.0 * (1 + f) ** -1.2 for f in frequency]
    return _Transforms(encoder, decoder, down, up, spread)


class _Residual(nn.Module):
    """x + conv(activation(conv(x))), which starts close to x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(F.leaky_relu(self.first(features)))
        return features + added


def _cosines(channels: int, codes: int) -> tuple[Tensor, list[int]]:
    """The initial block transform, (codes, channels, 8, 8) with orthonormal rows, and each row's frequency u + v.

    The rows are cosine waves by rising frequency; for colour images each comes first with the mean of the channels, then with
    two differences between them (an orthogonal luminance and chrominance). Further codes start at zero, with frequency −1.
    """
    place = torch.arange(SIDE)
    waves = torch.cos(math.pi * (2 * place + 1) * place[:, None] / (2 * SIDE)) * math.sqrt(2 / SIDE)
    waves[0] /= math.sqrt(2)
    blocks = torch.einsum("ux,vy->uvxy", waves, waves).flatten(0, 1)  # (64, 8, 8)
    order = (place[:, None] + place).flatten().argsort(stable=True)
    mixes = torch.eye(1)
    if channels == 3:
        mixes = torch.tensor([[1.0, 1.0, 1.0], [-0.5, -0.5, 1.0], [1.0, -1.0, 0.0]])
        mixes = mixes / mixes.norm(dim=1, keepdim=True)
    rows = torch.einsum("kxy,mc->kmcxy", blocks[order], mixes).flatten(0, 1)  # (64·C, C, 8, 8)
    known = min(len(rows), codes)
    basis = torch.zeros(codes, channels, SIDE, SIDE)
    basis[:known] = rows[:known]
    sums = (place[:, None] + place).flatten()[order].repeat_interleave(channels).tolist()
    return basis, [*sums[:known], *([-1] * (codes - known))]
