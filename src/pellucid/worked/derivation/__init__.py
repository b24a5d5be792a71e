# SPDX-License-Identifier: Apache-2.0
"""Derivations and proofs of gradients with indices."""

__all__: list[str] = []
