# SPDX-License-Identifier: Apache-2.0
"""Which classes the values of a data set's masks are: decided once, over all masks, and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from pellucid.data.annotations.class_tables import Declared, means_void
from pellucid.data.annotations.mask_contents import Contents
from pellucid.data.annotations.mask_files import Table, colour_name
from pellucid.data.masks import VOID
from pellucid.data.problems import few
from pellucid.errors import DataError

__all__ = ["Decided", "decide"]

_COLOURS = 64  # of all masks, which may be classes without a table
_CLASSES = 255  # that a byte can number beside void
_SMEARED = 16  # values, from which even consecutive ones, and those of noise, may be no classes
_BARE = 3  # values that occur in single pixels between others alone
_GAP = 16  # levels between the classes of lossy masks that nothing lies between
_WAY = "save masks as PNG, and resize them by the nearest value"


@final
@dataclass(frozen=True)
class Decided:
    """How masks are read."""

    table: Table
    classes: tuple[str, ...]  # the name of each number
    notes: tuple[str, ...]  # a sentence each
    colours: tuple[int, ...] = ()  # 0xRRGGBB of each number; () where nothing tells those of all


def decide(contents: Sequence[Contents], names: Sequence[str], declared: Declared | None, where: str) -> Decided:
    """The class of each value that occurs in any mask.

    Without a table of classes, 255 is void unless 0 is the only other value; values with gaps become consecutive numbers, and
    colours are numbered. A table names values or colours, and those that are void.

    Args:
        contents: what each mask holds.
        names: the masks' names, for sentences.
        declared: a table that lies beside the images, if there is one.
        where: the dataset's name, for errors.

    Raises:
        DataError: the masks hold no classes: grey levels of JPEG, too many colours, numbers of objects, no whole numbers; or
            a value that the table lacks.
    """
    for own, name in zip(contents, names, strict=True):
        if own.kind == "depth":
            raise DataError(f"data={where!r}: the mask {name} holds no whole numbers of 8 bits; {_WAY}.")
        if own.glass:
            raise DataError(f"data={where!r}: the mask {name} has half-transparent pixels, which mix classes; {_WAY}.")
    by_colour = _by_colour(contents) or (declared is not None and _in_colours(contents, declared))
    contents, step = (contents, 1) if by_colour else _unspread(contents)
    white = 255 if _has_white(contents) else 1
    seen: dict[int, str] = {}  # each value, with the first mask that holds it
    for own, name in zip(contents, names, strict=True):
        for value in _values(own, by_colour, white):
            seen.setdefault(value, name)
    _check_smear(contents, names, seen, by_colour, declared is not None, where)
    if declared is not None:
        decided = _named(seen, declared, by_colour, white, where)
    elif by_colour:
        decided = _coloured(seen, where)
    else:
        decided = _numbered(seen, white, where)
    colours = _shown(decided, contents, declared, by_colour)
    return replace(decided, table=replace(decided.table, step=step), colours=colours)


def _shown(
    decided: Decided, contents: Sequence[Contents], declared: Declared | None, by_colour: bool
) -> tuple[int, ...]:
    """The colour in which each class is shown: its own, else that of a table, else that of the masks' palettes."""
    meant: dict[int, int] = {}
    if by_colour:
        pairs = [(number, value) for value, number in decided.table.numbers.items()]
    elif declared is not None and declared.colours:
        place = {title: i for i, title in enumerate(decided.classes)}
        pairs = [(place[title], colour) for colour, title in declared.colours.items() if title in place]
    else:
        pairs = [
            (decided.table.numbers[value], colour)
            for own in contents
            if own.palette
            for value, colour in zip(own.values, own.palette, strict=True)
            if value in decided.table.numbers
        ]
    for number, colour in pairs:
        meant.setdefault(number, colour)
    known = [meant.get(number) for number in range(len(decided.classes))]
    found = tuple(colour for colour in known if colour is not None)
    return found if len(set(found)) == len(known) else ()


