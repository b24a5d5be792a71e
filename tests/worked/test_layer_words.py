# SPDX-License-Identifier: Apache-2.0
"""The words of layer tables against torch's modules and published numbers; somebody's sizes checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import Permute

from pellucid.bridging.tables import layer_table, module_table, named_table
from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.worked.layers.layers import check_table, table


def test_ordinary_words_are_layers() -> None:
    """LeNet-5 as Keras counts it, 61,706 parameters, in several spellings."""
    spellings = (
        "input 28x28x1; conv 6 5x5 padding 2; tanh; avgpool 2; conv 16 5x5; tanh; avgpool 2; flatten; fc 120; linear 84; output 10",
        "input 28x28x1; conv2d 6 of 5x5, padding=same; average pool 2x2; conv 5x5 16; maxpool 2; flat; fc 120; fc 84; out 10 softmax",
        "input 28x28x1; convolution 6 5 pad 2; avg-pool 2 stride 2; conv 16 5; max pool 2; flatten; 120; 84; output 10",
    )
    for words in spellings:
        found = table(words)
        assert found.parameters == 61706, words
        assert found.rows[-1].formula == "(84 + 1)·10"


@pytest.mark.parametrize(
    ("words", "module", "shape"),
    [
        ("input 9x9x4; depthwise-conv 3x3 padding 1", nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 9, 9)),
        ("input 9x9x4; depthwise conv 3 multiplier 2 stride 2", nn.Conv2d(4, 8, 3, 2, groups=4), (1, 4, 9, 9)),
        ("input 9x9x4; pointwise-conv 8", nn.Conv2d(4, 8, 1), (1, 4, 9, 9)),
        ("input 9x9x4; conv 8 of 3x3 groups 2 dilation 2", nn.Conv2d(4, 8, 3, groups=2, dilation=2), (1, 4, 9, 9)),
        ("input 9x9x4; transposed conv 8 of 2x2 stride 2", nn.ConvTranspose2d(4, 8, 2, 2), (1, 4, 9, 9)),
        ("input 9x9x4; deconv 8 2x2 stride 2", nn.ConvTranspose2d(4, 8, 2, 2), (1, 4, 9, 9)),
        ("input 9x9x4; batch-norm", nn.BatchNorm2d(4), (1, 4, 9, 9)),
        ("input 9x9x4; adaptive-pool 3", nn.AdaptiveAvgPool2d(3), (1, 4, 9, 9)),
        ("input 9x9x4; adaptive pool 3x2", nn.AdaptiveMaxPool2d((3, 2)), (1, 4, 9, 9)),
        ("input 9x9x4; maxpool 3 stride 2 padding 1", nn.MaxPool2d(3, 2, 1), (1, 4, 9, 9)),
        ("input 9x9x4; upsample 2", nn.Upsample(scale_factor=2), (1, 4, 9, 9)),
        ("input 7x6; layer-norm", nn.LayerNorm(6), (1, 7, 6)),
        ("input 7x6; layer-norm no-bias", nn.LayerNorm(6, bias=False), (1, 7, 6)),
        ("input 7x6; linear 5 gelu", nn.Linear(6, 5), (1, 7, 6)),
    ],
)
def test_each_word_agrees_with_its_torch_module(words: str, module: nn.Module, shape: tuple[int, ...]) -> None:
    written, traced = table(words), module_table(module, torch.zeros(shape))
    assert written.parameters == sum(each.numel() for each in module.parameters())
    assert written.rows[-1].output == traced.rows[-1].output
    assert written.macs == traced.macs
    assert (
        written.statistics == traced.statistics == sum(b.numel() for n, b in module.named_buffers() if "running" in n)
    )
    for name in ("stride", "padding", "dilation", "groups"):
        if getattr(traced.rows[-1], name):
            assert getattr(written.rows[-1], name) in (getattr(traced.rows[-1], name), ""), name


def test_more_spellings_mean_the_same() -> None:
    plain = table("input 28x28x3; conv 6 5x5 stride 2 padding 1 no-bias; batch-norm; global-pool; dense 10").write(
        "markdown"
    )
    for words in (
        "Input: 28 x 28 x 3; Conv 6 5 x 5 s2 p1 no bias; Batch Normalization; Global Average Pooling; FC 10",
        "28 × 28 × 3; conv2d 6, 5x5, stride=2, padding=1, bias=False; BN; globalavgpool; linear 10",
    ):
        assert layer_table(words).write("markdown") == plain
    assert table("5x5x1; conv 2 3x3 same").rows[1].output == (5, 5, 2)
    assert table("5x5x1; conv 2 3x3 valid").rows[1].output == (3, 3, 2)
    assert layer_table("100; dense 10").parameters == 1010


def test_the_filters_of_a_depthwise_convolution_are_a_multiple_of_the_channels() -> None:
    layer = nn.Conv2d(3, 6, 3, groups=3)
    for words in ("depthwise-conv 6 3x3", "depthwise-conv 3x3 6", "depthwise-conv 3x3 multiplier 2"):
        found = table(f"input 9x9x3; {words}")
        assert found.parameters == sum(each.numel() for each in layer.parameters()), words
        assert found.rows[1].output == (7, 7, 6)
    for words in ("depthwise-conv 8 3x3", "depthwise-conv 6 3x3 multiplier 3"):
        with pytest.raises(UsageError, match=r"filters for 3 channels; a depth-wise convolution has one for each"):
            table(f"input 9x9x3; {words}")


@pytest.mark.parametrize(
    "words", ["conv 6 3x3 stride 0", "conv 0 3x3", "conv 6 0x3", "conv 6 3x3 groups 0", "upsample 0", "dense 0"]
)
def test_no_size_is_zero(words: str) -> None:
    with pytest.raises(UsageError, match="a size is at least 1; write a larger number"):
        table(f"input 28x28x1; {words}")
    with pytest.raises(UsageError, match="a size is at least 1"):
        table("input 28x28x0; relu")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("max-pool 2 no-bias", "max-pool has no bias"),
        ("batch-norm no-bias", "batch-norm has no bias"),
        ("upsample 2 stride 2", "upsample has no stride"),
        ("max-pool 2 groups 3", "max-pool has no groups"),
        ("dense 4 padding same", "dense has no padding"),
        ("conv 4 3x3 multiplier 2", "conv has no multiplier"),
    ],
)
def test_an_option_without_effect_is_refused(layer: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}; leave it out"):
        table(f"input 9x9x3; {layer}")


def test_a_transposed_convolution_with_the_same_padding_multiplies_the_size() -> None:
    """Keras: Conv2DTranspose(8, 3, strides=2, padding="same") makes 18×18 of 9×9; torch the same with output_padding=1."""
    layer = nn.ConvTranspose2d(3, 8, 3, 2, padding=1, output_padding=1)
    row = table("input 9x9x3; transposed-conv 8 3x3 stride 2 padding same").rows[1]
    size = layer(torch.zeros(1, 3, 9, 9)).shape[2:]
    assert (row.output, row.parameters, row.padding) == (
        (*size, 8),
        sum(each.numel() for each in layer.parameters()),
        "same",
    )


def test_a_shape_that_people_read_in_another_way_is_said() -> None:
    for shape, image in (
        ("28x28", "one channel is 28x28x1"),
        ("3x32x32", "3 channels is 32x32x3"),
        ("1x28x28", "1 channel is 28x28x1"),
    ):
        assert image in table(f"input {shape}; max-pool 1").write().replace("\n", " "), shape
    for shape in ("28x28x1", "32x32x3", "1000x1"):
        assert "is read as" not in table(f"input {shape}; max-pool 1").write()
    assert "is read as" not in table("input 28x28; flatten; dense 10").write()


def test_an_embedding_and_attention() -> None:
    found = table("input 12; embedding 1000 64; attention 8; layer-norm; dense 256 gelu; dense 64")
    attention = nn.MultiheadAttention(64, 8)
    embedding, norm, mlp = (
        nn.Embedding(1000, 64),
        nn.LayerNorm(64),
        nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64)),
    )
    modules = (embedding, attention, norm, mlp)
    assert found.parameters == sum(each.numel() for module in modules for each in module.parameters())
    # 4 projections, then q·kᵀ and its product with v: n·4·d² + 2·n²·d
    assert found.rows[2].macs == 4 * 12 * 64**2 + 2 * 12**2 * 64


class Attends(nn.Module):
    """An encoder layer whose matrix products belong to no layer of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), 2)
        return self.out(scores @ self.v(x))


