"""Small data sets as Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.data.dataset import Dataset
from pellucid.data.targets import Boxes, target_of

SIZE = (100, 200)  # H, W

OBJECT = """
<object><name>{name}</name><pose>Left</pose><truncated>{truncated}</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def picture(file: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    """A random picture of (H, W) as it is stored, with an EXIF orientation."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*size, *map(ord, str(file.name))])
    image = Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def box(*corners: float | str, name: str = "cell", truncated: int = 0, difficult: int = 0) -> str:
    return OBJECT.format(*corners, name=name, truncated=truncated, difficult=difficult)


def voc(file: Path, *objects: str, size: tuple[int, int] | None = SIZE, filename: str = "") -> None:
    """An annotation as LabelImg writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"<filename>{filename or file.stem}.jpg</filename>"
        if "." not in filename
        else f"<filename>{filename}</filename>"
    ]
    lines += ["<path>/home/pi/elsewhere/1.jpg</path>"]
    lines += [f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"] if size else []
    file.write_text("\n".join(["<annotation>", *lines, *objects, "</annotation>"]), encoding="utf-8")


def pair(top: Path, stem: str, *objects: str, **options: object) -> None:
    """An image and its annotation in the usual folders."""
    picture(top / "JPEGImages" / f"{stem}.jpg")
    voc(top / "Annotations" / f"{stem}.xml", *objects, **options)  # type: ignore[arg-type]


def listed(top: Path, **parts: str) -> None:
    for part, names in parts.items():
        file = top / "ImageSets" / "Main" / f"{part}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(names.replace(" ", "\n") + "\n", encoding="utf-8")


def begun(top: Path) -> Path:
    """A data set with an image in val and one in test, lists for all, so that what a test adds to train stays there."""
    for part in ("val", "test"):
        pair(top, part, box(10, 10, 30, 30))
    listed(top, train="a b c", val="val", test="test")
    return top


def corners(data: Dataset, part: str = "train") -> dict[str, list[list[float]]]:
    boxes = target_of(data[part].targets, "boxes", Boxes)
    return {Path(name).stem: own.tolist() for name, own in zip(data[part].names, boxes.corners, strict=True)}


def said(data: Dataset, words: str) -> bool:
    return any(words in sentence for sentence in (*data.problems, *data.notes))
