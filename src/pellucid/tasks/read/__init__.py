# SPDX-License-Identifier: Apache-2.0
"""read: which text does a photographed page show, letter by letter?"""

from pellucid.tasks.read.read import Read

__all__ = ["Read"]
