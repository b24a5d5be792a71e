# SPDX-License-Identifier: Apache-2.0
"""pix2pix: a network that paints pictures, and a critic that judges them."""

from pellucid.models.pix2pix.pix2pix import Pix2pix

__all__ = ["Pix2pix"]
