# SPDX-License-Identifier: Apache-2.0
"""What `evaluate` keeps in a run's folder, and whether it belongs to the weights that are there now.

metrics.json holds the digests of the weights, of the data, of records.npz and of itself. It is written last: if a process is
killed between the two files, the digest of records.npz does not agree.
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

__all__ = ["METRICS", "RECORDS", "WEIGHTS", "Evaluation", "belonging", "columns", "write"]

METRICS, RECORDS = "metrics.json", "records.npz"
WEIGHTS = {"best": "weights.safetensors", "last": "last.safetensors"}


@final
@dataclass(frozen=True)
class Evaluation:
    """What was measured, and on what."""

    metrics: dict[str, Any]  # the content of metrics.json
    records: dict[str, Records]  # of the images, for "model" and each "baselines/NAME"
    pictures: Sequence[NamedFigure]
    weights: str  # their digest


def write(run: Path, found: Evaluation, fingerprint: str) -> dict[str, Any]:
    """Write metrics.json, records.npz and pictures to a run's folder, and return the first.

    Args:
        run: the folder.
        found: what was measured.
        fingerprint: of the data that it was measured on.
    """
    import numpy as np

    from pellucid.tasks import as_arrays

    arrays: dict[str, Any] = {}
    for owner, table in found.records.items():
        arrays |= as_arrays(table, f"{owner}/")
    for picture in found.pictures:
        with write_atomically(run / "figures" / f"{picture.name}.png") as draft:
            picture.figure.savefig(draft, format="png", bbox_inches="tight", facecolor="white")
    with write_atomically(run / RECORDS) as draft:
        with draft.open("wb") as file:
            np.savez_compressed(file, **arrays)
        digests = {"weights": found.weights, "data": fingerprint, "records": digest(draft)}
    kept = plain({**found.metrics, "digests": digests})
    kept["digests"]["content"] = recorded.self_digest(kept)
    write_json(run / METRICS, kept)
    return {**found.metrics, "digests": kept["digests"]}


def belonging(folder: Path, info: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The content of metrics.json if it belongs to the present weights, else None; and why it does not, or why it may not.

    Files of version 0.1.0 hold no digest. They are taken as they are as long as this version has not trained the run, since
    nothing in the folder tells more.

    Args:
        folder: of the run.
        info: the content of run.json.

    Raises:
        Unreadable: metrics.json is damaged.
    """
    from pellucid import weights

    metrics = recorded.read_measures(folder / METRICS)
    if metrics is None:
        return None, ""
    which = metrics["weights"]
    own, held = metrics.get("digests"), weights.digest_of(folder / WEIGHTS[which])
    if own is None:
        if held is not None and held.marked:
            return None, f"{METRICS} is of weights from before the training went on"
        return metrics, f"{METRICS} does not say which weights it belongs to"
    if own["data"] != info["data"]["fingerprint"]:
        return None, f"{METRICS} is of other data"
    present = held.digest if held is not None else info.get("digests", {}).get(WEIGHTS[which])
    if present is None:
        return metrics, f"{WEIGHTS[which]} is missing, so that {METRICS} cannot be compared with it"
    if present != own["weights"]:
        return None, f"{METRICS} is of other {which} weights than the present ones"
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
