"""Files of LabelMe, CVAT and Label Studio, mutated: a dataset or one sentence that names the file, never a traceback."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import pictures
from mutating import mutated
from PIL import Image

from pellucid.data import open
from pellucid.errors import DataError

ROUNDS = 150
WORDS = [
    b"x",
    b"-1",
    b"1e400",
    b"nan",
    b"9" * 400,
    b"1,2",
    b"1,2;3",
    b";",
    b"a/../b",
    b"1e9",
    b"0",
    b"90",
    b"dog",
    b"default",
    "지단".encode(),
]
STRANGE: list[Any] = [
    None, True, False, -1, 0, 1.5, 1e308, 10**40, float("nan"), float("inf"), "", "x", "1", "nan", "\ud800", "\0", "../../etc", "x" * 5000,
    [], {}, [[]], [None], {"x": None}, [1, 2], [[1, 2], [3, 4]], {"a": {"b": []}}, "\n", "<svg/>",
]  # fmt: skip


def labelme(top: Path) -> list[Path]:
    stream = io.BytesIO()
    Image.fromarray(np.ones((3, 4), bool)).save(stream, "PNG")
    kinds = {
        "rectangle": [[1, 2], [9, 12]], "polygon": [[1, 2], [9, 2], [5, 12]], "circle": [[9, 9], [9, 12]], "point": [[3, 4]],
        "points": [[3, 4], [5, 6]], "mask": [[2, 2], [5, 4]], "rotation": [[5, 2], [8, 5], [5, 8], [2, 5]], "line": [[1, 1], [2, 2]],
    }  # fmt: skip
    shapes = [
        {"label": kind, "points": points, "group_id": 1, "shape_type": kind, "flags": {}}
        for kind, points in kinds.items()
    ]
    shapes[5]["mask"] = base64.b64encode(stream.getvalue()).decode()
    for name in "abc":
        content = {
            "version": "5",
            "flags": {"day": True},
            "shapes": shapes,
            "imagePath": f"{name}.png",
            "imageData": None,
        }
        (top / f"{name}.json").write_text(json.dumps({**content, "imageHeight": 16, "imageWidth": 24}, indent=1))
    return sorted(top.glob("*.json"))


def label_studio(top: Path) -> list[Path]:
    bits = (
        f"{16 * 24 * 4:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + f"111{16 * 24 * 4 - 1:016b}{255:08b}"
    )  # all is painted
    brush = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
    values: dict[str, dict[str, Any]] = {
        "rectanglelabels": {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 30},
        "polygonlabels": {"points": [[1, 2], [9, 2], [5, 12]]},
        "ellipselabels": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 10},
        "keypointlabels": {"x": 50, "y": 50, "width": 1},
        "brushlabels": {"format": "rle", "rle": brush},
        "choices": {},
        "textarea": {"text": ["a"]},
    }
    common = {
        "original_width": 24,
        "original_height": 16,
        "image_rotation": 0,
        "to_name": "image",
        "parentID": "polygonlabels",
    }
    results = [
        {"type": kind, "id": kind, "value": {**value, kind: ["cat"]}, **common} for kind, value in values.items()
    ]
    tasks = [
        {
            "id": i,
            "data": {"image": f"/data/upload/1/ab12cd34-{name}.png"},
            "annotations": [{"result": results[i:], "was_cancelled": False, "updated_at": 1.5 + k} for k in range(2)],
            "file_upload": f"ab12cd34-{name}.png",
        }
        for i, name in enumerate("abc")
    ]
    (top / "export.json").write_text(json.dumps(tasks, indent=1))
    return [top / "export.json"]


def minimal(top: Path) -> list[Path]:
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 30, "original_width": 24, "original_height": 16}
    rows = [
        {
            "image": f"{name}.png",
            "id": i,
            "label": [{**box, "labels": ["cat"]}],
            "kind": "cat",
            "annotator": 1,
            "annotation_id": i,
        }
        for i, name in enumerate("abc")
    ]
    (top / "export.json").write_text(json.dumps(rows, indent=1))
    return [top / "export.json"]


def cvat(top: Path) -> list[Path]:
    shapes = """
      <box label="cat" xtl="1" ytl="2" xbr="9" ybr="12" rotation="30" group_id="1"><attribute name="x">1</attribute></box>
      <polygon label="cat" points="1,2;9,2;5,12" group_id="1"/>
      <ellipse label="dog" cx="9" cy="9" rx="5" ry="3" rotation="10"/>
      <points label="nose" points="3,4;5,6" group_id="1"/>
      <mask label="dog" rle="2, 3, 7" left="2" top="3" width="4" height="3"/>
      <skeleton label="cat"><points label="a" points="1,2"/><points label="b" outside="1" points="3,4"/></skeleton>
      <polyline label="cat" points="1,1;2,2"/><tag label="cat"/>"""
    labels = "".join(f"<label><name>{name}</name><color>#fff</color></label>" for name in ("cat", "dog"))
    images = "".join(
        f'<image id="0" name="{name}.png" subset="default" width="24" height="16">{shapes}</image>\n' for name in "abc"
    )
    (top / "annotations.xml").write_text(
        f"<annotations><meta><task><labels>{labels}</labels></task></meta>{images}</annotations>"
    )
    return [top / "annotations.xml"]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as its holder and its key there."""
    if isinstance(value, (dict, list)):
        for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            yield value, key
            yield from places(inner)


def strange(content: bytes, draw: random.Random) -> bytes:
    """A whole JSON or XML file with one or two of its values exchanged for strange ones, removed or repeated."""
    if content.startswith(b"<"):
        values = list(re.finditer(rb' \w+="([^"]*)"', content))
        for match in sorted(draw.sample(values, draw.randint(1, 2)), key=lambda one: -one.start()):
            new = draw.choice(
                [b"", b' name=""', *(match[0].replace(match[1] or b'"', word) for word in WORDS if b'"' not in word)]
            )
            content = content[: match.start()] + new + content[match.end() :]
        return content
    value = copy.deepcopy(json.loads(content))
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(list(places(value)) or [([0], 0)])
        if draw.random() < 0.25:
            del holder[key]
        elif isinstance(holder, list) and draw.random() < 0.2:
            holder.append(holder[key])
        else:
            holder[key] = copy.deepcopy(draw.choice(STRANGE))
    return json.dumps(value, indent=1).encode()


@pytest.mark.parametrize("built", [labelme, label_studio, minimal, cvat])
def test_a_mutated_file_gives_a_dataset_or_one_sentence_that_names_it(
    built: Callable[[Path], list[Path]], tmp_path: Path
) -> None:
    pictures(tmp_path, "a.png", "b.png", "c.png", size=(16, 24))
    files = built(tmp_path)
    whole = {file: file.read_bytes() for file in files}
    assert sum(len(split) for split in open(tmp_path).splits.values()) == 3
    draw = random.Random(built.__name__)
    outcomes: Counter[bool] = Counter()
    for i in range(ROUNDS):
        file = draw.choice(files)
        content = strange(whole[file], draw) if i % 2 else mutated(whole[file], draw, WORDS)
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
        assert not said or file.name in said, (content, said)
        file.write_bytes(whole[file])
    assert min(outcomes[True], outcomes[False]) > ROUNDS / 20  # both happen
