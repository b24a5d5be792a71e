# SPDX-License-Identifier: Apache-2.0
"""Files to batches: knows no model and no task."""

from pellucid.data.dataset import Batch, Dataset, Images, Pixels, Split
from pellucid.data.opening import open

__all__ = ["Batch", "Dataset", "Images", "Pixels", "Split", "open"]
