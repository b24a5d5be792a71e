# SPDX-License-Identifier: Apache-2.0
"""lama: a network whose view is the whole picture, by Fourier or dilated convolutions."""

from pellucid.models.lama.lama import Lama

__all__ = ["Lama"]
