# SPDX-License-Identifier: Apache-2.0
"""unet: an encoder and a decoder with skip connections, plain or for images with holes."""

from pellucid.models.unet.unet import Unet

__all__ = ["Unet"]
