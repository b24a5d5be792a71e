# SPDX-License-Identifier: Apache-2.0
"""One reader a file: folders, tables, idx, MATLAB, arrays, and the hub."""

__all__: list[str] = []
