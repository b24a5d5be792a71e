# SPDX-License-Identifier: Apache-2.0
"""From files to batches: datasets opened, split, decoded, augmented and corrupted; no model and no task is known here."""

from pellucid.data.dataset import Batch, Dataset, Images, Pixels, Split
from pellucid.data.opening import open

__all__ = ["Batch", "Dataset", "Images", "Pixels", "Split", "open"]
