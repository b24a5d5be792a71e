# SPDX-License-Identifier: Apache-2.0
"""occlusion: what happens to the answer when a part of the image is covered (Zeiler & Fergus 2014, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Sight, View

__all__ = ["Occlusion"]

_MOST_IMAGES = 12


@final
@dataclass(frozen=True)
class Occlusion(Lens):
    """A patch slides over the image; the map shows how much the followed score drops where it covers.

    For an answer of scores (B, K) the softmax probability of the uncovered image's top class is followed, for any other
    answer the task's evidence.

    >>> class Bright(torch.nn.Module):  # sees only the upper left quarter
    ...     def forward(self, x): return torch.stack([x[:, 0, :4, :4].sum((1, 2)), x[:, 0, 0, 0] * 0], 1)
    >>> view = Occlusion(patch=4, stride=4).look(Sight(model=Bright(), images=torch.ones(1, 1, 8, 8)))
    >>> view.numbers["drop"].shape, int(view.numbers["drop"][0].argmax())
    ((1, 2, 2), 0)
    """

    patch: int | None = None
    """side of the patch, px; by default a fifth of the shorter side"""
    stride: int | None = None
    """step of the patch, px; by default a quarter of the patch"""
    fill: Literal["mean", "zero", "blur", "noise"] = "mean"
    """what covers: the image's mean colour, black, the blurred image, or noise"""
    batch: int = 128
    """covered images at a time"""

    @torch.no_grad()
    def look(self, sight: Sight) -> View:
        if sight.model is None or sight.images is None or not len(sight.images):
            raise UsageError("lens='occlusion': needs a model and at least one image; name an image file.")
        images = sight.images[:_MOST_IMAGES]
        side = min(images.shape[2:])
        patch = self.patch or max(1, round(side / 5))
        stride = self.stride or max(1, patch // 4)
        if not 1 <= patch <= side or stride < 1:
            raise UsageError(
                f"patch={patch}, stride={stride}: must be at least 1, and the patch at most {side} px; give others."
            )
        maps, tops, scores = [], [], []
        for image in images:
            drop, top, score = self._one(sight, image, patch, stride)
            maps.append(drop)
            tops.append(top)
            scores.append(score)
        numbers = {
            "drop": np.stack(maps),
            "score": np.array(scores),
            "class": np.array(tops),
            "patch": np.array(patch),
            "stride": np.array(stride),
        }
        return View(
            self._figure(sight, images, maps, tops, scores, patch, stride),
            numbers,
            _words(sight, maps, tops, scores, patch),
        )

    def _one(self, sight: Sight, image: Tensor, patch: int, stride: int) -> tuple[np.ndarray, int, float]:  # type: ignore[type-arg]
        """The drop of the score at each position (rows, columns), the class that is followed (-1: none), and its score."""
        assert sight.model is not None
        whole = sight.model(image[None])
        followed = int(whole[0].argmax()) if whole.ndim == 2 else -1

        def score(output: Tensor) -> Tensor:
            if followed >= 0:
                return output.float().softmax(1)[:, followed]
            if sight.evidence is None:
                raise UsageError(
                    "lens='occlusion': follows a class or a task's evidence, and this model has neither; look at a run."
                )
            return sight.evidence(output)

        base = float(score(whole)[0])
        height, width = image.shape[1:]
        rows, columns = range(0, height - patch + 1, stride), range(0, width - patch + 1, stride)
        cover = self._cover(image)
        places = [(y, x) for y in rows for x in columns]
        found = []
        for start in range(0, len(places), self.batch):
            part = places[start : start + self.batch]
            covered = image[None].repeat(len(part), 1, 1, 1)
            for k, (y, x) in enumerate(part):
                covered[k, :, y : y + patch, x : x + patch] = cover[:, y : y + patch, x : x + patch]
            found.append(base - score(sight.model(covered)))
        return torch.cat(found).reshape(len(rows), len(columns)).cpu().numpy(), followed, base

    def _cover(self, image: Tensor) -> Tensor:
        if self.fill == "zero":
            return torch.zeros_like(image)
        if self.fill == "mean":
            return image.mean((1, 2), keepdim=True).expand_as(image)
        if self.fill == "noise":
            return torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        height, width = image.shape[1:]
        small = F.interpolate(image[None], (max(1, height // 16), max(1, width // 16)), mode="area")
        return F.interpolate(small, (height, width), mode="bilinear")[0]

    def _figure(self, sight, images, maps, tops, scores, patch, stride):  # type: ignore[no-untyped-def]
        from matplotlib.figure import Figure

        n = len(images)
        height, width = images.shape[2:]
        tall = 2.1 * height / width
        figure = Figure(figsize=(5.2, (tall + 0.42) * n + 0.2), dpi=150, layout="constrained")
        grid = figure.subplots(n, 2, squeeze=False)
        most = max(1e-6, max(float(np.abs(drop).max()) for drop in maps))
        for i in range(n):
            flat = images[i].float().clamp(0, 1).cpu().numpy()
            flat = flat[0] if len(flat) == 1 else flat.transpose(1, 2, 0)
            for axes in grid[i]:
                axes.imshow(
                    flat, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if max(flat.shape) <= 96 else None
                )
                axes.set(xticks=[], yticks=[])
            # a value stands at the middle of its patch
            rows, columns = maps[i].shape
            extent = ((patch - stride) / 2 - 0.5, (patch + stride) / 2 + stride * (columns - 1) - 0.5,
                      (patch + stride) / 2 + stride * (rows - 1) - 0.5, (patch - stride) / 2 - 0.5)  # fmt: skip
            shown = grid[i, 1].imshow(
                maps[i], cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.62, extent=extent, interpolation="bilinear"
            )
            grid[i, 1].set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            title = (
                f"{sight.classes[tops[i]]}  {scores[i]:.2f}"
                if tops[i] >= 0 and sight.classes
                else f"score {scores[i]:.3g}"
            )
            grid[i, 0].set_title(title, fontsize=8)
        bar = figure.colorbar(shown, ax=grid, shrink=min(1.0, 3 / (tall * n)), aspect=18)
        bar.set_label("drop of the probability when covered" if tops[0] >= 0 else "drop of the evidence", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        return figure


def _words(sight: Sight, maps, tops, scores, patch) -> str:  # type: ignore[no-untyped-def]
    """The image that a patch changes most."""
    i = int(np.argmax([drop.max() for drop in maps]))
    what = (
        f"{sight.classes[tops[i]]} of {sight.names[i]}"
        if tops[i] >= 0 and sight.classes and sight.names
        else f"image {i + 1}"
    )
    return f"Covering {patch}×{patch} px takes at most {maps[i].max():.2f} from the score {scores[i]:.2f}: {what}."
