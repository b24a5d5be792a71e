# SPDX-License-Identifier: Apache-2.0
"""A small annotated set in every form that is read: the same objects, written as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

__all__ = ["FORMS", "NAMES", "OBJECTS", "SIZE", "written"]

SIZE = (24, 32)  # (H, W) px of every image
NAMES = ("cat", "dog")
PARTS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
# of each image: class, x0, y0, x1, y1 in px by edges; image 5 has none
OBJECTS: dict[int, list[tuple[str, float, float, float, float]]] = {
    i: [] if i == 5 else [("cat", 2.0 + i, 3.0, 12.0 + i, 13.0), ("dog", 15.0, 4.0 + i, 25.0, 14.0 + i)]
    for i in range(10)
}


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)).save(file)


def corners(box: tuple[str, float, float, float, float]) -> list[float]:
    _, x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def _each() -> Iterator[tuple[str, int]]:
    yield from ((part, i) for part, own in PARTS.items() for i in own)


def _text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


def _coco(top: Path, entry: Callable[[tuple[str, float, float, float, float], int], dict[str, Any]]) -> list[Path]:
    files = []
    for part, own in PARTS.items():
        annotations: list[dict[str, Any]] = []
        for i in own:
            picture(top / part / f"{i}.png", i)
            for box in OBJECTS[i]:
                name, x0, y0, x1, y1 = box
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": i + 1, "category_id": 3 + 4 * NAMES.index(name), "iscrowd": 0,
                        "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), **entry(box, i),
                    }
                )  # fmt: skip
        content = {
            "images": [{"id": i + 1, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in own],
            "annotations": annotations,
            "categories": [
                {"id": 3 + 4 * k, "name": name, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}
                for k, name in enumerate(NAMES)
            ],
        }
        files.append(_text(top / "annotations" / f"instances_{part}.json", json.dumps(content, indent=1)))
    return files


def coco(top: Path) -> list[Path]:
    """Boxes with outlines, and one crowd as run lengths."""
    rest = SIZE[0] * SIZE[1] - 124
    return _coco(
        top,
        lambda box, i: (
            {"segmentation": {"size": list(SIZE), "counts": [100, 24, rest]}, "iscrowd": 1}
            if i == 1 and box[0] == "dog"
            else {"segmentation": [corners(box)]}
        ),
    )


def coco_points(top: Path) -> list[Path]:
    return _coco(
        top, lambda box, i: {"keypoints": [box[1], box[2], 2, box[3] - 1, box[4] - 1, i % 3], "num_keypoints": 2}
    )


def voc(top: Path) -> list[Path]:
    files = []
    for i, boxes in OBJECTS.items():
        picture(top / "JPEGImages" / f"{i}.png", i)
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1:g}</xmin><ymin>{y0 + 1:g}</ymin>"
            f"<xmax>{x1:g}</xmax><ymax>{y1:g}</ymax></bndbox></object>"
            for name, x0, y0, x1, y1 in boxes
        )
        size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
        content = f"<annotation><filename>{i}.png</filename>{size}{objects}</annotation>"
        files.append(_text(top / "Annotations" / f"{i}.xml", content))
    for part, own in PARTS.items():
        files.append(_text(top / "ImageSets" / "Main" / f"{part}.txt", "".join(f"{i}\n" for i in own)))
    return files


def _yolo(top: Path, line: Callable[[tuple[str, float, float, float, float]], list[float]]) -> list[Path]:
    files = [
        _text(
            top / "data.yaml", "train: images/train\nval: images/val\ntest: images/test\nnames:\n  0: cat\n  1: dog\n"
        )
    ]
    for part, i in _each():
        picture(top / "images" / part / f"{i}.png", i)
        rows = [" ".join(map(str, [NAMES.index(box[0]), *line(box)])) for box in OBJECTS[i]]
        if rows:
            files.append(_text(top / "labels" / part / f"{i}.txt", "\n".join(rows)))
    return files


def yolo(top: Path) -> list[Path]:
    height, width = SIZE
    return _yolo(
        top,
        lambda box: [
            (box[1] + box[3]) / 2 / width, (box[2] + box[4]) / 2 / height, (box[3] - box[1]) / width, (box[4] - box[2]) / height
        ],
    )  # fmt: skip


def yolo_outlines(top: Path) -> list[Path]:
    return _yolo(top, lambda box: [value / (SIZE[1], SIZE[0])[k % 2] for k, value in enumerate(corners(box))])


def labelme(top: Path) -> list[Path]:
    files = []
    for part, i in _each():
        picture(top / part / f"{i}.png", i)
        shapes = [
            {"label": name, "points": [[x0, y0], [x1, y1]], "shape_type": "rectangle", "flags": {}, "group_id": None}
            if name == "cat"
            else {
                "label": name,
                "points": np.reshape(corners((name, x0, y0, x1, y1)), (4, 2)).tolist(),
                "shape_type": "polygon",
            }
            for name, x0, y0, x1, y1 in OBJECTS[i]
        ]
        content = {
            "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{i}.png", "imageData": None,
            "imageHeight": SIZE[0], "imageWidth": SIZE[1],
        }  # fmt: skip
        files.append(_text(top / part / f"{i}.json", json.dumps(content, indent=1)))
    return files


def cvat(top: Path) -> list[Path]:
    images = ""
    for i, boxes in OBJECTS.items():
        picture(top / "images" / f"{i}.png", i)
        shapes = "".join(
            f'<box label="{name}" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" z_order="0"></box>'
            if name == "cat"
            else f'<polygon label="{name}" points="{x0},{y0};{x1},{y0};{x1},{y1};{x0},{y1}" z_order="0"></polygon>'
            for name, x0, y0, x1, y1 in boxes
        )
        images += f'<image id="{i}" name="{i}.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>'
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    return [
        _text(
            top / "annotations.xml",
            f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images}</annotations>',
        )
    ]


def label_studio(top: Path) -> list[Path]:
    tasks = []
    for i, boxes in OBJECTS.items():
        picture(top / "images" / f"{i}.png", i)
        results = [
            {
                "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
                "original_width": SIZE[1], "original_height": SIZE[0], "id": f"r{i}{name}",
                "value": {
                    "x": 100 * x0 / SIZE[1], "y": 100 * y0 / SIZE[0], "width": 100 * (x1 - x0) / SIZE[1],
                    "height": 100 * (y1 - y0) / SIZE[0], "rotation": 0, "rectanglelabels": [name],
                },
            }
            for name, x0, y0, x1, y1 in boxes
        ]  # fmt: skip
        tasks.append(
            {
                "id": i + 1,
                "data": {"image": f"/data/upload/1/{i}.png"},
                "annotations": [{"id": i + 1, "result": results}],
            }
        )
    return [_text(top / "export.json", json.dumps(tasks, indent=1))]


def objects_table(top: Path) -> list[Path]:
    files = []
    for part, own in PARTS.items():
        rows = []
        for i in own:
            picture(top / part / f"{i}.png", i)
            boxes = [[x0, y0, x1 - x0, y1 - y0] for _, x0, y0, x1, y1 in OBJECTS[i]]
            objects = {"bbox": boxes, "category": [box[0] for box in OBJECTS[i]]}
            rows.append(json.dumps({"file_name": f"{i}.png", "objects": objects}))
        files.append(_text(top / part / "metadata.jsonl", "\n".join(rows)))
    return files


def mask_pairs(top: Path) -> list[Path]:
    files = []
    for part, i in _each():
        picture(top / part / "images" / f"{i}.png", i)
        mask = np.zeros(SIZE, np.uint8)
        for name, x0, y0, x1, y1 in OBJECTS[i]:
            mask[int(y0) : int(y1), int(x0) : int(x1)] = 1 + NAMES.index(name)
        file = top / part / "masks" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
        files.append(file)
    return files


def point_tables(top: Path) -> list[Path]:
    rows = ["image_name," + ",".join(f"part_{k}_{axis}" for k in range(4) for axis in "xy")]
    for i in OBJECTS:
        picture(top / f"{i}.png", i)
        rows.append(f"{i}.png," + ",".join(f"{value}" for value in corners(("", 2.5 + i, 3, 12, 13))))
    return [_text(top / "landmarks.csv", "\n".join(rows))]


def points(top: Path) -> list[Path]:
    files = []
    for i in OBJECTS:
        picture(top / f"{i}.png", i)
        pairs = np.reshape(corners(("", 2.5 + i, 3, 12, 13)), (4, 2)).tolist()
        lines = "".join(f"{x + 1} {y + 1}\n" for x, y in pairs)  # files with this header count from 1
        files.append(_text(top / f"{i}.pts", f"version: 1\nn_points: 4\n{{\n{lines}}}\n"))
    return files


def text_lines(top: Path) -> list[Path]:
    truth = {}
    for i in OBJECTS:
        picture(top / f"{i}.png", i)
        truth[f"{i}.png"] = [f"LINE {i}", escape("a < b")]
    return [_text(top / "truth.json", json.dumps(truth, indent=1))]


FORMS: dict[str, Callable[[Path], list[Path]]] = {
    "COCO": coco, "COCO keypoints": coco_points, "Pascal VOC": voc, "YOLO": yolo, "YOLO outlines": yolo_outlines,
    "LabelMe": labelme, "CVAT": cvat, "Label Studio": label_studio, "objects in a table": objects_table,
    "masks": mask_pairs, "points in a table": point_tables, "points in files": points, "lines of text": text_lines,
}  # fmt: skip


def written(form: str, top: Path) -> list[Path]:
    """Write the set in a form below a folder; returns its files of annotations."""
    top.mkdir(parents=True, exist_ok=True)
    return FORMS[form](top)
