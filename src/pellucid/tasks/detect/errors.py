# SPDX-License-Identifier: Apache-2.0
"""Why a detection is no hit, and why an object was missed: the kinds of error of TIDE (Bolya et al. 2020).

They are told apart at an IoU of 0.5, over all areas. Let "own" be a detection's largest IoU with true boxes of its class, and
"other" that with those of other classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._records import Ragged, Records, rows_of
from pellucid.tasks.detect.matching import HIT, IGNORED, Floats, Matches, Padded
from pellucid.tasks.detect.precision import answered, mean_precision

__all__ = ["KINDS", "Errors", "confused", "costs", "found", "kinds", "missed", "tally"]

PLACED = 0.5  # IoU from which a box is in its place
_NEAR = 0.1  # IoU below which there is nothing (Bolya et al. 2020, section 2.2)

KINDS = ("right", "wrong class", "badly placed", "class and place", "twice", "background", "not counted")
RIGHT, CLASS, PLACE, BOTH, TWICE, BACKGROUND, UNCOUNTED = range(len(KINDS))

_MEANINGS = {
    CLASS: "in place, but of another class",
    PLACE: f"the right class, but with an IoU of {_NEAR} to {PLACED}",
    BOTH: f"another class, and with an IoU of {_NEAR} to {PLACED}",
    TWICE: "in place and of the right class, but the object was found already",
    BACKGROUND: f"no object with an IoU of {_NEAR} or more",
}


class Errors(NamedTuple):
    """The kind of each detection, and the true box that it is, or is nearly, an answer for."""

    kind: NDArray[np.int8]  # (B, D)
    aim: NDArray[np.int64]  # (B, D): position of the true box, −1 where there is none


def kinds(ours: Padded, theirs: Padded, crowd: NDArray[np.bool_], overlap: Floats, matches: Matches) -> Errors:
    """The kinds of error of B images, whose overlaps (B, D, T) and matches are known."""
    fits = np.where(crowd[:, None] | (theirs.labels < 0)[:, None], 0.0, overlap)
    same = ours.labels[:, :, None] == theirs.labels[:, None]
    own, own_at = _best(np.where(same, fits, 0.0))
    other, other_at = _best(np.where(same, 0.0, fits))
    state = matches.state[:, :, 0, 0]
    placed, near = own >= PLACED - 1e-12, np.maximum(own, other) >= _NEAR
    # in TIDE's order: a badly placed box of the right class is that, even where it lies on an object of another class
    kind = np.select(
        [state == HIT, state == IGNORED, ~placed & (own >= _NEAR), other >= PLACED, placed, ~near],
        [RIGHT, UNCOUNTED, PLACE, CLASS, TWICE, BACKGROUND],
        BOTH,
    )
    aim = np.select([kind == RIGHT, kind == PLACE, kind == CLASS], [matches.taken, own_at, other_at], -1)
    return Errors(kind.astype(np.int8), aim)


def _best(fits: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The largest overlap of each detection (B, D), and its place."""
    if not fits.shape[2]:
        return np.zeros(fits.shape[:2]), np.full(fits.shape[:2], -1)
    at = fits.argmax(2)
    return np.take_along_axis(fits, at[..., None], 2)[..., 0], at


def _aims(records: Records) -> NDArray[np.int64]:
    """(detections,): the positions of their true boxes among those of all images."""
    aim = records["aim"]
    return np.asarray(np.where(aim.values < 0, -1, records["true_label"].offsets[aim.owners] + aim.values), np.int64)


