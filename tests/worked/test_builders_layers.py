# SPDX-License-Identifier: Apache-2.0
"""Attention, layer norm, RoI pooling, depth-wise separable convolution and a U-Net's sizes, against torch and torchvision."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from test_builders_images import agrees, drawn, rational, values
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align as theirs_aligned
from torchvision.ops import roi_pool

from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.worked.builders import builder
from pellucid.worked.builders.attention import Attention
from pellucid.worked.builders.mlp import MLP
from pellucid.worked.builders.roi_pooling import RoIPooling
from pellucid.worked.builders.unet import UNet
from pellucid.worked.showing.grids import Matrix, MatrixEquation

SEEDS = range(16)
attention, layer_norm, roi_pooling, unet = map(builder, ("attention", "layer_norm", "roi_pooling", "unet"))
roi_align = builder("roi_align")
separable = builder("depthwise_separable_convolution")


def close(mine: Any, theirs: Tensor) -> None:
    np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def learned(*tensors: Tensor) -> None:
    for tensor in tensors:
        tensor.requires_grad_()


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_torchs(heads: int) -> None:
    """Scaled dot products by torch's function, head by head; values, weights and every gradient."""
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        tokens, width, own = dice.randint(1, 3), dice.randint(1, 3), dice.randint(1, 2)
        causal = dice.random() < 0.5
        x = drawn(tokens, width)
        Q, K, V = (drawn(width, heads * own) for _ in range(3))
        out = drawn(heads * own, width) if dice.random() < 0.5 else None
        learned(x, Q, K, V, *([] if out is None else [out]))
        parts = [(x @ W).unflatten(1, (heads, own)).transpose(0, 1)[None] for W in (Q, K, V)]
        y = F.scaled_dot_product_attention(*parts, is_causal=causal)[0].transpose(0, 1).flatten(1)
        weights = F.scaled_dot_product_attention(
            *parts[:2], torch.eye(tokens, dtype=x.dtype)[None, None], is_causal=causal
        )[0]
        y = y if out is None else y @ out
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        numbers = [rational(each.detach()) for each in (x, Q, K, V)]
        last = None if out is None else rational(out.detach())
        sheet = attention(*numbers, last, heads=heads, causal=causal, delta=rational(delta))
        close(values(sheet, "y", y.shape), y)
        close(
            values(sheet, "A", weights.shape if heads > 1 else weights.shape[1:]), weights if heads > 1 else weights[0]
        )
        slopes = {"x": x.grad, "W_Q": Q.grad, "W_K": K.grad, "W_V": V.grad} | ({} if out is None else {"W_O": out.grad})
        agrees(sheet, "L", slopes, checked=seed < 3)


def test_attention_with_two_heads_is_that_of_the_module() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(4, 2, bias=False, batch_first=True).double()
    x = drawn(1, 3, 4)
    y, weights = module(x, x, x, average_attn_weights=False)
    W = [part.T.detach().numpy() for part in module.in_proj_weight.chunk(3)]
    sheet = attention(x[0].numpy(), *W, module.out_proj.weight.T.detach().numpy(), heads=2)
    close(values(sheet, "y", (3, 4)), y[0])
    close(values(sheet, "A", (2, 3, 3)), weights[0])


def test_the_matrices_of_attention_are_a_true_equation() -> None:
    for kind in (
        Attention(),
        Attention(query="1 0 2 1; 0 1 1 1", key="1 1 0 1; 2 1 0 1", value="1 0 1 1; 0 2 1 3", heads=2),
    ):
        for grid in kind.grids(kind.worksheet().solve()):
            assert isinstance(grid, MatrixEquation)
            parts = [part for part in grid.lines[0] if isinstance(part, Matrix)]
            out, weights, given = (
                np.array([[float(cell.value) for cell in row] for row in part.rows]) for part in parts
            )  # type: ignore[union-attr]
            np.testing.assert_allclose(out, weights @ given, rtol=1e-12)
            np.testing.assert_allclose(weights.sum(1), 1)


def test_layer_norm_is_torchs() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        shape = (dice.randint(2, 4),) if dice.random() < 0.5 else (dice.randint(1, 3), dice.randint(2, 4))
        x, gamma, beta = drawn(*shape), drawn(shape[-1]), drawn(shape[-1])
        learned(x, gamma, beta)
        eps = dice.choice([1e-5, 0.1])
        y = F.layer_norm(x, shape[-1:], gamma, beta, eps)
        target = drawn(*shape)
        (y - target).square().sum().backward()
        given = [each.detach().tolist() for each in (x, gamma, beta)]
        sheet = layer_norm(*given, eps=eps, target=target.tolist())
        close(values(sheet, "y", shape), y)
        agrees(sheet, "L", {"x": x.grad, "gamma": gamma.grad, "beta": beta.grad}, checked=seed < 5)


