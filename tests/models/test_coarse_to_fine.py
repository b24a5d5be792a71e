# SPDX-License-Identifier: Apache-2.0
"""coarse_to_fine: its attention against loops and on textures, masks with nothing to copy, and both of its stages."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_lama import lively
from torch import Tensor

from pellucid.data.targets import Picture
from pellucid.errors import UsageError
from pellucid.models._gated import GatedConv
from pellucid.models.coarse_to_fine import CoarseToFine
from pellucid.models.coarse_to_fine import attention as room
from pellucid.models.coarse_to_fine.attention import attention, filled, usable
from pellucid.models.pix2pix import Pix2pix
from pellucid.tasks.inpaint import Inpaint
from pellucid.tasks.inpaint.losses import pixel_losses

HOLE = (slice(None), slice(None), slice(4, 7), slice(5, 9))  # of a map of 12×16


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def holed(images: int = 1, height: int = 12, width: int = 16) -> Tensor:
    missing = torch.zeros(images, 1, height, width, dtype=torch.float64)
    missing[HOLE] = 1
    return missing


def by_loops(features: Tensor, missing: Tensor) -> Tensor:
    """One map (C, H, W) filled as the paper says it, place by place."""
    height, width = features.shape[1:]
    rows, columns = height // 2, width // 2
    places = [(y, x) for y in range(rows) for x in range(columns)]

    def inside(y: int, x: int) -> bool:
        return 0 <= y < rows and 0 <= x < columns

    def patch(y: int, x: int) -> Tensor:
        around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        return torch.cat([features[:, 2 * v, 2 * u] if inside(v, u) else features[:, 0, 0] * 0 for v, u in around])

    def whole(y: int, x: int) -> bool:
        around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        return not any(bool(missing[0, 2 * v : 2 * v + 2, 2 * u : 2 * u + 2].any()) for v, u in around if inside(v, u))

    def cosine(one: tuple[int, int], other: tuple[int, int]) -> float:
        if not inside(*one) or not inside(*other):
            return 0.0
        a, b = patch(*one), patch(*other)
        return float(a @ b / (a.norm() * b.norm()))

    def score(one: tuple[int, int], other: tuple[int, int]) -> float:
        shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]  # along the rows, then along the columns
        return sum(cosine((one[0] + i, one[1] + j), (other[0] + i, other[1] + j)) for i, j in shifts)

    total, count = torch.zeros_like(features), torch.zeros(height, width, dtype=features.dtype)
    known = [place for place in places if whole(*place)]
    for y, x in places:
        shares = [math.exp(10 * (score((y, x), place) - 9)) for place in known]
        for v in range(-1, 3):
            for u in range(-1, 3):
                if not (0 <= 2 * y + v < height and 0 <= 2 * x + u < width):
                    continue
                count[2 * y + v, 2 * x + u] += 1
                for share, (row, column) in zip(shares, known, strict=True):
                    from_y, from_x = 2 * row + v, 2 * column + u
                    if 0 <= from_y < height and 0 <= from_x < width:
                        total[:, 2 * y + v, 2 * x + u] += share / sum(shares) * features[:, from_y, from_x]
    return torch.where(missing > 0, total / count, features)


def test_the_attention_is_the_papers_written_out() -> None:
    features, missing = random(2, 3, 12, 16) - 0.3, holed(2)
    missing[1] = 0
    missing[1, :, :3, 12:] = 1  # at the edge
    found = filled(features, missing)
    for one, hole, answer in zip(features, missing, found, strict=True):
        torch.testing.assert_close(answer, by_loops(one, hole))


def test_a_texture_goes_on_in_the_hole() -> None:
    """A tile that repeats every 8 rows and 6 columns: each missing place looks whole periods away, and is restored."""
    tile = random(4, 8, 6)
    texture = tile.repeat(1, 5, 6)[None]  # (1, 4, 40, 36)
    missing = torch.zeros(1, 1, 40, 36, dtype=torch.float64)
    missing[..., 14:24, 12:22] = 1
    rough = torch.where(missing > 0, texture + 0.2 * (random(1, 4, 40, 36, seed=1) - 0.5), texture)
    assert float((rough - texture).abs().max()) > 0.09
    assert torch.allclose(filled(rough, missing), texture, atol=1e-3)
    weights = attention(rough[:, :, ::2, ::2], usable(missing))[0].unflatten(1, (20, 18)).unflatten(0, (20, 18))
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(18), indexing="ij")
    same = ((rows[:, :, None, None] - rows) % 4 == 0) & ((columns[:, :, None, None] - columns) % 3 == 0)
    assert float((weights * same)[7:12, 6:11].sum((2, 3)).min()) > 0.999


def test_what_is_missing_is_never_copied() -> None:
    features, missing = random(1, 3, 12, 16), holed()
    weights = attention(features[:, :, ::2, ::2], usable(missing))
    taken = weights[0].sum(0).unflatten(0, (6, 8))
    # the hole lies in the places 2 to 3 and 2 to 4; one place more around, and their patches are not whole
    assert float(taken[1:5, 1:6].sum()) == 0
    assert bool((taken[0] > 0).all()) and bool((taken[:, 6:] > 0).all())
    torch.testing.assert_close(weights.sum(2), torch.ones(1, 48, dtype=torch.float64))


def test_without_a_mask_each_place_takes_from_the_others() -> None:
    features = random(1, 3, 8, 8)
    weights = attention(features[:, :, ::2, ::2], 1 - torch.eye(16, dtype=torch.float64)[None])
    assert float(weights[0].diagonal().sum()) == 0
    torch.testing.assert_close(filled(features, None), room.pasted(features, weights))
    assert not bool(filled(random(1, 3, 2, 2), None).any()), "one place alone has no other"


def test_the_gradient_is_the_difference() -> None:
    missing = torch.zeros(2, 1, 8, 10, dtype=torch.float64)
    missing[0, :, 3:5, 3:5], missing[1, :, :2, :2] = 1, 1
    features = random(2, 2, 8, 10).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda given: filled(given, missing), (features,))
    assert torch.autograd.gradcheck(lambda given: filled(given, None), (features,))


def test_masks_with_nothing_missing_or_nothing_to_copy() -> None:
    features = random(1, 3, 12, 16)
    assert torch.equal(filled(features, torch.zeros_like(features[:, :1])), features)
    scattered = torch.zeros_like(features[:, :1])
    scattered[..., ::4, ::4] = 1
    for missing in (scattered, torch.ones_like(scattered)):
        for given in (features, 0 * features):  # without contrast there is no direction either
            wanted = given.clone().requires_grad_(True)
            answer = filled(wanted, missing)
            assert torch.equal(answer, given * (1 - missing))
            answer.sum().backward()
            assert wanted.grad is not None and bool(wanted.grad.isfinite().all())


def test_an_image_does_not_depend_on_its_batch_nor_on_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    features, missing = random(5, 3, 12, 16), holed(5)
    missing[2:] = missing[2:].flip(2)
    whole = filled(features, missing)
    for several in (1, 2):
        monkeypatch.setattr(room, "_AT_ONCE", several * 48**2)
        torch.testing.assert_close(filled(features, missing), whole)
    torch.testing.assert_close(filled(features.requires_grad_(True), missing), whole)


def test_bf16_does_not_reach_the_softmax() -> None:
    features, missing = random(1, 8, 12, 16).bfloat16(), holed().bfloat16()
    alone = filled(features.float(), missing.float()).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filled(features, missing), alone)


def pictures(images: int, channels: int, height: int, width: int) -> Tensor:
    given = random(images, channels + 1, height, width).float()
    given[:, -1] = 0
    given[:, -1, 2:5, 3:6] = 1
    return given


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fold", [1, 2])
def test_it_begins_with_its_input_at_any_size(channels: int, fold: int) -> None:
    model = CoarseToFine(channels + 1, channels, (32, 32), widths=(4, 8), fold=fold)
    for size in [(32, 32), (33, 50), (9, 8), (7, 6)]:
        images = pictures(2, channels, *size)
        for picture in model(images, stages=True):
            assert torch.equal(picture, images[:, :-1])


@torch.no_grad()
def test_the_stages_are_a_coarse_hole_and_the_answer() -> None:
    model = lively(CoarseToFine(2, 1, (32, 32), widths=(4, 8))).eval()
    images = pictures(2, 1, 33, 50)
    rough, answer = model(images, stages=True)
    assert torch.equal(answer, model(images))
    missing = images[:, 1:] > 0
    assert torch.equal(rough[~missing], images[:, :1][~missing])
    assert float((rough - images[:, :1])[missing].abs().min()) > 0
    assert float((answer - rough).abs().max()) > 0


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_any_mask_has_an_answer_that_is_a_number(share: float) -> None:
    model = lively(CoarseToFine(4, 3, (32, 32), widths=(4, 8)))
    images = random(2, 4, 32, 40).float()
    images[:, -1] = (random(2, 32, 40, seed=1) < share).float()
    with torch.enable_grad():
        answers = model(images, stages=True)
        torch.stack(answers).square().sum().backward()
    assert all(bool(answer.isfinite().all()) for answer in answers)
    assert all(bool(value.grad.isfinite().all()) for value in model.parameters() if value.grad is not None)


def test_a_hole_sees_all_of_the_picture_through_the_attention() -> None:
    """Before its dilated convolutions have learned anything, only attention reaches so far."""
    torch.manual_seed(0)
    model = CoarseToFine(2, 1, (96, 96), widths=(4, 8), residual=False).double()
    input = random(1, 2, 96, 96)
    input[:, 1] = 0
    input[:, 1, 44:52, 44:52] = 1
    input.requires_grad_(True)
    model(input)[0, 0, 48, 48].backward()
    assert input.grad is not None
    reached = input.grad[0, 0].abs() > 0
    assert all(bool(edge.any()) for edge in (reached[:4], reached[-4:], reached[:, :4], reached[:, -4:]))
    none = torch.zeros(1, 2, 96, 96, dtype=torch.float64)
    none[:, 1, ::4, ::4] = 1  # nothing can be copied
    none.requires_grad_(True)
    model(none)[0, 0, 48, 48].backward()
    assert none.grad is not None and not bool(none.grad[0, 0, :4].any())


def test_gated_convolutions_gate_at_every_stride_and_dilation() -> None:
    image = random(2, 3, 9, 12).float()
    for options in ({"stride": 2}, {"dilation": 4}, {"side": 5}):
        layer = GatedConv(3, 4, **options)
        answer, gate = layer.convolution(image).chunk(2, dim=1)
        assert torch.equal(layer(image), answer.clamp_min(0) * gate.sigmoid())
        assert answer.shape[2:] == ((5, 6) if "stride" in options else (9, 12))


@torch.no_grad()
@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_both_stages_are_judged_alike(adversarial: float) -> None:
    """The loss has the pixel loss of each stage; the critic and the answer's other losses see the last one."""
    task = Inpaint(rest_weight=0.5, adversarial=adversarial)
    options: dict[str, Any] = {"widths": (4, 8), "critic_widths": (4, 8), "generator": "coarse_to_fine"}
    model = lively(Pix2pix(2, 1, (32, 32), **options)).eval()
    images, truth = pictures(3, 1, 32, 32), Picture(random(3, 1, 32, 32, seed=2).float())
    mask = images[:, -1:]
    rough, answer = model(images, stages=True)
    coarse, fine = (pixel_losses("psnr", one, truth.pixels, images[:, :-1], mask) for one in (rough, answer))
    losses = task.loss(model, images, truth)
    assert (float(losses["coarse"]), float(losses["hole"])) == pytest.approx((float(coarse[0]), float(fine[0])))
    seen = torch.cat([images, torch.where(mask > 0, answer, truth.pixels)], dim=1)
    judged = -adversarial * float(model.critic(seen).mean())
    wanted = float(coarse[0] + fine[0] + 0.5 * (coarse[1] + fine[1])) + judged
    assert float(losses["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert "coarse" not in task.loss(lively(Pix2pix(2, 1, (32, 32), widths=(4, 8))), images, truth)


def test_pix2pix_hands_its_stages_on() -> None:
    options: dict[str, Any] = {"widths": (4, 8), "critic_widths": (4, 8)}
    model = lively(Pix2pix(2, 1, (32, 32), generator="coarse_to_fine", **options))
    images = pictures(2, 1, 32, 32)
    assert model.refines and not Pix2pix(2, 1, (32, 32), **options).refines
    for own, handed in zip(model.generator(images, stages=True), model(images, stages=True), strict=True):
        assert torch.equal(own, handed)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fold": 0}, r"^fold=0: is the side of a block in px; give 1 or more, e\.g\. 2\.$"),
        ({"widths": ()}, r"^widths=\(\): must be whole numbers"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        CoarseToFine(2, 1, (32, 32), **options)
