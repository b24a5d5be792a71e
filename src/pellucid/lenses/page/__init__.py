# SPDX-License-Identifier: Apache-2.0
"""page: the way of a photographed page to its text, letter by letter."""

from pellucid.lenses.page.page import Page

__all__ = ["Page"]
