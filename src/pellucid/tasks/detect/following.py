# SPDX-License-Identifier: Apache-2.0
"""One detection of an image, which a lens follows: which one is meant, and its score in changed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from pellucid import _boxes
from pellucid._following import Followed
from pellucid.errors import UnknownNameError, UsageError
from pellucid.models import AnswersAround, Regions
from pellucid.tasks.detect.objects import Detected

__all__ = ["evidence", "followed", "log_odds"]

SAME = 0.5
"""IoU from which a region's box is one of the followed detection."""
NEAR = 0.3
"""IoU with the followed detection from which a region is looked at, if its own region has so much: a training moves boxes
from 0.5 on."""
LOWEST = -6.9
"""The least score, also where no region has such a box: the log-odds of a probability of 0.001."""


def log_odds(logits: Tensor) -> Tensor:
    """(…, K): log p / (1 − p) of each class, from the logits (…, K + 1) of the background and the classes.

    Unlike the probability it has a slope where an answer is sure.

    >>> log_odds(torch.tensor([0.0, 2.0])).tolist()
    [2.0]
    """
    count = logits.shape[-1]
    itself = torch.eye(count, dtype=torch.bool, device=logits.device)
    others = logits[..., None, :].masked_fill(itself, -torch.inf).logsumexp(-1)  # (…, K + 1)
    return (logits - others)[..., 1:]


def evidence(output: Regions) -> Tensor:
    """(B,): the log-odds of the surest class of any region."""
    return log_odds(output.logits.float()).flatten(1).amax(1)


@torch.no_grad()
def followed(
    output: Regions, found: Detected, named: str | None, size: tuple[int, int], classes: Sequence[str]
) -> Followed:
    """A detection, and the log-odds of its class in changed images: the highest among the regions at its place.

    Args:
        output: the model's, for one image.
        found: the detections of this image, whatever their scores.
        named: None for the surest one; a class for its surest one, and with a number the next ones ("cat 2"); a number alone
            for that place among all; "x,y" for the one that is nearest to a point and "x0,y0,x1,y1" for the one that fits a
            box best, both in shares of the image's width and height.
        size: (H, W) of the image in px.
        classes: the names of the dataset's classes.

    Raises:
        UsageError: there is no such detection.
        UnknownNameError: no class has this name.
    """
    label, box, share = _surest(output, size, None) if named is None else _named(output, found, named, size, classes)
    name = f"{classes[label]} {share:.2f}"
    corners = tuple(float(end) for end in box)
    near = min(NEAR, _own_overlap(output, label, box, size))
    words = (
        f"What is followed is the log-odds of a detection's class: the highest among the regions that overlap the detection with "
        f"an IoU of at least {near:.2g} and whose box for this class does so with {SAME:g}, and {LOWEST:g} (p = 0.001) where "
        "that is less."
    )
    ends = (corners[0], corners[1], corners[2], corners[3])
    narrowed = partial(_narrowed, box=box, near=near)
    return Followed(_score(label, box, size, near), name, "log-odds", words, ends, narrowed)


def _score(label: int, box: Tensor, size: tuple[int, int], near: float) -> Callable[[Regions], Tensor]:
    return lambda output: _at_place(output, label, box, size, near).amax(1).clamp_min(LOWEST)


