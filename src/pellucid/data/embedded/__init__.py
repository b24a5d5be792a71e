# SPDX-License-Identifier: Apache-2.0
"""Datasets that need no network: real ones that installed libraries carry, and drawn ones."""

__all__: list[str] = []
