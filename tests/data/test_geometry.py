"""Boxes, masks and points after every augmentation, found again in the moved pixels themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data import batches
from pellucid.data.dataset import Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.embedded.scenes import draw
from pellucid.data.masks import Masks
from pellucid.data.targets import VOID, Boxes, Mask, Picture, Points, Target, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError

N, HEIGHT, WIDTH, SEEDS = 24, 40, 52, 6
EXACT = {
    "crop": Augment(crop=9),
    "flip": Augment(flip=True),
    "turn": Augment(turn=True),
    "crop+flip+turn": Augment(crop=9, flip=True, turn=True),
}
SMOOTH = {
    "rotate": Augment(rotate=60),
    "scale": Augment(scale=0.4),
    "rotate+scale+crop+flip+turn": Augment(rotate=40, scale=0.3, crop=8, flip=True, turn=True),
}
EVERY = EXACT | SMOOTH


def draws(seed: int) -> Draws:
    return Draws.step(seed, 0, slice(0, N), N)


def painted(seed: int, sides: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[Mask, Boxes]:
    """Three rectangles an image, in columns of their own, each filled with 1 + its place; at whole pixels."""
    rng = np.random.default_rng(seed)
    height, width = sides
    classes, corners = np.zeros((N, height, width), np.uint8), np.zeros((N, 3, 4), np.float32)
    for i in range(N):
        for k in range(3):
            left, third = k * width // 3, width // 3
            x0, x1 = np.sort(rng.choice(third, 2, replace=False)) + left
            y0, y1 = np.sort(rng.choice(height, 2, replace=False))
            classes[i, y0 : y1 + 1, x0 : x1 + 1] = k + 1
            corners[i, k] = x0, y0, x1 + 1, y1 + 1
    labels = [torch.arange(3)] * N
    boxes = Boxes(list(torch.from_numpy(corners)), labels, [one / 10 for one in labels], [one == 1 for one in labels])
    return Mask(torch.from_numpy(classes)), boxes


def found(mask: Tensor, value: int) -> list[int] | None:
    """The box around all pixels (H, W) of a value."""
    rows, columns = (mask == value).nonzero().unbind(1)
    if not len(rows):
        return None
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def matrices(moved: Tensor) -> Tensor:
    """The affine maps (N, 2, 3) of places that moved an image whose first two planes hold x and y, by least squares."""
    places = torch.cartesian_prod(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5).flip(1).double()
    maps = []
    for own in moved.double():
        source = own[:2].flatten(1).T  # (H·W, 2)
        lowest, highest = source.new_tensor([0.5, 0.5]), source.new_tensor([WIDTH - 0.5, HEIGHT - 0.5])
        known = ((source > lowest + 1e-4) & (source < highest - 1e-4)).all(1)  # no repeated edge
        here = torch.cat([source[known], torch.ones(int(known.sum()), 1)], 1)
        maps.append(torch.linalg.lstsq(here, places[known]).solution.T)
    return torch.stack(maps)


def ramps() -> Tensor:
    """Images whose planes hold each pixel's x and y."""
    grid = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.stack([grid[1], grid[0]]).expand(N, -1, -1, -1).clone()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("augment", EXACT.values(), ids=EXACT)
