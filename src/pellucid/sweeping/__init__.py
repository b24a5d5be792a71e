# SPDX-License-Identifier: Apache-2.0
"""Every combination of lists of options: which trainings these are, and what came of them."""

__all__: list[str] = []
