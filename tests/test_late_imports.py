# SPDX-License-Identifier: Apache-2.0
"""Libraries are imported where they are used: each of these takes half a second to two seconds of every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid import data
from pellucid._operations import Operations
from pellucid.data.dataset import Pixels
from pellucid.data.targets import Label
from pellucid.models._building import build
from pellucid.training.training import train

HEAVY = [
    "sklearn",
    "scipy.stats",
    "pandas",
    "datasets",
    "skimage",
    "cv2",
    "torchvision",
    "timm",
    "captum",
    "onnx",
    "torch._dynamo",
]

ASK = """
import sys
from pellucid.cli.cli import main
code = main(sys.argv[2:])
print("imported:", *[name for name in sys.argv[1].split() if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late") / "run"
    train("classify", "digits", "mlp", folder, hidden=(8,), epochs=1, limit=64, progress=False)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "RUN", "--no-baselines"],
        ["data", "digits", "--out", "PLACE/sheet.png"],
        ["look", "RUN", "confusion", "--out", "PLACE"],
    ],
    ids=lambda words: words[0],
)
def test_a_verb_on_digits_imports_nothing_heavy_that_it_does_not_need(
    words: list[str], place: Path, tmp_path: Path
) -> None:
    if words[0] == "look":  # it reads what evaluate has measured
        from pellucid.inference import evaluate

        evaluate(place, baselines=False)
    given = [word.replace("RUN", str(place)).replace("PLACE", str(tmp_path)) for word in words]
    command = [sys.executable, "-c", ASK, " ".join(HEAVY), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"


def test_the_embedded_digits_are_those_of_scikit_learn() -> None:
    theirs = load_digits()
    found: dict[bytes, int] = {}
    for image, digit in zip(theirs.images, theirs.target, strict=True):
        found[np.round(image * (255 / 16)).astype(np.uint8).tobytes()] = int(digit)
    count = 0
    for split in data.open("digits").splits.values():
        images, label = split.images, split.targets["label"]
        assert isinstance(images, Pixels) and isinstance(label, Label)
        own = [found[image.tobytes()] for image in images.array]
        assert own == label.index.tolist()
        count += len(own)
    assert count == len(theirs.images) == 1797


@pytest.mark.parametrize("name", ["mlp", "convnet", "cifar_resnet", "conv_autoencoder", "unet"])
def test_operations_are_those_that_torch_counts(name: str) -> None:
    outputs = 1 if name in ("conv_autoencoder", "unet") else 10
    model = build({"name": name, "channels": 1, "outputs": outputs, "size": [32, 32], "options": {}}).eval()
    image = torch.zeros(1, 1, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        model(image)
    with torch.no_grad(), Operations() as ours:
        model(image)
    assert ours.total == theirs.get_total_flops() // 2 > 0


def test_attention_is_counted_as_torch_counts_it() -> None:
    tokens = torch.zeros(2, 2, 5, 8)  # (batch, heads, tokens, width)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
    with torch.no_grad(), Operations() as ours:
        nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
    assert ours.total == theirs.get_total_flops() // 2 > 0
