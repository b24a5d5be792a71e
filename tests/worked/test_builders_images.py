# SPDX-License-Identifier: Apache-2.0
"""Convolutions, poolings, losses, measures and optimisers against torch: 200 random instances of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from pellucid.cli.cli import main
from pellucid.worked.builders import builder
from pellucid.worked.builders._counts import mask_map
from pellucid.worked.builders._pooling import gradient_map
from pellucid.worked.builders._symbols import as_products, read_symbols
from pellucid.worked.builders.convolution.equations import im2col
from pellucid.worked.builders.optimizer.table import steps_tables
from pellucid.worked.expressions.expression import Const, Name
from pellucid.worked.expressions.numeric import numpy_value
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Matrix
from pellucid.worked.worksheet.worksheet import Worksheet

SEEDS = range(200)
convolution, max_pooling, average_pooling = map(builder, ("convolution", "max_pooling", "average_pooling"))
gan, localization, psnr, vae = map(builder, ("gan", "localization", "psnr", "vae"))
box_measures, mask_measures, counted_measures = map(builder, ("box_measures", "mask_measures", "counted_measures"))
optimizer = builder("optimizer")


def drawn(*shape: int) -> Tensor:
    """Numbers with two decimals, which float64 and a worksheet read alike."""
    return (torch.randn(shape, dtype=torch.float64) * 100).round() / 100


def rational(tensor: Tensor) -> Any:
    return tensor.numpy()


def values(sheet: Worksheet, name: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    solution = sheet.solve()
    found = np.empty(tuple(shape))
    for where in np.ndindex(*shape):
        found[where] = float(solution.value(component_name(name, [n + 1 for n in where])))
    return found


def agrees(sheet: Worksheet, of: str, slopes: dict[str, Tensor | None], checked: bool = False) -> None:
    """The gradient of a quantity against torch's; with `checked` against central differences too."""
    solution = sheet.solve()
    for name, grad in slopes.items():
        assert grad is not None, name
        places = [*np.ndindex(*grad.shape)]
        names = [component_name(name, [n + 1 for n in where]) for where in places]
        mine = solution.gradient(of, names) if checked else solution.graph.backward(of)
        for where, each in zip(places, names, strict=True):
            assert float(mine.get(each, 0)) == pytest.approx(grad[where].item(), rel=1e-9, abs=1e-12), each


def test_convolutions() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        size = dice.choice([1, 2])
        plain = dice.random() < 0.5
        channels, filters = (1, 1) if plain else (dice.randint(1, 2), dice.randint(1, 2))
        kernel = [dice.randint(1, 3) for _ in range(size)]
        s, p, d = ([dice.randint(low, 2) for _ in range(size)] for low in (1, 0, 1))
        image = [dice.randint(max(1, n * (f - 1) + 1 - 2 * q), 5) for f, q, n in zip(kernel, p, d, strict=True)]
        x, w, b = drawn(1, channels, *image), drawn(filters, channels, *kernel), drawn(filters)
        for each in (x, w, b):
            each.requires_grad_()
        conv = F.conv1d if size == 1 else F.conv2d
        z = conv(x, w, b, stride=s, padding=p, dilation=d)
        delta = drawn(*z.shape)
        (z * delta).sum().backward()
        inner: dict[str, Any] = {"stride": s, "padding": p, "dilation": d}
        given = [rational(x.detach()[0]), rational(w.detach())]
        above, wanted = delta[0], z[0]
        slopes = {"x": x.grad[0], "w": w.grad, "b": b.grad}
        if plain:
            given, above, wanted = [given[0][0], given[1][0, 0]], delta[0, 0], z[0, 0]
            slopes = {"x": x.grad[0, 0], "w": w.grad[0, 0], "b": b.grad[0]}
        for as_matrix in (False, True) if seed < 20 else (False,):
            sheet = convolution(*given, rational(b.detach()), delta=rational(above), as_matrix=as_matrix, **inner)
            np.testing.assert_allclose(values(sheet, "z", wanted.shape), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)
            agrees(sheet, "L", slopes, checked=seed < 10)


