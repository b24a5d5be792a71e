# SPDX-License-Identifier: Apache-2.0
"""The notation of worksheets: from text, or from Python, to expressions.

A text goes through `tokens` (words with line and column) -> `parser` (expressions) -> `notation` (the `statements`: equations as
written, questions) -> `expansion` (loops, sums and the `arrays` written out as scalars). `operations` are the functions for use in
Python; `questions` is what can be asked. Imports `expressions` alone.
"""

__all__: list[str] = []
