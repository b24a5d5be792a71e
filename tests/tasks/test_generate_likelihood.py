# SPDX-License-Identifier: Apache-2.0
"""The bound and the importance-sampled likelihood against quadrature and torch.distributions; exact baselines against peers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks.generate import Generate, likelihood, mixtures, seeded
from pellucid.tasks.generate.likelihood import PixelDistribution, SeededImages


def test_latent_loss_is_the_divergence_from_the_prior() -> None:
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    expected = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0))
    torch.testing.assert_close(likelihood.latent_loss(mean, log_variance), expected, atol=1e-5, rtol=1e-4)


def test_log_probabilities_are_those_of_torch_distributions() -> None:
    raw, images = torch.randn(4, 3, 5, 6), torch.rand(4, 3, 5, 6)
    bits = (images > 0.5).float()
    expected = Bernoulli(logits=raw).log_prob(bits).sum((1, 2, 3))
    torch.testing.assert_close(PixelDistribution("bernoulli", None).log_probability(raw, bits), expected)
    expected = Normal(raw.sigmoid(), 0.2).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(
        PixelDistribution("gaussian", 0.04).log_probability(raw, images), expected, rtol=1e-4, atol=1e-3
    )
    learned = torch.full((4, 3, 5, 6), math.log(0.09))
    expected = Normal(raw.sigmoid(), 0.3).log_prob(images).sum((1, 2, 3))
    found = PixelDistribution("gaussian", None).log_probability(torch.cat([raw, learned], 1), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


class Curved(nn.Module):
    """One number z to four pixels, and an encoder that is near the truth but not on it."""

    latent = 1

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return 0.7 * (images.flatten(1).sum(1, keepdim=True) - 2), torch.full((len(images), 1), -0.8)

    def decode(self, codes: Tensor) -> Tensor:
        slopes = torch.tensor([2.0, -1.0, 1.5, 0.5])
        return (codes * slopes + torch.tensor([0.1, -0.4, 0.0, 0.3])).view(-1, 1, 2, 2)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(images)
        return self.decode(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance


def exact(images: Tensor) -> Tensor:
    """log p(x) by quadrature over z."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    prior = Normal(0.0, 1.0).log_prob(z)
    logits = Curved().decode(z.float()[:, None]).double()  # (Z, 1, 2, 2)
    given = torch.stack([Bernoulli(logits=logits).log_prob(x.double()).sum((1, 2, 3)) for x in images])  # (B, Z)
    return torch.logsumexp(given + prior, 1) + math.log(16 / 4000)


ALL = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).view(-1, 1, 2, 2)


def test_importance_sampling_finds_the_likelihood_from_below_and_knows_its_error() -> None:
    truth = exact(ALL)
    assert float(truth.exp().sum()) == pytest.approx(1, abs=1e-6)  # the quadrature itself
    target = SeededImages(ALL, torch.arange(16))
    pixels = PixelDistribution("bernoulli", None)
    few, _, bound = likelihood.importance(Curved(), pixels, ALL, target, 5)
    many, error, _ = likelihood.importance(Curved(), pixels, ALL, target, 20_000)
    off = (many.double() - truth).abs()
    assert float(off.max()) < 0.05
    assert float((off / error).max()) < 4.5  # in standard errors, over 16 images
    assert float((off / error).mean()) > 0.2  # and the error is no empty promise
    assert float(bound.mean()) < float(few.mean()) < float(many.mean())


def test_bound_is_below_the_likelihood_and_does_not_depend_on_the_batch() -> None:
    task = Generate().for_model("vae")
    target = SeededImages(ALL, torch.arange(16))
    found = task.measure(Curved(), ALL, target)
    slack = float(exact(ALL).mean()) - float(found["elbo"].mean())
    assert 0 < slack < 2
    np.testing.assert_allclose(found["elbo"], -found["reconstruction"] - found["latent"], rtol=1e-5)
    np.testing.assert_allclose(found["latent_by_dimension"].sum(1), found["latent"], rtol=1e-5)
    alone = task.measure(Curved(), ALL[3:5], target[[3, 4]])
    np.testing.assert_allclose(alone["elbo"], found["elbo"][3:5], rtol=1e-5)
    few, _, _ = likelihood.importance(Curved(), PixelDistribution("bernoulli", None), ALL[3:5], target[[3, 4]], 50)
    all_of_them, _, _ = likelihood.importance(Curved(), PixelDistribution("bernoulli", None), ALL, target, 50)
    torch.testing.assert_close(few, all_of_them[3:5])


