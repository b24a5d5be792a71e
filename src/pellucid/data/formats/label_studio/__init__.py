# SPDX-License-Identifier: Apache-2.0
"""Annotations as Label Studio exports them: JSON and JSON-MIN."""

from pellucid.data.formats.label_studio.label_studio import FORM, fits, read

__all__ = ["FORM", "fits", "read"]
