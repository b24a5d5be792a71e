# SPDX-License-Identifier: Apache-2.0
"""The convolutional codec with a factorised prior (Ballé, Laparra & Simoncelli 2017; Ballé et al. 2018)."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._contract import Compressed, OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior, trade_offs

__all__ = ["Factorized"]

_SIDE = 8  # px: each code represents a block of 8×8
_SCALE = 16.0  # grey levels of a coefficient, per unit of a code


@final
class Factorized(nn.Module):
    """Strided convolutions with residual blocks to `code` numbers for each 8×8 px, quantised, and back.

    A linear path runs in parallel: an 8×8 block transform that starts as the cosine transform and is learned too, so that
    training begins at the level of JPEG and the network learns to do better. Any image size works: images are padded by
    their edges, and outputs cropped.

    >>> model = Factorized(1, 1, (64, 64), width=8, blocks=1).eval()
    >>> images = torch.rand(2, 1, 30, 44)
    >>> model.analyse(images).shape, model(images).shape
    (torch.Size([2, 64, 4, 6]), torch.Size([2, 1, 30, 44]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output, the same number.
        size: (H, W) of the training images in px; any size works.
        width: channels at a quarter of the image's resolution; twice as many at an eighth.
        blocks: residual blocks at each of the two scales, in the encoder and in the decoder.
        code: channels of the code; by default 64 per channel of the image.
        qualities: number of rates that the model learns.
        lowest: λ of the lowest quality, the bits per pixel that a squared error of one grey level (of 255) is worth.
        highest: λ of the highest quality.

    Raises:
        UsageError: an option out of range.
    """

    output: ClassVar[OutputKind] = "code"
    fixed_size: ClassVar[None] = None
    stride: ClassVar[tuple[int, int]] = (_SIDE, _SIDE)

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        width: int = 64,
        blocks: int = 1,
        code: int | None = None,
        qualities: int = 8,
        lowest: float = 0.0008,
        highest: float = 0.15,
    ) -> None:
        super().__init__()
        if outputs != channels:
            raise UsageError(
                f"outputs={outputs}: must equal the image's {channels} channels; choose a task that restores its input."
            )
        codes = _SIDE * _SIDE * channels if code is None else code
        for name, value, least in (("width", width, 1), ("blocks", blocks, 0), ("code", codes, 1)):
            if not isinstance(value, int) or value < least:
                raise UsageError(
                    f"{name}={value!r}: must be a whole number of at least {least}; give e.g. --{name} 64."
                )
        self.normalize = Normalize(channels)
        wide = 2 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 8, stride=4, padding=2),
            *(_Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, wide, 4, stride=2, padding=1),
            *(_Residual(wide) for _ in range(blocks)),
            nn.Conv2d(wide, codes, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(codes, wide, 3, padding=1),
            *(_Residual(wide) for _ in range(blocks)),
            nn.ConvTranspose2d(wide, width, 4, stride=2, padding=1),
            *(_Residual(width) for _ in range(blocks)),
            nn.ConvTranspose2d(width, outputs, 8, stride=4, padding=2),
        )
        basis, frequency = _cosines(channels, codes)
        self.down = nn.Conv2d(channels, codes, _SIDE, stride=_SIDE, bias=False)
        self.up = nn.ConvTranspose2d(codes, outputs, _SIDE, stride=_SIDE, bias=False)
        with torch.no_grad():
            self.down.weight.copy_(basis * 255 / _SCALE)
            self.up.weight.copy_(basis * _SCALE / 255)
            # the network starts as a small correction of the linear path
            for half, share in ((self.encoder, 0.3), (self.decoder, 0.1)):
                last = half[-1]
                assert isinstance(last, (nn.Conv2d, nn.ConvTranspose2d))
                last.weight.mul_(share)
        # in natural images, amplitudes fall with frequency
        spread = [16.0 if f == 0 else 0.5 if f < 0 else 4.0 * (1 + f) ** -1.2 for f in frequency]
        self.prior = Prior(codes, trade_offs(lowest, highest, qualities), spread, scale=1 / _SCALE)

    def analyse(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W) in [0, 1] before quantisation: (B, code, ⌈H/8⌉, ⌈W/8⌉) float32."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
        learned = self.encoder(self.normalize(padded)).float()
        with torch.autocast(images.device.type, enabled=False):  # a level of 64 needs more than bfloat16's 8 bits
            codes: Tensor = self.down(padded.float() - self.normalize.mean) + learned
        return codes

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """The images of codes (B, code, h, w): (B, C, *size) float32, not yet clipped to [0, 1]."""
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
    place = torch.arange(_SIDE)
    waves = torch.cos(math.pi * (2 * place + 1) * place[:, None] / (2 * _SIDE)) * math.sqrt(2 / _SIDE)
    waves[0] /= math.sqrt(2)
    blocks = torch.einsum("ux,vy->uvxy", waves, waves).flatten(0, 1)  # (64, 8, 8)
    order = (place[:, None] + place).flatten().argsort(stable=True)
    mixes = torch.eye(1)
    if channels == 3:
        mixes = torch.tensor([[1.0, 1.0, 1.0], [-0.5, -0.5, 1.0], [1.0, -1.0, 0.0]])
        mixes = mixes / mixes.norm(dim=1, keepdim=True)
    rows = torch.einsum("kxy,mc->kmcxy", blocks[order], mixes).flatten(0, 1)  # (64·C, C, 8, 8)
    known = min(len(rows), codes)
    basis = torch.zeros(codes, channels, _SIDE, _SIDE)
    basis[:known] = rows[:known]
    sums = (place[:, None] + place).flatten()[order].repeat_interleave(channels).tolist()
    return basis, [*sums[:known], *([-1] * (codes - known))]
