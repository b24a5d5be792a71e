# SPDX-License-Identifier: Apache-2.0
"""adversarial: how little has to change for a wrong answer (Goodfellow, Shlens & Szegedy 2015)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.lenses._contract import Labelled, Lens, Subject, View
from pellucid.lenses._images import stacked
from pellucid.lenses.adversarial.attacks import (  # fmt: skip
    LEVELS,
    attack,
    magnitude,
    quantised,
    random_signs,
    random_start,
    said,
    threshold,
    wilson,
)
from pellucid.lenses.adversarial.figure import Curve, Fooled, figure

__all__ = ["Adversarial"]

_MOST = 64  # /255, up to which the smallest ε is sought
_NAMES = {"fgsm": "FGSM", "bim": "BIM", "pgd": "PGD"}
_AXES = {
    "clean": ("image", "channel", "y", "x"),
    "adversarial": ("image", "channel", "y", "x"),
    "size": ("image", "height and width"),
    **dict.fromkeys(
        ("class", "score", "new_class", "new_score", "score_after", "random_class", "fooled", "smallest", "epsilon"),
        ("image",),
    ),
    **dict.fromkeys(
        ("curve_epsilon", *(f"{kind}{part}" for kind in ("accuracy", "random_accuracy") for part in ("", "_low", "_high"))),
        ("epsilon",),
    ),
    "curve_images": (),
}  # fmt: skip


@final
@dataclass(frozen=True)
class Adversarial(Lens):
    """Each pixel is changed by at most ε, in the direction that makes the answer wrong, and kept at values that a file stores.

    Untargeted, the class that the model answers is left; `towards` a named class, that one is sought. `clean` and
    `adversarial` (image, channel, y, x) are stored values 0 … 255, -1 beyond a smaller image; `smallest` is the ε that fools
    while 1/255 less does not, NaN where none up to 64/255 does; an adversarial_N_NAME.png of each image lies beside the
    figure. Of a run, `accuracy` follows ε over its test images with 95 % Wilson intervals, beside that under random signs.

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0] * 4, [0.0] * 4])), model[1].bias.data.copy_(torch.tensor([-1.9, 0]))
    >>> view = Adversarial(epsilon="8/255").look(Subject(model=model, images=torch.full((1, 1, 2, 2), 0.5)))
    >>> view["adversarial"].ravel().tolist(), view["fooled"].tolist(), (255 * view["smallest"]).tolist()
    ([120, 120, 120, 120], [True], [7.0])
    """

    method: Literal["fgsm", "bim", "pgd"] = "fgsm"
    """FGSM: one step; BIM: several, its iterated form; PGD: several from a random start"""
    epsilon: str = "8/255"
    """largest change of a pixel whose values are in [0, 1], as 8/255 or 0.03"""
    towards: str | None = None
    """the class that the model is to answer, by name or number; by default any but its answer"""
    steps: int = 10
    """steps of BIM and PGD"""
    step: str | None = None
    """length of a step of BIM and PGD; by default 2.5 ε / steps"""
    curve: tuple[str, ...] = ("1/255", "2/255", "4/255", "8/255", "16/255")
    """ε for which accuracy over a run's test images is measured"""
    test_images: int = 200
    """test images over which accuracy is measured, spread evenly; 0 for none"""

    def __post_init__(self) -> None:
        if self.method not in _NAMES:
            raise UsageError(f"method={self.method!r}: is not known; choose fgsm, bim or pgd.")
        for name, value in (("epsilon", self.epsilon), *(("curve", value) for value in self.curve)):
            if magnitude(name, value) * LEVELS < 1 - 1e-6:
                raise UsageError(f"{name}={value!r}: is less than 1/255, a step of a stored pixel; give 1/255 or more.")
        if self.step is not None:
            magnitude("step", self.step)
        if self.steps < 1:
            raise UsageError(f"steps={self.steps}: must be at least 1; give another.")
        if self.test_images < 0:
            raise UsageError(f"test_images={self.test_images}: must be at least 0; give another.")

    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='adversarial': needs a model and at least one image; name an image file.")
        found = [self._one(subject, place, image) for place, image in _places(subject)]
        curve = self._curve(subject) if subject.batches is not None and self.test_images else None
        numbers: dict[str, NDArray[Any]] = {
            "clean": stacked([_stored(one.clean) for one in found]),
            "adversarial": stacked([_stored(one.adversarial) for one in found]),
            "size": np.array([one.clean.shape[1:] for one in found]),
            "class": np.array([one.before for one in found]),
            "score": np.array([one.score for one in found]),
            "new_class": np.array([one.after for one in found]),
            "new_score": np.array([one.new_score for one in found]),
            "score_after": np.array([one.score_after for one in found]),
            "random_class": np.array([one.random for one in found]),
            "fooled": np.array([one.fooled for one in found]),
            "smallest": np.array([np.nan if one.smallest is None else one.smallest / LEVELS for one in found]),
            "epsilon": np.array([self._size] * len(found)),
        }
        if curve is not None:
            numbers |= {
                "curve_epsilon": curve.epsilons,
                "curve_images": np.array(curve.n),
                **{f"accuracy{part}": row for part, row in zip(("", "_low", "_high"), curve.attacked, strict=True)},
                **{
                    f"random_accuracy{part}": row for part, row in zip(("", "_low", "_high"), curve.random, strict=True)
                },
            }
        drawn = figure(subject, found, curve, _NAMES[self.method], self._size)
        axes = {name: names for name, names in _AXES.items() if name in numbers}
        return View(drawn, numbers, self._words(subject, found, curve), axes, _files(subject, found))

    @property
    def _size(self) -> float:
        return magnitude("epsilon", self.epsilon)

    def _attacked(self, subject: Subject, clean: Tensor, labels: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
        """Stored images (B, C, H, W) within ±ε of the stored `clean` ones."""
        assert subject.model is not None
        several = self.method != "fgsm"
        start = random_start(clean, epsilon, seeds) if self.method == "pgd" else None
        step = None if self.step is None or not several else magnitude("step", self.step)
        changed = attack(
            subject.model, clean, labels, epsilon, steps=self.steps if several else 1, step=step,
            towards=self.towards is not None, start=start,
        )  # fmt: skip
        return quantised(changed, clean, epsilon)

    def _one(self, subject: Subject, place: int, image: Tensor) -> Fooled:
        clean = quantised(image.to(subject.device))[None]
        shares = _shares(subject, clean)[0]
        before = int(shares.argmax())
        target = None if self.towards is None else self._target(subject, len(shares))
        label = torch.tensor([before if target is None else target], device=clean.device)
        seeds = [_seed(subject.seed, place)]

        def changed(levels: float) -> Tensor:
            return self._attacked(subject, clean, label, levels / LEVELS, seeds)

        def fooled(images: Tensor) -> bool:
            answer = int(_shares(subject, images)[0].argmax())
            return answer != before if target is None else answer == target

        adversarial = changed(self._size * LEVELS)
        after = _shares(subject, adversarial)[0]
        most = max(_MOST, int(self._size * LEVELS + 1e-6))
        smallest = 0 if target == before else threshold(lambda levels: fooled(changed(levels)), most)
        random = _shares(subject, quantised(random_signs(clean, self._size, seeds), clean, self._size))[0]
        return Fooled(
            clean[0].cpu(), adversarial[0].cpu(), before, float(shares[before]), int(after.argmax()), float(after.max()),
            float(after[before]), int(random.argmax()), fooled(adversarial), smallest, target,
        )  # fmt: skip

    def _target(self, subject: Subject, classes: int) -> int:
        assert self.towards is not None
        index = subject.class_of(self.towards)
        if index >= classes:
            raise UsageError(f"towards={self.towards!r}: the model has {classes} classes; give a lower number.")
        return index

    def _curve(self, subject: Subject) -> Curve | None:
        """Accuracy over a run's test images for each ε, attacked and under random signs."""
        assert subject.batches is not None
        epsilons = [0.0, *sorted({magnitude("curve", value) for value in self.curve})]
        right = np.zeros((2, len(epsilons)), np.int64)
        n = 0
        part = "test" if subject.counts.get("test", 1) else "val"
        for batch in subject.progress(_whole(subject, part, self.test_images), "test images"):
            if batch.labels is None:
                return None
            clean, truth = quantised(batch.images), batch.labels.to(batch.images.device)
            if self.towards is not None:
                target = self._target(subject, _shares(subject, clean[:1]).shape[1])
                clean, truth, kept = (
                    clean[truth != target],
                    truth[truth != target],
                    batch.index[(truth != target).cpu()],
                )
                aimed = torch.full_like(truth, target)
            else:
                kept, aimed = batch.index, truth
            if not len(clean):
                continue
            seeds = [_seed(subject.seed, int(i)) for i in kept]
            n += len(clean)
            for k, epsilon in enumerate(epsilons):
                pair = (clean, clean)
                if epsilon:
                    noisy = quantised(random_signs(clean, epsilon, seeds), clean, epsilon)
                    pair = (self._attacked(subject, clean, aimed, epsilon, seeds), noisy)
                for row, images in zip(right, pair, strict=True):
                    row[k] += int((_shares(subject, images).argmax(1) == truth).sum())
        if not n:
            return None
        rows = [np.array([(hits / n, *wilson(int(hits), n)) for hits in row]).T for row in right]
        return Curve(np.array(epsilons), n, rows[0], rows[1])

    def _words(self, subject: Subject, found: Sequence[Fooled], curve: Curve | None) -> str:
        hit = [place for place, one in enumerate(found) if one.fooled]
        aim = "" if found[0].target is None else f" towards {subject.label(found[0].target)}"
        plural = "image" if len(found) == 1 else "images"
        words = f"{_NAMES[self.method]}{aim} with ε = {said(self._size)} fools {len(hit)} of {len(found)} {plural}"
        if hit:
            place = min(hit, key=lambda i: _MOST + 1 if found[i].smallest is None else found[i].smallest or 0)
            one = found[place]
            words += (
                f": {subject.name(place)} from {subject.label(one.before)} ({100 * one.score:.1f} %) "
                f"to {subject.label(one.after)} ({100 * one.new_score:.1f} %)"
            )
            if one.smallest:
                words += f", as {one.smallest}/{LEVELS} already does"
        held = sum(one.smallest is None for one in found)
        if held:
            words += f"; {held} held against every ε up to {_MOST}/{LEVELS} that was tried"
        still = sum(bool((one.clean == one.adversarial).all()) for one in found)
        if still:
            words += f"; the gradient of {still} is 0 everywhere and shows no direction"
        words += "."
        if curve is not None:
            value, low, high = (100 * row[-1] for row in curve.attacked)
            words += (
                f" Over {curve.n:,} test images accuracy falls from {100 * curve.attacked[0][0]:.1f} % to {value:.1f} % "
                f"({low:.1f} to {high:.1f} %) at {said(float(curve.epsilons[-1]))}, under random signs to "
                f"{100 * curve.random[0][-1]:.1f} %."
            )
        return words


def _places(subject: Subject) -> list[tuple[int, Tensor]] | Any:
    assert subject.images is not None
    return enumerate(subject.progress(subject.images, "attacking"))


def _whole(subject: Subject, part: str, limit: int) -> Any:
    """The batches of a split, as many images at once as the memory allows."""
    assert subject.batches is not None and subject.images is not None
    size = subject.room(600.0 * 4 * subject.images[0].numel(), most=128)
    batches: Sequence[Labelled] | Any = subject.batches(part, size, limit)
    return batches


@torch.no_grad()
def _shares(subject: Subject, images: Tensor) -> Tensor:
    """(B, K) probabilities of the classes."""
    assert subject.model is not None
    shares = subject.probabilities(subject.model(images * 1))
    if shares is None or shares.shape[1] < 2:
        raise UsageError(
            "lens='adversarial': fools a classifier, and this model's answer is no vector of classes; look at a classifier."
        )
    return shares


def _seed(seed: int, place: int) -> int:
    return (seed * 1_000_003 + place) % 2**63


def _stored(image: Tensor) -> NDArray[np.int16]:
    """0 … 255; wide enough for -1, where an image has no pixel."""
    levels: NDArray[np.int16] = (image * LEVELS).round().numpy().astype(np.int16)
    return levels


def _files(subject: Subject, found: Sequence[Fooled]) -> dict[str, bytes]:
    """The adversarial images as PNG, at the size at which the model takes them; of one, three or four planes."""
    from PIL import Image

    files = {}
    for place, one in enumerate(found):
        levels = _stored(one.adversarial).astype(np.uint8)
        if len(levels) not in (1, 3, 4):
            continue
        stem = re.sub(r"[^\w.-]+", "_", Path(subject.name(place)).stem)
        memory = io.BytesIO()
        Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(memory, "PNG")
        files[f"adversarial_{place + 1}_{stem}.png"] = memory.getvalue()
    return files