def _unspread(contents: Sequence[Contents]) -> tuple[Sequence[Contents], int]:
    """The numbers of masks that all have 2 or 4 bits, which decoders spread over 0 to 255, and the step between them."""
    numbers = [own for own in contents if own.kind == "number"]
    steps = {own.step for own in numbers}
    if len(steps) != 1 or steps == {1} or {value for own in numbers for value in own.values} <= {0, 255}:
        return contents, 1
    step = steps.pop()
    own_numbers = ((own, tuple(value // step for value in own.values)) for own in contents)
    return [own._replace(values=values) if own.kind == "number" else own for own, values in own_numbers], step


def _has_white(contents: Sequence[Contents]) -> bool:
    """Whether the ones of masks with 1 bit are written as 255: unless masks with more bits hold 1 and no 255."""
    numbers = {value for own in contents if own.kind == "number" for value in own.values}
    return 255 in numbers or not numbers or 1 not in numbers


def _by_colour(contents: Sequence[Contents]) -> bool:
    """Whether colours count: some masks are coloured, or an index means one colour here and another there."""
    if any(own.kind == "colour" for own in contents):
        return True
    meant: dict[int, int] = {}
    pairs = (pair for own in contents if own.palette for pair in zip(own.values, own.palette, strict=True))
    return any(meant.setdefault(value, colour) != colour for value, colour in pairs)


def _in_colours(contents: Sequence[Contents], declared: Declared) -> bool:
    """Whether a table names the colours of all values, be they grey levels or those of palettes."""
    return bool(declared.colours) and all(
        value in declared.colours for own in contents for value in _values(own, True, 255)
    )


def _values(own: Contents, by_colour: bool, white: int) -> list[int]:
    if own.kind == "bilevel":
        return [value * (0xFFFFFF if by_colour else white) for value in own.values]
    if not by_colour:
        return [*own.values]
    if own.palette:
        return [*own.palette]
    return [value if own.kind == "colour" else value * 0x010101 for value in own.values]


def _check_smear(
    contents: Sequence[Contents],
    names: Sequence[str],
    seen: Mapping[int, str],
    by_colour: bool,
    known: bool,
    where: str,
) -> None:
    """Refuse values that come from a lossy format or from interpolation: they lie between those of two classes."""
    for own, name in zip(contents, names, strict=True):
        if own.lossy and _crowded(own):
            many = f"more than {len(own.values)}" if own.more else str(len(own.values))
            what = "colours" if own.kind == "colour" else "grey levels"
            raise DataError(
                f"data={where!r}: the mask {name} is saved as JPEG or alike, which makes {many} {what} of a few classes; {_WAY}."
            )
    if known or (sorted(seen) == list(range(len(seen))) and len(seen) < _SMEARED):
        return
    inner, pixels = Counter[int](), Counter[int]()
    for own in contents:
        if own.kind != "bilevel":
            inner.update(dict(zip(own.values, own.inner, strict=True)))
            pixels.update(dict(zip(own.values, own.counts, strict=True)))
    bare = [value for value, count in inner.items() if not count]
    few_bare = 2 * sum(pixels[value] for value in bare) < pixels.total()  # beside regions, which noise does not have
    largest = max(range(len(contents)), key=lambda i: len(contents[i].values))
    if 2 * len(bare) > len(inner) and len(bare) >= _BARE and (few_bare or len(seen) >= _SMEARED):
        what = "colours" if by_colour else "grey levels"
        raise DataError(
            f"data={where!r}: the masks hold {len(seen)} {what} ({names[largest]}), most of them in single pixels between others, "
            f"as interpolation leaves them; {_WAY}."
        )


def _crowded(own: Contents) -> bool:
    """Whether values lie so close together that a lossy format has made them."""
    if own.values in ((0, 1), (0,), (1,)):
        return False
    if own.more:
        return True
    planes = [[value >> shift & 255 for value in own.values] for shift in (16, 8, 0)]
    pairs = zip(own.values[:-1], own.values[1:], range(len(own.values)), strict=False)
    if own.kind == "number":
        return any(above - below < _GAP for below, above, _ in pairs)
    return any(
        max(abs(plane[i] - plane[k]) for plane in planes) < _GAP
        for i in range(len(own.values))
        for k in range(i + 1, len(own.values))
    )


# -- without a table


def _numbered(seen: Mapping[int, str], white: int, where: str) -> Decided:
    values = sorted(seen)
    if values[-1:] == [65535] and set(values) <= {0, 65535}:
        table = Table({0: 0, 65535: 1})
        return Decided(table, ("background", "foreground"), ("Masks hold 0 and 65,535: 65,535 is read as class 1.",))
    if values[-1] > VOID:
        raise DataError(
            f"data={where!r}: the mask {seen[values[-1]]} holds {values[-1]:,}, which is no class but the number of an object; "
            "give masks of classes, 0 to 255."
        )
    if VOID in seen and set(values) <= {0, VOID}:
        table = Table({0: 0, VOID: 1}, white=white)
        return Decided(table, ("background", "foreground"), ("Masks hold 0 and 255: 255 is read as class 1.",))
    kept = [value for value in values if value != VOID]
    numbers = {value: i for i, value in enumerate(kept)}
    notes = []
    if kept != list(range(len(kept))):
        notes.append(
            f"Masks hold {_listed(kept)}: they are read as classes 0 to {len(kept) - 1}, named by these values."
        )
    else:
        notes.append(
            f"Masks hold {_listed(kept)}, and nothing names them: a file classes.txt with a line for each does, and says "
            "which is void."
        )
    if VOID in seen:
        notes.append("The value 255 of masks is void and counts for nothing.")
    # a value of 255 that is not there now may come with a class of its own, so that it stays void
    return Decided(
        Table({**numbers, VOID: VOID} if VOID in seen else numbers, white=white), tuple(map(str, kept)), tuple(notes)
    )


def _coloured(seen: Mapping[int, str], where: str) -> Decided:
    colours = sorted(seen)
    if len(colours) > _COLOURS:
        raise DataError(
            f"data={where!r}: the masks hold {len(colours):,} or more colours, too many to be classes ({seen[colours[-1]]}); name the "
            "colours of the classes in a file class_dict.csv (name,r,g,b) beside them, or give masks of class numbers."
        )
    names = tuple(map(colour_name, colours))
    note = (
        f"Masks hold {len(colours)} colours, which nothing names: they are numbered as classes 0 to {len(colours) - 1} "
        f"({few(names, 4)}); a file class_dict.csv (name,r,g,b) names them."
    )
    return Decided(Table({colour: i for i, colour in enumerate(colours)}, True), names, (note,))


def _listed(values: Sequence[int]) -> str:
    if len(values) > 8 and [*values] == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    shown = [f"{value}" for value in values]
    if len(shown) > 12:
        return few(shown, 12)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


# -- with a table


def _named(seen: Mapping[int, str], declared: Declared, by_colour: bool, white: int, where: str) -> Decided:
    titles = declared.colours if by_colour else declared.values
    if by_colour and not titles:
        raise DataError(
            f"data={where!r}: the masks are coloured, and {declared.file} names numbers alone; add the colour of each class (name,r,g,b)."
        )
    if set(seen) == {0, VOID} and not by_colour and VOID not in titles and [*titles] == [0, 1]:
        titles = {0: titles[0], VOID: titles[1]}  # two classes as black and white
    if strange := [value for value in sorted(seen) if value not in titles and (by_colour or value != VOID)]:
        value = colour_name(strange[0]) if by_colour else f"{strange[0]:,}"
        raise DataError(
            f"data={where!r}: the mask {seen[strange[0]]} holds {'the colour ' if by_colour else ''}{value}, which {declared.file} "
            "does not name; add it there."
        )
    kept = dict.fromkeys(title for title in titles.values() if not means_void(title))
    if len(kept) > _CLASSES or not kept:
        raise DataError(f"data={where!r}: {declared.file} names {len(kept):,} classes; give 1 to {_CLASSES}.")
    place = {title: i for i, title in enumerate(kept)}
    numbers = {value: place.get(title, VOID) for value, title in titles.items()}
    notes = [declared.said or f"Classes of masks are named in {declared.file}."]
    shown = [colour_name(value) if by_colour else str(value) for value in titles if numbers[value] == VOID]
    if shown:
        said = few([title for title in dict.fromkeys(titles.values()) if means_void(title)])
        values, verb = ("value", "is void and counts") if len(shown) == 1 else ("values", "are void and count")
        notes.append(f"The {values} {few(shown, 8)} of masks ({said}) {verb} for nothing.")
    moved = [value for value in seen if not by_colour and numbers.get(value, VOID) not in (value, VOID)]
    if moved:
        notes.append(
            f"Values of masks become consecutive numbers, {moved[0]} is class {numbers[moved[0]]}: their names count."
        )
    if not by_colour and VOID not in titles:
        numbers[VOID] = VOID
        if VOID in seen:
            notes.append("The value 255 of masks is void and counts for nothing.")
    return Decided(Table(numbers, by_colour, white), tuple(kept), tuple(notes))
