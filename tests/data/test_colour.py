# SPDX-License-Identifier: Apache-2.0
"""Grey and colour, against Pillow and in both directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.colour import bytes_to_channels, luma, to_channels


def test_whole_numbers_become_grey_as_in_pillow() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(colour.transpose(1, 2, 0)).convert("L"))
    assert (bytes_to_channels(colour, 1)[0] == theirs).all()
    # floats agree up to the rounding of a grey level, and of the weights to 1/65536
    ours = luma(torch.from_numpy(colour).float().div(255))[0] * 255
    assert float((ours - torch.from_numpy(theirs.copy())).abs().max()) <= 0.51


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 1, 5, 4)])
def test_grey_survives_a_way_through_colour(shape: tuple[int, ...]) -> None:
    grey = torch.rand(shape)
    colour = to_channels(grey, 3)
    assert colour.shape[-3] == 3
    assert torch.equal(to_channels(colour, 3), colour)
    torch.testing.assert_close(to_channels(colour, 1), grey)
    if len(shape) == 3:
        whole = (grey.numpy() * 255).astype(np.uint8)
        assert (bytes_to_channels(bytes_to_channels(whole, 3), 1) == whole).all()
