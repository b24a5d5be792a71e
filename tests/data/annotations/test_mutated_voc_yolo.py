"""Files of VOC and YOLO with bytes and words exchanged, removed and repeated: a dataset or one sentence, never a traceback."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mutating import mutated
from PIL import Image

from pellucid.data import open
from pellucid.errors import DataError

ROUNDS = 120

WORDS = [
    b"nan", b"inf", b"1e400", b"-1", b"0", b"", b" ", b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 400, b"null", b"[", b"{", b"]",
    b"<object>", b"</object>", b"<annotation>", b"<!--", b"&lt;", b"&x;", b"<![CDATA[", b"!!python/name:os.system", b"*a", b"&a", b"..",
    b"/", b"C:\\", b"%", "지단".encode(), b"- ", b": ", b"'", b'"', b"0.5", b"0.5 0.5", b"1_0", b"\t", b"train", b"\r", b"true", b"?", b"|",
]  # fmt: skip


def pictures(top: Path, folder: str) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        file = top / folder / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(file)


def voc(top: Path) -> list[Path]:
    pictures(top, "JPEGImages")
    side = "".join(f"<{side}>{n}</{side}>" for side, n in {"xmin": 1, "ymin": 2, "xmax": 6, "ymax": 8}.items())
    turned = "<robndbox><cx>4</cx><cy>4</cy><w>2</w><h>2</h><angle>0.5</angle></robndbox>"
    polygon = "<polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>1</y2><x3>3</x3><y3>5</y3></polygon>"
    shapes = (f"<bndbox>{side}</bndbox><difficult>0</difficult>", turned, polygon)
    objects = "".join(f"<object>\n<name>cat</name>\n{shape}\n</object>\n" for shape in shapes)
    size = "<size><width>8</width><height>8</height></size>"
    for k in range(3):
        file = top / "Annotations" / f"{k}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"<?xml version='1.0'?>\n<annotation><filename>{k}.png</filename>{size}\n{objects}</annotation>\n"
        )
    lists = top / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n2\n")
    return [*sorted(top.glob("Annotations/*.xml")), lists / "train.txt"]


def yolo(top: Path) -> list[Path]:
    pictures(top, "images")
    settings = (
        "path: .\ntrain: images\nval: [list.txt]\nnames:\n  0: cat\n  1: dog\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    )
    (top / "data.yaml").write_text(settings)
    (top / "list.txt").write_text("images/2.png\n./images/1.png\n")
    (top / "labels").mkdir()
    for k in range(3):
        rows = f"{k % 2} 0.5 0.5 0.5 0.5 0.1 0.2 2 0.5 0.6 1\n" * (k > 0)
        (top / f"labels/{k}.txt").write_text(rows + f"1 0.25 0.5 0.5 0.5 0.1 0.2 2 0.{k} 0.6 0\n")
    return [top / "data.yaml", top / "list.txt", *sorted(top.glob("labels/*.txt"))]


def plain(top: Path) -> list[Path]:
    """Boxes and outlines, with a list of names."""
    pictures(top, "images")
    (top / "labels").mkdir()
    (top / "classes.txt").write_text("cat\ndog\n")
    for k in range(3):
        (top / f"labels/{k}.txt").write_text(f"0 0.5 0.5 0.5 0.{k + 1}\n1 0.1 0.1 0.5 0.1 0.1 0.5\n1 0 0 1 0 1 1 0 1\n")
    return [top / "classes.txt", *sorted(top.glob("labels/*.txt"))]


def coco(top: Path) -> list[Path]:
    pictures(top, "images")
    images = [{"id": k, "file_name": f"{k}.png", "width": 8, "height": 8} for k in range(3)]
    shapes: list[dict[str, object]] = [
        {"segmentation": [[1, 1, 5, 1, 5, 5]], "keypoints": [1, 2, 2, 3, 4, 1]},
        {"segmentation": {"size": [8, 8], "counts": [3, 5, 56]}, "iscrowd": 1, "attributes": {"rotation": 3}},
        {"segmentation": {"size": [8, 8], "counts": "P2"}},
    ]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [1, 2, 3.5, 4], **shape} for k, shape in enumerate(shapes)
    ]
    categories = [{"id": 1, "name": "cat", "keypoints": ["left", "right"], "skeleton": [[1, 2]]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (top / "all.json").write_text(json.dumps(content, indent=1))
    return [top / "all.json"]


@pytest.mark.parametrize("built", [voc, yolo, plain, coco])
def test_a_mutated_file_gives_a_dataset_or_one_sentence(built: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    files = built(tmp_path)
    whole = {file: file.read_bytes() for file in files}
    assert len(open(tmp_path).splits) == 3
    draw = random.Random(built.__name__)
    outcomes: Counter[bool] = Counter()
    for _ in range(ROUNDS):
        file = draw.choice(files)
        content = mutated(whole[file], draw, WORDS)
        file.write_bytes(content)
        said = ""
        try:
            open(tmp_path)
        except DataError as fault:
            said = str(fault)
        except Exception as fault:
            raise AssertionError(f"{file.name} as {content!r}") from fault
        outcomes[not said] += 1
        assert not said or (said.startswith("data=") and "\n" not in said and len(said) < 1000), (content, said)
        file.write_bytes(whole[file])
    assert min(outcomes[True], outcomes[False]) > ROUNDS / 20  # both happen
