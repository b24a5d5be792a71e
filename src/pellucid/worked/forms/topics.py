# SPDX-License-Identifier: Apache-2.0
"""`pellucid work --list`: every word after `pellucid work` below its topic, with the question that it answers."""

from __future__ import annotations

import shutil
import textwrap
from typing import Final

from pellucid import _catalog
from pellucid.worked.forms.contract import Form

__all__ = ["TOPICS", "by_topic", "listing"]

TOPICS: Final = (
    "multilayer perceptrons",
    "softmax and cross-entropy",
    "convolution",
    "pooling and upsampling",
    "recurrent networks",
    "attention",
    "optimisers",
    "regularisation and normalisation",
    "autoencoders and compression",
    "generative models",
    "detection and segmentation",
    "clustering and embedding",
    "functions and derivatives",
    "other",
)


def by_topic() -> dict[str, dict[str, str]]:
    """The question of each word, below its topic; topics in the order of a course.

    >>> by_topic()["optimisers"]
    {'optimizer': 'What are the first steps of SGD, momentum, Nesterov, Adam and others, and how far do they get?'}
    """
    found: dict[str, dict[str, str]] = {topic: {} for topic in TOPICS}
    for name in _catalog.names("worked/builders"):
        kind: type[Form] = _catalog.find("worked/builders", name)
        found[kind.topic][name] = kind.question
    return {topic: words for topic, words in found.items() if words}


def listing() -> str:
    """The list as it is printed.

    >>> print(listing().splitlines()[0])
    multilayer perceptrons
    """
    topics = by_topic()
    width = shutil.get_terminal_size().columns
    column = max(len(name) for words in topics.values() for name in words) + 2
    lines = []
    for topic, words in topics.items():
        lines.append(topic)
        for name, question in words.items():
            first, after = f"  {name.replace('_', '-'):{column}}", " " * (column + 2)
            filled = textwrap.fill(question, width, initial_indent=first, subsequent_indent=after)
            lines.append(filled or first.rstrip())  # one's own builder may name no question
    return "\n".join(lines)
