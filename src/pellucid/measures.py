# SPDX-License-Identifier: Apache-2.0
"""What `evaluate` keeps in a run's folder, and whether it belongs to the weights that are there now.

metrics.json holds the digests of the weights, of the data, of records.npz and of itself. It is written last: if a process is
killed between the two files, the digest of records.npz does not agree. What is measured of several views of each image goes to files of
its own, views.json and views.npz, in the same form: nobody takes it for the plain measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pellucid import recorded
from pellucid.files import digest, plain, write_atomically, write_json
from pellucid.recorded import Unreadable

if TYPE_CHECKING:
    from pellucid.tasks import NamedFigure, Records

__all__ = ["METRICS", "RECORDS", "VIEWS", "WEIGHTS", "Evaluation", "belonging", "columns", "files_of", "write"]

METRICS, RECORDS = "metrics.json", "records.npz"
VIEWS, _VIEW_RECORDS = "views.json", "views.npz"
WEIGHTS = {"best": "weights.safetensors", "last": "last.safetensors"}


@final
@dataclass(frozen=True)
class Evaluation:
    """What was measured, and on what."""

    metrics: dict[str, Any]  # the content of metrics.json
    records: dict[str, Records]  # of the images, for "model" and each "baselines/NAME"
    pictures: Sequence[NamedFigure]
    weights: str  # their digest


def files_of(views: bool) -> tuple[str, str]:
    """The names of the measures and of the records: of several views of each image, or of the images as they are."""
    return (VIEWS, _VIEW_RECORDS) if views else (METRICS, RECORDS)


def write(run: Path, found: Evaluation, fingerprint: str) -> dict[str, Any]:
    """Write metrics.json, records.npz and pictures to a run's folder, or views.json and views.npz, and return the first.

    Args:
        run: the folder.
        found: what was measured.
        fingerprint: of the data that it was measured on.
    """
    import numpy as np

    from pellucid._png import drawn
    from pellucid.tasks import as_arrays

    metrics_file, records_file = files_of("views" in found.metrics)
    arrays: dict[str, Any] = {}
    for owner, table in found.records.items():
        arrays |= as_arrays(table, f"{owner}/")
    for picture in found.pictures:
        with write_atomically(run / "figures" / f"{picture.name}.png") as draft:
            draft.write_bytes(drawn(picture.figure))
    with write_atomically(run / records_file) as draft:
        with draft.open("wb") as file:
            np.savez_compressed(file, **arrays)
        digests = {"weights": found.weights, "data": fingerprint, "records": digest(draft)}
    kept = plain({**found.metrics, "digests": digests})
    kept["digests"]["content"] = recorded.self_digest(kept)
    write_json(run / metrics_file, kept)
    return {**found.metrics, "digests": kept["digests"]}


def belonging(folder: Path, info: Mapping[str, Any], file: str = METRICS) -> tuple[dict[str, Any] | None, str]:
    """The content of metrics.json if it belongs to the present weights, else None; and why it does not, or why it may not.

    Files of version 0.1.0 hold no digest. They are taken as they are as long as this version has not trained the run, since
    nothing in the folder tells more.

    Args:
        folder: of the run.
        info: the content of run.json.
        file: metrics.json, or views.json.

    Raises:
        Unreadable: the file is damaged.
    """
    from pellucid import weights

    metrics = recorded.read_measures(folder / file)
    if metrics is None:
        return None, ""
    which = metrics["weights"]
    own, held = metrics.get("digests"), weights.digest_of(folder / WEIGHTS[which])
    if own is None:
        if held is not None and held.marked:
            return None, f"{file} is of weights from before the training went on"
        return metrics, f"{file} does not say which weights it belongs to"
    if own["data"] != info["data"]["fingerprint"]:
        return None, f"{file} is of other data"
    present = held.digest if held is not None else info.get("digests", {}).get(WEIGHTS[which])
    if present is None:
        return metrics, f"{WEIGHTS[which]} is missing, so that {file} cannot be compared with it"
    if present != own["weights"]:
        return None, f"{file} is of other {which} weights than the present ones"
    return metrics, ""


def columns(folder: Path, metrics: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The arrays of records.npz behind `metrics`, for "model" or "baselines/NAME"; {} where there is no such file.

    Raises:
        Unreadable: it is damaged, or was not written with metrics.json.
    """
    file = folder / RECORDS
    if not file.exists():
        return {}
    try:
        if "digests" in metrics and digest(file) != metrics["digests"]["records"]:
            raise Unreadable(f"is not the one that was written with {METRICS}")
        return recorded.read_columns(file, owner)
    except OSError as fault:
        raise Unreadable(f"cannot be read ({fault.strerror})") from fault
