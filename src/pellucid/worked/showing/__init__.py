# SPDX-License-Identifier: Apache-2.0
"""Lines shown on a terminal, and as Markdown, LaTeX, HTML and JSON."""

__all__: list[str] = []
