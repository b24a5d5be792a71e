# SPDX-License-Identifier: Apache-2.0
"""Annotations as YOLO."""

from pellucid.data.formats.yolo.yolo import FORM, fits, read

__all__ = ["FORM", "fits", "read"]