def test_the_product_of_matrices_has_the_zeros_of_the_padding_in_place() -> None:
    """X is the transpose of what torch's unfold gives, and X·w + b is the convolution."""
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        channels, filters = dice.randint(1, 2), dice.randint(1, 2)
        s, p, d = dice.randint(1, 2), dice.randint(0, 2), dice.randint(1, 2)
        x, w, b = drawn(1, channels, 4, 3), drawn(filters, channels, 2, 2), drawn(filters)
        product = im2col(rational(x[0]), rational(w), rational(b), stride=s, padding=p, dilation=d)
        symbols, numbers = ([part for part in line if isinstance(part, Matrix)] for line in product.lines)
        z, X, kernel, bias = ([[float(each.value) for each in row] for row in part.rows] for part in numbers)
        unfolded = F.unfold(x, 2, dilation=d, padding=p, stride=s)[0].T
        np.testing.assert_array_equal(np.array(X), unfolded.numpy())
        np.testing.assert_allclose(np.array(X) @ np.array(kernel) + np.array(bias), np.array(z), rtol=1e-12, atol=1e-12)
        inside = F.unfold(torch.ones_like(x), 2, dilation=d, padding=p, stride=s)[0].T.numpy()
        zeros = [[each == Const(Fraction(0)) for each in row] for row in symbols[1].rows]
        np.testing.assert_array_equal(np.array(zeros), inside == 0)


def test_convolution_with_a_target() -> None:
    x, w, t = drawn(5), drawn(2).requires_grad_(), drawn(4)
    loss = (F.conv1d(x.view(1, 1, -1), w.view(1, 1, -1)).view(-1) - t).square().sum()
    loss.backward()
    sheet = convolution(rational(x), rational(w.detach()), target=rational(t))
    assert float(sheet.solve().value("L")) == pytest.approx(loss.item(), rel=1e-12)
    agrees(sheet, "L", {"w": w.grad}, checked=True)


def test_poolings() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        size = dice.choice([1, 2])
        f, s = [dice.randint(1, 3) for _ in range(size)], [dice.randint(1, 3) for _ in range(size)]
        p = [dice.randint(0, n // 2) for n in f]
        channels = dice.choice([None, 2]) if size == 2 else None  # two dimensions are taken for an image
        x = drawn(1, channels or 1, *(dice.randint(3, 5) for _ in range(size))).requires_grad_()
        average = dice.random() < 0.5
        if average:
            z = (F.avg_pool1d if size == 1 else F.avg_pool2d)(x, f, s, p)
        else:
            d = [dice.randint(1, 2) if n < 3 else 1 for n in f]
            z = (F.max_pool1d if size == 1 else F.max_pool2d)(x, f, s, p, d)
        delta = drawn(*z.shape)
        (z * delta).sum().backward()
        pick = 0 if channels else (0, 0)
        more: dict[str, Any] = {} if average else {"dilation": d}
        build = average_pooling if average else max_pooling
        sheet = build(rational(x.detach()[pick]), f, stride=s, padding=p, delta=rational(delta[pick]), **more)
        np.testing.assert_allclose(values(sheet, "z", z[pick].shape), z[pick].detach().numpy(), rtol=1e-9, atol=1e-12)
        assert x.grad is not None
        agrees(sheet, "L", {"x": x.grad[pick]}, checked=seed < 10)
        if not channels and size == 2:
            back = gradient_map(sheet.solve()).lines[0][-1]
            assert isinstance(back, Matrix)
            shown = [[float(each.value) for each in row] for row in back.rows]
            np.testing.assert_allclose(shown, x.grad[0, 0].numpy(), rtol=1e-9, atol=1e-12)


def test_localisation_losses() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        n, kind = dice.randint(1, 3), dice.choice(["squared", "smooth_l1"])
        o = torch.randint(2, (n,)).double()
        s, b, bhat = drawn(n).requires_grad_(), drawn(n, 4), drawn(n, 4).requires_grad_()
        weight = dice.choice([1, 0.5, 5])
        box = (bhat - b).square() if kind == "squared" else F.smooth_l1_loss(bhat, b, reduction="none")
        parts = F.binary_cross_entropy_with_logits(s, o, reduction="none") + weight * o * box.sum(1)
        parts.mean().backward()
        sheet = localization(
            rational(o.int()), rational(s.detach()), rational(b), rational(bhat.detach()), weight=weight, box_loss=kind
        )
        assert float(sheet.solve().value("L")) == pytest.approx(parts.mean().item(), rel=1e-9)
        agrees(sheet, "L", {"s": s.grad, "bhat": bhat.grad}, checked=seed < 5)
        assert bhat.grad is not None and not bhat.grad[o == 0].any()


def test_latent_losses() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        n, logs = random.Random(seed).randint(1, 3), seed % 2 == 0
        mu, eps, delta = drawn(n).requires_grad_(), drawn(n), drawn(n)
        width = (drawn(n) if logs else drawn(n).abs() + 0.1).requires_grad_()
        sigma = (width / 2).exp() if logs else width
        z = mu + sigma * eps
        q, p = torch.distributions.Normal(mu, sigma), torch.distributions.Normal(torch.zeros(n).double(), 1.0)
        kl = torch.distributions.kl_divergence(q, p).sum()
        name = "s" if logs else "sigma"
        given = {"log_variance" if logs else "sigma": rational(width.detach())}
        sheet = vae(rational(mu.detach()), epsilon=rational(eps), delta=rational(delta), beta=0.5, **given)
        np.testing.assert_allclose(values(sheet, "z", (n,)), z.detach().numpy(), rtol=1e-9, atol=1e-12)
        assert float(sheet.solve().value("D_KL")) == pytest.approx(kl.item(), rel=1e-9, abs=1e-12)
        ((z * delta).sum() + 0.5 * kl).backward()
        agrees(sheet, "L", {"mu": mu.grad, name: width.grad}, checked=seed < 5)


def test_losses_of_both_players() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        game = dice.choice(["non_saturating", "minimax"])
        real, fake = drawn(dice.randint(1, 3)).requires_grad_(), drawn(dice.randint(1, 3)).requires_grad_()
        bce = F.binary_cross_entropy_with_logits
        judge = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
        make = bce(fake, torch.ones_like(fake)) if game == "non_saturating" else -bce(fake, torch.zeros_like(fake))
        sheet = gan(rational(real.detach()), rational(fake.detach()), generator=game)
        solution = sheet.solve()
        assert float(solution.value("L_D")) == pytest.approx(judge.item(), rel=1e-9)
        assert float(solution.value("L_G")) == pytest.approx(make.item(), rel=1e-9)
        slopes = torch.autograd.grad(judge, [real, fake])
        agrees(sheet, "L_D", {"s_real": slopes[0], "s_fake": slopes[1]}, checked=seed < 5)
        agrees(sheet, "L_G", {"s_fake": torch.autograd.grad(make, fake)[0]}, checked=seed < 5)
        probabilities = gan([Fraction(1, 4)], [Fraction(1, 2)], probabilities=True).solve()
        assert float(probabilities.value("L_D")) == pytest.approx(np.log(8), rel=1e-12)


def test_psnr() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        peak = 255 if seed % 2 else 1
        x, y = (torch.randint(256, (2, 3)).double() * peak / 255 for _ in range(2))
        if peak == 1:
            x, y = ((each * 100).round() / 100 for each in (x, y))
        x.requires_grad_()
        ratio = 10 * torch.log10(peak**2 / F.mse_loss(x, y))
        ratio.backward()
        sheet = psnr(rational(x.detach()), rational(y), peak=peak, gradient=True)
        assert float(sheet.solve().value("PSNR")) == pytest.approx(ratio.item(), rel=1e-9)
        agrees(sheet, "PSNR", {"x": x.grad}, checked=seed < 5)


def test_boxes() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        corners = torch.randint(0, 12, (2, 4)).double() + torch.rand(2, 4).double().mul(100).round() / 100
        low, high = torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:]) + 0.5
        truth, said = torch.cat([low, high], 1)
        said = said.clone().requires_grad_()
        iou = box_iou(truth[None], said[None])[0, 0]
        iou.backward()
        sheet = box_measures(rational(truth), rational(said.detach()), image=(14, 14), gradient=True)
        solution = sheet.solve()
        assert float(solution.value("IoU")) == pytest.approx(iou.item(), rel=1e-9, abs=1e-12)
        assert said.grad is not None
        for side, grad in zip(("left", "top", "right", "bottom"), said.grad.tolist(), strict=True):
            assert float(solution.derivative("IoU", f"{side}_p")) == pytest.approx(grad, rel=1e-9, abs=1e-12)
        area = sum(float(solution.value(name)) for name in ("TP", "FP", "FN", "TN"))
        assert area == pytest.approx(196)


