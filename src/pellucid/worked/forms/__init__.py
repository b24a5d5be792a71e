# SPDX-License-Identifier: Apache-2.0
"""The forms of `pellucid work`: a worksheet from a file, or from a builder's options."""

__all__: list[str] = []
