# SPDX-License-Identifier: Apache-2.0
"""Several runs side by side: measures, times, and whether a difference is real."""

__all__: list[str] = []
