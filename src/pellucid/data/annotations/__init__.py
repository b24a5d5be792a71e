# SPDX-License-Identifier: Apache-2.0
"""Annotated images: what readers of every form give, how it is mended, and how it becomes a dataset.

A reader (`data/formats/coco.py`, `voc.py`, …) turns files into `Annotations`: for every image its instances, in the numbers that
are written there. `choosing` finds the reader that fits a folder, `assembling` compares the numbers with the images, mends what
can be mended, says so, and makes the targets.
"""

from pellucid.data.annotations.records import Annotated, Annotations, Instance, RunLengths

__all__ = ["Annotated", "Annotations", "Instance", "RunLengths"]