def _at_place(output: Regions, label: int, box: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """(B, R): the log-odds of a class, −∞ of regions elsewhere."""
    odds = log_odds(output.logits.float())[:, :, label]
    with torch.no_grad():  # where the regions are is not differentiated, as in training
        place = box.to(odds.device)[None]
        own = output._replace(offsets=output.offsets[:, :, label : label + 1])
        there = _boxes.iou(_corners(own, size)[:, :, 0], place)[..., 0] >= SAME
        there &= _boxes.iou(output.corners.float(), place)[..., 0] >= near
    return odds.masked_fill(~there, -torch.inf)


def _own_overlap(output: Regions, label: int, box: Tensor, size: tuple[int, int]) -> float:
    """The IoU with a detection of the region that it was found in."""
    best = int(_at_place(output, label, box, size, 0.0)[0].argmax())
    return float(_boxes.iou(output.corners[0, best : best + 1].float(), box.to(output.corners.device)[None]))


def _narrowed(model: nn.Module, box: Tensor, near: float) -> nn.Module:
    return _Around(model, box, near) if isinstance(model, AnswersAround) else model


@final
class _Around(nn.Module):
    """A detector that scores only the regions of which the followed detection may be one; `model` is as `AnswersAround`."""

    def __init__(self, model: Any, box: Tensor, near: float) -> None:
        super().__init__()
        self.model, self.box, self.near = model, box, near

    def forward(self, images: Tensor) -> Regions:
        found: Regions = self.model.around(images, self.box, self.near)
        return found


def _corners(output: Regions, size: tuple[int, int]) -> Tensor:
    """(B, R, K, 4): the box of each region for each class."""
    corners = _boxes.decode(output.offsets.float(), output.corners.float()[:, :, None])
    return _boxes.clip(corners, size)


def _surest(output: Regions, size: tuple[int, int], label: int | None) -> tuple[int, Tensor, float]:
    """The class, the box and the probability of the region that is surest (of a class), also where nothing was found."""
    shares = output.logits[0].float().softmax(1)[:, 1:]  # (R, K)
    if label is not None:
        place = int(shares[:, label].argmax())
    else:
        place, label = divmod(int(shares.argmax()), shares.shape[1])
    return label, _corners(output, size)[0, place, label].detach(), float(shares[place, label])


def _named(
    output: Regions, found: Detected, named: str, size: tuple[int, int], classes: Sequence[str]
) -> tuple[int, Tensor, float]:
    text = named.strip()
    known = {name.lower(): place for place, name in enumerate(classes)}
    if "," in text and text.lower() not in known:
        return _taken(found, _nearest(found, text, size))
    if text.lower() in known:
        return _surest(output, size, known[text.lower()])
    title, _, number = text.rpartition(" ")
    title = title.strip().lower()
    if not number.isdigit() or (title and title not in known):
        raise UnknownNameError("follow", named, classes)
    own = torch.arange(len(found.labels[0])) if not title else (found.labels[0] == known[title]).nonzero()[:, 0].cpu()
    if not 1 <= int(number) <= len(own):
        what = f"{len(own)} detection{'s' * (len(own) != 1)}{f' of {classes[known[title]]}' if title else ''}"
        raise UsageError(f"follow={named!r}: the image has {what}; give a number from 1 to that.")
    return _taken(found, int(own[int(number) - 1]))


def _nearest(found: Detected, text: str, size: tuple[int, int]) -> int:
    """The position of the detection at a point, or of the one that fits a box best."""
    try:
        places = torch.tensor([float(part) for part in text.split(",")])
    except ValueError:
        places = torch.zeros(0)
    if len(places) not in (2, 4) or not bool(((places >= 0) & (places <= 1)).all()):
        raise UsageError(
            f"follow={text!r}: a place is x,y or x0,y0,x1,y1 in shares of the width and the height; give e.g. 0.4,0.5."
        )
    corners = found.corners[0].cpu()
    if not len(corners):
        raise UsageError(f"follow={text!r}: nothing was found in the image; name a class, or show another image.")
    places = places * torch.tensor([size[1], size[0]] * (len(places) // 2))
    if len(places) == 4:
        return int(_boxes.iou(corners, places[None])[:, 0].argmax())
    outside = (corners[:, :2] - places).clamp_min(0) + (places - corners[:, 2:]).clamp_min(0)  # (n, 2) px
    # of several around the point the one whose middle is nearest
    middle = ((corners[:, :2] + corners[:, 2:]) / 2 - places).norm(dim=1)
    return int((outside.norm(dim=1) * 1e4 + middle).argmin())


def _taken(found: Detected, place: int) -> tuple[int, Tensor, float]:
    return int(found.labels[0][place]), found.corners[0][place], float(found.scores[0][place])