def test_how_many_are_decoded_at_once_does_not_change_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, target = PixelDistribution("bernoulli", None), SeededImages(ALL, torch.arange(16))
    whole = likelihood.importance(Curved(), pixels, ALL, target, 250)
    monkeypatch.setattr(likelihood, "_NUMBERS", 3 * ALL.numel())
    for one, other in zip(whole, likelihood.importance(Curved(), pixels, ALL, target, 250), strict=True):
        torch.testing.assert_close(one, other)


def test_seeded_numbers_are_uniform_or_normal_and_a_function_of_the_seed() -> None:
    drawn = seeded.uniform(torch.arange(200), 500)
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(seeded.normal(torch.arange(200), 500).flatten().numpy(), "norm").pvalue > 1e-3
    assert 0 < float(drawn.min()) < float(drawn.max()) < 1
    neighbours = np.corrcoef(drawn[:, :50].numpy())
    assert np.abs(neighbours - np.eye(200)).max() < 0.7
    assert not torch.equal(seeded.uniform(torch.arange(2), 9, stream=1), seeded.uniform(torch.arange(2), 9))
    assert torch.equal(seeded.normal(torch.tensor([7, 3]), 9)[1], seeded.normal(torch.tensor([3]), 9)[0])


def grey(count: int = 400) -> Batch:
    return Batch(torch.full((count, 1, 4, 4), 64, dtype=torch.uint8), {}, torch.arange(count))


def test_dynamic_images_are_drawn_again_and_static_ones_once_and_both_by_brightness() -> None:
    batch = grey()
    for kind in ("dynamic", "static"):
        task = Generate(binarise=kind).for_model("vae")  # type: ignore[arg-type]
        first, target = task.prepare(batch, Draws.step(0, 0, slice(0, 400), 400), training=True)
        second, _ = task.prepare(batch, Draws.step(0, 1, slice(0, 400), 400), training=True)
        assert torch.equal(first, second) == (kind == "static")
        assert float(first.mean()) == pytest.approx(64 / 255, abs=0.02)
        assert isinstance(target, SeededImages)
        assert torch.equal(target.pixels, first)
        again = task.prepare(batch, Draws.images(0, batch.index), training=False)[0]
        assert torch.equal(again, task.prepare(batch, Draws.images(0, batch.index), training=False)[0])
        assert (f"binarised {kind}ally" in task.summary) is True
    assert torch.equal(
        Generate(likelihood="gaussian").for_model("vae").prepare(batch, Draws.images(0, batch.index), False)[0],
        batch.images / 255,
    )


def test_weight_of_the_latent_loss_rises_in_the_model_and_is_saved_with_it() -> None:
    task = Generate(beta=2.0, kl_warmup=3).for_model("vae")
    model = _building.build({"name": "vae", "channels": 1, "outputs": 1, "size": [4, 4], "options": {"latent": 2}})
    weights = []
    for epoch in range(5):
        task.update_buffers(model, lambda: iter(()), epoch, 5, 0)
        weights.append(float(model.kl_weight))
    assert weights == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert float(model.state_dict()["kl_weight"]) == 2.0
    images, target = task.prepare(grey(8), Draws.images(0, torch.arange(8)), training=False)
    with torch.no_grad():
        parts = task.loss(model.eval(), images, target)
    assert float(parts["loss"]) == pytest.approx(float(parts["reconstruction"] + 2 * parts["latent"]), rel=1e-5)


