# SPDX-License-Identifier: Apache-2.0
"""generate: what would more pictures like these look like?"""

from pellucid.tasks.generate.generate import Generate

__all__ = ["Generate"]
