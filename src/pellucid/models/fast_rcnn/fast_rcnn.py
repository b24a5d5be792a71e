# SPDX-License-Identifier: Apache-2.0
"""Fast R-CNN (Girshick 2015) with proposals learned on shared features, as Ren et al. 2015 do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from pellucid import _boxes
from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind, Proposals, Regions, Steps
from pellucid.models._layers import Normalize, check_share, check_size, initialise
from pellucid.models.fast_rcnn.bodies import READY, Pyramid, body_of
from pellucid.models.fast_rcnn.pooling import POOLS, pooled
from pellucid.models.fast_rcnn.proposing import Grid, Proposer, best, dropped, sides, sought

__all__ = ["FastRcnn"]

_FINE = 128  # px: images with a shorter side get a map of stride 4 unless another is asked for
_LEAST = 32  # px of a side: the coarsest map has one place then
_RANKED = 1000  # proposals that are ranked, whatever number of them is scored


@final
class FastRcnn(nn.Module):
    """Every object with its class and box: one pass over the image, proposals on its maps, and two heads on each of them.

    A small network slides over the maps of the backbone and says of each box of a dense grid how likely it is to have an
    object, and how to move it. The best boxes are the proposals. What the map has in each of them is pooled to
    bins × bins, and two dense layers lead to a softmax over the classes and the background, and to a box for each class.

    >>> model = FastRcnn(3, 8, (64, 64), proposals=50).eval()
    >>> regions = model(torch.rand(2, 3, 64, 64))
    >>> regions.logits.shape, regions.offsets.shape
    (torch.Size([2, 50, 9]), torch.Size([2, 50, 8, 4]))

    Args:
        channels: of the images, 1 or 3.
        outputs: classes, without the background.
        size: (H, W) of the training images in px; any size of at least 32 px works.
        backbone: what makes the maps: convnet or resnet (18 layers) from scratch, or a small network with ImageNet weights.
        pretrained: start from the backbone's ImageNet weights; by default for those that come in packages, the last two.
        frozen: train the heads only; the backbone stays fixed, batch-norm statistics included.
        frozen_stages: how many of the backbone's stages, from the image on, stay fixed, batch-norm statistics included.
        widths: channels of the convnet's blocks, each of which halves the resolution.
        strides: px of the image from one place of a map to the next, for each map that regions are proposed on and pooled
            from; by default 4 for images below 128 px, else 8.
        width: channels of these maps.
        pool: how a region becomes bins × bins numbers a channel: their maximum in each bin (Girshick 2015), or their mean
            at exact places (RoIAlign, He et al. 2017).
        bins: of each side of a region.
        hidden: units of the two dense layers.
        dropout: share of these units dropped in training.
        scales: square roots of the areas of the grid's boxes, px; by default a geometric series up to 0.75 of the image.
        aspects: height over width of the grid's boxes.
        proposals: how many of the best boxes are scored.
        covered: IoU from which a proposal makes room for others as a better one covers it.

    Raises:
        UsageError: images that are too small, a backbone without such a map or without weights, or an option out of range.
    """

    output: ClassVar[OutputKind] = "regions"
    fixed_size: ClassVar[None] = None
    searching: Tensor
    threshold: Tensor

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        backbone: Literal["convnet", "resnet", "efficientnet_lite0", "mobilenet_v2"] = "convnet",
        pretrained: bool | None = None,
        frozen: bool = False,
        frozen_stages: int = 0,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        strides: tuple[int, ...] = (),
        width: int = 64,
        pool: Literal["roi_pool", "roi_align"] = "roi_pool",
        bins: int = 7,
        hidden: int = 256,
        dropout: float = 0.0,
        scales: tuple[float, ...] = (),
        aspects: tuple[float, ...] = (0.5, 1.0, 2.0),
        proposals: int = 300,
        covered: float = 0.7,
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_size("fast_rcnn", size, _LEAST)
        check_share("dropout", dropout)
        check_choice("pool", pool, POOLS)
        for option, value in (("width", width), ("bins", bins), ("hidden", hidden), ("proposals", proposals)):
            if value < 1:
                raise UsageError(f"{option}={value}: must be at least 1; give a larger number.")
        for name, values in (("scales", scales), ("aspects", aspects)):
            if any(not 0 < value < float("inf") for value in values) or (name == "aspects" and not values):
                raise UsageError(f"{name}={values}: must be above 0; give other values.")
        if not 0 < covered <= 1:
            raise UsageError(f"covered={covered!r}: is an IoU; give a number above 0, up to 1.")
        ready = backbone in READY if pretrained is None else pretrained
        chosen = strides or ((4,) if min(size) < _FINE else (8,))
        self.backbone = body_of(backbone, channels, min(chosen), widths, ready, frozen, frozen_stages, fetch)
        self.strides = self.backbone.strides[: len(chosen)]
        if sorted(chosen) != self.strides:
            raise UsageError(
                f"strides={tuple(chosen)}: must double from one to the next; give e.g. --strides {self.strides[0]}."
            )
        self.pool, self.bins, self.proposals, self.covered = pool, bins, proposals, covered
        self.pyramid = Pyramid(self.backbone.channels, width, len(chosen))
        self.grid = Grid(self.strides, scales or sides(size, self.strides[0]), aspects)
        if not all(self.grid.shapes):
            raise UsageError(
                f"scales={tuple(scales)}: must be at least as many as the {len(chosen)} maps of strides; give more, or fewer strides."
            )
        self.proposer = Proposer(width, [len(shapes) for shapes in self.grid.shapes])
        self.dense = nn.Sequential(
            nn.Linear(width * bins**2, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
        )  # fmt: skip
        self.classes = nn.Linear(hidden, outputs + 1)  # 0 is the background
        self.boxes = nn.Linear(hidden, 4 * outputs)
        initialise(self.dense, "he")
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.boxes.weight, std=0.001)
        nn.init.zeros_(self.classes.bias)
        nn.init.zeros_(self.boxes.bias)
        # the score from which a detection is answered
        self.register_buffer("threshold", torch.tensor(0.5))
        # (H, W) in px of the training images as they were given; 0 as long as that is not known
        self.register_buffer("own_size", torch.zeros(2))
        # the larger side of most training objects, as a share of their image's
        self.register_buffer("own_share", torch.zeros(()))
        # whether selective search proposes the regions
        self.register_buffer("searching", torch.tensor(False))

    @property
    def normalize(self) -> Normalize:
        """The first layer."""
        return self.backbone.normalize

    def forward(self, images: Tensor, choose: Callable[[Proposals], Tensor] | None = None) -> Regions:
        """What is said of each region of images (B, C, H, W).

        Args:
            images: float32 in [0, 1].
            choose: gives the regions (B, R, 4) that are scored, from the proposals; by default these are the best ones.
        """
        maps = self.pyramid(self.backbone(images))
        objectness, offsets = self.proposer(maps)
        grid = self.grid.corners(maps)
        with torch.no_grad():
            if choose is None:
                found = self._ranked(images, objectness, offsets, grid)
                corners = found.corners[:, : self.proposals]
            else:  # a training chooses among fewer than are ranked for recall
                size = (images.shape[2], images.shape[3])
                found = best(objectness, offsets, grid, size, self.proposals, self.covered)
                corners = choose(found)
        logits, moves = self.heads(self.regions(maps, corners))
        if choose is None and self.searches:
            logits = _emptied(logits, found)
        return Regions(found, corners, logits, moves, grid, objectness, offsets)

    def around(self, images: Tensor, box: Tensor, overlap: float) -> Regions:
        """Of the regions that `forward` scores, at least all that overlap a box; an image with fewer has the next ones too.

        Args:
            images: (B, C, H, W) float32 in [0, 1].
            box: (4,) in px.
            overlap: IoU from which a region is around it.
        """
        maps = self.pyramid(self.backbone(images))
        objectness, offsets = self.proposer(maps)
        grid = self.grid.corners(maps)
        with torch.no_grad():
            found = self._ranked(images, objectness, offsets, grid, self.proposals)
            found = Proposals(*(part[:, : self.proposals] for part in found))
            fit = _boxes.iou(found.corners, box.to(found.corners)[None])[..., 0]  # (B, R)
            most = max(1, int((fit >= overlap).sum(1).amax()))
            # in their order, so that of equal scores the same one is the first
            place = fit.topk(most, dim=1).indices.sort(1).values
            near = Proposals(
                found.corners.gather(1, place[:, :, None].expand(-1, -1, 4)), found.scores.gather(1, place)
            )
        logits, moves = self.heads(self.regions(maps, near.corners))
        if self.searches:
            logits = _emptied(logits, near)
        return Regions(near, near.corners, logits, moves, grid, objectness, offsets)

    def _ranked(
        self, images: Tensor, objectness: Tensor, offsets: Tensor, grid: Tensor, enough: int | None = None
    ) -> Proposals:
        """The proposals of images (B, C, H, W), best first; with `enough`, only so many are in their places."""
        count = max(self.proposals, _RANKED)
        if self.searches:
            return sought(images, count)
        return best(objectness, offsets, grid, (images.shape[2], images.shape[3]), count, self.covered, enough)

    @property
    def searches(self) -> bool:
        """Whether selective search proposes the regions, where none are chosen, instead of the model itself."""
        # a file holds the model's own proposals only: the task refuses to export a model that searches
        return not torch.compiler.is_exporting() and bool(self.searching)

    def regions(self, maps: list[Tensor], corners: Tensor) -> Tensor:
        """(B, R, C, bins, bins): what the maps have in regions (B, R, 4)."""
        return pooled(self.pool, maps, self.strides, corners, self.bins)

    def heads(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, R, K + 1) and offsets (B, R, K, 4) from pooled values (B, R, C, bins, bins)."""
        # by bin, then by channel: as they were pooled, so that nothing is copied
        hidden = self.dense(values.permute(0, 1, 3, 4, 2).flatten(2))
        return self.classes(hidden).float(), self.boxes(hidden).float().unflatten(2, (-1, 4))

    @torch.no_grad()
    def steps(self, images: Tensor) -> Steps:
        """The way of images (B, C, H, W) through the model, step by step: what a report and a lens show."""
        maps = self.pyramid(self.backbone(images))
        objectness, offsets = self.proposer(maps)
        grid, size = self.grid.corners(maps), (images.shape[2], images.shape[3])
        count = max(self.proposals, _RANKED)
        if self.searches:
            candidates = sought(images, count)
            regions = Proposals(*(part[:, : self.proposals] for part in candidates))
            values = self.regions(maps, regions.corners)
            logits, moves = self.heads(values)
            covered = ~candidates.scores.isfinite()  # repetitions
            return Steps(
                maps, self.strides, grid, objectness, candidates, covered, regions, values, _emptied(logits, candidates),
                moves, True,
            )  # fmt: skip
        candidates = best(objectness, offsets, grid, size, count, 1.0)  # no box covers another by more
        covered = dropped(candidates.corners, candidates.scores, self.covered)
        found = best(objectness, offsets, grid, size, count, self.covered)
        regions = Proposals(found.corners[:, : self.proposals], found.scores[:, : self.proposals])
        values = self.regions(maps, regions.corners)
        return Steps(
            maps, self.strides, grid, objectness, candidates, covered, regions, values, *self.heads(values)
        )  # fmt: skip


def _emptied(logits: Tensor, found: Proposals) -> Tensor:
    """The logits (B, R, K + 1) with only the background where a region repeats another, as an image has fewer of them."""
    there = found.scores[:, : logits.shape[1]].isfinite()
    background = torch.where(there, logits[..., 0], logits.detach().amax(2) + 100)
    return torch.cat([background[..., None], logits[..., 1:]], 2)
