# SPDX-License-Identifier: Apache-2.0
"""Annotations as Pascal VOC."""

from pellucid.data.formats.voc.voc import FORM, fits, mask_folder, read

__all__ = ["FORM", "fits", "mask_folder", "read"]
