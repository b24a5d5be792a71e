# SPDX-License-Identifier: Apache-2.0
"""How images come to a size: against torchvision's transforms and plain loops, in memory, in files and as floats."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from pellucid.data.batches import Way, store
from pellucid.data.dataset import Pixels, Split
from pellucid.data.decoding import Files
from pellucid.data.fits import Fit
from pellucid.data.fitting import fit_array, fit_floats, fit_maps, placements
from pellucid.data.given import Arrays
from pellucid.data.targets import VOID, Boxes, Frames, Mask, Picture, Points

FITS: tuple[Fit, ...] = ("squash", "crop", "pad")
WAYS: tuple[Way, ...] = (*FITS, "middle", "letter")


def photograph(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """(C, H, W): smooth, so that half a pixel's shift is a small difference."""
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.uniform(0, 255, (1, channels, 6, 6)))
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 255)[0].byte().numpy()


@pytest.mark.parametrize("shape", [(60, 120), (120, 60), (90, 70)])
def test_a_crop_is_the_middle_of_the_image_scaled_alike(shape: tuple[int, int]) -> None:
    image = photograph(*shape)
    peer = v2.Compose([v2.Resize(30, antialias=True), v2.CenterCrop(30)])(torch.from_numpy(image))
    gap = np.abs(fit_array(image, (30, 30), "crop").astype(int) - peer.numpy())
    assert gap.max() <= (1 if shape != (90, 70) else 12), "70 px become 30, 90 become 38.6: the peer takes 38"


@pytest.mark.parametrize("shape", [(60, 120), (120, 60)])
def test_padding_shows_all_of_the_image_in_the_colour_of_its_border(shape: tuple[int, int]) -> None:
    image = photograph(*shape)
    inner = (15, 30) if shape[0] < shape[1] else (30, 15)
    peer = v2.Resize(inner, antialias=True)(torch.from_numpy(image)).numpy()
    found = fit_array(image, (30, 30), "pad")
    top, left = (7, 0) if shape[0] < shape[1] else (0, 7)
    seen = found[:, top : top + inner[0], left : left + inner[1]]
    assert np.abs(seen.astype(int) - peer).max() <= 1
    outside = np.ones((30, 30), bool)
    outside[top : top + inner[0], left : left + inner[1]] = False
    for channel in range(3):
        own = seen[channel].tolist()
        ring = [*own[0], *own[-1], *(row[0] for row in own), *(row[-1] for row in own)]
        assert {*found[channel][outside].tolist()} == {found[channel][outside][0]}
        assert int(found[channel][outside][0]) == int(median(ring))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_files_arrays_and_floats_are_fitted_alike(fit: Fit, size: tuple[int, int], tmp_path: Path) -> None:
    images = [photograph(40, 80), photograph(61, 33, seed=1), photograph(16, 16, seed=2)]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    index = torch.arange(3)
    of_files = store(Split(Files(paths), fit=fit), size, 3).batch(index).images
    of_arrays = store(Split(Arrays(images)), size, 3, fit=fit).batch(index).images
    assert torch.equal(of_files, of_arrays), "the split's fit is that of the option"
    of_floats = [fit_floats(torch.from_numpy(image)[None] / 255, size, fit)[0] for image in images]
    assert (torch.stack(of_floats) * 255 - of_arrays.float()).abs().max() <= 1.6  # Pillow rounds after each axis


@pytest.mark.parametrize("fit", FITS)
def test_images_of_16_bits_are_fitted_as_those_of_8(fit: Fit) -> None:
    image = photograph(40, 70)
    deep = fit_array(image.astype(np.uint16) * 257, (24, 24), fit)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - fit_array(image, (24, 24), fit)).max() <= 1.6  # Pillow rounds 8 bits after each axis