def test_masks() -> None:
    for seed in SEEDS:
        dice = np.random.default_rng(seed)
        truth, said = dice.integers(0, 2, (3, 4)), dice.random((3, 4)).round(2)
        truth.flat[0], truth.flat[1], said.flat[0] = 1, 0, 0.9
        t, p = truth.reshape(-1) == 1, said.reshape(-1) >= 0.5
        solution = mask_measures(truth, said).solve()
        wanted = {"IoU": (t & p).sum() / (t | p).sum(), "recall": p[t].mean(), "precision": t[p].mean()}
        for name, number in (wanted | {"specificity": 1 - p[~t].mean()}).items():
            assert float(solution.value(name)) == pytest.approx(number, abs=1e-12)
        cells = mask_map(truth, said).lines[0][-1]
        assert isinstance(cells, Matrix)
        names = [each.name for row in cells.rows for each in row]
        counts = [int(solution.value(name)) for name in ("TP", "FP", "FN", "TN")]
        assert [names.count(name) for name in ("TP", "FP", "FN", "TN")] == counts
        assert counted_measures(*counts).solve().value("IoU") == solution.value("IoU")


def test_a_measure_without_a_value_is_left_out_and_said() -> None:
    sheet = mask_measures([[0, 0]], [[0, 0]])
    shown = str(sheet)
    assert "The precision has no value: nothing is predicted." in shown
    assert "recall" not in sheet and "specificity" in sheet


