# SPDX-License-Identifier: Apache-2.0
"""A network in NumPy: forward, backward, updates, and gradient checks."""

__all__: list[str] = []
