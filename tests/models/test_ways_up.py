# SPDX-License-Identifier: Apache-2.0
"""Four ways up: value and gradient by plain loops and by torch's own functions, and images of any size."""

from __future__ import annotations

import re
from typing import Any, get_args

import numpy as np
import pytest
import torch
from test_models import lively, made, pictures
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.bridging.tables import module_table
from pellucid.errors import UsageError
from pellucid.models._building import layer_table, parameter_count
from pellucid.models._convolutional import Unpool
from pellucid.models.encoder_decoder.ways import Up, Way

WAYS: tuple[Way, ...] = get_args(Way)
WIDTHS = (4, 6, 8, 10)


def model_of(way: Way, channels: int = 3, outputs: int = 5, **given: Any) -> Any:
    return lively(made("encoder_decoder", channels, outputs, upsample=way, widths=WIDTHS, **given), channels).eval()


def in_double(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def same_with_gradient(ours: Tensor, theirs: Tensor, given: Tensor) -> None:
    """Equal values, and equal gradients of a random weighting of them."""
    torch.testing.assert_close(ours, theirs)
    weights = in_double(*ours.shape, seed=9).detach()
    one, other = (
        torch.autograd.grad((answer * weights).sum(), given, retain_graph=True)[0] for answer in (ours, theirs)
    )
    torch.testing.assert_close(one, other)


# --- each way by itself


def test_unpooling_puts_each_maximum_back_where_it_was() -> None:
    image = in_double(2, 3, 6, 8)
    with torch.no_grad():
        image[0, 0, :2, :2] = 0.5  # equal values: the first of them is the maximum
    pooled, places = F.max_pool2d(image, 2, return_indices=True)
    ours = Unpool()(pooled, places)
    same_with_gradient(ours, F.max_unpool2d(pooled, places, 2), image)
    expected = torch.zeros(2, 3, 6, 8, dtype=torch.float64)
    for index in np.ndindex(2, 3, 3, 4):
        batch, channel, row, column = index
        window = image[batch, channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].detach()
        down, right = divmod(int(window.flatten().tolist().index(float(window.max()))), 2)
        expected[batch, channel, 2 * row + down, 2 * column + right] = window.max()
    torch.testing.assert_close(ours.detach(), expected)
    assert torch.equal(F.max_pool2d(ours.clamp_min(0), 2), pooled.clamp_min(0))  # pooling undoes it


def test_interpolation_weighs_four_neighbours() -> None:
    """Each output px lies a quarter of a px beside its source, and mixes 9/16, 3/16, 3/16 and 1/16 of its neighbours."""
    up = Up("interpolate", 2, 3, batch_norm=False).double()
    image = in_double(1, 2, 4, 5)
    grown = torch.zeros(1, 2, 8, 10, dtype=torch.float64)
    for row in range(8):
        for column in range(10):
            places = []
            for at, side in ((row, 4), (column, 5)):
                centre = (at + 0.5) / 2 - 0.5
                first = int(np.floor(centre))
                part = centre - first
                ends = [min(max(first, 0), side - 1), min(max(first + 1, 0), side - 1)]  # edges are repeated
                places.append([(ends[0], 1 - part), (ends[1], part)])
            for i, vertical in places[0]:
                for j, horizontal in places[1]:
                    grown[:, :, row, column] += vertical * horizontal * image[:, :, i, j].detach()
    enlarged = up.enlarge(image)
    torch.testing.assert_close(enlarged.detach(), grown)
    layer = up.convolution[0]
    theirs = F.relu(
        F.conv2d(F.interpolate(image, scale_factor=2, mode="bilinear"), layer.weight, layer.bias, padding=1)
    )
    same_with_gradient(up(image, None), theirs, image)


def test_a_transposed_convolution_spreads_each_value_over_its_kernel() -> None:
    up = Up("transpose", 2, 3, batch_norm=False).double()
    layer, image = up.convolution[0], in_double(1, 2, 3, 4)
    whole = torch.zeros(3, 2 * 3 + 2, 2 * 4 + 2, dtype=torch.float64)  # before a border of 1 px is cut off
    for channel, row, column in np.ndindex(2, 3, 4):
        spread = image[0, channel, row, column] * layer.weight[channel]  # (3, 4, 4)
        whole[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += spread
    expected = F.relu(whole[None, :, 1:-1, 1:-1] + layer.bias.view(1, -1, 1, 1))
    same_with_gradient(up(image, None), expected, image)
    # it is the transpose of the convolution with this kernel: ⟨conv(y), x⟩ = ⟨y, up(x)⟩
    other = in_double(1, 3, 6, 8, seed=1)
    forth = (F.conv2d(other, layer.weight, stride=2, padding=1) * image).sum()
    back = (F.conv_transpose2d(image, layer.weight, stride=2, padding=1) * other).sum()
    torch.testing.assert_close(forth, back)


def test_dilated_convolutions_see_as_far_as_those_behind_poolings() -> None:
    model = model_of("dilated", batch_norm=False).double()
    layer = next(m for m in model.down[3].modules() if isinstance(m, nn.Conv2d))
    assert layer.dilation == (2, 2) and len(model.pool) == 2
    image = in_double(1, 8, 7, 9)
    expected = torch.zeros(1, 10, 7, 9, dtype=torch.float64)
    edged = F.pad(image, (2, 2, 2, 2))
    for row, column in np.ndindex(7, 9):
        window = edged[0, :, row : row + 5 : 2, column : column + 5 : 2]  # every second px: (8, 3, 3)
        expected[0, :, row, column] = (window * layer.weight).sum((1, 2, 3)) + layer.bias
    same_with_gradient(layer(image), expected, image)
    reach = {}
    for way in ("dilated", "interpolate"):
        table = module_table(model_of(way), torch.zeros(1, 3, 64, 64))
        reach[way] = [row.receptive_field for row in table.rows if row.name.startswith("down.")][-1]
    # the same but for what a pooling itself adds: one px of its scale
    assert [a - b for a, b in zip(reach["interpolate"], reach["dilated"], strict=True)] == [4, 4]


# --- the whole model


def by_torch(model: Any, images: Tensor, way: Way) -> Tensor:
    """The same computed by functions of torch from the model's tensors, without any padding."""
    state = {name: value.double() for name, value in model.state_dict().items()}

    def conv(features: Tensor, name: str, dilation: int = 1, index: int = 0) -> Tensor:
        features = F.conv2d(features, state[f"{name}.{index}.weight"], padding=dilation, dilation=dilation)
        return norm(features, f"{name}.{index + 1}")

    def norm(features: Tensor, name: str) -> Tensor:
        shift, scale = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.relu(F.batch_norm(features, shift, scale, state[f"{name}.weight"], state[f"{name}.bias"]))

    features, kept = (images - state["normalize.mean"]) / state["normalize.std"], []
    poolings = 2 if way == "dilated" else 3
    for scale in range(4):
        dilation = 2 if scale > poolings else 1
        if 0 < scale <= poolings:
            features, places = F.max_pool2d(features, 2, return_indices=True)
            kept.append(places)
        features = conv(conv(features, f"down.{scale}", dilation), f"down.{scale}", dilation, 3)
    for step in range(0 if way == "dilated" else 3):
        name = f"up.{step}.convolution"
        if way == "unpool":
            features = F.max_unpool2d(conv(features, name), kept.pop(), 2)
        elif way == "interpolate":
            features = conv(F.interpolate(features, scale_factor=2, mode="bilinear"), name)
        else:
            features = norm(F.conv_transpose2d(features, state[f"{name}.0.weight"], stride=2, padding=1), f"{name}.1")
        features = conv(features, f"merge.{step}")
    features = F.conv2d(features, state["head.weight"], state["head.bias"], padding=1)
    return F.interpolate(features, scale_factor=4, mode="bilinear") if way == "dilated" else features


@pytest.mark.parametrize("way", WAYS)
def test_the_model_is_what_torchs_functions_compute_with_its_gradient(way: Way) -> None:
    """On multiples of its coarsest scale nothing is padded: the answer is that of the layers alone."""
    model = model_of(way).double()
    images = pictures(2, side=40).double()[..., :24, :].requires_grad_()
    same_with_gradient(model(images), by_torch(model, images, way), images)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 50), (31, 8), (64, 64)])
