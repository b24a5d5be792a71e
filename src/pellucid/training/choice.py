# SPDX-License-Identifier: Apache-2.0
"""In which number format and memory layout, and on how many threads, a model is trained; and how that was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, final

import torch
from torch import nn

from pellucid import _processor
from pellucid.training.recipe import Recipe

__all__ = ["Choice"]

_PRECISIONS = ("fp32", "bf16")
_LAYOUTS = ("contiguous_format", "channels_last")


@final
@dataclass(frozen=True)
class Choice:
    """How a model's steps are computed.

    >>> choice = Choice.usual(Recipe(precision="bf16"), nn.Linear(2, 2), torch.device("cpu"))
    >>> choice.bfloat16, choice.channels_last, choice.how
    (True, False, 'rule')
    """

    bfloat16: bool
    channels_last: bool
    threads: int
    how: str = "rule"  # or "measured", or "cached": measured by an earlier training
    found: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what was measured, as JSON

    @classmethod
    def usual(cls, recipe: Recipe, model: nn.Module, device: torch.device) -> Self:
        """What the recipe's options say, and the processor's instructions where they leave it open."""
        last = recipe.memory_format(model, device) == torch.channels_last
        return cls(recipe.bfloat16(model, device), last, torch.get_num_threads())

    @classmethod
    def of(cls, facts: Any) -> Self:
        """A choice from its facts.

        Raises:
            ValueError: they are not those of a choice.
        """
        if not isinstance(facts, Mapping):
            raise ValueError("is no object")
        facts = dict(facts)
        precision, layout, threads = (facts.pop(name, None) for name in ("precision", "memory_format", "threads"))
        how = facts.pop("how", None)
        known = precision in _PRECISIONS and layout in _LAYOUTS and how in ("rule", "measured", "cached")
        if not known or type(threads) is not int or threads < 1:
            raise ValueError(f"holds {precision!r}, {layout!r}, {threads!r} and {how!r}")
        answers = facts.get("answers", {"memory_format": layout})
        if not isinstance(answers, Mapping) or answers.get("memory_format") not in _LAYOUTS:
            raise ValueError(f"holds {answers!r} of the answers")
        return cls(precision == "bf16", layout == "channels_last", threads, str(how), facts)

    @classmethod
    def recorded(cls, record: Mapping[str, Any], device: torch.device) -> Self | None:
        """The choice in a run's record, where it was made for this kind of device and processor; else None."""
        then = record["environment"]
        if "choice" not in record or then["device"] != device.type:
            return None
        if device.type == "cpu" and (then.get("processor"), then.get("instructions")) != (
            _processor.name(),
            _processor.instructions(),
        ):
            return None  # its numbers would not be the same bit for bit anyway
        try:
            return cls.of(record["choice"])
        except ValueError:
            return None

    @property
    def facts(self) -> dict[str, Any]:
        """The choice as JSON."""
        precision, layout = _PRECISIONS[self.bfloat16], _LAYOUTS[self.channels_last]
        own = {"precision": precision, "memory_format": layout, "threads": self.threads}
        return {"how": self.how, **own, **self.found}

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def title(self) -> str:
        """The number format and the layout in words.

        >>> Choice(bfloat16=False, channels_last=True, threads=1).title
        'fp32, channels-last'
        """
        return f"{_PRECISIONS[self.bfloat16]}, {'channels-last' if self.channels_last else 'contiguous'}"

    @property
    def sentence(self) -> str:
        """What was measured; "" where nothing was."""
        if not (seconds := self.found.get("seconds")):
            return ""
        when = "measured on this machine" if self.how == "measured" else "measured earlier on this machine"
        others = "; ".join(f"{name} {value:.3g} s" for name, value in seconds.items() if name != self.title)
        images, own = self.found["images"], seconds[self.title]
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if "threads_seconds" in self.found else ""
        return f"{when}: {self.title}{threads}: a step of {images} images takes {own:.3g} s ({others})"

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within the block, torch computes on so many threads, as far as this process has them."""
        before = torch.get_num_threads()
        if self.threads < before:
            torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)
