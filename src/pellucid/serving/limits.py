# SPDX-License-Identifier: Apache-2.0
"""What one request may take, and the refusal of one that takes more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["Limits", "Refused"]


@final
class Refused(Exception):
    """A request that is not answered; the sentence says why and the way out.

    >>> refused = Refused(413, "body: is larger than 10 bytes; send less at a time.")
    >>> refused.status, str(refused)
    (413, 'body: is larger than 10 bytes; send less at a time.')
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@final
@dataclass(frozen=True)
class Limits:
    """Bounds of a request, each of them checked before the work that it bounds."""

    upload: int = 32 << 20
    """bytes of a request"""
    held: int = 256 << 20
    """bytes of all requests that are in memory at a time"""
    idle: float = 10.0
    """seconds without a byte of a request that has begun"""
    seconds: float = 60.0
    """seconds in which a request must have come"""
    images: int = 64
    """images of a request"""
    pixels: int = 50_000_000
    """px of a request's images together, as their headers tell them; also of the images that are answered together"""
    answer: float = 120.0
    """seconds that a request may wait for its answer"""
    looks: int = 8
    """looks through lenses that may wait for their turn"""
    sheet: int = 100_000
    """bytes of a worksheet, and of answers to it"""
    solve: float = 10.0
    """seconds in which a worksheet must be solved"""