@pytest.mark.parametrize("way", [*WAYS, "unet"])
def test_any_height_and_width(way: str, size: tuple[int, int]) -> None:
    """The answer is that to the image with its edges repeated, cropped: no size is refused, no multiple changed."""
    model = lively(made("unet", 3, 5, widths=WIDTHS)).eval() if way == "unet" else model_of(way)  # type: ignore[arg-type]
    height, width = size
    image = pictures(1, side=64)[..., :height, :width]
    below, right = -height % model.multiple, -width % model.multiple
    edged = np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    with torch.no_grad():
        answer, whole = model(image), model(torch.from_numpy(edged))
    assert answer.shape == (1, 5, height, width)
    torch.testing.assert_close(answer, whole[..., :height, :width])


@pytest.mark.parametrize("way", WAYS)
def test_it_learns_classes_that_only_places_tell_apart(way: Way) -> None:
    """The left half of each image is class 0, the right half class 1, and the border at an odd column is found."""
    torch.manual_seed(0)
    model = made("encoder_decoder", 1, 2, upsample=way, widths=(8, 16)).train()
    images = torch.zeros(4, 1, 14, 18)
    for number, column in enumerate((5, 8, 9, 12)):
        images[number, ..., column:] = 1
    truth = (images[:, 0] > 0.5).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(25):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), truth)
        loss.backward()
        optimizer.step()
    assert float((model(images).argmax(1) == truth).float().mean()) > 0.97


def test_pictures_begin_with_the_image_and_classes_do_not() -> None:
    """Three classes of colour images are no picture: without being asked, nothing adds the image to the scores."""
    images = pictures(2)
    assert torch.equal(made("encoder_decoder", 3, 3, residual=True)(images), images)
    assert not torch.equal(made("encoder_decoder", 3, 3)(images), images)
    masked = torch.cat([images, torch.zeros(2, 1, 32, 32)], dim=1)
    assert torch.equal(made("encoder_decoder", 4, 3, residual=True)(masked), images)


@pytest.mark.parametrize("way", WAYS)
def test_tables_name_the_way_up_and_add_up(way: Way) -> None:
    model = model_of(way)
    table = module_table(model, torch.zeros(1, 3, 40, 24))
    assert table.parameters == parameter_count(model) == sum(r["parameters"] for r in layer_table(model, (40, 24)))
    kinds = {row.name.split()[-1] for row in table.rows[1:]}
    own = {"unpool": "Unpool", "interpolate": "Upsample", "transpose": "ConvTranspose2d", "dilated": "Upsample"}
    assert own[way] in kinds and "MaxPool2d" in kinds
    assert ("ConvTranspose2d" in kinds) == (way == "transpose") and ("Unpool" in kinds) == (way == "unpool")
    assert all(row.receptive_field is not None for row in table.rows[1:])
    assert tuple(table.rows[-1].output) == (40, 24, 5)


def test_mistakes() -> None:
    for given, told in (
        ({"upsample": "nearest"}, "upsample='nearest': is not known; choose unpool, interpolate, transpose or dilated"),
        ({"widths": ()}, "widths=()"),
        ({"widths": (8, 0)}, "widths=(8, 0)"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            made("encoder_decoder", **given)
