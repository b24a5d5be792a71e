# SPDX-License-Identifier: Apache-2.0
"""Layer tables: totals against torch's own, formulas that give the number beside them, fields against gradients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from pellucid.bridging.gradients import check_module
from pellucid.bridging.tables import layer_table, module_table, named_module, named_table
from pellucid.cli.cli import main
from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.worked.layers.layers import LayerTable, table
from pellucid.worked.layers.sizes import output_size, read_product, show, transposed_size
from pellucid.worked.layers.table import LayerRow

EXERCISE = """
input 300x200x2
conv 64 of 3x3xU_1
max-pool 2
conv 256 of 3x3xU_2   # a comment
max-pool 2
flatten; N_2; N_3
output 60·100
"""


def formula_value(formula: str) -> int:
    """What a formula of whole numbers, dots, sums and brackets gives, read by a parser of its own."""
    tokens = re.findall(r"\d[\d,]*|[()+·]", formula)

    def total() -> int:
        value = product()
        while tokens and tokens[0] == "+":
            tokens.pop(0)
            value += product()
        return value

    def product() -> int:
        value = factor()
        while tokens and tokens[0] == "·":
            tokens.pop(0)
            value *= factor()
        return value

    def factor() -> int:
        word = tokens.pop(0)
        if word != "(":
            return int(word.replace(",", ""))
        value = total()
        tokens.pop(0)
        return value

    return total()


def agrees(found: LayerTable, module: nn.Module) -> None:
    assert found.parameters == sum(each.numel() for each in module.parameters())
    for row in found.rows:
        if row.formula:
            assert formula_value(row.formula) == row.parameters, row


def test_the_exercise_is_solved_as_far_as_it_goes() -> None:
    found = table(EXERCISE)
    N, M = (sympy.Symbol(name, integer=True, positive=True) for name in ("N_2", "N_3"))
    assert [str(line).split(":")[0] for line in found.solved] == [
        "U_1 = 2",
        "U_2 = 64",
        "N_2 stays open",
        "N_3 stays open",
    ]
    assert found.rows[1].formula == "(3·3·2 + 1)·64"
    assert found.rows[-1].formula == "(N_3 + 1)·6,000"
    assert [row.output for row in found.rows[1:6]] == [
        (298, 198, 64),
        (149, 99, 64),
        (147, 97, 256),
        (73, 48, 256),
        (897024,),
    ]
    assert sympy.expand(found.parameters - ((897024 + 1) * N + (N + 1) * M + (M + 1) * 6000 + 1216 + 147712)) == 0
    assert sympy.expand(found.without_biases - (897024 * N + N * M + M * 6000 + 1152 + 147456)) == 0
    shown = str(found)
    assert "(3·3·2 + 1)·64 = 1,216" in shown
    assert "⌊(300 + 2·0 − 1·(3 − 1) − 1)/1⌋ + 1 = 298" in shown
    assert "(N_3 + 1)·6,000 = 6,000·N_3 + 6,000" in shown


def test_unknowns_are_solved_from_sizes_and_parameters() -> None:
    found = table(
        "input 32x32x3; conv F of KxK stride 1 gives 28x28x6; max-pool S gives 14x14x6; flatten; dense M parameters 9416"
    )
    assert {line.split(":")[0] for line in found.solved} == {"F = 6", "K = 5", "S = 2", "M = 8"}
    assert found.parameters == (5 * 5 * 3 + 1) * 6 + 9416
    rounded = table("input 224x224x3; conv 64 of PxP stride 2 padding 3 gives 112x112x64")
    assert rounded.solved == ["P stays open: 7 and 8 both fit"]
    padded = table("input 28x28x1; conv 8 of 5x5 padding P gives 28x28x8")
    assert padded.solved[0].startswith("P = 2: ")
    inputs = table("input n; dense 10 parameters 650")
    assert inputs.rows[0].output == (64,)


def random_specification(random: np.random.Generator) -> tuple[str, nn.Module, tuple[int, ...]]:
    """The same random chain as text and as a torch module."""
    axes = int(random.integers(1, 3))
    size, channels = [int(n) for n in random.integers(14, 25, axes)], int(random.integers(1, 4))
    words, layers, shape = [f"input {'x'.join(map(str, [*size, channels]))}"], [], (1, channels, *size)
    Conv, Up, Pool = [(nn.Conv1d, nn.ConvTranspose1d, nn.AvgPool1d), (nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d)][
        axes - 1
    ]
    for _ in range(int(random.integers(1, 4))):
        f, s, p, d = (int(random.integers(low, high)) for low, high in ((1, 4), (1, 3), (0, 2), (1, 3)))
        filters, bias = int(random.integers(1, 5)), bool(random.integers(2))
        kind = random.choice(["conv", "pool", "transposed"])
        if kind == "conv":
            words.append(f"conv {filters} of {f} stride {s} padding {p} dilation {d}{'' if bias else ' no-bias'} relu")
            layers += [Conv(channels, filters, f, s, p, d, bias=bias), nn.ReLU()]
            channels = filters
        elif kind == "transposed":
            words.append(f"transposed-conv {filters} of {f} stride {s}{'' if bias else ' no-bias'}")
            layers.append(Up(channels, filters, f, s, bias=bias))
            channels = filters
        else:
            words.append(f"avg-pool {f} stride {s}")
            layers.append(Pool(f, s))
    return "; ".join(words), nn.Sequential(*layers), shape


def test_random_chains_agree_with_torch_in_sizes_parameters_work_and_field() -> None:
    random = np.random.default_rng(5)
    for _ in range(60):
        words, module, shape = random_specification(random)
        written, traced = table(words), module_table(module, torch.zeros(shape))
        with torch.no_grad():
            for each in module.parameters():
                each.fill_(1.0)  # positive weights: whatever is seen has an influence
        image = torch.ones(shape, requires_grad=True)
        output = module(image)
        assert (*output.shape[2:], output.shape[1]) == written.rows[-1].output, words
        agrees(written, module)
        agrees(traced, module)
        assert written.macs == traced.macs
        if "transposed" in words:
            continue  # where the strides of a transposed convolution meet, its values see differently far
        middle = output[(0, 0, *(n // 2 for n in output.shape[2:]))]
        slope = torch.autograd.grad(middle, image)[0][0].abs().sum(0)
        for axis, (told, told_too) in enumerate(
            zip(written.rows[-1].receptive_field, traced.rows[-1].receptive_field or (1,) * 2, strict=False)
        ):
            along = slope if slope.ndim == 1 else slope.sum(1 - axis)
            touched = torch.nonzero(along).flatten()
            reach = int(touched.max() - touched.min()) + 1
            at_the_edge = touched.min() == 0 or touched.max() == len(along) - 1
            assert reach <= told if at_the_edge else reach == told, (words, axis)
            assert told == told_too or not traced.rows[-1].receptive_field, words


@pytest.mark.parametrize(
    "name", ["torchvision/resnet50", "torchvision/vgg16", "torchvision/mobilenet_v3_small", "unet", "mlp"]
)
def test_named_models_have_torchs_totals(name: str) -> None:
    module, _ = named_module(name)
    found = named_table(name)
    agrees(found, module)
    biases = sum(each.numel() for title, each in module.named_parameters() if title.endswith("bias"))
    assert found.without_biases == found.parameters - biases


def test_published_numbers() -> None:
    vgg, resnet = named_table("torchvision/vgg16"), named_table("torchvision/resnet50")
    assert (vgg.parameters, resnet.parameters) == (138357544, 25557032)
    assert round(int(vgg.macs) / 1e9, 2) == 15.47
    assert round(int(resnet.macs) / 1e9, 2) == 4.09
    last_pool = next(row for row in vgg.rows if row.name.startswith("features.30"))
    assert last_pool.receptive_field == (
        212,
        212,
    )  # Simonyan and Zisserman's network, as published in receptive-field tables
    stem = [row.receptive_field for row in resnet.rows if row.name.startswith("maxpool")]
    assert stem == [(11, 11)]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3},
        {"bidirectional": True, "num_layers": 2},
        {"bias": False},
        {"batch_first": True},
        {"proj_size": 4},
    ],
)
def test_recurrent_modules(kind: type[nn.RNNBase], options: dict[str, int]) -> None:
    if "proj_size" in options and kind is not nn.LSTM:
        return
    module = kind(5, 7, **options)
    shape = (2, 9, 5) if options.get("batch_first") else (9, 2, 5)
    found = module_table(module, torch.zeros(shape))
    agrees(found, module)
    assert found.rows[0].output == (9, 5)
    if options in ({}, {"bias": False}):
        written = table(f"input 9x5; {kind.__name__.lower()} 7{' no-bias' if options else ''}")
        assert written.parameters == found.parameters
        assert written.macs == found.macs


class Odd(nn.Module):
    """A tied layer, a layer that nothing calls, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.second(self.first(self.first(x)))


