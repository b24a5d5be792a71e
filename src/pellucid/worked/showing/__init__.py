# SPDX-License-Identifier: Apache-2.0
"""Solutions as text: what an answer consists of, and how it looks in each format.

`lines` defines the parts of an answer (a line with its check, a remark, a heading) and `numerals` how numbers and names are written.
`typesetting` turns expressions into mathematics and leaves the look to one subclass a format: `terminal`, `latex` (with Markdown),
`html`. `json` and `grids` (matrices and tables) build on them; `showing.show` picks a format by name. Imports `expressions` alone.
"""

__all__: list[str] = []
