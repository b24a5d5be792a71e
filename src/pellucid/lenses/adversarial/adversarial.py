# SPDX-License-Identifier: Apache-2.0
"""adversarial: how small a change makes the answer wrong (Goodfellow, Shlens & Szegedy 2015)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError, check_choice
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import stacked
from pellucid.lenses._parts import Labelled, Network, Splits
from pellucid.lenses.adversarial.attacks import (  # fmt: skip
    LEVELS,
    attack,
    magnitude,
    quantised,
    random_signs,
    random_start,
    threshold,
    wilson,
    written,
)
from pellucid.lenses.adversarial.figure import Curve, Fooled, figure

__all__ = ["Adversarial"]

_MOST = 64  # /255, up to which the smallest ε is searched for
_BYTES = 600.0 * 4  # of a pass forwards and back, for each value of an image
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
class Adversarial(Lens[Network, Splits | None]):
    """Each pixel is changed by at most ε in the direction that makes the answer wrong, and kept at values that a file can store.

    An untargeted attack leads away from the model's answer, one `towards` a class leads to that class. `clean` and `adversarial`
    (image, channel, y, x) are stored values 0 … 255, -1 beyond a smaller image; `smallest` is the ε that fools the model while
    1/255 less does not, NaN where none up to 64/255 does. Each adversarial image is written as adversarial_N_NAME.png. Of a run,
    `accuracy` is that over its test images for each ε, with 95 % Wilson intervals, beside that under random signs.

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0] * 4, [0.0] * 4])), model[1].bias.data.copy_(torch.tensor([-1.9, 0]))
    >>> view = Adversarial(epsilon="8/255").look(Network(model, torch.full((1, 1, 2, 2), 0.5)))
    >>> view["adversarial"].ravel().tolist(), view["fooled"].tolist(), (255 * view["smallest"]).tolist()
    ([120, 120, 120, 120], [True], [7.0])
    """

    method: Literal["fgsm", "bim", "pgd"] = "fgsm"
    """fgsm takes one step, bim several, pgd several from a random start"""
    epsilon: str = "8/255"
    """largest change of a pixel with values in [0, 1], as 8/255 or 0.03"""
    towards: str | None = None
    """target class, by name or number; by default any class but the model's answer"""
    steps: int = 10
    """steps of BIM and PGD"""
    step: str | None = None
    """length of a step of BIM and PGD, in [0, 1]; by default 2.5 ε / steps"""
    curve: tuple[str, ...] = ("1/255", "2/255", "4/255", "8/255", "16/255")
    """values of ε at which the accuracy over a run's test images is measured"""
    test_images: int = 200
    """test images for that accuracy, spread evenly; 0 for none"""

    def __post_init__(self) -> None:
        check_choice("method", self.method, _NAMES)
        for name, value in (("epsilon", self.epsilon), *(("curve", value) for value in self.curve)):
            if magnitude(name, value) * LEVELS < 1 - 1e-6:
                raise UsageError(
                    f"{name}={value!r}: is below 1/255, the step between stored values; give 1/255 or more."
                )
        if self.step is not None:
            magnitude("step", self.step)
        if self.steps < 1:
            raise UsageError(f"steps={self.steps}: must be at least 1; give a larger number.")
        if self.test_images < 0:
            raise UsageError(f"test_images={self.test_images}: must not be negative; give another number.")

    def look(self, network: Network, splits: Splits | None = None) -> View:
        images = network.progress(network.images, "attacking")
        attacked = [self._one(network, place, image) for place, image in enumerate(images)]
        curve = self._curve(network, splits) if splits is not None and self.test_images else None
        numbers: dict[str, NDArray[Any]] = {
            "clean": stacked([_stored(one.clean) for one in attacked]),
            "adversarial": stacked([_stored(one.adversarial) for one in attacked]),
            "size": np.array([one.clean.shape[1:] for one in attacked]),
            "class": np.array([one.before for one in attacked]),
            "score": np.array([one.score for one in attacked]),
            "new_class": np.array([one.after for one in attacked]),
            "new_score": np.array([one.new_score for one in attacked]),
            "score_after": np.array([one.score_after for one in attacked]),
            "random_class": np.array([one.random for one in attacked]),
            "fooled": np.array([one.fooled for one in attacked]),
            "smallest": np.array([np.nan if one.smallest is None else one.smallest / LEVELS for one in attacked]),
            "epsilon": np.array([self._size] * len(attacked)),
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
        drawn = figure(network, attacked, curve, _NAMES[self.method], self._size)
        axes = {name: names for name, names in _AXES.items() if name in numbers}
        return View(drawn, numbers, self._words(network, attacked, curve), axes, _files(network, attacked))

    @property
    def _size(self) -> float:
        return magnitude("epsilon", self.epsilon)

    def _attacked(self, network: Network, clean: Tensor, labels: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
        """(B, C, H, W) stored values / 255 within ±ε of the stored `clean` images."""
        several = self.method != "fgsm"
        start = random_start(clean, epsilon, seeds) if self.method == "pgd" else None
        step = None if self.step is None or not several else magnitude("step", self.step)
        changed = attack(
            network.model, clean, labels, epsilon, steps=self.steps if several else 1, step=step,
            towards=self.towards is not None, start=start, logits=network.logits,
        )  # fmt: skip
        return quantised(changed, clean, epsilon)

    def _one(self, network: Network, place: int, image: Tensor) -> Fooled:
        """What the attack does to one image."""
        clean = quantised(image.to(network.device))[None]  # (1, C, H, W)
        network.followed(network.model(clean * 1))  # refuses an answer that is NaN
        shares = _shares(network, clean)[0]  # (K,)
        before = int(shares.argmax())
        target = None if self.towards is None else self._target(network, len(shares))
        label = torch.tensor([before if target is None else target], device=clean.device)
        seeds = [_seed(network.seed, place)]

        def changed(levels: float) -> Tensor:
            return self._attacked(network, clean, label, levels / LEVELS, seeds)

        def fooled(images: Tensor) -> bool:
            answer = int(_shares(network, images)[0].argmax())
            return answer != before if target is None else answer == target

        adversarial = changed(self._size * LEVELS)
        after = _shares(network, adversarial)[0]
        most = max(_MOST, int(self._size * LEVELS + 1e-6))  # 1e-6: 8/255 · 255 may come out just below 8
        smallest = 0 if target == before else threshold(lambda levels: fooled(changed(levels)), most)
        # the control: as large a change at every pixel, without following the gradient
        random = _shares(network, quantised(random_signs(clean, self._size, seeds), clean, self._size))[0]
        return Fooled(
            clean[0].cpu(), adversarial[0].cpu(), before, float(shares[before]), int(after.argmax()), float(after.max()),
            float(after[before]), int(random.argmax()), fooled(adversarial), smallest, target,
        )  # fmt: skip

    def _target(self, network: Network, classes: int) -> int:
        assert self.towards is not None
        index = network.class_of(self.towards)
        if index >= classes:
            raise UsageError(f"towards={self.towards!r}: the model has {classes} classes; give a lower number.")
        return index

    def _curve(self, network: Network, splits: Splits) -> Curve | None:
        """Accuracy over a run's test images for each ε, attacked and under random signs; None without true classes."""
        epsilons = [0.0, *sorted({magnitude("curve", value) for value in self.curve})]
        right = np.zeros((2, len(epsilons)), np.int64)  # attacked, and under random signs
        n = 0
        for batch in network.progress(_test_batches(network, splits, self.test_images), "test images"):
            if batch.labels is None:
                return None
            clean, truth = quantised(batch.images), batch.labels.to(batch.images.device)
            index, aimed = batch.index, truth
            if self.towards is not None:
                target = self._target(network, _shares(network, clean[:1]).shape[1])
                others = truth != target  # an image of the target class has nowhere to go
                clean, truth, index = clean[others], truth[others], index[others.cpu()]
                aimed = torch.full_like(truth, target)
            if not len(clean):
                continue
            seeds = [_seed(network.seed, int(i)) for i in index]
            n += len(clean)
            for k, epsilon in enumerate(epsilons):
                pair = (clean, clean)
                if epsilon:
                    noisy = quantised(random_signs(clean, epsilon, seeds), clean, epsilon)
                    pair = (self._attacked(network, clean, aimed, epsilon, seeds), noisy)
                for row, images in zip(right, pair, strict=True):
                    row[k] += int((_shares(network, images).argmax(1) == truth).sum())
        if not n:
            return None
        # (3, epsilons) each: accuracy and the ends of its interval
        rows = [np.array([(hits / n, *wilson(int(hits), n)) for hits in row]).T for row in right]
        return Curve(np.array(epsilons), n, rows[0], rows[1])

    def _words(self, network: Network, attacked: Sequence[Fooled], curve: Curve | None) -> str:
        hit = [place for place, one in enumerate(attacked) if one.fooled]
        aim = "" if attacked[0].target is None else f" towards {network.label(attacked[0].target)}"
        plural = "image" if len(attacked) == 1 else "images"
        words = (
            f"{_NAMES[self.method]}{aim} with ε = {written(self._size)} fools {len(hit)} of {len(attacked)} {plural}"
        )
        if hit:
            place = min(hit, key=lambda i: _MOST + 1 if attacked[i].smallest is None else attacked[i].smallest or 0)
            one = attacked[place]
            words += (
                f": {network.name(place)} from {network.label(one.before)} ({100 * one.score:.1f} %) "
                f"to {network.label(one.after)} ({100 * one.new_score:.1f} %)"
            )
            if one.smallest:
                words += f", and {one.smallest}/{LEVELS} is already enough"
        resistant = sum(one.smallest is None for one in attacked)
        if resistant:
            words += f"; {resistant} resisted every ε up to {_MOST}/{LEVELS} that was tried"
        still = sum(bool((one.clean == one.adversarial).all()) for one in attacked)
        if still:
            words += f"; the gradient of {still} is 0 everywhere and gives no direction"
        words += "."
        if curve is not None:
            value, low, high = (100 * row[-1] for row in curve.attacked)
            words += (
                f" Over {curve.n:,} test images accuracy falls from {100 * curve.attacked[0][0]:.1f} % to {value:.1f} % "
                f"({low:.1f} to {high:.1f} %) at {written(float(curve.epsilons[-1]))}, and under random signs to "
                f"{100 * curve.random[0][-1]:.1f} %."
            )
        return words


def _test_batches(network: Network, splits: Splits, limit: int) -> Iterable[Labelled]:
    """Test images, or validation images where there are none, as many at once as fit into memory."""
    size = network.at_once(_BYTES * network.images[0].numel(), 128)
    return splits.batches("test" if splits.counts.get("test", 1) else "val", size, limit)


@torch.no_grad()
def _shares(network: Network, images: Tensor) -> Tensor:
    """(B, K) probabilities of the classes."""
    shares = network.probabilities(network.model(images * 1))  # a copy: a model may write into its input
    if shares is None or shares.shape[1] < 2:
        raise UsageError(
            "lens='adversarial': needs a classifier, and this model's output is not a vector of classes; look at another."
        )
    return shares


def _seed(seed: int, place: int) -> int:
    return (seed * 1_000_003 + place) % 2**63


def _stored(image: Tensor) -> NDArray[np.int16]:
    """Stored values 0 … 255, as int16: `stacked` fills up with -1 beyond a smaller image."""
    levels: NDArray[np.int16] = (image * LEVELS).round().numpy().astype(np.int16)
    return levels


def _files(network: Network, attacked: Sequence[Fooled]) -> dict[str, bytes]:
    """The adversarial images as PNG, at the model's own size; those of one, three or four planes."""
    from PIL import Image

    files = {}
    for place, one in enumerate(attacked):
        levels = _stored(one.adversarial).astype(np.uint8)
        if len(levels) not in (1, 3, 4):
            continue
        stem = re.sub(r"[^\w.-]+", "_", Path(network.name(place)).stem)
        memory = io.BytesIO()
        Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(memory, "PNG")
        files[f"adversarial_{place + 1}_{stem}.png"] = memory.getvalue()
    return files
