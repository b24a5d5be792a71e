# SPDX-License-Identifier: Apache-2.0
"""Images with a mask each: `images/` and `masks/`, `x.jpg` and `x_mask.png`, `train/` and `trainannot/`, VOC's segmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.data.annotations.class_tables import class_table
from pellucid.data.annotations.known_masks import known_table
from pellucid.data.annotations.mask_contents import Contents, looked_at
from pellucid.data.annotations.mask_files import Joined, MaskFile
from pellucid.data.annotations.mask_names import Pairing, is_mask_folder, paired
from pellucid.data.annotations.mask_values import decide
from pellucid.data.annotations.reading import lines_of
from pellucid.data.annotations.records import Annotated, Annotations
from pellucid.data.decoding import Scan, opened, scan
from pellucid.data.decoding.pictures import orientation_of
from pellucid.data.formats.finding import Found
from pellucid.data.formats.tables import METADATA
from pellucid.data.masks import MaskSource
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "images and masks"

_LOOKS = 3  # masks that are looked at to see whether they are any
_FLAT, _NEAR = 0.5, 0.8  # shares of pixels, from which a picture of flat regions or of smooth ones may be a mask
_FEW = 32  # values of a mask that no photograph has so few of
_LISTS = re.compile(r"(?:.*/)?(?:ImageSets/Segmentation/|splits?/|lists?/)?([A-Za-z]+)\.txt", re.IGNORECASE)
_TRAIN_IDS = re.compile(r"labeltrainids\.\w+$", re.IGNORECASE)


def fits(path: Path, found: Found) -> Sequence[str]:
    """The folders of masks, or the masks that lie beside their images: names pair them, and they do not look like photographs."""
    if any(name.rpartition("/")[2] in METADATA for name in found.others):  # a table says what belongs to what
        return []
    pairing = paired(found.images)
    masks = list(dict.fromkeys(mask for own in pairing.masks.values() for mask in own))
    if not masks or len(masks) < len(pairing.alone):
        return []
    some = [masks[i] for i in sorted({0, len(masks) // 2, len(masks) - 1})][:_LOOKS]
    files = [path / mask for mask in some]
    flat = [own is None or _flat(own) for own in looked_at(files, scan(files, some))]
    if 2 * sum(flat) <= len(flat):
        return []
    return list(dict.fromkeys(map(_evidence, masks)))


def _flat(own: Contents) -> bool:
    """Whether a picture has few values or flat regions, as masks have, be they saved as JPEG."""
    pixels = sum(own.counts)
    if own.kind in ("bilevel", "depth") or own.palette:
        return True
    few_values = not own.more and len(own.values) <= min(_FEW, max(2, pixels // 4))
    return few_values or (own.flat >= _FLAT and not own.more) or own.near >= _NEAR


def _evidence(mask: str) -> str:
    """The folder of masks that a mask lies in, or itself where it lies beside its image."""
    parts = mask.split("/")
    for i in range(len(parts) - 1, 0, -1):
        if is_mask_folder(parts[i - 1]):
            return "/".join(parts[:i])
    return (
        mask
        if len(parts) == 1 or not re.search(r"mask|seg|label|annot|gt|truth", parts[-2].lower())
        else mask.rpartition("/")[0]
    )


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """Images with their masks, whose values become classes by one table."""
    where, pairing = str(path), paired(found.images)
    chosen = _chosen(pairing, evidence, path)
    images, masks = list(chosen), list(dict.fromkeys(mask for own in chosen.values() for mask in own))
    scanned = scan([path / mask for mask in masks], [as_text(mask) for mask in masks])
    contents = looked_at([path / mask for mask in masks], scanned)
    wanted = set(masks)
    spare = [mask for own in pairing.masks.values() for mask in own if mask not in wanted]
    problems = _said_of(pairing, spare)
    good: dict[str, int] = {}
    for i, mask in enumerate(masks):
        if contents[i] is not None:
            good[mask] = i
        else:
            problems.append(scanned.problems.get(i, f"image={mask!r}: cannot be read; replace or remove it."))
    if not good:
        raise DataError(f"data={where!r}: has no mask that can be read; the first: {problems[-1]}")
    folders = {name.rpartition("/")[0] for name in (*images, *masks)}
    own = [one for one in contents if one is not None]
    declared = class_table(path, found.others, sorted(folders)) or known_table(images, [*good], own)
    decided = decide(own, [as_text(mask) for mask in good], declared, where)
    notes, turned, joined = list(decided.notes), [], []
    parts, lists = _parts(path, found, images, pairing)
    labels = _labels(images, pairing, parts)
    sizes = scan([path / image for image in images])
    records = []
    for k, image in enumerate(images):
        files: list[MaskFile] = []
        for mask in chosen[image]:
            if mask in good:
                height, width = scanned.sizes[good[mask]].tolist()
                orientation = _orientation(path / image, sizes, k, (height, width))
                shape = (width, height) if orientation > 4 else (height, width)
                digest = scanned.digests[good[mask]]
                files.append(MaskFile(path / mask, as_text(mask), shape, digest, decided.table, orientation))
        if not files:
            continue
        if len(files) > 1:
            joined.append(image)
        if files[0].orientation > 1:
            turned.append(image)
        if strange := next((one for one in files if one.size != files[0].size), None):
            raise DataError(
                f"data={where!r}: the masks of {as_text(image)!r} have sizes that differ ({files[0].name}, {strange.name}); "
                "give masks of the image's size."
            )
        source: MaskSource = Joined(tuple(files)) if len(files) > 1 else files[0]
        records.append(
            Annotated(image, part=parts.get(image), source=files[0].name, mask=source, label=labels.get(image))
        )
    if joined:
        notes.append(f"{counted(len(joined))} {_have(joined)} several masks, which are joined ({few(joined)}).")
    if turned:
        verb = "is" if len(turned) == 1 else "are"
        problems.append(
            f"{counted(len(turned), 'mask')} {verb} without the rotation that the image's EXIF asks for, and {verb} turned along "
            f"({few(turned)})."
        )
    listed = [declared.file] if declared is not None and declared.file in found.others else []
    ours = [*masks, *spare, *pairing.alone, *pairing.objects, *listed, *lists]
    return Annotations(
        FORM,
        records,
        mask_classes=decided.classes,
        mask_colours=decided.colours,
        problems=tuple(problems),
        notes=tuple(notes),
        read=tuple(ours),
    )


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _chosen(pairing: Pairing, evidence: Sequence[str], path: Path) -> dict[str, list[str]]:
    """The masks of each image in the folders that were chosen.

    Raises:
        DataError: an image has masks in several folders, or several in one that are no parts of one mask.
    """
    wanted = set(evidence)
    chosen: dict[str, list[str]] = {}
    for image, masks in pairing.masks.items():
        own = [mask for mask in masks if _evidence(mask) in wanted or any(mask.startswith(f"{one}/") for one in wanted)]
        if any(map(_TRAIN_IDS.search, own)):  # beside numbers for all that was annotated, those meant for training
            own = [mask for mask in own if _TRAIN_IDS.search(mask)]
        folders = list(dict.fromkeys(_evidence(mask) for mask in own))
        if len(own) > 1 and len(folders) > 1 and not all(one in own for one in folders):
            raise DataError(
                f"data={str(path)!r}: {as_text(image)} has two masks, {as_text(own[0])} and {as_text(own[1])}; choose by the path: "
                f"{path / folders[0]} or {path / folders[1]}."
            )
        if len(own) > 1 and not all(re.search(r"[_\- ]?\d+\.\w+$", mask) for mask in own[1:]):
            raise DataError(
                f"data={str(path)!r}: {as_text(image)} has two masks, {as_text(own[0])} and {as_text(own[1])}; keep one of them."
            )
        if own:
            chosen[image] = own
    return chosen


def _said_of(pairing: Pairing, spare: Sequence[str]) -> list[str]:
    """Sentences on masks that are not read."""
    said = []
    if spare:
        said.append(
            f"{counted(len(spare), 'other mask')} {'is' if len(spare) == 1 else 'are'} left out ({few(spare)})."
        )
    if alone := pairing.alone:
        verb = "has no image and is left out" if len(alone) == 1 else "have no image and are left out"
        said.append(f"{counted(len(alone), 'mask')} {verb} ({few(alone)}).")
    if objects := pairing.objects:
        verb = (
            "numbers objects or colours, no classes, and is"
            if len(objects) == 1
            else "number objects or colours, no classes, and are"
        )
        said.append(f"{counted(len(objects), 'picture')} {verb} left out ({few(objects)}).")
    return said


def _orientation(image: Path, sizes: Scan, place: int, mask: tuple[int, int]) -> int:
    """The EXIF orientation of an image that its mask has yet to go through, 1 for none."""
    if place in sizes.problems or tuple(sizes.sizes[place].tolist()) != mask[::-1] or mask[0] == mask[1]:
        return 1
    try:
        with opened(image) as picture:
            orientation = orientation_of(picture)
    except Exception:  # the images themselves are checked later
        return 1
    return orientation if orientation > 4 else 1


# -- splits and labels


def _parts(path: Path, found: Found, images: Sequence[str], pairing: Pairing) -> tuple[dict[str, str], list[str]]:
    """The split of each image, by its folder or by lists of names; and the lists that were read."""
    by_folder = {image: part for image in images if (part := pairing.parts[image]) is not None}
    if by_folder:
        return by_folder, []
    stems: dict[str, str] = {}
    for image in images:
        stems[image.rpartition("/")[2].rpartition(".")[0]] = image
        stems[image.rpartition("/")[2]] = image
    parts: dict[str, str] = {}
    lists: list[str] = []
    files = [(name, match[1].lower()) for name in found.others if (match := _LISTS.fullmatch(name))]
    words = {word for _, word in files}
    for name, word in sorted(files, key=lambda pair: (pair[0].count("/"), pair[0])):
        part = "train" if word == "trainval" and not {"train", "val"} & words else SPLITS.get(word)
        if part is None or ("ImageSets/" in name and "ImageSets/Segmentation/" not in name):
            continue
        entries = [line.split()[0] for line in lines_of(path / name) if line.strip()]
        titles = [re.split(r"[/\\]", entry)[-1] for entry in entries]
        members = [stems[title] if title in stems else stems.get(title.rpartition(".")[0], "") for title in titles]
        if any(members):
            lists.append(name)
            parts |= {member: part for member in members if member and member not in parts}
    return parts, lists


def _labels(images: Sequence[str], pairing: Pairing, parts: Mapping[str, str]) -> dict[str, str]:
    """The class of each image where folders beside those of splits, images and masks tell it, the same in each split."""
    keys = {image: tuple(one for one in pairing.keys[image] if one not in SPLITS) for image in images}
    shared = 0
    while all(len(key) > shared for key in keys.values()) and len({key[shared] for key in keys.values()}) == 1:
        shared += 1
    if not all(len(key) > shared for key in keys.values()):
        return {}
    labels = {image: as_text(key[shared]) for image, key in keys.items()}
    by_part: dict[str, set[str]] = {}
    for image, label in labels.items():
        by_part.setdefault(parts.get(image, "train"), set()).add(label)
    if len({frozenset(own) for own in by_part.values()}) > 1:  # places or recordings rather than classes
        return {}
    return labels
