# SPDX-License-Identifier: Apache-2.0
"""Outputs that are probabilities already: recognised from their values, and used as what they are by the task and the lenses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _scores
from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.lenses import Network
from pellucid.lenses.adversarial import Adversarial
from pellucid.lenses.attribution import Attribution
from pellucid.lenses.occlusion import Occlusion
from pellucid.looking.looking import look
from pellucid.tasks.classify import Classify


class Ends(nn.Module):
    """The same scores (B, K), ended in some way."""

    def __init__(self, end: Any, outputs: int = 3) -> None:
        super().__init__()
        self.end, self.stem, self.head = end, nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.end(self.head(F.relu(self.stem(x)).flatten(1)) * 4)


def made(end: Any, outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Ends(end, outputs).eval()


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def kind(model: nn.Module, given: Tensor | None = None) -> str:
    given = images() if given is None else given
    with torch.no_grad():
        return _scores.kind_of(model, model(given), lambda: given[:1])


ENDS: dict[str, tuple[Any, int, str]] = {
    "nothing": (lambda x: x, 3, "logits"),
    "softmax": (lambda x: x.softmax(1), 3, "probabilities"),
    "a mean of two": (lambda x: (x.softmax(1) + (x * 2).softmax(1)) / 2, 3, "probabilities"),
    "log-softmax": (lambda x: x.log_softmax(1), 3, "log-probabilities"),
    "a sigmoid each": (torch.sigmoid, 3, "sigmoids"),
    "one score": (lambda x: x, 1, "logit"),
    "one score, flat": (lambda x: x.squeeze(1), 1, "logit"),
    "one small score": (lambda x: x * 1e-3 + 0.5, 1, "logit"),
    "one sigmoid": (torch.sigmoid, 1, "probability"),
    "one sigmoid, flat": (lambda x: x.sigmoid().squeeze(1), 1, "probability"),
    "one score, scaled": (lambda x: (x * 1e-3 + 0.5) / 2, 1, "logit"),
    "a mean of two sigmoids": (lambda x: (x.sigmoid() + (2 * x).sigmoid()) / 2, 1, "probability"),
    "the rest of one sigmoid": (lambda x: 1 - x.sigmoid(), 1, "probability"),
    "two of one": (lambda x: torch.cat([1 - x.sigmoid(), x.sigmoid()], 1), 1, "probabilities"),
    "scores between 0 and 1": (lambda x: x * 1e-3 + 0.3, 3, "logits"),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("count", [1, 3])
def test_what_a_model_ends_in_is_recognised(name: str, count: int) -> None:
    end, outputs, expected = ENDS[name]
    assert kind(made(end, outputs), images(count)) == expected


def test_a_layer_of_zeros_that_sums_to_one_by_chance_gives_logits() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    model[1].weight.data.zero_()
    model[1].bias.data.copy_(torch.tensor([1.0, 0.0]))
    assert kind(model) == "logits"


def test_a_model_may_end_otherwise_in_training() -> None:
    model = made(lambda x: x)
    model.end = lambda x: x if model.training else x.softmax(1)
    assert kind(model) == "probabilities"
    model.train()
    assert _scores.kind_of(model, model(images()), lambda: images()[:1]) == "logits"
    model.eval()
    assert kind(model) == "probabilities"


@pytest.mark.parametrize("end", ["softmax", "log-softmax"])
def test_lenses_see_the_same_with_and_without_softmax(end: str) -> None:
    """The last step is no part of what a network has learned: maps of probabilities, attacks and gradients agree."""
    plain, ended = made(ENDS["nothing"][0]), made(ENDS[end][0])
    for lens, name, atol in (
        (Occlusion(patch=3, stride=1), "drop", 1e-5),
        (Adversarial(method="bim"), "adversarial", 0),
    ):
        one, other = (lens.look(Network(model, images())) for model in (plain, ended))
        np.testing.assert_allclose(other[name], one[name], atol=atol)
        np.testing.assert_allclose(other["score"], one["score"], atol=1e-6)
    # log-odds: the logit less the logsumexp of the others, by autograd
    given = images(1).requires_grad_()
    scores = plain(given)[0]
    top = int(scores.argmax())
    others = torch.stack([score for i, score in enumerate(scores) if i != top]).logsumexp(0)
    (expected,) = torch.autograd.grad(scores[top] - others, given)
    view = Attribution(method="saliency", depths=0, tested=0).look(Network(ended, images(1)))
    np.testing.assert_allclose(view["values"][0], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("end", ["one score", "one sigmoid", "one sigmoid, flat"])
def test_one_output_tells_two_classes_apart(end: str) -> None:
    model = made(*ENDS[end][:2])
    given = images(1)
    with torch.no_grad():
        share = float(torch.sigmoid(made(*ENDS["one score"][:2])(given)))
    network = Network(model, given, classes=("dog", "cat"))
    shares = network.probabilities(model(given))
    assert shares is not None
    assert shares[0].tolist() == pytest.approx([1 - share, share], abs=1e-6)
    view = Occlusion(patch=3, stride=2, follow="cat").look(network)
    assert view["score"][0] == pytest.approx(share, abs=1e-6)
    assert np.ptp(view["drop"]) > 1e-3
    assert any("of cat" in sentence for sentence in network.remarks)


def test_look_says_what_was_recognised(tmp_path: Any) -> None:
    given = [images(1)[0, 0].numpy()]
    said = [look(made(ENDS[end][0]), "occlusion", given, tmp_path / end).words for end in ("nothing", "softmax")]
    assert "probabilities already" not in said[0]
    assert said[1].count("The model's outputs are probabilities already") == 1


@pytest.mark.parametrize("end", ["softmax", "log-softmax", "two of one"])
def test_the_loss_of_probabilities_is_their_logarithm(end: str) -> None:
    model = made(*ENDS[end][:2])
    truth = Label(torch.tensor([0, 1, 1]))
    with pytest.warns(UserWarning, match="probabilities"):
        loss = Classify().loss(model, images(), truth)["loss"]
    output = model(images()).detach()
    shares = output.exp() if end == "log-softmax" else output
    assert loss.item() == pytest.approx(-float(shares[range(3), truth.index].log().mean()), rel=1e-5)
    loss.backward()
    assert all(bool(weight.grad is not None and weight.grad.isfinite().all()) for weight in model.parameters())
    prediction = Classify().predict(model, images())
    assert prediction.probabilities is not None
    torch.testing.assert_close(prediction.probabilities, shares)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    model = made(lambda x: (x * 1e4).softmax(1))
    wrong = Label(model(images()).argmin(1))
    with pytest.warns(UserWarning, match="probabilities"):
        loss = Classify().loss(model, images(), wrong)["loss"]
    assert 10 < loss.item() < 100


@pytest.mark.parametrize("end", ["one score", "one sigmoid"])
def test_the_loss_of_one_output_is_binary_cross_entropy(end: str) -> None:
    model, truth = made(*ENDS[end][:2]), torch.tensor([0, 1, 1])
    score = made(*ENDS["one score"][:2])(images())[:, 0].detach()
    with pytest.warns(UserWarning, match="single output"):
        loss = Classify().loss(model, images(), Label(truth))["loss"]
    assert loss.item() == pytest.approx(float(F.binary_cross_entropy_with_logits(score, truth.float())), rel=1e-4)
    with pytest.raises(UsageError, match="has one output, which tells two classes apart"):
        Classify().loss(model, images(), Label(truth + 1))


def test_a_sigmoid_for_each_class_is_not_trained_and_yet_evaluated() -> None:
    model = made(*ENDS["a sigmoid each"][:2])
    with pytest.warns(UserWarning, match="sigmoid"), pytest.raises(UsageError, match="return the scores before it"):
        Classify().loss(model, images(), Label(torch.tensor([0, 1, 2])))
    pixels = (images() * 255).round().to(torch.uint8)
    input, _ = Classify().prepare(
        Batch(pixels, {"label": Label(torch.zeros(3, dtype=torch.int64))}, torch.arange(3)),
        Draws.images(0, torch.arange(3)),
        False,
    )
    prediction = Classify().predict(model, input)
    assert prediction.probabilities is not None
    torch.testing.assert_close(prediction.probabilities, model(input))
