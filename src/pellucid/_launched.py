# SPDX-License-Identifier: Apache-2.0
"""What the launcher of several processes, torchrun or Accelerate, has told this one."""

from __future__ import annotations

import os

__all__ = ["first_process", "launched", "on_this_machine"]


def launched() -> int:
    """How many processes were started together.

    >>> launched()
    1
    """
    return _number("WORLD_SIZE", 1)


def first_process() -> bool:
    """Whether this process is the one that speaks for all.

    >>> first_process()
    True
    """
    return launched() == 1 or _number("RANK", 0) == 0


def on_this_machine() -> int:
    """How many of the processes share the machine's memory.

    >>> on_this_machine()
    1
    """
    return _number("LOCAL_WORLD_SIZE", 1)


def _number(name: str, usual: int) -> int:
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() else usual