def test_roi_pooling_is_torchvisions() -> None:
    for seed in range(40):
        torch.manual_seed(seed)
        dice = random.Random(seed)
        high, wide = dice.randint(2, 7), dice.randint(2, 7)
        x = drawn(1, 1, high, wide)
        if dice.random() < 0.3:
            x = x.round()  # equal numbers: the first of them counts
        learned(x)
        scale = dice.choice([1.0, 0.5, 0.25, 2.0])
        left, top = dice.randint(0, wide - 1), dice.randint(0, high - 1)
        right, bottom = dice.randint(left, wide - 1), dice.randint(top, high - 1)
        # quarters of a pixel around whole ones, so that rounding has something to do, and never a half
        moved = [dice.choice([-0.25, 0]), dice.choice([-0.25, 0]), dice.choice([0, 0.25]), dice.choice([0, 0.25])]
        box = [(side + by) / scale for side, by in zip((left, top, right, bottom), moved, strict=True)]
        size = [dice.randint(1, 3), dice.randint(1, 3)]
        y = roi_pool(x, torch.tensor([[0, *box]], dtype=x.dtype), size, scale)
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        sheet = roi_pooling(rational(x.detach()[0, 0]), box, size, scale=scale, delta=rational(delta[0, 0]))
        close(values(sheet, "z", y.shape[2:]), y[0, 0])
        assert x.grad is not None
        agrees(sheet, "L", {"x": x.grad[0, 0]}, checked=seed < 5)


def test_roi_align_is_torchvisions() -> None:
    for seed in range(30):
        torch.manual_seed(seed)
        dice = random.Random(seed)
        high, wide = dice.randint(2, 5), dice.randint(2, 5)
        x = drawn(1, 1, high, wide)
        learned(x)
        scale, aligned, samples = dice.choice([1.0, 0.5, 0.25]), dice.random() < 0.7, dice.randint(1, 2)
        # sides at eighths of a pixel, some of them up to half a pixel outside of the map
        left, top = dice.randint(0, 8 * (wide - 1)) / 8, dice.randint(0, 8 * (high - 1)) / 8
        right, bottom = dice.randint(int(8 * left) + 1, 8 * wide) / 8, dice.randint(int(8 * top) + 1, 8 * high) / 8
        box = [side / scale for side in (left, top, right, bottom)]
        size = [dice.randint(1, 2), dice.randint(1, 2)]
        y = theirs_aligned(x, torch.tensor([[0, *box]], dtype=x.dtype), size, scale, samples, aligned)
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        options = {"scale": scale, "samples": samples, "aligned": aligned, "delta": rational(delta[0, 0])}
        sheet = roi_align(rational(x.detach()[0, 0]), box, size, **options)
        close(values(sheet, "z", y.shape[2:]), y[0, 0])
        assert x.grad is not None
        asked = {question.names[0] for question in sheet.questions if question.of}
        solution = sheet.solve()
        for i, j in np.ndindex(high, wide):
            slope = float(solution.derivative("L", f"x_{i + 1}_{j + 1}")) if f"x_{i + 1}_{j + 1}" in asked else 0.0
            assert slope == pytest.approx(float(x.grad[0, 0, i, j]), abs=1e-9)


def test_a_depthwise_separable_convolution_is_torchs_two() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        channels, outputs, kernel = dice.randint(1, 3), dice.randint(1, 3), [dice.randint(1, 3), dice.randint(1, 3)]
        stride, padding = dice.randint(1, 2), dice.randint(0, 1)
        x, w, v = drawn(1, channels, 4, 3), drawn(channels, 1, *kernel), drawn(outputs, channels, 1, 1)
        learned(x, w, v)
        u = F.conv2d(x, w, stride=stride, padding=padding, groups=channels)
        z = F.conv2d(u, v)
        delta = drawn(*z.shape)
        (z * delta).sum().backward()
        given = [rational(x.detach()[0]), rational(w.detach()[:, 0]), rational(v.detach()[:, :, 0, 0])]
        sheet = separable(*given, stride=stride, padding=padding, delta=rational(delta[0]))
        close(values(sheet, "u", u.shape[1:]), u[0])
        close(values(sheet, "z", z.shape[1:]), z[0])
        assert x.grad is not None and w.grad is not None and v.grad is not None
        agrees(sheet, "L", {"x": x.grad[0], "w": w.grad[:, 0], "v": v.grad[:, :, 0, 0]}, checked=seed < 3)
        own = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, groups=channels, bias=False),
            nn.Conv2d(channels, outputs, 1, bias=False),
        )
        whole = nn.Conv2d(channels, outputs, kernel, bias=False)
        counts = [sum(p.numel() for p in module.parameters()) for module in (own, whole)]
        solution = sheet.solve()
        assert [solution.value("P_s"), solution.value("P_c")] == counts
        assert solution.value("R") == Fraction(1, outputs) + Fraction(1, kernel[0] * kernel[1])