def test_shared_and_unused_parameters_are_named() -> None:
    module = Odd().train()
    found = module_table(module, torch.zeros(2, 6))
    agrees(found, module)
    assert found.parameters == 42 + 6 + 12 + 6
    shown = str(found)
    assert "shared: first.weight = second.weight" in shown
    assert "unused: idle.weight, idle.bias (12 parameters)" in shown
    assert "shares the parameters of first, counted there" in shown
    assert module.training
    assert not any(each._forward_hooks for each in module.modules())


def test_memory_counts_values_bytes_and_batch() -> None:
    found = table("input 8x8x1; conv 4 of 3x3; flatten; dense 10", batch=3)
    assert found.training_values == 64 + 144 + 144 + 10
    assert found.inference_values == 144 + 144
    assert "362 values × 4 bytes × 3 = 4.2 KiB" in str(found)


def test_other_forms() -> None:
    found = json.loads(table(EXERCISE).write("json"))
    assert found["rows"][1]["parameters"] == 1216
    assert found["totals"]["parameters"] == "N_2·N_3 + 897,025·N_2 + 6,001·N_3 + 154,928"
    assert (found["rows"][1]["stride"], found["rows"][2]["stride"], found["rows"][1]["padding"]) == ("1", "2", "0")
    markdown = table(EXERCISE).write("markdown").splitlines()
    bars = {line.count("|") for line in markdown if line.startswith("|")}
    assert bars == {11}
    with pytest.raises(UnknownNameError, match="did you mean 'markdown'"):
        table(EXERCISE).write("markdwn")


