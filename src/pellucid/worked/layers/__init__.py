# SPDX-License-Identifier: Apache-2.0
"""Layer tables: sizes, parameters and operations, each with its formula."""

__all__: list[str] = []
