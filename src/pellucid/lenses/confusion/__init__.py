# SPDX-License-Identifier: Apache-2.0
"""confusion: which classes are confused with which."""

from pellucid.lenses.confusion.confusion import Confusion

__all__ = ["Confusion"]
