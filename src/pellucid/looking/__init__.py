# SPDX-License-Identifier: Apache-2.0
"""From a run, a model or a training that has not begun to a lens, and from its view to files."""

__all__: list[str] = []
