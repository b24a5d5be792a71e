# SPDX-License-Identifier: Apache-2.0
"""A function applied again and again: fixed points, cycles, basins of attraction.

`function` evaluates it in float64 and with 60 digits. On it build `points` (fixed points and cycles, and whether they attract), `basins`
(where each start ends up) and `escape` (how near to a repelling point a start still gets away). `iteration` collects all of it in a
`study`, which prints and draws it. Imports `expressions` and `notation`.
"""

__all__: list[str] = []
