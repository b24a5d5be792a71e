# SPDX-License-Identifier: Apache-2.0
"""Libraries are imported where they are used: each of these takes half a second to two seconds of every command."""

from __future__ import annotations

import json
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
import json, os, sys
import torch  # once for all: each verb is run by a copy of this process
from pellucid.cli.cli import main

heavy, verbs, out = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
for name, words in verbs.items():
    child = os.fork()
    if child == 0:
        code = main(words)
        with open(os.path.join(out, name), "w") as file:
            json.dump({"code": code, "imported": [each for each in heavy if each in sys.modules]}, file)
        os._exit(0)
    os.waitpid(child, 0)
"""

VERBS = {
    "evaluate": ["evaluate", "RUN", "--no-baselines"],
    "data": ["data", "digits", "--out", "PLACE/sheet.png"],
    "train": [
        "train",
        "classify",
        "--data",
        "digits",
        "--model",
        "mlp",
        "--epochs",
        "1",
        "--limit",
        "64",
        "--out",
        "PLACE/new",
    ],
    "look": ["look", "RUN", "confusion", "--out", "PLACE"],  # it reads what evaluate has measured
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what each verb imported."""
    place = tmp_path_factory.mktemp("late")
    train("classify", "digits", "mlp", place / "run", hidden=(8,), epochs=1, limit=64, progress=False)
    given = {
        name: [word.replace("RUN", str(place / "run")).replace("PLACE", str(place)) for word in words]
        for name, words in VERBS.items()
    }
    command = [sys.executable, "-c", ASK, json.dumps(HEAVY), json.dumps(given), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_on_digits_imports_nothing_heavy_that_it_does_not_need(verb: str, asked: Path) -> None:
    assert json.loads((asked / verb).read_text()) == {"code": 0, "imported": []}


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