@pytest.mark.parametrize("rule", ["sgd", "momentum", "nesterov", "adam"])
def test_optimisers(rule: str) -> None:
    """50 random bowls for each of the four rules; torch's Nesterov keeps the look-ahead point w + ρv (Sutskever et al. 2013)."""
    for seed in range(50):
        dice = random.Random(seed)
        steps, lr, rho = dice.randint(1, 4), dice.choice([0.01, 0.1, 0.3]), dice.choice([0.5, 0.9])
        a, b = dice.randint(-20, 20) / 10, dice.randint(-20, 20) / 10
        options: dict[str, Any] = {"lr": lr} | ({"rho": rho} if rule in ("momentum", "nesterov") else {})
        sheet = optimizer("(a*2 + b - 1)^2 + b^2", {"a": a, "b": b}, rules=[rule], steps=steps, **options)
        solution = sheet.solve()
        params = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (a, b)]
        made: torch.optim.Optimizer
        if rule == "adam":
            made = torch.optim.Adam(params, lr=lr)
        else:
            momentum = 0.0 if rule == "sgd" else rho
            made = torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=rule == "nesterov")
        for _ in range(steps):
            made.zero_grad()
            ((params[0] * 2 + params[1] - 1) ** 2 + params[1] ** 2).backward()
            made.step()
        (table,) = steps_tables(solution)
        last = dict(zip(table.head, table.rows[-1], strict=True))
        for name, param in zip(("a", "b"), params, strict=True):
            mine = float(last[Name(name)].value)
            assert (Name(name), last[Name(name)].value) in solution.answers[0].results
            if rule == "nesterov":
                mine += rho * float(last[Name(f"v_{name}")].value)
            assert mine == pytest.approx(param.item(), rel=1e-6, abs=1e-9)
        assert len(table.rows) == steps + 1
        w = [float(value) for _, value in solution.answers[0].results]
        assert float(table.rows[-1][-1].value) == pytest.approx((2 * w[0] + w[1] - 1) ** 2 + w[1] ** 2)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 1, 2), (3, 2, 1)])
@pytest.mark.parametrize("axes", [1, 2])
def test_a_convolution_in_symbols_is_torchs_in_either_orientation(
    axes: int, stride: int, padding: int, dilation: int
) -> None:
    size, window = ((6,), (3,)) if axes == 1 else ((4, 5), (2, 3))

    def text(letter: str, shape: tuple[int, ...]) -> str:
        rows = [
            " ".join(f"{letter}_{'_'.join(map(str, (*r, c)))}" for c in range(shape[-1]))
            for r in np.ndindex(*shape[:-1])
        ]
        return "; ".join(rows)

    image, kernel = read_symbols(text("x", size), "image"), read_symbols(text("w", window), "kernel")
    random = np.random.default_rng(3)
    x, w = random.standard_normal(size), random.standard_normal(window)
    values = {
        cell.name: float(v)
        for cells, v_s in ((image, x), (kernel, w))
        for cell, v in zip(cells.flat, v_s.flat, strict=True)
    }
    convolve = torch.nn.functional.conv1d if axes == 1 else torch.nn.functional.conv2d
    theirs = convolve(
        *(torch.from_numpy(a)[None, None] for a in (x, w)), stride=stride, padding=padding, dilation=dilation
    )

    def number(matrix: Matrix) -> np.ndarray:
        return np.array([[float(numpy_value(cell, values)) for cell in row] for row in matrix.rows])

    for equation in as_products(image, kernel, stride, padding, dilation):
        ((left, _, one, _, two),) = equation.lines
        assert left.rows[0][0].name == "z_0" + "_0" * (axes - 1)
        np.testing.assert_allclose((number(one) @ number(two)).ravel(), theirs.numpy().ravel(), atol=1e-12)


def test_a_convolution_by_names_asks_for_the_form_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["work", "convolution", "x_0 x_1 x_2 x_3", "--kernel", "w_0 w_1", "--stride", "1", "--padding", "0"]
    assert main([*words, "--orientation", "both"]) == 0
    shown = capsys.readouterr().out
    assert "⎡ w₀  w₁   0   0 ⎤" in shown and "⎡ x₀  x₁ ⎤" in shown and "There is nothing" not in shown
    assert main([*words, "--bias", "1"]) == 2
    assert main(["work", "convolution", "1 2; 3 4", "--kernel", "1 2", "--orientation", "kernel"]) == 2
    assert main(["work", "convolution", "1 2 3; 4 5 6; 7 8 9", "--kernel", "1 2; 3 4", "--orientation", "kernel"]) == 0
