# SPDX-License-Identifier: Apache-2.0
"""Worksheets with something wrong: pieces put in, taken out or copied, and numbers far from those that were meant."""

from __future__ import annotations

import random
import re

PIECES = [
    *"|^{}(]_Σ²½√⊤eT=;?d∂@%$&₁,:\n",
    r"\frac", r"\hat", r"\sum", r"\begin{cases}", r"\end{cases}", "..", "for", "if", "1/0", "1e300", "softmax", "axis=", "ₜ₋₁", "^{(",
    "adamw", "sgd(", "piecewise(", "1..9",
]  # fmt: skip
NUMBERS = ("0", "-1", "1e-300", "1e300", "-900", "40", "1e-12", "0.5")


def mutated(text: str, rng: random.Random) -> str:
    """A text with pieces put in, taken out or copied."""
    for _ in range(rng.randint(1, 3)):
        here, other = sorted(rng.choices(range(len(text) + 1), k=2))
        text = rng.choice(
            [
                text[:here] + rng.choice(PIECES) + text[here:],
                text[:here] + text[here + rng.randint(1, 3) :],
                text[:here] + text[other : other + 5] + text[here:],
            ]
        )
    return text


def with_other_numbers(text: str, rng: random.Random) -> str:
    """A sheet with some of its numbers much larger, smaller, negative or 0."""
    return re.sub(
        r"(?<![\w.])\d+(\.\d+)?(?![\w.])", lambda m: rng.choice(NUMBERS) if rng.random() < 0.4 else m[0], text
    )
