# SPDX-License-Identifier: Apache-2.0
"""A heat map for each point, on the maps of a backbone."""

from pellucid.models.heatmap.heatmap import Heatmap

__all__ = ["Heatmap"]