def test_the_sizes_of_a_u_net_are_those_of_its_layers() -> None:
    """Convolutions, poolings and transposed convolutions of torch on an image of zeros."""
    cases = [(572, 4, 2, 3, 0), (44, 2, 2, 3, 0), (32, 3, 2, 3, 1), (30, 1, 1, 5, 1), (22, 2, 1, 3, 0)]
    for size, depth, convolutions, kernel, padding in cases:
        solution = unet(size, depth=depth, convolutions=convolutions, kernel=kernel, padding=padding).solve()

        def convolved(x: Tensor, count: int = convolutions, kernel: int = kernel, padding: int = padding) -> Tensor:
            for _ in range(count):
                x = F.conv1d(x, torch.zeros(1, 1, kernel), padding=padding)
            return x

        x, skips = torch.zeros(1, 1, size), []
        for level in range(1, depth + 1):
            skips.append(convolved(x))
            x = F.max_pool1d(skips[-1], 2)
            assert [solution.value(f"e_{level}"), solution.value(f"d_{level}")] == [skips[-1].shape[2], x.shape[2]]
        x = convolved(x)
        for level in range(depth, 0, -1):
            x = F.conv_transpose1d(x, torch.zeros(1, 1, 2), stride=2)
            cut = int(solution.value(f"r_{level}"))
            cropped = skips.pop()[:, :, cut:]
            assert cropped[:, :, : cropped.shape[2] - cut].shape == x.shape
            x = convolved(x)
        assert solution.value("y") == x.shape[2] == size - 2 * solution.value("m")


def test_the_published_u_net() -> None:
    """Figure 1 of Ronneberger et al. 2015: 572 px become 388 px, with 1,024 channels at the bottom."""
    table: Any = UNet().grids(UNet().worksheet().solve())[0]
    assert ("at the bottom, convolved", "28×28", "1024") in table.rows
    assert table.rows[-1] == ("the answer, by a 1×1 convolution", "388×388", "2")
    with pytest.raises(UsageError, match="take 556 or 572"):
        unet(570)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: attention([[1, 2]], [[1]], [[1]], [[1]]), "query: has 1 rows and must have 2"),
        (lambda: attention(None, [[1, 2]], [[1]], [[1]]), "Q and K must have as many columns"),
        (
            lambda: attention(None, [[1, 2]], [[1, 2]], [[1]], heads=2),
            "heads=2: must divide the 2 columns of Q and the 1 of V",
        ),
        (lambda: attention(None, [[1, 2]], [[1, 2], [3, 4]], [[1], [2]], causal=True), "as many queries as keys"),
        (lambda: layer_norm([1]), "one feature alone has no variance"),
        (lambda: layer_norm([1, 2], [1, 2, 3]), "gamma: has 3 numbers for 2 features"),
        (lambda: roi_pooling([[1, 2], [3, 4]], (0, 0, 2, 1)), "covers columns 0 to 2 and rows 0 to 1"),
        (lambda: roi_pooling([[1, 2], [3, 4]], (1, 0, 0, 1)), "must be left, top, right and bottom"),
        (lambda: separable([[[1]]], [[[1]]], [[1, 2]]), "the image has 1 channels"),
        (lambda: unet(16, padding=2), "makes the maps grow"),
    ],
)
def test_what_cannot_be_worked_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_an_exercise_does_not_give_away_the_bins() -> None:
    sheet = RoIPooling().worksheet()
    assert all(sheet.is_held(f"z_{i}_{j}") for i in (1, 2) for j in (1, 2))
    said = " ".join(str(words) for words in sheet.remarks if not sheet.is_held(words))
    assert "from column 2 and row 0 to column 8 and row 4" in said and "⌈(i + 1)·n/k⌉ − 1" in said


@pytest.mark.parametrize(
    ("words", "said", "other"),
    [
        (
            ["--compare", "y=0"],
            "L is larger than L_other: y = 1 has the probability 0.273, y = 0 the probability 0.727",
            "0.319",
        ),
        (["--targets", "0", "--compare", "1"], "L is smaller than L_other: y = 0 has the probability 0.727", "1.30"),
        (
            ["--loss", "squared_error", "--compare", "y=0"],
            "L is larger than L_other: the output is 0.727 away",
            "0.0745",
        ),
    ],
)
def test_the_loss_of_the_other_label_and_why(
    words: list[str], said: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """σ(−0.98) = 0.272892: −ln 0.272892 = 1.2987, −ln 0.727108 = 0.318680."""
    assert main(["work", "mlp", *words, "--digits", "3"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown
    assert f"≈ {other}" in shown


def test_a_compared_label_is_judged_and_drawn() -> None:
    sheet = MLP(compare="y=0").worksheet()
    solution = sheet.solve()
    assert solution.value("D") == solution.value("L") - solution.value("L_other")
    for loss in ("binary_cross_entropy", "cross_entropy", "squared_error"):
        exercise = MLP(loss=loss, compare="y=0").draw(random.Random(3))
        assert exercise.worksheet().solve().value("D") != 0
    with pytest.raises(UsageError, match="the target that the sample has already"):
        MLP(compare="1").worksheet()
    classes = "3 identity 1:1 2:0; 4 identity 1:0 2:1"
    shown = builder("mlp")(classes, [1, 2], 1, loss="cross_entropy", compare=2).solve().show("terminal")
    assert "class 1 has the probability 0.268941, class 2 the probability 0.731059" in " ".join(shown.split())
