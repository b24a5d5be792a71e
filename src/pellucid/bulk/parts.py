# SPDX-License-Identifier: Apache-2.0
"""What travels between the process that asks and those that answer: which images, how they are to be answered, and the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Self, TypeAlias, final

__all__ = ["SHARD", "Answered", "Engine", "Item", "Kind", "Part", "Setup", "planned"]

SHARD = 512  # images of a shard, about: a worker's answers are lost until its shard is whole

Kind: TypeAlias = Literal["file", "address", "row"]


class Item(NamedTuple):
    """An image: a file's absolute path, an address such as `s3://bucket/a.jpg`, or a row of a Parquet file, `table.parquet#7`."""

    kind: Kind
    key: str
    name: str


@final
@dataclass(frozen=True)
class Part:
    """The images of a shard, in the groups that are answered together."""

    number: int
    groups: Sequence[Sequence[Item]]

    @property
    def items(self) -> list[Item]:
        """All images, in their order."""
        return [item for group in self.groups for item in group]

    def text(self) -> str:
        """As JSON."""
        return json.dumps([self.number, self.groups])

    @classmethod
    def of(cls, text: str) -> Self:
        """From JSON.

        >>> part = Part(3, [[Item("file", "/in/a.png", "a.png")]])
        >>> Part.of(part.text()) == part
        True
        """
        number, groups = json.loads(text)
        return cls(number, [[Item(*item) for item in group] for group in groups])


@final
@dataclass(frozen=True)
class Setup:
    """What a worker needs to answer as this process would: the run's files, which travel too, and what is asked."""

    files: Mapping[str, bytes] = field(repr=False)  # of the run's folder
    options: Mapping[str, Any]  # of the task
    views: Sequence[str | float]
    batch_size: int
    count: int  # images in all
    mark: str  # that each shard bears
    model: str | None = None  # FILE.py:NAME of the user's own
    task: str | None = None


@final
@dataclass(frozen=True)
class Answered:
    """A shard: the content of a Parquet file, and what is to be told of it."""

    number: int
    content: bytes = field(repr=False)
    images: int
    faults: int
    fault: str = ""  # the first one
    worker: str = ""  # its machine and process
    memory: int = 0  # bytes: the peak of the worker's process so far
    processor: float = 0.0  # seconds of processor time that this part took
    warnings: Sequence[str] = ()

    def facts(self) -> str:
        """All but the content, as JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "content"})

    @classmethod
    def of(cls, facts: str, content: bytes) -> Self:
        """From its parts."""
        return cls(content=content, **json.loads(facts))


Engine: TypeAlias = Callable[[Sequence[Part], Setup, "int | None"], Iterator[Answered]]
"""From the parts to their answers, in any order, by so many workers."""


def planned(items: Sequence[Item], batch_size: int, done: frozenset[str] = frozenset()) -> list[Part]:
    """The shards of what is still to be answered.

    Images keep their places: those that one machine would answer together come together here, also after some were answered.

    >>> items = [Item("file", f"/in/{k}.png", f"{k}.png") for k in range(5)]
    >>> [[item.name for item in group] for group in planned(items, 2, frozenset({"/in/2.png"}))[0].groups]
    [['0.png', '1.png'], ['3.png'], ['4.png']]
    """
    groups = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    each = max(1, SHARD // batch_size)
    parts = []
    for start in range(0, len(groups), each):
        left = [[item for item in group if item.key not in done] for group in groups[start : start + each]]
        if any(left):
            parts.append(Part(start // each, [group for group in left if group]))
    return parts
