# SPDX-License-Identifier: Apache-2.0
"""Which picture is the mask of which, by the names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

from pellucid.data.splitting import SPLITS

__all__ = ["Pairing", "is_mask_folder", "paired"]

Role = Literal["image", "mask", "object", ""]

_IMAGES = frozenset({
    "images", "image", "imgs", "img", "im", "jpegimages", "leftimg8bit", "photos", "photo", "pictures", "picture", "rgb", "original",
    "originals", "input", "inputs", "frames", "imagestr", "imagests", "raw",
})  # fmt: skip
_MASKS = frozenset({
    "masks", "mask", "segmentationclass", "segmentationclassaug", "segmentationclassraw", "segmentationclasspng", "segmentation",
    "segmentations", "seg", "segs", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "gts", "groundtruth",
    "ground_truth", "ground-truth", "gtfine", "gtcoarse", "target", "targets", "labelled", "labeled", "trimaps", "trimap",
    "stuffthingmaps", "labelstr", "labelsts", "semantic", "manual", "1st_manual", "segmentation_masks", "mask_images", "binary_masks",
    "ground truth", "label_images",
})  # fmt: skip
_OBJECTS = frozenset({
    "segmentationobject", "segmentationobjectpng", "segmentationclassvisualization", "segmentationobjectvisualization",
    "instances", "instance", "instance_masks", "instance_labels",
})  # fmt: skip
_WORDS = ("masks", "mask", "annotations", "annotation", "annots", "annot", "labels", "label", "segmentations", "segmentation", "segs",
          "seg", "gts", "gt", "groundtruth", "ground_truth")  # fmt: skip
_ENDS = (*_WORDS, "truth", "ids")
_MASK_TOKENS = frozenset(_WORDS) | {"labeled", "labelled", "truth"}  # within a folder's name
_IMAGE_TOKENS = frozenset(
    {"images", "image", "imgs", "img", "photos", "stills", "raw", "rgb", "data", "input", "inputs"}
)
_IMAGE_ENDS = ("_leftImg8bit", "_image", "_img", "_sat", "_rgb", "-image", "-img")
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_MASK_FILE = re.compile(
    r"(.+?)[_\-. ](?:gtfine_labeltrainids|gtfine_labelids|gtcoarse_labelids|labeltrainids|labelids|masks?|segmentations?|seg|labels?|gt|"
    r"ground_?truth|annotations?|annot)(?:[_\- ]?(\d+))?",
    re.IGNORECASE,
)
_IN_MASK_FOLDER = re.compile(r"(.+?)[_\-](?:l|manual1|p|bw)", re.IGNORECASE)
_IMAGE_FILE = re.compile(r"(.+?)[_\- ](?:leftimg8bit|images?|img|sat|rgb|0000)", re.IGNORECASE)
_HEADS = re.compile(r"(?:masks?|seg|labels?|gt|annot|images?|img|im|frame|photo)[_\- ]?(.+)", re.IGNORECASE)
_OBJECT_FILE = re.compile(
    r"(.+?)[_\- ](?:gtfine|gtcoarse)?_?(?:instanceids|instances?|color|colour|polygons)", re.IGNORECASE
)


class _Place(NamedTuple):
    role: Role
    key: tuple[str, ...]  # the folders that are left without the words for images and masks
    part: str | None


@final
@dataclass
class Pairing:
    """What the names of pictures say.

    `masks` are in order: of several masks of one picture, as of several lesions, the first is its own or all count.
    """

    masks: dict[str, list[str]] = field(default_factory=dict)  # image -> its masks
    parts: dict[str, str | None] = field(default_factory=dict)  # image -> split
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)  # image -> folders without the known words
    alone: list[str] = field(default_factory=list)  # masks without an image
    objects: list[str] = field(
        default_factory=list
    )  # masks that number objects, or show classes in colours a second time


def is_mask_folder(name: str) -> bool:
    """Whether a folder is called as those of masks are.

    >>> is_mask_folder("SegmentationClass"), is_mask_folder("trainannot"), is_mask_folder("cat")
    (True, True, False)
    """
    return name.lower() in _MASKS or _Name.of(name).masks


def paired(images: Sequence[str]) -> Pairing:
    """Images and their masks among pictures.

    >>> paired(["images/a.jpg", "images/b.jpg", "masks/a.png"]).masks
    {'images/a.jpg': ['masks/a.png']}
    >>> paired(["a.jpg", "a_mask.png"]).masks
    {'a.jpg': ['a_mask.png']}

    Args:
        images: all pictures below a folder, by paths relative to it.
    """
    folders = {_folder(name) for name in images}
    beside: dict[str, set[str]] = {}
    for folder in folders:
        parts = folder.split("/") if folder else []
        for i, part in enumerate(parts):
            beside.setdefault("/".join(parts[:i]), set()).add(part)
    places = {folder: _place(folder, beside) for folder in folders}
    if not any(place.role == "mask" for place in places.values()) and not any(map(_ends_as_mask, images)):
        return Pairing()  # most folders of images
    found, plain = Pairing(), _Plain(places)
    masked: list[_Picture] = []
    others: list[_Picture] = []
    for name in images:
        picture = _Picture(name, places[_folder(name)], _stem(name))
        role = picture.place.role
        if role == "object" or (role == "mask" and _OBJECT_FILE.fullmatch(picture.stem)):
            found.objects.append(name)
        elif role == "mask":
            masked.append(picture)
        else:
            others.append(picture)
            plain.add(picture)
    for picture in others:  # x.jpg and x_mask.png in one folder
        match = _MASK_FILE.fullmatch(picture.stem)
        if match and picture.place.role != "image" and plain.has(picture.place.key, match[1]):
            masked.append(picture)
            plain.drop(picture)
    plain.settle()
    for picture in masked:
        own = plain.images_of(picture)
        for image in own:
            at = places[_folder(image)]
            found.masks.setdefault(image, []).append(picture.name)
            found.parts[image], found.keys[image] = at.part or picture.place.part, at.key
        if not own:
            found.alone.append(picture.name)
    return found if found.masks else Pairing()


class _Picture(NamedTuple):
    name: str
    place: _Place
    stem: str


@final
class _Plain:
    """Pictures that may be images, by folder and name."""

    def __init__(self, places: Mapping[str, _Place]) -> None:
        self._places = places
        self._exact: dict[tuple[tuple[str, ...], str], list[str]] = {}
        self._ended: dict[tuple[tuple[str, ...], str], list[str]] = {}  # by their names without an ending of their own
        self._loose: dict[str, list[str]] = {}  # by name alone

    def add(self, picture: _Picture) -> None:
        self._exact.setdefault((picture.place.key, picture.stem), []).append(picture.name)

    def drop(self, picture: _Picture) -> None:
        self._exact[picture.place.key, picture.stem].remove(picture.name)

    def has(self, key: tuple[str, ...], stem: str) -> bool:
        return any(self._exact.get((key, stem + end)) for end in ("", *_IMAGE_ENDS))

    def settle(self) -> None:
        """Note names without endings, once it is known which pictures are masks."""
        for (key, stem), own in self._exact.items():
            for pattern in (_IMAGE_FILE, _HEADS):
                if own and (match := pattern.fullmatch(stem)):
                    self._ended.setdefault((key, match[1]), []).extend(own)
            self._loose.setdefault(stem, []).extend(own)

    def images_of(self, mask: _Picture) -> list[str]:
        """The images that a mask belongs to: one, or its copies in another format."""
        patterns = (_MASK_FILE, _IN_MASK_FOLDER, _HEADS)
        stems = [mask.stem, *(match[1] for pattern in patterns if (match := pattern.fullmatch(mask.stem)))]
        for stem in stems:
            if own := self._exact.get((mask.place.key, stem)) or self._ended.get((mask.place.key, stem)):
                return own
        if mask.place.role != "mask":
            return []
        for stem in stems:  # folders of splits lie above the images alone, or above the masks
            own = self._loose.get(stem, [])
            if len(own) == 1 and self._near(mask.place, self._places[_folder(own[0])]):
                return own
        return []

    @staticmethod
    def _near(mask: _Place, image: _Place) -> bool:
        """Whether the folders of a mask and of an image differ in nothing but that one of them lies in a split's."""
        mask_key, image_key = (tuple(one for one in at.key if one != at.part) for at in (mask, image))
        return mask_key == image_key and (image.part is None or mask.part is None)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    file = name.rpartition("/")[2]
    return file.rpartition(".")[0] or file


