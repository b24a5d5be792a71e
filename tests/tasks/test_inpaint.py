# SPDX-License-Identifier: Apache-2.0
"""inpaint: its holes, its inputs, its losses and its measures against closed forms, scikit-image and OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic
from torch import nn

from pellucid._options import build
from pellucid.data import open as open_data
from pellucid.data.dataset import Batch, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks._fidelity import ssim_map
from pellucid.tasks.inpaint import Inpaint, baselines, holes, metrics
from pellucid.tasks.inpaint.exemplar import exemplar
from pellucid.tasks.inpaint.fill import diffused


def draws(count: int, seed: int = 0) -> Draws:
    return Draws.step(seed, 0, slice(0, count), count)


def photographs(count: int = 4, channels: int = 1, side: int = 48) -> torch.Tensor:
    """(N, C, side, side) in [0, 1], of natural statistics: parts of the embedded patches."""
    data = open_data("patches_colour" if channels == 3 else "patches").splits["test"]
    images = [data.images.read(7 * i, channels)[:, :side, :side] for i in range(count)]
    return torch.from_numpy(np.stack(images)).float() / 255


# -- holes


def pieces(mask: torch.Tensor) -> tuple[int, int, int]:
    """How many connected parts, and the first one's bounding height and width."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.numpy().astype(np.uint8), connectivity=8)
    return count - 1, int(stats[1, cv2.CC_STAT_HEIGHT]), int(stats[1, cv2.CC_STAT_WIDTH])


def test_one_rectangle_is_a_rectangle_of_the_asked_area_anywhere() -> None:
    masks = holes.rectangles(draws(300), (64, 48), (0.15,), (1,))
    assert masks.shape == (300, 1, 64, 48)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    forms = [pieces(mask[0]) for mask in masks]
    for mask, (count, tall, wide) in zip(masks, forms, strict=True):
        assert count == 1
        assert int(mask.sum()) == tall * wide
        assert 0.45 < tall / wide < 2.2
    assert masks.mean((1, 2, 3)) == pytest.approx(np.full(300, 0.15), abs=0.01)
    assert float((masks.mean(0) > 0).float().mean()) > 0.97  # nearly every place is missing at times
    assert len({form[1:] for form in forms}) > 10


def test_several_rectangles_and_a_range_of_areas() -> None:
    masks = holes.rectangles(draws(200), (64, 64), (0.05, 0.3), (2, 5))
    share = masks.mean((1, 2, 3))
    assert 0.02 < float(share.min()) < 0.08
    assert 0.2 < float(share.max()) <= 0.31
    assert {pieces(mask[0])[0] for mask in masks} >= {1, 2, 3, 4}


def test_a_rectangle_of_fixed_size_and_place() -> None:
    fixed = holes.rectangles(draws(3), (300, 200), (0.15,), (1,), (60, 100), (100, 50))
    expected = torch.zeros(300, 200)
    expected[100:160, 50:150] = 1
    assert all(torch.equal(mask[0], expected) for mask in fixed)
    moving = holes.rectangles(draws(40), (300, 200), (0.15,), (1,), (60, 100))
    assert {pieces(mask[0])[1:] for mask in moving} == {(60, 100)}
    assert len({int(mask[0].flatten().argmax()) for mask in moving}) > 30


def test_strokes_and_pixels_have_the_asked_area_and_their_own_look() -> None:
    strokes = holes.strokes(draws(20), (64, 64), (0.1,), (2,))
    dots = holes.scattered(draws(20), (64, 64), (0.1,))
    for masks in (strokes, dots):
        assert masks.mean((1, 2, 3)) == pytest.approx(np.full(20, 0.1), abs=1 / 4096)
    assert max(pieces(mask[0])[0] for mask in strokes) <= 2
    assert min(pieces(mask[0])[0] for mask in dots) > 50
    tiny = holes.scattered(draws(5), (2, 2), (0.01,))
    assert tiny.sum((1, 2, 3)).tolist() == [1.0] * 5  # never nothing
    assert holes.scattered(draws(5), (2, 2), (0.99,)).sum((1, 2, 3)).tolist() == [3.0] * 5  # never everything


