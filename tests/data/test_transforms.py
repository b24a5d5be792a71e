# SPDX-License-Identifier: Apache-2.0
"""Augmentation: every image by its own amounts, and the target where the image went."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data.draws import Draws
from pellucid.data.targets import Boxes, Label, Mask, Picture, Points
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError

N, SIDE = 16, 33


def blobs() -> tuple[Tensor, Tensor]:
    """A bright disc of radius 3 px an image, and its centre (N, 2) as (x, y) px."""
    centre = 10 + 13 * torch.rand(N, 2, generator=torch.Generator().manual_seed(1))
    grid = torch.arange(SIDE) + 0.5
    distance = (grid[None, None, :] - centre[:, 0, None, None]) ** 2 + (
        grid[None, :, None] - centre[:, 1, None, None]
    ) ** 2
    return (distance < 9).float()[:, None].expand(-1, 3, -1, -1).clone(), centre


def centroid(images: Tensor) -> Tensor:
    """(N, 2) x, y px of what is bright."""
    bright, grid = images[:, 0], torch.arange(SIDE) + 0.5
    total = bright.sum((1, 2))
    return torch.stack([(bright.sum(1) * grid).sum(1) / total, (bright.sum(2) * grid).sum(1) / total], 1)


def draws(step: int = 0) -> Draws:
    return Draws.step(0, step, slice(0, N), N)


@pytest.mark.parametrize(
    "augment",
    [Augment(crop=4), Augment(flip=True), Augment(turn=True), Augment(crop=3, flip=True, turn=True), Augment(rotate=30), Augment(scale=0.3),
     Augment(stretch=0.3), Augment(slant=0.4), Augment(crop=3, flip=True, rotate=45, scale=0.2, stretch=0.1, slant=0.2)],
    ids=["crop", "flip", "turn", "crop+flip+turn", "rotate", "scale", "stretch", "slant", "all"],
)  # fmt: skip
def test_every_target_goes_where_its_image_goes(augment: Augment) -> None:
    images, centre = blobs()
    moved, points = augment(images, Points(centre[:, None]), draws())
    torch.testing.assert_close(centroid(moved), points.xy[:, 0], atol=0.3, rtol=0)
    assert not torch.allclose(points.xy[:, 0], centre), "nothing moved"
    again, mask = augment(images, Mask(images[:, 0].to(torch.uint8)), draws())
    assert torch.equal(again, moved)
    assert mask.classes.dtype == torch.uint8
    inside = mask.classes == 1
    assert float((inside != (moved[:, 0] > 0.5)).float().mean()) < 0.01
    _, picture = augment(images, Picture(images), draws())
    assert torch.equal(picture.pixels, moved)
    corners = [torch.cat([c - 3, c + 3])[None] for c in centre]
    _, boxes = augment(images, Boxes(corners, [torch.zeros(1, dtype=torch.int64)] * N), draws())
    for box, where in zip(boxes.corners, points.xy[:, 0], strict=True):
        torch.testing.assert_close((box[0, :2] + box[0, 2:]) / 2, where, atol=1e-4, rtol=0)
        assert bool((box[0, 2:] > box[0, :2]).all())
    label = Label(torch.arange(N))
    assert augment(images, label, draws())[1] is label


def test_crop_and_flip_mix_no_pixels() -> None:
    images = torch.rand(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    moved, _ = Augment(flip=True)(images, Label(torch.arange(N)), draws())
    mirrored = torch.tensor([bool(torch.equal(m, i.flip(2))) for m, i in zip(moved, images, strict=True)])
    same = torch.tensor([bool(torch.equal(m, i)) for m, i in zip(moved, images, strict=True)])
    assert bool((mirrored ^ same).all())
    assert 2 <= int(mirrored.sum()) <= N - 2
    shifted, _ = Augment(crop=2)(images, Label(torch.arange(N)), draws())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    for own, whole in zip(shifted, padded, strict=True):
        windows = whole.unfold(1, SIDE, 1).unfold(2, SIDE, 1).permute(1, 2, 0, 3, 4).reshape(25, 3, SIDE, SIDE)
        assert any(torch.equal(own, window) for window in windows)


def test_a_slant_moves_rows_and_a_stretch_scales_sides() -> None:
    """Around the middle: a slant moves each row by its height, and no column; a stretch scales x and y, unlike each other."""
    middle = torch.tensor([SIDE / 2, SIDE / 2])
    xy = middle + 8 * (torch.rand(N, 5, 2, generator=torch.Generator().manual_seed(2)) - 0.5)  # (N, 5, 2) px
    images = torch.rand(N, 1, SIDE, SIDE)
    _, slanted = Augment(slant=0.4)(images, Points(xy), draws())
    slopes = (slanted.xy[..., 0] - xy[..., 0]) / (xy[..., 1] - middle[1])
    torch.testing.assert_close(slanted.xy[..., 1], xy[..., 1])
    torch.testing.assert_close(slopes, slopes.mean(1, keepdim=True).expand_as(slopes), atol=1e-4, rtol=0)
    assert 0.2 < float(slopes.amax()) <= 0.4
    assert -0.4 <= float(slopes.amin()) < -0.2
    _, stretched = Augment(stretch=0.3)(images, Points(xy), draws())
    factors = (stretched.xy - middle) / (xy - middle)  # (N, 5, 2)
    torch.testing.assert_close(factors, factors.mean(1, keepdim=True).expand_as(factors), atol=1e-3, rtol=0)
    assert 0.7 <= float(factors.amin()) < 0.8
    assert 1.2 < float(factors.amax()) <= 1.3
    assert float((factors[:, 0, 0] - factors[:, 0, 1]).abs().amax()) > 0.1


def test_quarter_turns_mix_no_pixels_and_keep_the_size() -> None:
    for height, width, possible in ((9, 9, (0, 1, 2, 3)), (6, 9, (0, 2))):
        images = torch.rand(N, 3, height, width, generator=torch.Generator().manual_seed(0))
        moved, _ = Augment(turn=True)(images, Label(torch.arange(N)), draws())
        found = [
            next(k for k in possible if torch.equal(own, whole.rot90(k, (1, 2))))
            for own, whole in zip(moved, images, strict=True)
        ]
        assert set(found) == set(possible)


def test_amounts_differ_by_image_and_step() -> None:
    images, centre = blobs()
    offsets = [Augment(crop=4)(images, Points(centre[:, None]), draws(step))[1].xy[:, 0] - centre for step in (0, 1)]
    assert len({tuple(offset.round().tolist()) for offset in offsets[0]}) > N // 2
    assert not torch.equal(offsets[0], offsets[1])


def test_exposure_multiplies_each_image() -> None:
    images = torch.full((N, 3, 8, 8), 0.2)
    moved, _ = Augment(exposure=1)(images, Label(torch.arange(N)), draws())
    factor = moved / images
    assert bool((factor == factor[:, :1, :1, :1]).all())
    assert 0.5 <= float(factor.min()) < 0.8
    assert 1.25 < float(factor.max()) <= 2


def test_shading_is_a_quadratic_of_the_place_in_stops() -> None:
    """The logarithm of the factor is what NumPy's least squares find in 1, x, y, x², xy, y², and nothing else."""
    images = 0.1 + 0.05 * torch.rand(N, 3, 12, 20, generator=torch.Generator().manual_seed(0))  # nothing is clipped
    moved, _ = Augment(shading=1.5)(images, Label(torch.arange(N)), draws())
    stops = torch.log2(moved / images)
    torch.testing.assert_close(stops, stops[:, :1].expand_as(stops), atol=1e-5, rtol=0)  # light is grey
    y, x = np.mgrid[:12, :20].reshape(2, -1).astype(np.float64)
    basis = np.stack([np.ones(240), x, y, x * x, x * y, y * y], 1)
    fields = stops[:, 0].flatten(1).numpy().T.astype(np.float64)  # (240, N)
    found = np.linalg.lstsq(basis, fields, rcond=None)[0]
    np.testing.assert_allclose(basis @ found, fields, atol=1e-4)
    np.testing.assert_allclose(fields.mean(0), 0, atol=1e-4)
    peaks = np.abs(fields).max(0)
    assert peaks.max() <= 1.5 + 1e-4
    assert peaks.max() > 1 > 0.5 > peaks.min()
    corners = stops[:, 0, 0, 0] - stops[:, 0, -1, -1]
    assert bool((corners > 0.1).any()) and bool((corners < -0.1).any())  # from all directions