def _ends_as_mask(name: str) -> bool:
    """Whether a file is called `…_mask.png`, or `…_mask_1.png`."""
    stem = name.rpartition(".")[0].lower()
    return stem.endswith(_ENDS) or (stem[-1:].isdigit() and stem.rstrip("0123456789_- ").endswith(_ENDS))


def _place(folder: str, beside: Mapping[str, set[str]]) -> _Place:
    """What a folder's name says of the pictures in it, by the names of the folders beside those that lead to it.

    >>> _place("set/trainannot", {"": {"set"}, "set": {"train", "trainannot"}})
    _Place(role='mask', key=('set', 'train'), part='train')
    """
    role: Role = ""
    key: list[str] = []
    part: str | None = None
    parts = folder.split("/") if folder else []
    for i, word in enumerate(parts):
        own, rest = _word(word, beside["/".join(parts[:i])])
        role = own if own in ("mask", "object") or (own and not role) else role
        if rest.lower() in SPLITS:
            part = rest = SPLITS[rest.lower()]
        if rest:
            key.append(rest)
    return _Place(role, tuple(key), part)


class _Name(NamedTuple):
    """A folder's name in words."""

    masks: bool  # whether one of them means masks
    images: bool
    rest: tuple[str, ...]  # the others

    @classmethod
    def of(cls, word: str) -> _Name:
        tokens = [token.lower() for token in _TOKEN.findall(word)]
        for split in SPLITS:  # written as one word, "trainannot"
            if tokens and tokens[0].removeprefix(split) in _MASK_TOKENS and tokens[0].startswith(split):
                tokens[:1] = [split, tokens[0].removeprefix(split)]
        rest = tuple(token for token in tokens if token not in _MASK_TOKENS | _IMAGE_TOKENS | {"ground"})
        masks = not _MASK_TOKENS.isdisjoint(tokens)
        return cls(masks, not masks and not _IMAGE_TOKENS.isdisjoint(tokens), rest)

    @property
    def part(self) -> str:
        """The split that it names, "" for none."""
        return next((SPLITS[word] for word in self.rest if word in SPLITS), "")