def test_boxes_are_those_of_the_moved_pixels(augment: Augment, seed: int) -> None:
    mask, boxes = painted(seed)
    images = mask.classes[:, None].float()
    moved, painting = augment(images, mask, draws(seed))
    _, after = augment(images, boxes, draws(seed))
    assert after.scores is not None and after.ignored is not None
    dropped = 0
    for i in range(N):
        kept = after.labels[i].tolist()
        assert after.scores[i].tolist() == pytest.approx([k / 10 for k in kept])
        assert after.ignored[i].tolist() == [k == 1 for k in kept]
        for k in range(3):
            share = int((painting.classes[i] == k + 1).sum()) / int((mask.classes[i] == k + 1).sum())
            assert (k in kept) == (share >= 0.25)
            if k in kept:
                assert after.corners[i][kept.index(k)].tolist() == found(painting.classes[i], k + 1)
        dropped += 3 - len(kept)
        known = painting.classes[i] != VOID
        assert torch.equal(painting.classes[i][known].float(), moved[i, 0][known])
    assert (dropped > 0) == bool(augment.crop) or seed, "the moves are too small to show anything"


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("augment", SMOOTH.values(), ids=SMOOTH)
def test_rotated_boxes_are_the_smallest_around_the_moved_pixels(augment: Augment, seed: int) -> None:
    mask, boxes = painted(seed)
    _, painting = augment(ramps(), mask, draws(seed))
    _, after = augment(ramps(), boxes, draws(seed))
    compared = 0
    for own, labels, classes in zip(after.corners, after.labels, painting.classes, strict=True):
        for box, k in zip(own.tolist(), labels.tolist(), strict=True):
            around = found(classes, k + 1)
            if around is None:
                continue
            gaps = [around[0] - box[0], around[1] - box[1], box[2] - around[2], box[3] - around[3]]
            assert min(gaps) > -1, "an object leaves its box"
            if min(box[0], box[1], WIDTH - box[2], HEIGHT - box[3]) > 0:  # all corners are in the frame
                assert max(gaps) < 1.5 if augment.rotate else max(gaps) <= 0.51
                compared += 1
    assert compared > N // 2


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("augment", EVERY.values(), ids=EVERY)
def test_points_follow_the_pixels_and_masks_hold_no_invented_ones(augment: Augment, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    xy = torch.rand(N, 5, 2, generator=rng) * torch.tensor([WIDTH, HEIGHT])
    xy[::3, 1], xy[1::3, 4] = torch.nan, torch.nan  # one of a pair, and one on the axis
    mirror = (1, 0, 3, 2, 4)
    moved, after = augment(ramps(), Points(xy, mirror), draws(seed))
    maps = matrices(moved)
    expected = (maps[:, :, :2] @ xy.double().mT + maps[:, :, 2:]).mT  # (N, 5, 2)
    mirrored = torch.linalg.det(maps[:, :, :2]) < 0
    assert bool(mirrored.any()) == augment.flip and not bool(mirrored.all())
    expected = torch.where(mirrored[:, None, None], expected[:, list(mirror)], expected)
    limit = torch.tensor([WIDTH, HEIGHT])
    outside = ~((expected > 0) & (expected < limit)).all(-1)
    assert torch.equal(after.xy.isnan().all(-1), outside) and torch.equal(after.xy.isnan().any(-1), outside)
    torch.testing.assert_close(after.xy[~outside], expected[~outside].float(), atol=2e-3, rtol=0)
    assert after.mirror == mirror

    classes = torch.randint(0, 7, (N, HEIGHT, WIDTH), generator=rng).to(torch.uint8)
    _, mask = augment(ramps(), Mask(classes), draws(seed))
    back = torch.linalg.inv(torch.cat([maps, maps.new_tensor([[[0, 0, 1]]]).expand(N, -1, -1)], 1))[:, :2]
    centres = torch.cartesian_prod(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5).flip(1).double()
    source = (back[:, :, :2] @ centres.T + back[:, :, 2:]).mT  # (N, H·W, 2)
    off_edges = ((source - source.round()).abs() > 1e-3).all(
        -1
    )  # where rounding does not decide which pixel is nearest
    within = ((source >= 0) & (source < limit)).all(-1)
    column, row = source.floor().long().clamp(min=0).minimum(limit - 1).unbind(-1)
    right = classes.flatten(1).gather(1, row * WIDTH + column).masked_fill(~within, VOID)
    assert torch.equal(mask.classes.flatten(1)[off_edges], right[off_edges])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_moves_of_moved_images_compose(seed: int) -> None:
    """Two after another, cut at the frame each time, are still where the pixels are."""
    mask, boxes = painted(seed)
    points = Points(torch.stack([(own[:, :2] + own[:, 2:]) / 2 for own in boxes.corners]), (2, 1, 0))
    for step, augment in enumerate((EXACT["crop+flip+turn"], EXACT["flip"], EXACT["turn"], EXACT["flip"])):
        mask = augment(ramps(), mask, draws(seed + 100 * step))[1]
        boxes = augment(ramps(), boxes, draws(seed + 100 * step))[1]
        points = augment(ramps(), points, draws(seed + 100 * step))[1]
    turned = 0
    for own, labels, classes, xy in zip(boxes.corners, boxes.labels, mask.classes, points.xy, strict=True):
        for box, k in zip(own, labels.tolist(), strict=True):
            assert box.tolist() == found(classes, k + 1)
        for k, place in enumerate(xy.tolist()):
            if np.isnan(place).any():
                continue
            under = int(classes[min(int(place[1]), HEIGHT - 1), min(int(place[0]), WIDTH - 1)])
            assert under in (k + 1, 3 - k, VOID)  # itself, or its partner if the image is a mirror image now
            turned += under == 3 - k != k + 1
    assert turned > 0


@pytest.mark.parametrize("size", [(16, 16), (40, 80), (64, 30)])
def test_the_store_cuts_what_it_crops(size: tuple[int, int]) -> None:
    mask, boxes = painted(0)
    centres = Points(torch.stack([(own[:, :2] + own[:, 2:]) / 2 for own in boxes.corners]))
    pixels = mask.classes[:, None].numpy() * np.uint8(50)
    split = Split(Pixels(pixels), {"mask": mask, "boxes": boxes, "points": centres})
    batch = batches.store(split, size, 1, fit="middle").batch(torch.arange(N))
    masks = target_of(batch.targets, "mask", Mask).classes
    after, points = target_of(batch.targets, "boxes", Boxes), target_of(batch.targets, "points", Points)
    for i in range(N):
        known = masks[i] != VOID
        assert torch.equal(masks[i][known] * 50, batch.images[i, 0][known])
        for box, k in zip(after.corners[i].tolist(), after.labels[i].tolist(), strict=True):
            assert box == found(masks[i], k + 1)
        for k in range(3):
            share = int((masks[i] == k + 1).sum()) / int((mask.classes[i] == k + 1).sum())
            assert (k in after.labels[i].tolist()) == (share >= 0.25)
    inside = ~points.xy.isnan().any(-1)
    assert bool(inside.all()) == (size[0] >= HEIGHT and size[1] >= WIDTH)
    assert bool((points.xy[inside] >= 0).all()) and bool((points.xy[inside] <= torch.tensor(size).flip(0)).all())


def _targets() -> Iterator[Target]:
    mask, boxes = painted(1)
    yield from (
        mask,
        boxes,
        Points(torch.rand(N, 4, 2) * 30 + 5, (1, 0, 3, 2)),
        Picture(torch.rand(N, 1, HEIGHT, WIDTH)),
    )


@pytest.mark.parametrize("augment", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("target", list(_targets()), ids=lambda target: type(target).__name__)
def test_no_move_is_without_effect_for_any_kind_of_target(target: Target, augment: Augment) -> None:
    moved, after = augment(ramps(), target, draws(0))
    far = (moved - ramps()).abs().amax((1, 2, 3))  # px
    first, second = (next(iter(vars(one).values())) for one in (target, after))
    for distance, before, now in zip(far.tolist(), first, second, strict=True):
        if distance == 0 or distance > 3:  # between them, a pixel may have the nearest source that it had
            assert torch.equal(before, now) == (distance == 0)
    assert float(far.max()) > 3


def test_masks_that_are_not_made_yet_are_not_left_behind() -> None:
    with pytest.raises(TypeError, match="masks are moved once they are made"):
        Augment(flip=True)(ramps(), Masks([]), draws(0))


def test_mirroring_points_whose_partners_are_unknown_is_refused() -> None:
    points = Points(torch.rand(N, 5, 2) * 30)
    sentence = (
        "flip=True: would exchange left and right, and which of the 5 points are partners is not known; "
        "name them left_… and right_… in the annotations, or leave out --flip."
    )
    for act in (Augment(flip=True).check, lambda target: Augment(flip=True)(ramps(), target, draws(0))):
        with pytest.raises(UsageError) as refused:
            act(points)
        assert str(refused.value) == sentence
    Augment(crop=3, turn=True, rotate=20).check(points)  # nothing is mirrored
    Augment(flip=True).check(Points(points.xy, (0, 1, 2, 3, 4)))
    assert Augment(turn=True)(ramps(), points, draws(0))[1].mirror is None


def test_partners_stay_with_the_points() -> None:
    points = Points(torch.rand(6, 3, 2), (1, 0, 2))
    assert points[[2, 0]].mirror == points[1:3].mirror == points.to("cpu").mirror == (1, 0, 2)
    joined = Points.cat([points, points[:2]])
    assert joined.mirror == (1, 0, 2) and len(joined) == 8
    split = Split(Pixels(np.zeros((6, 1, 4, 4), np.uint8)), {"points": points})
    assert target_of(split.select([1, 5]).targets, "points", Points).mirror == (1, 0, 2)


def test_images_without_boxes_move_too() -> None:
    none = Boxes([torch.zeros(0, 4)] * N, [torch.zeros(0, dtype=torch.int64)] * N)
    for augment in EVERY.values():
        after = augment(ramps(), none, draws(0))[1]
        assert [tuple(own.shape) for own in after.corners] == [(0, 4)] * N and len(after.labels) == N
    assert len(Boxes([], []).clipped((4, 4))) == 0


def test_the_points_of_scenes_lie_on_an_axis() -> None:
    scenes = draw({"train": 4, "val": 1, "test": 1})
    assert target_of(scenes["train"].targets, "points", Points).mirror == (0, 1, 2)
