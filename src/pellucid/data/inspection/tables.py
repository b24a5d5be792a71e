# SPDX-License-Identifier: Apache-2.0
"""The tables that an inspection is printed as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from pellucid.data.inspection.counting import SMALL, Keypoints, Objects, Regions, Texts
from pellucid.data.problems import counted

__all__ = ["keypoint_table", "label_table", "object_table", "region_table", "size_table", "split_table", "text_table"]

_CLASSES = 60  # lines printed at most
_NAMES = 24  # of keypoints, listed at most
_BAR = 20  # characters of the longest bar


def split_table(images: Mapping[str, int], sizes: Mapping[str, str], objects: Objects | None) -> Table:
    """The images of each split, and its objects."""
    columns: dict[str, Mapping[str, int]] = {}
    if objects is not None:
        columns = {"objects": objects.total, "images without any": objects.empty}
        if any(objects.ignored.values()):
            columns["not counted: crowd or difficult"] = objects.ignored
    table = _table("split", ["images", "size, h×w px", *columns])
    table.columns[2].justify = "left"
    for part, n in images.items():
        row = [f"{n:,}", sizes[part], *(f"{column.get(part, 0):,}" for column in columns.values())]
        table.add_row(part, *row)
    return table


def label_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Images by class and split."""
    titles = [*next(iter(counts.values()))]
    rows = {title: [counts[part][title] for part in counts] for title in titles}
    return _with_bars("class", [*counts], [(title, [f"{n:,}" for n in row], max(row)) for title, row in rows.items()])


def object_table(objects: Objects) -> Table:
    """Images that hold an object of a class, and objects of it, by split."""
    titles = [title for part in objects.total for title in (f"{part}\nimages", "\nobjects")]
    rows = [
        (name, [f"{n:,}" for pair in own.values() for n in pair], max(number for _, number in own.values()))
        for name, own in objects.classes.items()
    ]
    return _with_bars("class of\nobjects", titles, rows)


def size_table(objects: Objects) -> Iterator[Table | Text]:
    """How large the boxes are."""
    total = sum(objects.total.values()) + sum(objects.ignored.values())
    if not total:
        return
    table = _table("boxes", ["smallest", "median", "largest"])
    for title, values in (("shorter side, px", objects.shorter), ("longer side, px", objects.longer)):
        table.add_row(title, *(f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in values))
    table.add_row("share of the image", *(f"{100 * value:.2g} %" if value < 1 else "100 %" for value in objects.share))
    yield table
    height, width = objects.size
    verb = "has a side" if objects.small == 1 else "have a side"
    yield Text(
        f"{objects.small:,} of {total:,} {verb} under {SMALL} px when images are trained on at {height}×{width} px."
    )


def region_table(regions: Regions) -> Table:
    """The share of each class of pixels, and the images that hold it."""
    rows = [(name, [_percent(share), f"{regions.images[name]:,}"], share) for name, share in regions.share.items()]
    sampled = (
        f"of {regions.read:,} masks,\nevenly spread"
        if regions.read < regions.of - len(regions.problems)
        else "\nimages"
    )
    return _with_bars("class of\npixels", ["\nshare", sampled], rows)


def keypoint_table(points: Keypoints, names: Sequence[str]) -> Iterator[Table | Text]:
    """How many keypoints are visible in each split."""
    listed = [f"{i} {name}" for i, name in enumerate(names, 1)]
    if len(listed) > _NAMES:
        listed = [*listed[:2], "…", listed[-1]]
    yield Text(counted(points.count, "keypoint") + " an image" + (f": {', '.join(listed)}" if names else ""))
    table = _table("keypoints", ["visible", "of", "images without any"])
    for part, (visible, total) in points.visible.items():
        table.add_row(part, f"{visible:,}", f"{total:,}", f"{points.bare[part]:,}")
    yield table


def text_table(texts: Texts) -> Iterator[Table | Text]:
    """How much text there is in each split."""
    table = _table("text", ["lines", "characters", "images without any"])
    for part, lines in texts.lines.items():
        table.add_row(part, f"{lines:,}", f"{texts.characters[part]:,}", f"{texts.bare[part]:,}")
    yield table
    yield Text(f"{texts.different:,} different characters; the longest line has {texts.longest:,}.")


def _percent(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.1g} %"


def _table(first: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first)
    for title in columns:
        table.add_column(title, justify="right")
    return table


def _with_bars(first: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str], float]]) -> Table:
    """A table with a bar for the last number of each row; of very many rows, the first."""
    table = _table(first, columns)
    table.add_column("")
    most = max((value for _, _, value in rows), default=0) or 1
    for title, cells, value in rows[:_CLASSES]:
        bar = "▇" * max(1, round(_BAR * value / most)) if value else ""
        table.add_row(Text(title), *cells, Text(bar, style="cyan"))
    if len(rows) > _CLASSES:
        table.add_row(f"… {len(rows) - _CLASSES:,} more", *("" for _ in columns), "")
    return table
