# SPDX-License-Identifier: Apache-2.0
"""Simple methods in the network's place: on letters prepared as for it, and on pages that are searched as for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label, Text, target_of
from pellucid.tasks._records import Records
from pellucid.tasks.classify import Classify
from pellucid.tasks.read import metrics, page, tesseract
from pellucid.tasks.read.answers import page_of
from pellucid.tasks.read.crops import Look
from pellucid.tasks.read.placing import places_of
from pellucid.tasks.read.preparing import prepared
from pellucid.tasks.read.varying import Varying

__all__ = ["measured", "nearest", "on_pages", "seen"]

_SIDE = 24  # px: letters are seen as small pictures
_AT_ONCE = 512
_NEIGHBOURS = 5
_KNOWN = 20_000  # training letters among which neighbours of a page's letters are looked for, at most


def measured(train: Split, test: Split, seed: int) -> Mapping[str, Records]:
    """The records of the majority class, nearest neighbours and logistic regression."""
    if not len(train):
        return {}
    return Classify().baselines(seen(train), seen(test), (_SIDE, _SIDE), seed)


def seen(split: Split) -> Split:
    """The same letters as pictures of their ink, (1, 24, 24)."""
    pictures = np.zeros((len(split), 1, _SIDE, _SIDE), np.uint8)
    for batch in own_size_batches(split, 1, _AT_ONCE):
        ink = prepared(batch.images.float() / 255, (_SIDE, _SIDE))
        pictures[batch.index.numpy()] = (ink * 255).round().to(torch.uint8).numpy()
    return replace(split, images=Pixels(pictures))


# -- pages


def on_pages(
    train: Split | None, pages: Split, classes: Sequence[str], strange: Varying, seed: int
) -> tuple[dict[str, Records], list[str]]:
    """The records of nearest neighbours, and of Tesseract where it is installed, on pages; and sentences on what is missing.

    Args:
        train: the letters that the network learned from; None where they are not at hand.
        pages: with their texts.
        classes: the names of the letters.
        strange: how pictures of no letter come about.
        seed: of their chances.
    """
    texts = target_of(pages.targets, "text", Text).lines
    images = [pages.images.read(i, 1)[0] for i in range(len(pages))]
    found: dict[str, Records] = {}
    said = []
    if train is None or not len(train):
        said.append("Nearest neighbours are not measured: the run's own training letters are not at hand.")
    else:
        look = nearest(train, len(classes), strange, seed)
        read = [page_of(page.read(image, look, places_of(classes)), classes) for image in images]
        found[f"{_NEIGHBOURS} nearest neighbours"] = metrics.columns(read, texts, classes)
    name = tesseract.version()
    if name is None:
        said.append(
            "Tesseract is not measured: there is no program `tesseract` here (Debian's package tesseract-ocr has it)."
        )
        return found, said
    answers = [tesseract.text(image) for image in images]
    if failed := [fault for fault, _ in answers if fault]:
        said.append(f"{name} is not measured: {failed[0]}")
    else:
        found[name] = metrics.columns_of_texts([text for _, text in answers], texts, classes)
    return found, said


def nearest(train: Split, classes: int, strange: Varying, seed: int) -> Look:
    """What the nearest training letters say of crops: the shares of the classes, and of pictures of no letter, among five.

    Pictures of no letter are as many beside the letters as in the network's training.
    """
    rng = np.random.default_rng(seed)
    known = seen(train.select(np.sort(rng.permutation(len(train))[:_KNOWN])))
    ink = torch.from_numpy(np.stack([known.images.read(i, 1) for i in range(len(known))])).float() / 255  # (N, 1, s, s)
    labels = target_of(known.targets, "label", Label).index
    odd = round(strange.strange / (1 - strange.strange) * len(ink))
    if odd:
        chosen = torch.from_numpy(rng.choice(len(ink), odd))
        pictures, _ = replace(strange, strange=1.0)(ink[chosen], Draws.images(seed, torch.arange(odd)))
        ink, labels = torch.cat([ink, pictures]), torch.cat([labels, torch.full((odd,), classes)])
    bank, answers = ink.flatten(1), F.one_hot(labels, classes + 1).float()

    def look(crops: Tensor) -> Tensor:
        own = prepared(crops, (_SIDE, _SIDE)).flatten(1)
        near = torch.cdist(own, bank).topk(min(_NEIGHBOURS, len(bank)), largest=False).indices  # (n, 5)
        return answers[near].mean(1)

    return look