def _hit(records: Records, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(objects,): those that one of the chosen detections aims at."""
    there = np.zeros(len(records["true_label"].values), bool)
    there[_aims(records)[chosen]] = True
    return there


def found(records: Records) -> NDArray[np.bool_]:
    """(objects,): those that an answer hits: of their class, with an IoU of 0.5 or more."""
    return _hit(records, answered(records) & (records["kind"].values == RIGHT))


def missed(records: Records) -> NDArray[np.bool_]:
    """(objects,): those that no answer was for, not even one of a wrong class or a bad place."""
    kind = records["kind"].values
    return ~_hit(records, answered(records) & ((kind == RIGHT) | (kind == CLASS) | (kind == PLACE)))


def confused(records: Records) -> NDArray[np.int64]:
    """(objects and answers, 3): image, true class and predicted class, −1 for none.

    Each object is in one row: with its class if it was found, else with the most certain wrong class that an answer in its
    place has, else with −1. Each of the other answers has a row of its own with the true class −1.
    """
    label, kind = records["label"], records["kind"].values
    chosen, aims = answered(records), _aims(records)
    true = records["true_label"]
    predicted = np.full(len(true.values), -1, np.int64)
    used = np.zeros(len(label.values), bool)
    for wanted in (CLASS, RIGHT):  # an object that was found is right, whatever else lies there
        own = np.flatnonzero(chosen & (kind == wanted))[::-1]  # so that the most certain one is written last
        if wanted == CLASS:
            own = own[~found(records)[aims[own]]]
        predicted[aims[own]] = label.values[own]
        first = np.unique(aims[own][::-1], return_index=True)[1]
        used[own[::-1][first]] = True
    rest = chosen & ~used
    objects = np.stack([true.owners, true.values, predicted], 1)
    alarms = np.stack([label.owners[rest], np.full(int(rest.sum()), -1), label.values[rest]], 1)
    return np.concatenate([objects, alarms]).astype(np.int64)


def costs(records: Records) -> dict[str, float]:
    """By how much the AP50 would rise without each kind of error: ΔAP of Bolya et al. 2020, section 2.3.

    A detection of a wrong class, or in a bad place, becomes a hit if no other has its object, and no surer one of its kind;
    else it is left out, as the other kinds of error are. Of objects that no detection is for, no class has any.
    """
    kind, label, state = records["kind"].values, records["label"], records["state"]
    true, aims, once = records["true_label"], _aims(records), np.ones((1, rows_of(records)))
    rule = mean_precision([0])
    taken = np.zeros(len(true.values), bool)
    taken[aims[kind == RIGHT]] = True
    at = np.argsort(-records["score"].values, kind="stable")
    found = {}
    for wrong in _MEANINGS:
        own = at[kind[at] == wrong]
        mended, named = state.values[:, :1, :1].copy(), label.values.copy()
        mended[own] = IGNORED
        if wrong in (CLASS, PLACE):
            firsts = own[np.sort(np.unique(aims[own], return_index=True)[1])]
            firsts = firsts[~taken[aims[firsts]]]
            mended[firsts], named[firsts] = HIT, true.values[aims[firsts]]
        better = {**records, "state": Ragged(mended, state.offsets), "label": Ragged(named, label.offsets)}
        found[KINDS[wrong]] = float(rule(better, once)[0])
    left = np.flatnonzero(_hit(records, (kind == RIGHT) | (kind == CLASS) | (kind == PLACE)))
    lengths = np.bincount(true.owners[left], minlength=len(true))
    offsets = np.concatenate([[0], lengths.cumsum()])
    areas = records["true_area"].values[left]
    fewer = {**records, "true_label": Ragged(true.values[left], offsets), "true_area": Ragged(areas, offsets)}
    found["missed"] = float(rule(fewer, once)[0])
    now = float(rule(records, once)[0])
    return {name: value - now for name, value in found.items()}


def tally(records: Records) -> list[dict[str, Any]]:
    """The errors of the answers by kind, from the most to the least frequent, as rows of a table."""
    own, objects = answered(records), len(records["true_label"].values)
    counts = np.bincount(records["kind"].values[own], minlength=len(KINDS))
    answers = int(own.sum())
    rows: list[dict[str, Any]] = [
        {
            "error": KINDS[kind],
            "n": int(counts[kind]),
            "share": _share(int(counts[kind]), answers, "answers"),
            "meaning": words,
        }
        for kind, words in _MEANINGS.items()
    ]
    lost = int(missed(records).sum())
    words = "an object without an answer, even of a wrong class or in a bad place"
    rows.append({"error": "missed", "n": lost, "share": _share(lost, objects, "objects"), "meaning": words})
    lost_to = costs(records) if objects else {}
    for row in rows:
        cost = lost_to.get(row["error"])
        row["AP50 lost"] = "–" if cost is None or np.isnan(cost) else f"{cost:.3f}"
    columns = ("error", "n", "share", "AP50 lost", "meaning")
    return [{name: row[name] for name in columns} for row in sorted(rows, key=lambda row: -int(row["n"]))]


def _share(count: int, of: int, what: str) -> str:
    return f"{100 * count / of:.3g} % of the {what}" if of else "–"
