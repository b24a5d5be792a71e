# SPDX-License-Identifier: Apache-2.0
"""occlusion: what happens to the answer when a part of the image is covered (Zeiler & Fergus 2014, section 4.2)."""

from pellucid.lenses.occlusion.occlusion import Occlusion

__all__ = ["Occlusion"]
