# SPDX-License-Identifier: Apache-2.0
"""Pages with texts as data: nothing is trained on them, so that all are for testing where nothing splits them."""

from __future__ import annotations

from pellucid.data.dataset import Dataset, Split
from pellucid.data.joining import put_together
from pellucid.data.splitting import fingerprint

__all__ = ["held_out"]


def held_out(data: Dataset) -> Dataset:
    """The pages with all of them in the test split, where their splits were only cut from them.

    Pages that lie in folders of two splits or more, or are named by lists of them, stay as they are.
    """
    named = {one.part for split in data.splits.values() for one in split.annotations}
    if not data.cut or len(named) != 1:
        return data
    whole = put_together([*data.splits.values()])
    empty = whole.select([])
    splits: dict[str, Split] = {"train": empty, "val": empty, "test": whole}
    count = "The only page is" if len(whole) == 1 else f"All {len(whole):,} pages are"
    note = f"{count} measured: no letter is learned from pages, so that none is set aside for training."
    return data.replace(splits=splits, cut="", notes=(*data.notes, note), fingerprint=fingerprint(splits, data.classes))
