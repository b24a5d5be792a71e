# SPDX-License-Identifier: Apache-2.0
"""generate: what else could have been among these pictures?"""

from pellucid.tasks.generate.generate import Generate

__all__ = ["Generate"]
