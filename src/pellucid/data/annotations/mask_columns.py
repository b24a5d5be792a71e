# SPDX-License-Identifier: Apache-2.0
"""Masks that the rows of a table name or hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pellucid.data.annotations.mask_contents import looked_at
from pellucid.data.annotations.mask_files import MaskFile
from pellucid.data.annotations.mask_values import decide
from pellucid.data.dataset import Split
from pellucid.data.decoding import Source, fault_sentence, scan
from pellucid.data.masks import Masks
from pellucid.errors import DataError

__all__ = ["with_masks"]


def with_masks(
    splits: Mapping[str, Split], masks: Mapping[str, Sequence[Source]], where: str
) -> tuple[dict[str, Split], tuple[str, ...], tuple[str, ...]]:
    """The splits with their masks as targets, the names of the classes, and notes in sentences.

    Args:
        splits: images with their other targets.
        masks: of each image, by split: paths, or files' bytes.
        where: the dataset's name, for errors.

    Raises:
        DataError: a mask cannot be read, holds no classes, or differs in size from its image.
    """
    every = [*chain.from_iterable(masks.values())]
    if not every:
        return dict(splits), (), ()
    names = [one.name if isinstance(one, Path) else f"mask {i}" for own in masks.values() for i, one in enumerate(own)]
    scanned = scan(every, names)
    sizes = [size for part in masks for size in splits[part].images.sizes.tolist()]
    for i, ((own_height, own_width), (height, width)) in enumerate(zip(scanned.sizes.tolist(), sizes, strict=True)):
        if i not in scanned.problems and (own_height, own_width) != (height, width):
            raise DataError(
                f"mask={names[i]!r}: is {own_height}×{own_width} px, its image {height}×{width}; give a mask of the image's size."
            )
    contents = looked_at(every, scanned)
    good = []
    for i, held in enumerate(contents):
        if held is None:
            raise DataError(scanned.problems.get(i) or fault_sentence(every[i], names[i], ValueError("it is no mask")))
        good.append(held)
    decided = decide(good, names, None, where)
    files = iter(
        MaskFile(source, name, (int(height), int(width)), digest, decided.table)
        for source, name, (height, width), digest in zip(
            every, names, scanned.sizes.tolist(), scanned.digests, strict=True
        )
    )
    done = dict(splits)
    for part, sources in masks.items():
        made = [next(files) for _ in sources]
        done[part] = replace(splits[part], targets={**splits[part].targets, "mask": Masks([*made])})
    return done, decided.classes, decided.notes