def test_masks_come_from_files_at_any_size(tmp_path: Path) -> None:
    for name, column in (("a", 2), ("b", 20)):
        array = np.zeros((40, 30), np.uint8)
        array[:, column : column + 6] = 255
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    masks = holes.from_files(draws(30), (80, 60), str(tmp_path))
    expected = torch.zeros(2, 80, 60)
    expected[0, :, 4:16] = expected[1, :, 40:52] = 1
    found = {int(torch.equal(mask[0], expected[1])) for mask in masks}
    assert found == {0, 1}
    assert all(torch.equal(mask[0], expected[0]) or torch.equal(mask[0], expected[1]) for mask in masks)


def test_other_masks_make_another_training(tmp_path: Path) -> None:
    data, prints = open_data("digits"), []
    for column in (2, 20, 2):
        array = np.zeros((40, 30), np.uint8)
        array[:, column : column + 6] = 255
        Image.fromarray(array).save(tmp_path / "mask.png")
        prints.append(Inpaint(holes="files", masks=str(tmp_path)).read(data)[0].fingerprint)
    assert prints[0] == prints[2] != prints[1]
    assert data.fingerprint not in prints


@pytest.mark.parametrize(("value", "what"), [(0, "has no white pixel"), (255, "is white everywhere")])
def test_a_mask_file_without_a_hole_or_without_anything_else_is_refused(tmp_path: Path, value: int, what: str) -> None:
    Image.fromarray(np.full((9, 9), value, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UsageError, match=f"m.png {what}"):
        Inpaint(holes="files", masks=str(tmp_path)).read(open_data("digits"))
    with pytest.raises(UsageError, match="is not a folder with images"):
        Inpaint(holes="files", masks=str(tmp_path / "none")).read(open_data("digits"))


# -- the fill of the model's input


def test_diffusion_is_laplaces_equation_and_looks_at_known_pixels_only() -> None:
    images = photographs(6)
    mask = holes.rectangles(draws(6), (48, 48), (0.15,), (1, 3))
    spoilt = torch.where(mask > 0, torch.full_like(images, 9.0), images)
    filled = diffused(spoilt, mask)
    assert torch.equal(filled, diffused(images, mask))
    assert torch.equal(filled[mask == 0], images[mask == 0])
    errors = []
    from scipy.sparse import lil_array
    from scipy.sparse.linalg import spsolve

    for image, hole, mine in zip(images[:, 0], mask[:, 0], filled[:, 0], strict=True):
        places = {tuple(p): i for i, p in enumerate(torch.nonzero(hole).tolist())}
        matrix, right = lil_array((len(places), len(places))), np.zeros(len(places))
        for (y, x), i in places.items():
            for there in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if not (0 <= there[0] < 48 and 0 <= there[1] < 48):
                    continue  # no heat leaves the picture
                matrix[i, i] += 1
                if there in places:
                    matrix[i, places[there]] -= 1
                else:
                    right[i] += float(image[there])
        exact = spsolve(matrix.tocsc(), right)
        found = np.array([float(mine[place]) for place in places])
        errors.append(np.abs(found - exact).mean())
    assert max(errors) < 0.02
    assert float(np.mean(errors)) < 0.006


def test_diffusion_bears_any_size_and_a_row_does_not_see_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in [(1, 7), (5, 5), (33, 18), (40, 40)]:
        images, mask = torch.rand(3, 3, *size, generator=generator), holes.scattered(draws(3), size, (0.6,))
        filled = diffused(images, mask)
        assert torch.allclose(filled[1:2], diffused(images[1:2], mask[1:2]), atol=1e-6)
        for image, hole, answer in zip(images, mask, filled, strict=True):  # heat's own maximum principle
            known = image[:, hole[0] == 0]
            assert bool((answer.amin((1, 2)) >= known.amin(1)).all()) and bool(
                (answer.amax((1, 2)) <= known.amax(1)).all()
            )


def test_the_input_tells_nothing_of_the_hole_and_the_mask_is_its_last_plane() -> None:
    images = torch.randint(0, 256, (3, 3, 20, 24), dtype=torch.uint8)
    other = images.clone()
    for fill in ("diffusion", "mean"):
        task = Inpaint(fill=fill, area=(0.3,))  # type: ignore[arg-type]
        index = torch.arange(3)
        input, target = task.prepare(Batch(images, {}, index), Draws.images(1, index), training=False)
        assert isinstance(target, Picture)
        assert torch.equal(target.pixels, images.float() / 255)
        mask = input[:, 3:]
        assert torch.equal(
            input[:, :3][(mask == 0).expand(-1, 3, -1, -1)], target.pixels[(mask == 0).expand(-1, 3, -1, -1)]
        )
        other[(mask > 0).expand(-1, 3, -1, -1)] = 0
        again, _ = task.prepare(Batch(other, {}, index), Draws.images(1, index), training=False)
        assert torch.equal(again, input)


# -- what is measured


def test_ssim_map_equals_scikit_image() -> None:
    for channels in (1, 3):
        clean = photographs(2, channels)
        noisy = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
        for one, other, mine in zip(noisy, clean, ssim_map(noisy, clean), strict=True):
            _, full = structural_similarity(
                one.double().numpy(), other.double().numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                data_range=1, full=True, channel_axis=0,
            )  # fmt: skip
            assert mine[0].numpy() == pytest.approx(full.mean(0), abs=1e-5)


def test_measures_look_inside_the_hole_only() -> None:
    truth = photographs(3, 3)
    mask = holes.rectangles(draws(3), (48, 48), (0.2,), (1,))
    answer = torch.where(mask > 0, truth + 0.1, truth)
    found = metrics.columns(answer, truth, mask)
    assert found["psnr"] == pytest.approx([20.0] * 3, abs=1e-3)
    assert found["mae"] == pytest.approx([0.1] * 3, abs=1e-5)
    assert found["missing"] == pytest.approx(mask.mean((1, 2, 3)).numpy())
    whole = ssim_map(answer, truth)
    expected = [float(part[hole > 0].mean()) for part, hole in zip(whole, mask, strict=True)]
    assert found["ssim"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_classical_methods_equal_their_libraries_and_leave_known_pixels(channels: int) -> None:
    images = [one.numpy() for one in photographs(2, channels)]
    missing = [hole[0].numpy() > 0 for hole in holes.rectangles(draws(2), (48, 48), (0.1,), (2,))]
    for way in baselines.METHODS:
        for one, hole, answer in zip(images, missing, baselines.fill(way, images, missing), strict=True):
            assert np.array_equal(answer[:, ~hole], one[:, ~hole]), way
            if way == "biharmonic":
                expected = inpaint_biharmonic(one, hole, channel_axis=0, split_into_regions=True).clip(0, 1)
            elif way == "mean fill":
                expected = np.broadcast_to(one[:, ~hole].mean(1)[:, None, None], one.shape)
            elif way == "diffusion":
                expected = diffused(torch.from_numpy(one)[None], torch.from_numpy(hole)[None, None].float())[0].numpy()
            elif way == "exemplar":
                expected = exemplar(one, hole)
            else:
                flag = cv2.INPAINT_TELEA if way == "Telea" else cv2.INPAINT_NS
                planes = (one * 255).round().astype(np.uint8).transpose(1, 2, 0)
                expected = (
                    cv2.inpaint(planes, hole.astype(np.uint8), 3, flag).reshape(planes.shape).transpose(2, 0, 1) / 255
                )
            assert answer[:, hole] == pytest.approx(expected[:, hole], abs=1e-5), way


def test_baselines_meet_the_holes_of_evaluation() -> None:
    data = open_data("patches")
    test = data.splits["test"].select(np.arange(0, 100, 10))
    task = Inpaint()
    found = task.baselines(data.splits["train"], test, None, seed=3)
    assert list(found) == list(baselines.METHODS)
    index = torch.tensor([4])
    image = torch.from_numpy(test.images.read(4, 1))[None]
    input, target = task.prepare(Batch(image, {}, index), Draws.images(3, index), training=False)
    assert isinstance(target, Picture)
    hole = input[0, 1].numpy() > 0
    answer = inpaint_biharmonic(target.pixels[0, 0].numpy(), hole).clip(0, 1)
    expected = -10 * np.log10(((answer - target.pixels[0, 0].numpy())[hole] ** 2).mean())
    assert found["biharmonic"]["psnr"][4] == pytest.approx(expected, abs=1e-3)
    mean = {way: float(records["psnr"].mean()) for way, records in found.items()}
    assert mean["mean fill"] < min(value for way, value in mean.items() if way != "mean fill")


def test_baselines_of_resized_pictures_have_the_fixed_patch() -> None:
    task = Inpaint(hole=(6, 8), place=(4, 4), fill="mean")
    test = Split(Pixels(np.random.default_rng(0).integers(0, 256, (3, 1, 40, 60), dtype=np.uint8)))
    found = task.baselines(test, test, (20, 24))
    assert found["mean fill"]["missing"] == pytest.approx([48 / 480] * 3)
    assert np.isfinite(found["Telea"]["psnr"]).all()


# -- losses


class Constant(nn.Module):
    """Answers 0.75 everywhere."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.full_like(input[:, :-1], 0.75)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("l1", 2 * 0.25 + 3 * 0.5),
        ("mse", 2 * 0.0625 + 3 * 0.25),
        ("psnr", 2 * (0.0625 + 1e-5) / (0.01 + 1e-5) + 3 * 0.25),  # the fill is wrong by 0.1
    ],
)
def test_loss_in_closed_form(error: str, expected: float) -> None:
    task = Inpaint(error=error, hole_weight=2.0, rest_weight=3.0)  # type: ignore[arg-type]
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., :2] = 1
    truth = torch.where(mask > 0, torch.tensor(0.5), torch.tensor(0.25))
    found = task.loss(Constant(), torch.cat([truth + 0.1 * mask, mask], dim=1), Picture(truth))
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-4)
    assert set(found) == {"loss", "hole", "rest"}


@pytest.mark.slow
def test_perceptual_part_is_zero_for_the_truth_and_grows_with_blur() -> None:
    from pellucid.tasks.inpaint.losses import features

    seen = features("efficientnet_lite0", torch.device("cpu"))
    truth = photographs(2, 1, 64)
    blurred = nn.functional.avg_pool2d(truth, 5, stride=1, padding=2)
    maps = seen(truth)
    assert [part.shape[2] for part in maps] == [32, 16, 8, 4]
    assert float(seen.distance(truth, truth)) == 0
    slightly = truth + 0.3 * (blurred - truth)
    assert 0 < float(seen.distance(slightly, truth)) < float(seen.distance(blurred, truth))
    slightly.requires_grad_(True)
    seen.distance(slightly, truth).backward()  # type: ignore[no-untyped-call]
    assert slightly.grad is not None
    assert float(slightly.grad.abs().sum()) > 0
    assert not any(module._forward_hooks for module in seen.network.modules())


def test_patch_output_is_pasted_at_its_place_and_nowhere_else() -> None:
    task = Inpaint(hole=(3, 4), place=(2, 1), output="patch", fill="mean").for_model("lenet")
    data = open_data("digits")
    assert task.outputs(data, (16, 16)) == 12
    assert data.channels + task.extra_planes == 2

    class Numbers(nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return torch.arange(12.0).expand(len(input), 12) / 10

    images = torch.full((2, 1, 16, 16), 51, dtype=torch.uint8)
    index = torch.arange(2)
    input, _ = task.prepare(Batch(images, {}, index), Draws.images(0, index), training=False)
    picture = task._answer(Numbers(), input)
    assert picture[1, 0, 2:5, 1:5] == pytest.approx(0.2 + np.arange(12).reshape(3, 4) / 100, abs=1e-6)
    assert torch.equal(picture[:, :, 5:], input[:, :1, 5:])
    whole = Inpaint().for_model("mlp")
    assert whole.outputs(data, (8, 8)) == 64
    assert Inpaint().for_model("unet").outputs(data, (8, 8)) == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"holes": "circles"}, r"^holes='circles': is not known; choose rectangles, strokes, pixels or files\.$"),
    (
        {"area": (0.0,)},
        r"^area=\(0\.0,\): must be one share or a range, above 0 and below 1; give other numbers\.$",
    ),
    ({"area": (0.1, 0.2, 0.3)}, r"^area=\(0\.1, 0\.2, 0\.3\): must be"),
    ({"count": (0,)}, r"^count=\(0,\): must be one whole number or a range, at least 1"),
    ({"hole": (5,)}, r"^hole=\(5,\): must be a height and a width"),
    ({"place": (1, 1)}, r"^place=\(1, 1\): needs a single rectangle of fixed size; give --hole HEIGHT WIDTH"),
    ({"output": "patch"}, r"^output='patch': needs a patch of fixed size and place; give --hole"),
    ({"holes": "strokes", "hole": (2, 2)}, r"^hole, place: are options of holes='rectangles', not of 'strokes'"),
    ({"holes": "files"}, r"^masks='': goes with --holes files"),
    ({"hole_weight": 0.0}, r"^hole_weight=0: would leave the hole without a loss"),
    ({"perceptual": -1.0}, r"^perceptual=-1\.0: is a weight; give 0 or more\.$"),
    ({"exposure": 9.0}, r"^exposure=9\.0: must lie in \[0, 4\]"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD)
def test_bad_options_are_refused_by_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(Inpaint, options)


def test_what_does_not_fit_the_images_or_the_model_is_refused() -> None:
    data = open_data("digits")
    with pytest.raises(
        UsageError, match=r"^hole=9×2: does not fit into the smallest image, 8×8 px, or covers all of it"
    ):
        Inpaint(hole=(9, 2)).read(data)
    with pytest.raises(
        UsageError, match=r"^hole=4×4 at 6, 1: does not fit into the training size, 8×8 px, or covers all of it"
    ):
        Inpaint(hole=(4, 4), place=(6, 1)).outputs(data, (8, 8))
    with pytest.raises(
        UsageError, match=r"^model='unet': gives whole pictures; choose --output image, or mlp or lenet"
    ):
        Inpaint(hole=(2, 2), place=(1, 1), output="patch").for_model("unet")
    with pytest.raises(UsageError, match=r"^adversarial=0.1: needs a model with a critic; choose --model pix2pix"):
        Inpaint(adversarial=0.1).for_model("unet")
    with pytest.raises(UsageError, match=r"^convolution='gated': needs a mask beside the image"):
        _building.build(
            {"name": "unet", "channels": 1, "outputs": 1, "size": [8, 8], "options": {"convolution": "gated"}}
        )


def test_figure_shows_the_hole_the_answers_inside_it_and_the_truth() -> None:
    truth = photographs(2, 3)
    mask = holes.rectangles(draws(2), (48, 48), (0.2,), (1,))
    answer = torch.where(mask > 0, truth + 0.1, truth)
    input = torch.cat([diffused(truth, mask), mask], dim=1)
    figure = Inpaint().draw(input, Picture(answer), Picture(truth), ["a.png", "b.png"], ())
    assert [axes.get_title() for axes in figure.axes[:4]] == ["given", "inpainted", "biharmonic", "truth"]
    assert figure.axes[0].get_xlabel() == ""
    assert float(figure.axes[1].get_xlabel().split()[0]) == pytest.approx(
        20, abs=0.4
    )  # inside the hole, clipped to [0, 1]
    assert len(Inpaint().draw(input, Picture(answer), None, ["a.png", "b.png"], ()).axes) == 4
