# SPDX-License-Identifier: Apache-2.0
"""The tasks of Label Studio's exports: which file is an image, and which of its annotations counts.

Source: Label Studio's task format (labelstud.io/guide/task_format) and its units (labelstud.io/guide/export).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pellucid.data.annotations.drawn import TURNED, Drawn, joined, labelled, natural
from pellucid.data.annotations.places import part_of
from pellucid.data.annotations.reading import Fault, broken, json_fault, json_of, shown
from pellucid.data.annotations.records import Annotated, Annotations
from pellucid.data.decoding import opened
from pellucid.data.decoding.pictures import orientation_of
from pellucid.data.formats.finding import Found
from pellucid.data.formats.label_studio.minimal import is_minimal, text_columns, unfolded
from pellucid.data.formats.label_studio.regions import Answer, answer_of
from pellucid.data.formats.label_studio.uploads import Uploads
from pellucid.data.problems import counted, few
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "Label Studio"

_BEGINNING = 2**20  # bytes in which the keys of the first task stand
_ENDLESS = 1e15  # seconds, which no date has
_FULL = re.compile(rb'"(annotations|completions)"\s*:\s*\[')
_BESIDE = re.compile(rb'"(result|completed_by|was_cancelled|lead_time|predictions|file_upload|total_annotations)"\s*:')
_SHORT = re.compile(rb'"(annotation_id|annotator|original_width)"\s*:')

_REMARKS = {
    "skipped": ("task was skipped and is left out", "tasks were skipped and are left out"),
    "open": ("task has no annotation and is left out", "tasks have no annotation and are left out"),
    "no image": ("task names no image and is left out", "tasks name no image and are left out"),
    "several": ("task has several annotations: the latest counts", "tasks have several annotations: the latest counts"),
    "again": ("image is in several tasks: the latest counts", "images are in several tasks: the latest counts"),
    "labels": ("region has several labels: the first counts", "regions have several labels: the first counts"),
    "choices": ("image has several choices, which are not read", "images have several choices, which are not read"),
}  # fmt: skip


def fits(path: Path, found: Found) -> Sequence[str]:
    """The JSON files that list tasks with their annotations, or the rows of JSON-MIN."""
    return [name for name in found.others if name.lower().endswith(".json") and _lists_tasks(path / name)]


def _lists_tasks(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(64).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
            if not start.startswith(b"["):  # decided by the first character, before more is read
                return False
            text = start + stream.read(_BEGINNING).replace(b"\0", b"")
    except OSError:
        return False
    return bool((_FULL.search(text) and _BESIDE.search(text)) or _SHORT.search(text))


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations."""
    reader = _Reader(path, found)
    for name in evidence:
        reader.file(name)
    kept = list(reader.kept.values())
    drawn = [one.drawn for one in kept]
    images, point_names, problems = joined(drawn)
    choices = [one.label for one in drawn]
    images, more = labelled(images, choices, "Choices")
    used = natural([one.category for image in images for one in image.instances])
    alone = not any(one.image.instances for one in drawn)
    return Annotations(
        FORM,
        images,
        () if alone else used,
        point_names,
        problems=(*problems, *more, *reader.problems),
        notes=tuple(reader.notes),
        read=tuple(evidence),
    )


@final
@dataclass(frozen=True)
class _Kept:
    """The annotation of an image that counts."""

    time: str
    drawn: Drawn


