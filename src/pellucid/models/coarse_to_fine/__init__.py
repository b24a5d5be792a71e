# SPDX-License-Identifier: Apache-2.0
"""coarse_to_fine: a coarse network, and one that refines its answer with patches found elsewhere in the picture."""

from pellucid.models.coarse_to_fine.coarse_to_fine import CoarseToFine

__all__ = ["CoarseToFine"]
