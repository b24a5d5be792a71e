# SPDX-License-Identifier: Apache-2.0
"""Datasets that need no network.

`embedded` names them all and holds the real ones, from images that scikit-learn, scikit-image and matplotlib ship. `scenes`
and `glyphs` are drawn, each by its own module: shapes with boxes, masks and keypoints that are known exactly, and letters
rendered from matplotlib's fonts.
"""

__all__: list[str] = []
