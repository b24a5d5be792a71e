# SPDX-License-Identifier: Apache-2.0
"""Worksheets: equations and questions in, checked answers out.

`worksheet` collects equations and questions, `tensors` and `windows` put arrays into it, `writing` turns it back into text. Solving
goes `checked_numbers` (every value, checked by `verifying`) -> `graph` (the chain rule) -> `answering`, `updating` (the lines of an
answer, with the remarks of `branches`) -> `solution`, which people hold. Above `expressions`, `notation` and `showing`.
"""

__all__: list[str] = []
