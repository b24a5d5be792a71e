# SPDX-License-Identifier: Apache-2.0
"""Text files damaged by seed: bytes changed, words exchanged, removed or repeated, the end cut off."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

__all__ = ["mutated"]


def mutated(content: bytes, draw: random.Random, words: Sequence[bytes]) -> bytes:
    """A file after one to three changes of its bytes or words; `words` are what may be put in."""
    for _ in range(draw.randint(1, 3)):
        tokens = re.split(rb"(\W)", content)
        at = draw.randrange(len(tokens))
        kind = draw.randrange(6)
        if kind == 0:
            tokens[at] = draw.choice(words)
        elif kind == 1:
            tokens[at : at + draw.randint(1, 8)] = []
        elif kind == 2:
            other = draw.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 3:
            tokens[at:at] = tokens[at : at + draw.randint(1, 20)] * draw.randint(1, 3)
        content = b"".join(tokens)
        place = draw.randrange(len(content) + 1)
        if kind == 4:
            content = content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        elif kind == 5:
            content = content[:place]
    return content
