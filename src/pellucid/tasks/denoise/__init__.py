# SPDX-License-Identifier: Apache-2.0
"""denoise: what does a noisy picture look like without its noise?"""

from pellucid.tasks.denoise.denoise import Denoise

__all__ = ["Denoise"]