@pytest.mark.parametrize("fit", FITS)
def test_turned_and_large_jpegs_are_fitted_as_their_upright_pixels(fit: Fit, tmp_path: Path) -> None:
    """The decoder may give a JPEG at a fraction of its size, and EXIF may turn it."""
    image = Image.fromarray(photograph(480, 960).transpose(1, 2, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.jpg", exif=exif, quality=98)
    upright = np.asarray(image).transpose(2, 0, 1)[:, ::-1].transpose(0, 2, 1)  # (3, 960, 480)
    found = store(Split(Files([tmp_path / "turned.jpg"])), (32, 32), 3, fit=fit).batch(torch.tensor([0])).images[0]
    gap = np.abs(found.numpy().astype(int) - fit_array(np.ascontiguousarray(upright), (32, 32), fit))
    assert gap.max() <= 6, "only what the compression and the decoder's own scaling change"


def spot(height: int, width: int, x: int, y: int) -> tuple[NDArray[np.uint8], dict[str, torch.Tensor]]:
    """A dark image with a bright square of 8 px at (x, y), and where it is."""
    image = np.full((1, height, width), 20, np.uint8)
    image[0, y : y + 8, x : x + 8] = 255
    box = torch.tensor([[x, y, x + 8, y + 8]], dtype=torch.float32)
    return image, {"box": box, "mask": torch.from_numpy(image[0] // 255)}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (48, 16)])
def test_targets_move_with_the_pixels_that_they_are_of(fit: Fit, size: tuple[int, int]) -> None:
    """An image of 2:1 and one of 1:2, each with a square in its middle: what is bright says where it is."""
    made = [spot(40, 80, 36, 12), spot(80, 40, 20, 34)]
    boxes = Boxes([own["box"] for _, own in made], [torch.zeros(1, dtype=torch.int64)] * 2)
    centres = torch.stack([(own["box"][:, :2] + own["box"][:, 2:]) / 2 for _, own in made])
    split = Split(Arrays([image for image, _ in made]), {"boxes": boxes, "points": Points(centres)})
    batch = store(split, size, 1, fit=fit).batch(torch.arange(2))
    found, points = batch.targets["boxes"], batch.targets["points"]
    assert isinstance(found, Boxes) and isinstance(points, Points)
    for i in range(2):
        light = (batch.images[i, 0].double() - 20).clamp_min(0)
        rows, columns = torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5
        centre = [float((light.sum(0) * columns).sum() / light.sum()), float((light.sum(1) * rows).sum() / light.sum())]
        x0, y0, x1, y1 = found.corners[i][0].tolist()
        assert [(x0 + x1) / 2, (y0 + y1) / 2] == pytest.approx(centre, abs=0.06)
        assert points.xy[i, 0].tolist() == pytest.approx(centre, abs=0.06)
        assert (x1 - x0) * (y1 - y0) == pytest.approx(float(light.sum()) / 235, rel=0.05)
        if fit != "squash":
            assert x1 - x0 == pytest.approx(y1 - y0, rel=0.06), "a square stays one"
    frame = batch.targets.get("frame")
    assert isinstance(frame, Frames) == (fit != "squash")


def test_the_padding_of_a_mask_is_void_and_its_classes_are_those_of_the_image() -> None:
    image, own = spot(40, 80, 36, 12)
    split = Split(
        Pixels(image[None]), {"mask": Mask(own["mask"][None]), "picture": Picture(torch.from_numpy(image[None]))}
    )
    batch = store(split, (40, 40), 1, fit="pad").batch(torch.tensor([0]))
    mask, picture = batch.targets["mask"], batch.targets["picture"]
    assert isinstance(mask, Mask) and isinstance(picture, Picture)
    assert (mask.classes[0, :10] == VOID).all() and (mask.classes[0, 30:] == VOID).all()
    assert (mask.classes[0, 10:30] != VOID).all()
    assert torch.equal(mask.classes[0, 10:30] == 1, batch.images[0, 0, 10:30] > 130)
    assert (picture.pixels[0, 0, 10:30] - batch.images[0, 0, 10:30]).abs().max() <= 1


def test_places_are_undone_exactly() -> None:
    sizes = np.random.default_rng(3).integers(5, 200, (50, 2))
    for fit in FITS:
        scale, offset = placements(sizes, (64, 48), fit)
        ends = scale * sizes[:, ::-1] + offset  # where the lower right corner is
        if fit == "squash":
            assert np.allclose(offset, 0) and np.allclose(ends, [48, 64])
        elif fit == "pad":
            assert (offset >= 0).all() and (ends <= [48.001, 64.001]).all()
            assert np.isclose((ends - offset), [48, 64]).any(1).all(), "one side is filled"
        else:
            assert (offset <= 1e-4).all() and (ends >= [47.999, 63.999]).all()
            assert np.isclose((ends - offset), [48, 64]).any(1).all(), "one side is just filled"
            assert np.allclose(offset, [48, 64] - ends, atol=1e-3), "the middle is taken"


def test_maps_are_padded_and_cut_out_again() -> None:
    images = torch.rand(2, 3, 10, 20)
    frame, (rows, columns) = fit_maps(images, (20, 20))
    assert frame.shape == (2, 3, 20, 20) and torch.equal(frame[:, :, rows, columns], images)


def test_stores_of_other_fits_are_other_files(tmp_path: Path) -> None:
    Image.fromarray(photograph(40, 80).transpose(1, 2, 0)).save(tmp_path / "a.png")
    split, seen = Split(Files([tmp_path / "a.png"])), []
    for _ in range(2):  # the second time from the cache
        for fit in WAYS:
            seen.append(store(split, (16, 16), 3, fit=fit, fingerprint="fits").batch(torch.tensor([0])).images)
    assert all(torch.equal(one, again) for one, again in zip(seen[:5], seen[5:], strict=True))
    assert not any(torch.equal(seen[i], seen[j]) for i in range(4) for j in range(i))