def test_sizes_equal_torchs() -> None:
    random = np.random.default_rng(2)
    for _ in range(200):
        n, f, s, p, d = (int(random.integers(low, high)) for low, high in ((8, 40), (1, 4), (1, 4), (0, 3), (1, 3)))
        given = torch.zeros(1, 1, n)
        assert nn.Conv1d(1, 1, f, s, p, d)(given).shape[2] == output_size(n, f, s, p, d)
        assert nn.ConvTranspose1d(1, 1, f + 2, s, p, dilation=d)(given).shape[2] == transposed_size(n, f + 2, s, p, d)


@pytest.mark.parametrize("shape", ["60x100x1", "60 × 100 × 1"])
def test_the_input_may_be_given_by_its_shape_alone(shape: str) -> None:
    layers = "conv 8 3x3; flatten; N_2; N_3; output 60*100"
    assert table(f"{shape}; {layers}").write("markdown") == table(f"input 60x100x1; {layers}").write("markdown")
    assert layer_table(f"{shape}; {layers}").write("markdown") == table(f"{shape}; {layers}").write("markdown")


def test_symbols_in_print() -> None:
    N, P = read_product("N"), read_product("P")
    assert show(2 * N * N - 3 * N + 1000) == "2·N^2 − 3·N + 1,000"
    assert show(-N) == "−N"
    assert show(sympy.floor((5 - P) / 2)) == "⌊(5 − P)/2⌋"


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("", UsageError, "must begin with the input"),
        ("conv 3 of 3x3", UsageError, "must begin with the input"),
        ("input 8x8x1\nconf 3 of 3x3", UnknownNameError, "line 2: layer='conf' is not known; did you mean 'conv'?"),
        ("input 8x8x1; conv 3", UsageError, "has no window"),
        ("input 8x8x1; conv 3 of 9x9", UsageError, "nothing is left"),
        ("input 8x8x1; conv 3 of 3x3x2", UsageError, "2 ≠ 1"),
        ("input 8x8x1; conv 3 of 3x3 stride", UsageError, "missing at the end"),
        ("input 8x8x1; conv 3 of 3x3 stridez 2", UsageError, "'stridez'"),
        ("input 8x8x4; conv 3 of 3x3 groups 3", UsageError, "divisor"),
        ("input 8x8x1; conv 3 of 2x2 padding same", UsageError, "odd window"),
        ("input 10; conv 3 of 3", UsageError, "slides over 1 to 3 axes"),
        ("input 2x2x1; output 5", UsageError, "4 ≠ 5"),
        ("input 4x4x3; embedding 10 4", UsageError, "sequence of tokens"),
        ("input 5x6; attention 4", UsageError, "must divide 6 features"),
        ("input 8x8x1; pool 2", UnknownNameError, "'pool' is not known"),
        ("input 10; dense 4 parameters M; dense K parameters 7", UsageError, "no whole number"),
        ("input 8x8x__import__", UsageError, "size="),
        ("input 8x8x1; dense " + "9" * 500, UsageError, "at most 400"),
    ],
)
def test_mistakes_are_named(words: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as found:
        table(words)
    assert said in str(found.value)


def test_mistakes_with_modules() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'torchvision/resnet50'"):
        named_table("torchvision/resnet5")
    with pytest.raises(DataError, match="give another size"):
        module_table(nn.Linear(3, 4), torch.zeros(1, 5))
    with pytest.raises(DataError, match="depend on the input"):
        module_table(nn.Linear(3, 4))


class Wrong(torch.autograd.Function):
    """x², with a derivative that lacks its factor 2."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: object, slope: torch.Tensor) -> torch.Tensor:
        return slope * ctx.saved_tensors[0]


class Squares(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Wrong.apply(x)


def test_the_gradient_check_of_torch_modules() -> None:
    torch.manual_seed(1)
    right = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3), nn.Flatten(),
                          nn.Linear(27, 5), nn.Sigmoid(), nn.Linear(5, 3))  # fmt: skip
    x, y = torch.randn(4, 1, 8, 8), torch.randint(0, 3, (4,))
    before = {name: each.clone() for name, each in right.state_dict().items()}
    report = check_module(right, x, y, nn.functional.cross_entropy, entries=6)
    assert report.verdict in ("right", "kink"), str(report)
    assert all(torch.equal(each, before[name]) for name, each in right.state_dict().items())
    wrong = nn.Sequential(nn.Linear(4, 3), Squares(), nn.Linear(3, 2))
    found = check_module(wrong, torch.randn(5, 4), torch.zeros(5, 2), nn.functional.mse_loss)
    assert found.bugs == ["0.weight", "0.bias"]
    with pytest.raises(DataError, match="reduce it"):
        check_module(wrong, torch.randn(5, 4), torch.zeros(5, 2), lambda a, b: a - b)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table"]) == 0
    assert "N_2 stays open" in capsys.readouterr().out
    file = tmp_path / "small.layers"
    file.write_text("input 8x8x1\nconv 4 of 3x3\n")
    assert main(["table", str(file), "--format", "json", "--out", str(tmp_path / "small.json")]) == 0
    assert json.loads((tmp_path / "small.json").read_text())["totals"]["parameters"] == 40
    capsys.readouterr()
    assert main(["table", "mlp", "--size", "1", "8", "8", "--outputs", "3"]) == 0
    assert capsys.readouterr().out.startswith("mlp\n")
    for words, said in (
        (["table", "conv 3 of 3x3; relu"], "must begin with the input"),
        (["table", "resnet51"], "did you mean 'resnet'?"),
        (["table", "input 8x8x1", "--outputs", "3"], "apply to a model"),
        (["table", "unet", "--batch", "0"], "batch=0"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_note_that_many_rows_share_is_said_once() -> None:
    rows = [LayerRow(f"block_{n}: weight", (), note="used directly") for n in range(5)]
    notes = str(LayerTable("a model", [*rows, LayerRow("head", (), note="unused")])).split("notes\n")[1]
    assert notes.split("\n") == ["  used directly: block_0: weight; block_1: weight; and 3 more rows", "  head: unused"]


def test_a_dense_layer_on_a_map_says_that_it_works_place_by_place() -> None:
    """People who leave out `flatten` mean a layer on all values, which has other parameters."""
    said = "works at each of 15×15 places, on 32 channels; `flatten` before it makes a layer on all 7,200 values"
    assert said in " ".join(table("input 32x32x3; conv 32 3x3; maxpool 2; fc 84").write().split())
    for other in ("input 32x32x3; maxpool 2; flatten; fc 84", "input 10x16; dense 84", "input 1x1x8; dense 4"):
        assert "works at each" not in table(other).write()
    with pytest.raises(UsageError, match=r"10: `output 10` reads the values before it; .* write `flatten` first"):
        table("input 32x32x3; conv 32 3x3; maxpool 2; fc 84; output 10")
