# SPDX-License-Identifier: Apache-2.0
"""confusion: which classes are taken for which."""

from pellucid.lenses.confusion.confusion import Confusion

__all__ = ["Confusion"]