def test_a_collapsed_dimension_is_named() -> None:
    kind = Generate().for_model("vae")
    columns = {"latent_by_dimension": np.array([[2.0, 0.001, 0.5], [1.0, 0.002, 0.7]])}
    found = kind.details(columns, ())
    assert (
        "1 of 3 dimensions carry no information (below 0.01 nats): 1" in found["likelihood"][0]["collapsed dimensions"]
    )
    assert [row["state"] for row in found["latent_dimensions"]] == ["active", "active", "collapsed"]
    assert kind.details({"latent_by_dimension": np.ones((2, 3))}, ())["likelihood"][0]["collapsed dimensions"] == "none"


BITS = np.array(list(itertools.product([0, 1], repeat=6)), np.float32)


def correlated(count: int, seed: int = 0) -> np.ndarray:
    """Rows of six bits, each mostly like the one before."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 6), np.float32)
    rows[:, 0] = rng.random(count) < 0.4
    for i in range(1, 6):
        stay = rng.random(count) < 0.85
        rows[:, i] = np.where(stay, rows[:, i - 1], 1 - rows[:, i - 1])
    return rows


def test_distributions_of_bits_sum_to_one_and_the_tree_finds_a_chain() -> None:
    train, test = correlated(4000), correlated(3000, 1)
    found = {
        "alone": lambda x: mixtures.bernoullis(train, x, 1, 0),
        "mixture": lambda x: mixtures.bernoullis(train, x, 8, 0),
        "tree": lambda x: mixtures.chow_liu(train, x),
    }
    for log_p in found.values():
        assert np.exp(log_p(BITS)).sum() == pytest.approx(1, abs=1e-4)
    means = {name: log_p(test).mean() for name, log_p in found.items()}
    stay = 0.85 * math.log(0.85) + 0.15 * math.log(0.15)
    truth = 0.4 * math.log(0.4) + 0.6 * math.log(0.6) + 5 * stay
    assert means["tree"] == pytest.approx(truth, abs=0.06)
    assert means["alone"] < means["mixture"] < means["tree"] + 0.02
    p = (train.sum(0) + 1) / (len(train) + 2)
    assert found["alone"](test) == pytest.approx((test * np.log(p) + (1 - test) * np.log(1 - p)).sum(1), rel=1e-4)


def test_gaussian_distributions_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    train = (rng.standard_normal((500, 5)) @ rng.standard_normal((5, 5)) * 0.1 + 0.5).astype(np.float32)
    test = train[:50] + 0.01
    covariance = np.cov(train.astype(np.float64), rowvar=False, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    noise = values[:3].mean()
    modelled = vectors[:, 3:] @ np.diag(values[3:] - noise) @ vectors[:, 3:].T + noise * np.eye(5)
    expected = stats.multivariate_normal(train.mean(0), modelled).logpdf(test)
    assert mixtures.principal(train, test, 2) == pytest.approx(expected, rel=1e-4, abs=1e-3)
    expected = stats.norm(train.mean(0), train.std(0)).logpdf(test).sum(1)
    assert mixtures.gaussians(train, test, 1, 0) == pytest.approx(expected, rel=1e-3, abs=1e-2)
    assert mixtures.gaussians(train, test, 4, 0).mean() > expected.mean() - 0.3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"importance": -1}, "importance=-1: must not be negative; give another value."),
        ({"variance": 0.0, "likelihood": "gaussian"}, "variance=0.0: must be above 0; give another value."),
        ({"variance": 0.1}, "variance=0.1: a Bernoulli distribution has none; give --likelihood gaussian."),
        ({"likelihood": "poisson"}, "likelihood='poisson': is not known; choose bernoulli or gaussian."),
        ({"updates": (0, 1)}, "updates=(0, 1): must be two whole numbers of at least 1; give e.g. --updates 5 1."),
        ({"smoothing": 0.5}, "smoothing=0.5: must lie in [0, 0.5); give another value."),
    ],
)
def test_options_that_cannot_be(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError) as found:
        Generate(**options)
    assert str(found.value) == sentence


def test_a_latent_larger_than_the_image_is_refused() -> None:
    for name in ("vae", "conv_vae"):
        with pytest.raises(
            UsageError, match=r"latent=65: is more than the 64 numbers of a 1×8×8 image; give at most 64"
        ):
            _building.build({"name": name, "channels": 1, "outputs": 1, "size": [8, 8], "options": {"latent": 65}})
