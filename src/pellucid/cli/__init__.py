# SPDX-License-Identifier: Apache-2.0
"""The command line, composed from the signatures of what it calls."""

__all__: list[str] = []
