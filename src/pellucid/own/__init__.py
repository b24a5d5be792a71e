# SPDX-License-Identifier: Apache-2.0
"""Parts of the user's own, a model or a task, that no folder here holds: taken, named, recorded, and found again.

`parts` keeps what was given in this process; `sources` reads the text that a run records; `files` opens FILE.py:NAME, and
imports what is installed. A run's record is text: nothing here executes it.
"""

__all__: list[str] = []