def _word(word: str, beside: set[str]) -> tuple[Role, str]:
    """What one folder's name means, and what is left of it without that; `beside` are the folders beside it and itself."""
    low = word.lower()
    ways: tuple[tuple[Role, frozenset[str]], ...] = (("image", _IMAGES), ("mask", _MASKS), ("object", _OBJECTS))
    for role, words in ways:
        if low in words:
            return role, ""
    own = _Name.of(word)
    if not own.masks and not own.images:
        return "", word
    role = "mask" if own.masks else "image"
    if len(own.rest) == 1 and own.part:
        return role, own.part
    others = {other: _Name.of(other) for other in beside if other != word}
    if own.masks and (
        same := next((other for other, name in others.items() if name == (False, False, own.rest)), None)
    ):
        return "mask", same  # cat_mask beside cat
    if any(name.rest == own.rest and name.masks != own.masks and name.masks | name.images for name in others.values()):
        return role, "_".join(own.rest)
    alike = [
        name for name in others.values() if name.part == own.part
    ]  # one folder of each kind, whatever else they are called
    same_kind = any(name.masks == own.masks and name.images == own.images for name in alike)
    if not same_kind and sum(name.masks != own.masks and name.masks | name.images for name in alike) == 1:
        return role, own.part
    return "", word
