# SPDX-License-Identifier: Apache-2.0
"""filters: what the layers have learned to look for (Krizhevsky et al. 2012, fig. 3; Zeiler & Fergus 2014, section 4)."""

from pellucid.lenses.filters.filters import Filters

__all__ = ["Filters"]
