# SPDX-License-Identifier: Apache-2.0
"""landmarks: places, losses and measures against values worked out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.targets import Points
from pellucid.errors import UsageError
from pellucid.models import MARGIN
from pellucid.tasks import summarise
from pellucid.tasks.landmarks import Landmarks, faces, losses, metrics
from pellucid.tasks.landmarks.normalisers import distances, normaliser_of
from pellucid.tasks.landmarks.places import Placed, certainty, read

NAN = math.nan


def placed(xy: Tensor, names: list[str] | None = None, mirror: tuple[int, ...] | None = None) -> Placed:
    return Placed(xy, torch.ones(len(xy), 2), names=names, mirror=mirror)


def peaked(places: Tensor, cells: tuple[int, int], spread: float = 1.0) -> Tensor:
    """Heat maps (B, K, h, w) that are Gaussians around places (B, K, 2) in shares of the sides."""
    rows, columns = (torch.arange(side + 2 * MARGIN) + 0.5 - MARGIN for side in cells)
    away = (columns - places[..., :1] * cells[1]).square()[:, :, None, :] + (
        rows - places[..., 1:] * cells[0]
    ).square()[..., None]
    return -away / (2 * spread**2)


# -- places


def test_numbers_count_from_the_middle_in_256ths_of_the_longer_side() -> None:
    output = torch.tensor([[0.0, 0, 128, -64]])
    assert read(output, (100, 200)).tolist() == [[[100.0, 50.0], [200.0, 0.0]]]


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_a_heat_map_is_read_between_its_cells(size: tuple[int, int]) -> None:
    """The mean place of a Gaussian is its middle, wherever that lies between the cells, and a little beyond the image."""
    draws = torch.Generator().manual_seed(0)
    shares = torch.rand(6, 5, 2, generator=draws) * 0.9 + 0.05
    shares[0, 0] = torch.tensor([-0.01, 1.01])
    frame = torch.tensor([size[1], size[0]])
    found = read(peaked(shares, (size[0] // 4, size[1] // 4), 0.7), size)
    torch.testing.assert_close(found, shares * frame, atol=0.05, rtol=0)


def test_soft_argmax_is_the_mean_over_a_plain_loop() -> None:
    scores = torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(1))
    found = read(scores, (20, 50))
    for b in range(2):
        for k in range(3):
            total, x, y = 0.0, 0.0, 0.0
            for i in range(6):
                for j in range(9):
                    weight = math.exp(float(scores[b, k, i, j]))
                    total += weight
                    x += weight * (j - MARGIN + 0.5) / 5 * 50
                    y += weight * (i - MARGIN + 0.5) / 2 * 20
            assert found[b, k].tolist() == pytest.approx([x / total, y / total], rel=1e-4)


def test_certainty_is_the_share_near_the_answer() -> None:
    sharp = peaked(torch.full((1, 1, 2), 0.5), (16, 16), 0.3)
    flat = torch.zeros(1, 1, 20, 20)
    for scores, low, high in ((sharp, 0.99, 1.0), (flat, 0.02, 0.06)):
        assert low <= float(certainty(scores, read(scores, (64, 64)), (64, 64))) <= high


def test_places_move_as_points_do() -> None:
    xy = torch.rand(2, 4, 2) * 20
    target = placed(xy, mirror=(1, 0, 2, 3))
    matrix = torch.tensor([[[-1.0, 0, 20], [0, 1, 0]]]).expand(2, 2, 3)
    same = Points(xy, (1, 0, 2, 3)).moved(matrix, lambda pixels, fill: pixels)
    torch.testing.assert_close(target.moved(matrix, lambda pixels, fill: pixels).xy, same.xy)
    scaled = target.resized(torch.full((2, 2), 3.0), torch.ones(2, 2), (60, 60))
    torch.testing.assert_close(scaled.xy, 3 * xy + 1)
    assert scaled.scale.tolist() == [[3.0, 3.0]] * 2
    assert len(Placed.cat([target, target])) == 4 and target[[1]].xy.shape == (1, 4, 2)


# -- losses


def test_losses_of_places_are_those_of_the_papers() -> None:
    values = torch.linspace(-30, 30, 121, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros_like(values)
    peers = {
        "mse": F.mse_loss(values, zero, reduction="none"),
        "l1": F.l1_loss(values, zero, reduction="none"),
        "smooth_l1": F.smooth_l1_loss(values, zero, reduction="none"),
    }
    for kind, expected in peers.items():
        torch.testing.assert_close(losses.point_error(kind, values), expected)  # type: ignore[arg-type]
    wing = losses.point_error("wing", values)
    for x, found in zip(values.tolist(), wing.tolist(), strict=True):
        small, joined = 10 * math.log(1 + abs(x) / 2), 10 - 10 * math.log(1 + 10 / 2)
        assert found == pytest.approx(small if abs(x) < 10 else abs(x) - joined)
    ends = torch.tensor([0.3, -4, 9.9, 10.1, 40], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda values: losses.point_error("wing", values), (ends,))


def test_the_divergence_of_maps_is_that_of_torch_and_least_at_the_truth() -> None:
    size, cells = (32, 48), (8, 12)
    truth = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([48.0, 32])
    scores = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    found, known = losses.map_error(scores, truth, size)
    target = peaked(truth / torch.tensor([48.0, 32]), cells).flatten(2).softmax(2)
    expected = F.kl_div(scores.flatten(2).log_softmax(2), target, reduction="none").sum(2)
    torch.testing.assert_close(found, expected)
    assert bool(known.all())
    best, _ = losses.map_error(peaked(truth / torch.tensor([48.0, 32]), cells), truth, size)
    torch.testing.assert_close(best, torch.zeros(2, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", losses.POINT_LOSSES)
def test_points_that_are_not_visible_cost_nothing_and_move_nothing(kind: losses.PointLoss) -> None:
    for output in (torch.randn(3, 8), torch.randn(3, 4, 10, 10)):
        output.requires_grad_(True)
        xy = torch.rand(3, 4, 2) * 24
        xy[0, 1] = NAN
        xy[2] = NAN  # no point of an image at all
        found = losses.losses(output, placed(xy), (24, 24), kind, 1.0)
        assert bool(found["loss"].isfinite())
        [gradient] = torch.autograd.grad(found["loss"], output)
        apart = gradient.view(3, 4, -1)
        assert bool(gradient.isfinite().all())
        assert float(apart[0, 1].abs().max()) == float(apart[2].abs().max()) == 0
        assert float(apart[0, 0].abs().max()) > 0
        # as a plain loop: the mean over the visible points of each image, then over the images
        every = losses.point_error(kind, (read(output.detach(), (24, 24)) - xy) * (256 / 24)).mean(2)
        rows = [float(every[i][~every[i].isnan()].mean()) if bool((~every[i].isnan()).any()) else 0.0 for i in range(3)]
        name = "points" if output.ndim == 4 else "loss"
        assert float(found[name].detach()) == pytest.approx(sum(rows) / 3, rel=1e-5)


def test_a_point_beyond_the_grid_has_no_map_and_still_a_place() -> None:
    xy = torch.tensor([[[-30.0, 8], [8, 8]]])
    _, known = losses.map_error(torch.zeros(1, 2, 8, 8), xy, (16, 16))
    assert known.tolist() == [[False, True]]
    found = losses.losses(torch.zeros(1, 2, 8, 8), placed(xy), (16, 16), "l1", 1.0)
    assert float(found["points"]) > 100


# -- measures


def random_faces(n: int, seed: int = 0) -> tuple[Placed, Placed]:
    draws = torch.Generator().manual_seed(seed)
    truth = torch.rand(n, 68, 2, generator=draws) * 100
    answer = truth + torch.randn(n, 68, 2, generator=draws) * 3
    return placed(answer), placed(truth, [f"{i}.jpg" for i in range(n)])


def test_measures_are_those_of_a_plain_loop() -> None:
    answer, truth = random_faces(40)
    truth.xy[3, 5] = NAN
    truth.xy[4, 36] = NAN  # an outer corner: no distance of the eyes, nor a pupil
    truth.xy[5, 45] = truth.xy[5, 36]  # a profile
    records = metrics.columns(answer, truth, ["outer_eyes", "pupils", "box"])
    found = {name: one.value for name, one in summarise(metrics.metrics("outer_eyes", True), records).items()}
    by: dict[str, list[float]] = {"outer_eyes": [], "pupils": [], "box": []}
    px = []
    for i in range(40):
        own = [
            math.dist(a, b)
            for a, b in zip(answer.xy[i].tolist(), truth.xy[i].tolist(), strict=True)
            if not math.isnan(b[0])
        ]
        error = sum(own) / len(own)
        px.append(error)
        points = truth.xy[i].double().numpy()
        eyes = math.dist(points[36], points[45])
        pupils = math.dist(points[36:42].mean(0), points[42:48].mean(0))
        seen = points[~np.isnan(points).any(1)]
        sides = {"outer_eyes": eyes, "pupils": pupils, "box": math.dist(seen.min(0), seen.max(0))}
        for name, distance in sides.items():
            if distance > 0:  # false for NaN
                by[name].append(100 * error / distance)
    assert len(by["outer_eyes"]) == 38 and len(by["pupils"]) == 39 and len(by["box"]) == 40
    for name, values in by.items():
        assert found[f"nme_{name}"] == pytest.approx(np.mean(values), rel=1e-5)
    eyes = np.array(by["outer_eyes"])
    assert found["error_px"] == pytest.approx(np.mean(px), rel=1e-5)
    for limit in (8, 10):
        assert found[f"failures_{limit}"] == pytest.approx((eyes > limit).mean())
        steps = np.linspace(0, limit, 20001)
        area = np.trapezoid([(eyes <= step).mean() for step in steps], steps) / limit
        assert found[f"auc_{limit}"] == pytest.approx(area, abs=1e-3)


def test_each_measure_says_by_what_the_error_is_divided() -> None:
    """Two ways to normalise differ: no number without its name."""
    answer, truth = random_faces(10)
    records = metrics.columns(answer, truth, ["outer_eyes", "pupils", "box"])
    found = summarise(metrics.metrics("outer_eyes", True), records)
    assert [found[key].title for key in ("nme_outer_eyes", "nme_pupils", "nme_box")] == [
        "NME by the distance of the outer eye corners",
        "NME by the distance of the pupils",
        "NME by the diagonal of the box around the points",
    ]
    assert len({round(found[key].value, 3) for key in ("nme_outer_eyes", "nme_pupils", "nme_box")}) == 3
    assert next(iter(found)) == "nme_outer_eyes", "the chosen one decides"
    other = metrics.metrics((2, 6), False)
    assert other[0].key == "nme_points_3_7" and other[0].title == "NME by the distance of points 3 and 7"


def test_a_normaliser_of_nothing_is_named_and_left_out_of_its_measure_alone() -> None:
    answer, truth = random_faces(6)
    truth.xy[2, 45] = truth.xy[2, 36]
    truth.xy[4] = NAN
    records = metrics.columns(answer, truth, ["outer_eyes", "pupils", "box"])
    details = metrics.details(records, "outer_eyes", (), True)
    left = [(row["measure"].removeprefix("NME by the "), row["image"]) for row in details["left_out"]]
    assert left == [
        ("distance of the outer eye corners", "2.jpg"), ("distance of the outer eye corners", "4.jpg"),
        ("distance of the pupils", "4.jpg"), ("diagonal of the box around the points", "4.jpg"),
    ]  # fmt: skip
    found = summarise(metrics.metrics("outer_eyes", True), records)
    assert all(math.isfinite(one.value) for one in found.values())
    assert np.isnan(metrics.nme(records, "outer_eyes")[2]) and np.isfinite(metrics.nme(records, "pupils")[2])
    assert np.isfinite(metrics.error(records)[2])


def test_errors_by_part_and_by_point_are_means_of_their_own_points() -> None:
    answer, truth = random_faces(12)
    truth.xy[:, 67] = NAN  # never visible
    records = metrics.columns(answer, truth, ["outer_eyes", "pupils", "box"])
    details = metrics.details(records, "outer_eyes", [f"p{i}" for i in range(68)], True)
    column = "error, % of the distance of the outer eye corners"
    distance = torch.linalg.vector_norm(truth.xy[:, 36] - truth.xy[:, 45], dim=1)
    off = 100 * torch.linalg.vector_norm(answer.xy - truth.xy, dim=2) / distance[:, None]
    assert [row["point"] for row in details["error_by_point"]] == [f"p{i}" for i in range(68)]
    for k in (0, 30, 66):
        assert details["error_by_point"][k][column]["value"] == pytest.approx(float(off[:, k].mean()), rel=1e-4)
    assert details["error_by_point"][67][column] is None and details["error_by_point"][67]["images"] == 0
    for row in details["error_by_part"]:
        own = off[:, list(faces.PARTS[row["part"]])]
        assert row[column]["value"] == pytest.approx(float(own.nanmean(1).mean()), rel=1e-4)
    assert sorted(k for own in faces.PARTS.values() for k in own) == list(range(68))


def test_errors_are_in_px_of_the_image_itself() -> None:
    """A frame that is squeezed to a square changes neither the px nor the share."""
    answer, truth = random_faces(5)
    plain = metrics.columns(answer, truth, ["outer_eyes", "box"])
    stretch = torch.tensor([[0.5, 3.0]]).expand(5, 2)
    none = torch.zeros(5, 2)
    seen = metrics.columns(
        answer.resized(stretch, none, (9, 9)), truth.resized(stretch, none, (9, 9)), ["outer_eyes", "box"]
    )
    for name in ("error", "nme_outer_eyes", "nme_box"):
        np.testing.assert_allclose(seen[name], plain[name], rtol=1e-4)


@pytest.mark.parametrize(
    "words", [["eyes"], ["3"], ["3", "3"], ["0", "4"], ["3", "4", "5"], ["-1", "2"], ["box", "pupils"]]
)
def test_normalisers_that_are_none_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="normaliser="):
        normaliser_of(words)


def test_the_distances_of_eyes_need_all_their_points() -> None:
    xy = np.random.default_rng(0).uniform(0, 50, (3, 68, 2))
    xy[1, 40] = NAN
    assert (distances("pupils", xy) > 0).tolist() == [True, False, True]
    assert (distances("outer_eyes", xy) > 0).all() and (distances("box", xy) > 0).all()
    assert distances("box", np.full((2, 68, 2), NAN)).tolist() == [0.0, 0.0]


# -- answers


class Fixed(nn.Module):
    """Gives the same heat map for every image: the place of its brightest pixel, so that it knows a mirrored image."""

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1, keepdim=True)
        return F.pad(500 * grey, (MARGIN,) * 4, value=-500.0).repeat(1, 2, 1, 1)


def test_both_ways_is_the_mean_of_the_image_and_its_mirror_image() -> None:
    images = torch.rand(3, 3, 8, 8)
    one = Landmarks(mirror=(1, 0), count=2).predict(Fixed(), images).xy
    both = Landmarks(mirror=(1, 0), count=2, both_ways=True).predict(Fixed(), images).xy
    turned = Landmarks(mirror=(1, 0), count=2).predict(Fixed(), images.flip(3)).xy
    back = torch.stack([8 - turned[..., 0], turned[..., 1]], 2)[:, [1, 0]]
    torch.testing.assert_close(both, (one + back) / 2)