def test_the_macs_of_attention_are_in_the_total() -> None:
    found = module_table(Attends(), torch.zeros(2, 5, 8))
    assert found.macs == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
    assert found.outside == 2 * 5 * 5 * 8
    assert "of which 400 are matrix products outside the layers" in str(found)
    written = table("input 5x8; attention 1")
    assert written.macs == found.macs


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights"), [("vit_b_16", "ViT_B_16_Weights"), ("swin_t", "Swin_T_Weights")])
def test_the_macs_are_those_that_torchvision_publishes(name: str, weights: str) -> None:
    from torchvision import models

    published = getattr(models, weights).IMAGENET1K_V1.meta
    found = named_table(f"torchvision/{name}")
    assert round(int(found.macs) / 1e9, 2) == pytest.approx(published["_ops"], abs=0.01)
    assert found.parameters == published["num_params"]


class ChannelsLast(nn.Module):
    """A map whose channels are the last axis between two permutations, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.turned, self.norm, self.wide, self.relu = (
            Permute([0, 2, 3, 1]),
            nn.LayerNorm(6),
            nn.Linear(6, 12),
            nn.ReLU(),
        )
        self.narrow, self.back = nn.Linear(12, 6), Permute([0, 3, 1, 2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.narrow(self.relu(self.wide(self.norm(self.turned(self.relu(self.conv(x)))))))
        return self.out(self.relu(self.back(inner)))


def test_a_map_with_its_channels_last_keeps_its_order() -> None:
    rows = module_table(ChannelsLast(), torch.zeros(1, 3, 7, 9)).rows
    assert [tuple(map(int, row.output)) for row in rows] == [
        *[(7, 9, 3), (5, 7, 6), (5, 7, 6), (5, 7, 6), (5, 7, 6)],
        *[(5, 7, 12), (5, 7, 12), (5, 7, 6), (5, 7, 6), (5, 7, 6), (5, 7, 2)],
    ]


def test_the_statistics_of_batch_norm_are_counted_apart() -> None:
    found = table("input 8x8x3; conv 4 of 3x3 no-bias; batch-norm")
    assert (found.parameters, found.statistics) == (4 * 27 + 8, 8)
    assert "running statistics" in str(found) and "8, kept but not learned" in str(found)


ANSWERED = "input 28x28x1; conv 6 of 5x5 padding 2 stride 1; max-pool 2; conv 16 of 5x5 stride 2; batch-norm; flatten; dense 10"


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("1 = 28x28x6", "right", ""),
        ("1 = 28*28*6", "right", ""),
        ("flatten = 5*5*16", "right", ""),
        ("3 parameters = 16*151", "right", ""),
        ("conv 6 = 27x27x6", "wrong", "Off by one: the + 1 of ⌊"),
        ("conv 6 = 29x29x6", "wrong", "Off by one: the + 1 of ⌊"),
        ("conv 6 = 24x24x6", "wrong", "The padding is left out"),
        ("1: 26x26x6", "wrong", "one side only"),
        ("conv 6 = 28x28x5", "wrong", "it is the number of filters"),
        ("1 = 6x28x28", "wrong", "channels are written first"),
        ("1 = 28x28", "wrong", "The channels are left out"),
        ("conv 16 = 10x10x16", "wrong", "The stride is left out"),
        ("conv 16 = 6x6x16", "wrong", "Off by one"),
        ("conv 16 parameters = 2,400", "wrong", "The biases are left out"),
        ("3 parameters = 416", "wrong", "The depth of the window, 6, is left out"),
        ("3 parameters = 2416", "right", ""),
        ("batch-norm parameters = 64", "wrong", "The running mean and variance are counted"),
        ("total parameters = 6,614", "right", ""),
        ("dense 10 macs = 4000", "right", ""),
        ("dense 10 macs = 8000", "wrong", "counted one by one"),
        ("dense 10 = 4010", "wrong", "These are its parameters; write `dense 10 parameters = …`"),
    ],
)
def test_answers_about_layers_are_checked_and_slips_named(answer: str, status: str, said: str) -> None:
    (checked,) = check_table(ANSWERED, answer).checked
    assert (checked.status, checked.slip[: len(said)] if said.startswith("The p") else "") in {
        (status, said),
        (status, ""),
    }
    assert said in checked.slip


@pytest.mark.parametrize(
    "layer",
    [
        "conv 6 of 5x5 stride 2 padding 1",
        "depthwise-conv 3x3",
        "transposed-conv 6 of 3x3 stride 2 padding 1",
        "max-pool 2",
        "avg-pool 3 stride 2",
        "adaptive-pool 3",
        "upsample 2",
        "global-pool",
        "flatten",
        "relu",
        "attention 2",
    ],
)
def test_every_size_that_is_one_too_large_or_too_small_is_named(layer: str) -> None:
    words = f"input {'9x8' if layer == 'attention 2' else '9x9x4'}; {layer}"
    right = [int(axis) for axis in table(words).rows[-1].output]
    wrong = [
        [axis + step * (place in places) for place, axis in enumerate(right)]
        for places in [*({place} for place in range(len(right))), {0, 1}]
        for step in (-1, 1)
    ]
    report = check_table(words, "\n".join(f"1 = {'x'.join(map(str, size))}" for size in wrong))
    for answer in report.checked:
        assert answer.status == "wrong" and "off by one" in answer.slip.lower(), answer
    assert max(map(len, str(report).splitlines())) <= 80


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("2 = 23x23x6", "The stride is left out. Or: if row 1, conv 6, is meant, it is off by one: the height and the"),
        ("2 = 24x24x6", "his is the size of row 1, conv 6; the first layer after the input is row 1."),
        ("2 = 12x12x2", "a pooling keeps the channels"),
        ("3 = 40x40x4", "The padding, which is cut off, is left out."),
        ("3 = 41x41x4", "The − 1 of (n − 1)·s − 2p + d(f − 1) + 1 is left out."),
        ("3 = 42x42x4", "The padding is added; it is cut off at either end."),
        ("3 = 36x36x4", "The size is multiplied by the stride, without the window."),
        ("3 = 3x3x4", "This is the size after a convolution"),
    ],
)
def test_two_slips_that_give_the_same_size_are_both_said(answer: str, said: str) -> None:
    words = "input 28x28x1; conv 6 of 5x5; max-pool 2; transposed-conv 4 of 7x7 stride 3 padding 1"
    (checked,) = check_table(words, answer).checked
    assert said in checked.slip


def test_a_size_that_follows_from_a_wrong_one_is_no_second_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check_table(ANSWERED, "conv 6 = 24x24x6\nmax-pool = 12x12x6\nconv 16 = 4x4x16\nflatten = 256\nwhat = 3")
    assert [answer.status for answer in report.checked] == ["wrong", "follows", "follows", "follows"]
    assert "'what': is no layer of this table" in report.bad[0]
    (answers := tmp_path / "mine.txt").write_text("1 = 298x198x64\n")
    assert main(["table", "--answers", str(answers)]) == 0
    assert "1 of 1 answers is right" in capsys.readouterr().out
    assert main(["table", "--answers", str(tmp_path / "none.txt")]) == 2


def test_a_size_with_spaces_alone_is_no_number() -> None:
    report = check_table(ANSWERED, "conv 6 = 28 28 6")
    assert not report.checked and "write 28x28x6 for a size" in report.bad[0]
    assert str(report).startswith("No answer could be read.\n\n  ? line 1: ")


def test_a_size_with_other_axes_is_wrong_and_leads_nowhere() -> None:
    report = check_table(ANSWERED, "conv 6 = 28x6\nmax-pool = 14x14x6\n²1 = 3")
    assert [answer.status for answer in report.checked] == ["wrong", "right"]
    assert len(report.bad) == 1