class _Reader:
    """Reads file by file and notes what it does not read."""

    def __init__(self, path: Path, found: Found) -> None:
        self._path, self._uploads = path, Uploads(found)
        self._every = frozenset(found.images)
        self.kept: dict[str, _Kept] = {}
        self._tasks: dict[str, Any] = {}  # image -> the task that it was read from
        self._said: dict[str, list[str]] = defaultdict(list)  # kind of remark -> images
        self._unread: dict[str, list[str]] = defaultdict(list)  # type of result -> images
        self._columns: set[str] = set()
        self._turned = False

    @property
    def problems(self) -> list[str]:
        """Sentences on tasks and results that were not read."""
        said = [
            f"{len(names):,} {_REMARKS[kind][len(names) > 1]} ({few(list(dict.fromkeys(names)))})."
            for kind in _REMARKS
            if (names := self._said.get(kind))
        ]
        for kind, names in self._unread.items():
            verb = "is" if len(names) == 1 else "are"
            said.append(
                f"{counted(len(names), 'result')} of type {kind!r} {verb} not read ({few(list(dict.fromkeys(names)))})."
            )
        return said

    @property
    def notes(self) -> list[str]:
        """Sentences on how numbers and texts are read."""
        said = [TURNED] if self._turned else []
        if views := self._said.get("view"):
            was = "image was" if len(views) == 1 else "images were"
            said.append(
                f"{len(views):,} {was} turned in the editor alone, which leaves coordinates as they are ({few(views)})."
            )
        if self._columns:
            said.append(f"Texts are read from {few(sorted(self._columns), 6)}, classes from other columns of JSON-MIN.")
        return said

    def file(self, name: str) -> None:
        """Read one file.

        Raises:
            DataError: it is broken; the sentence has its line.
        """
        file = self._path / name
        tasks = json_of(file)
        if not isinstance(tasks, list):
            raise broken(file, f"is {shown(tasks)}, not a list of tasks", 1)
        texts = text_columns(tasks)
        self._columns |= texts
        for i, task in enumerate(tasks):
            if not isinstance(task, Mapping):
                raise json_fault(file, f"task {i + 1} is {shown(task)}, not an object", i)
            short = is_minimal(task)
            self._task(file, name, i, unfolded(task, texts) if short else task, short)

    def _task(self, file: Path, name: str, i: int, task: Mapping[str, Any], short: bool) -> None:
        title = f"task {shown(task.get('id', i + 1))}"
        try:
            image = self._uploads.image(task, name.rpartition("/")[0], part_of(name))
        except Fault as fault:
            raise json_fault(file, f"{title}: {fault}", i) from fault
        if image is None:
            self._said["no image"].append(title)
            return
        key = "annotations" if "annotations" in task else "completions"
        every = task.get(key) or []
        if not isinstance(every, list) or not all(isinstance(one, Mapping) for one in every):
            raise json_fault(file, f"{title} has annotations that are no list of objects", i)
        valid = [k for k, one in enumerate(every) if not (one.get("was_cancelled") or one.get("skipped"))]
        if not valid:
            self._said["skipped" if every else "open"].append(as_text(image))
            return
        if len(valid) > 1:
            self._said["several"].append(as_text(image))
        best = max(valid, key=lambda k: (_time(every[k]), k))
        place = (i,) if short else (i, key, best)
        results = every[best].get("result")
        if not isinstance(results, list):
            raise json_fault(file, f"{title} has an annotation without a list of results", *place)
        time = _time(every[best])
        if image in self.kept:
            self._said["again"].append(as_text(image))
            if time < self.kept[image].time:
                return
        answer = self._answer(file, title, image, results, place, short)
        self._note(image, answer)
        objects = answer.objects
        text = "\n".join(answer.texts or [one.text for one, _ in objects if one.text]) or None
        record = Annotated(
            image,
            tuple(one for one, _ in objects),
            answer.size,
            part_of(name) or part_of(image.rpartition("/")[0]),
            name,
            "share",
            text=text,
        )
        label = answer.choices[0] if len(answer.choices) == 1 else None
        self.kept[image] = _Kept(time, Drawn(record, tuple(group for _, group in objects), tuple(answer.marks), label))

    def _answer(
        self, file: Path, title: str, image: str, results: Sequence[Any], place: tuple[str | int, ...], short: bool
    ) -> Answer:
        sized = [one for one in results if isinstance(one, Mapping) and one.get("original_width")]
        tags = sorted({str(one["to_name"]) for one in sized if one.get("to_name") is not None})
        if len(tags) > 1:
            raise json_fault(file, f"{title} annotates several images ({few(tags)}), which is not read", *place)

        def aspect(stated: tuple[int, int] | None) -> tuple[int, int]:
            return _aspect(self._path / image, stated) if image in self._every else stated or (1, 1)

        try:
            return answer_of(results, aspect)
        except Fault as fault:
            said, position = fault.args
            where = place if short else (*place, "result", position)
            raise json_fault(file, f"{title}, result {position + 1}: {said}", *where) from fault

    def _note(self, image: str, answer: Answer) -> None:
        title = as_text(image)
        for kind in answer.unread:
            self._unread[kind].append(title)
        self._said["labels"] += [title] * answer.several
        self._said["view"] += [title] * answer.view
        self._said["choices"] += [title] * (len(answer.choices) > 1)
        self._turned |= answer.turned


def _time(annotation: Mapping[str, Any]) -> str:
    """When an annotation was last changed, in a form that sorts: texts of one format, or seconds."""
    value = annotation.get("updated_at") or annotation.get("created_at") or ""
    return f"{value:020.3f}" if isinstance(value, (int, float)) and abs(value) < _ENDLESS else str(value)


def _aspect(file: Path, stated: tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) of an image as it was annotated: as stated, but for sizes whose sides were exchanged."""
    try:
        with opened(file) as image:
            raw, orientation = (image.height, image.width), orientation_of(image)
    except Exception:  # it is named where all images are read
        return stated or (1, 1)
    upright = raw[::-1] if orientation > 4 else raw
    exchanged = stated == upright[::-1] and orientation <= 4
    return upright if stated is None or exchanged else stated
