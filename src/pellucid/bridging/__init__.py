# SPDX-License-Identifier: Apache-2.0
"""From torch modules to worksheets, layer tables and gradient checks."""

__all__: list[str] = []