def test_contrast_stretches_about_the_mean() -> None:
    images = 0.4 + 0.2 * torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))  # nothing is clipped
    moved, _ = Augment(contrast=0.5)(images, Label(torch.arange(N)), draws())
    means = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(moved.mean((1, 2, 3), keepdim=True), means)
    factors = (moved - means).flatten(1).norm(dim=1) / (images - means).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved - means, (images - means) * factors[:, None, None, None], atol=1e-5, rtol=1e-3)
    assert 0.5 <= float(factors.min()) < 0.8
    assert 1.2 < float(factors.max()) <= 1.5


def test_light_keeps_to_the_range_and_to_the_rows() -> None:
    """Half a batch has the light that its rows have in the whole one."""
    images, augment = torch.rand(N, 1, 9, 9), Augment(exposure=2, shading=2, contrast=0.9)
    whole, _ = augment(images, Label(torch.arange(N)), draws())
    assert 0 <= float(whole.min()) < 0.01 and 0.99 < float(whole.max()) <= 1
    half = Draws.step(0, 0, slice(N // 2, N), N)
    part, _ = augment(images[N // 2 :], Label(torch.arange(N // 2)), half)
    torch.testing.assert_close(part, whole[N // 2 :])


def test_noise_has_a_level_of_each_image() -> None:
    images = torch.full((N, 3, 32, 32), 0.5)
    moved, _ = Augment(noise=0.2)(images, Label(torch.arange(N)), draws())
    deviations = (moved - images).flatten(1).std(1)
    assert float(deviations.max()) <= 0.21
    assert float(deviations.max()) > 2 * float(deviations.min())


def test_erasing_greys_one_rectangle_of_at_most_the_share() -> None:
    images = torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    moved, _ = Augment(erase=0.3)(images, Label(torch.arange(N)), draws())
    for own, whole in zip(moved, images, strict=True):
        changed = (own != whole).any(0)
        assert float(changed.float().mean()) <= 0.36  # whole pixels round the sides up
        if changed.any():
            rows, columns = changed.nonzero().unbind(1)
            area = int(rows.max() - rows.min() + 1) * int(columns.max() - columns.min() + 1)
            assert int(changed.sum()) == area
            torch.testing.assert_close(own[:, changed].mean(1), whole.mean((1, 2)))


def test_nothing_asked_changes_nothing() -> None:
    images = torch.rand(N, 3, 8, 8)
    moved, _ = Augment()(images, Label(torch.arange(N)), draws())
    assert moved is images


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": -1},
        {"rotate": 181.0},
        {"scale": 0.95},
        {"stretch": 1.0},
        {"slant": 2.5},
        {"erase": 1.5},
        {"noise": 2.0},
        {"shading": 5.0},
        {"contrast": 1.0},
    ],
)
def test_amounts_out_of_range(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError, match=rf"{name}={value}: must lie in \[0, .*\]; give another value\."):
        Augment(**wrong)  # type: ignore[arg-type]
