# SPDX-License-Identifier: Apache-2.0
"""The importance-weighted bound: against plain loops over images and samples, with one sample today's loss, and trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.models import _building
from pellucid.reporting.reporting import report
from pellucid.tasks.generate import Generate, likelihood, seeded
from pellucid.tasks.generate.likelihood import PixelDistribution, SeededImages
from pellucid.tasks.generate.variational import Variational
from pellucid.training.training import train

PIXELS = PixelDistribution("bernoulli", None)


def small(**options: Any) -> Any:
    torch.manual_seed(3)
    chosen = {"encoder": (9,), "latent": 4, **options}
    return _building.build({"name": "vae", "channels": 1, "outputs": 1, "size": [5, 6], "options": chosen})


def bits(count: int = 7) -> tuple[Tensor, SeededImages]:
    images = (torch.rand(count, 1, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    return images, SeededImages(images, torch.arange(count) + 11)


def task(samples: int, **options: Any) -> Variational:
    made = Generate(bound_samples=samples, **options).for_model("vae")
    assert isinstance(made, Variational)
    return made


def in_loops(model: Any, images: Tensor, noise: Tensor, weight: float = 1.0) -> list[list[Tensor]]:
    """log p(x|z) + weight·(log p(z) − log q(z|x)) of each image and each of its codes, by torch.distributions."""
    rows = []
    for image, draws in zip(images, noise, strict=True):
        mean, log_variance = (part[0] for part in model.encode(image[None]))
        posterior = Normal(mean, torch.exp(0.5 * log_variance))
        row = []
        for draw in draws:
            z = mean + torch.exp(0.5 * log_variance) * draw
            given = Bernoulli(logits=model.decode(z[None])[0]).log_prob(image).sum()
            row.append(given + weight * (Normal(0.0, 1.0).log_prob(z).sum() - posterior.log_prob(z).sum()))
        rows.append(row)
    return rows


@pytest.mark.parametrize("training", [True, False])
def test_loss_and_gradients_are_those_of_a_plain_loop(training: bool) -> None:
    model, (images, truth) = small(), bits()
    model.train(training).kl_weight.fill_(0.3)  # as it is while it rises
    torch.manual_seed(5)
    found = task(6).loss(model, images, truth)
    found["loss"].backward()
    got = {name: value.grad.clone() for name, value in model.named_parameters()}
    torch.manual_seed(5)
    noise = torch.randn(7, 6, 4) if training else seeded.normal(truth.seeds, 24).view(7, 6, 4)
    rows = in_loops(model, images, noise, 0.3)
    # Burda et al. 2016, eq. 8 and 14: the gradient is the mean of each sample's own, by its share of the weights
    values = [[float(weight.detach()) for weight in row] for row in rows]
    bounds = [math.log(sum(map(math.exp, row)) / 6) for row in values]
    assert float(found["loss"].detach()) == pytest.approx(-sum(bounds) / 7, rel=1e-5)
    model.zero_grad()
    for row in rows:
        shares = torch.stack(row).detach().softmax(0)
        for share, weight in zip(shares, row, strict=True):
            (-share * weight / 7).backward(retain_graph=True)
    for name, value in model.named_parameters():
        torch.testing.assert_close(got[name], value.grad, rtol=1e-4, atol=1e-5)
        assert float(got[name].abs().max()) > 0, name
    assert float(found["loss"].detach()) < -np.mean(values)  # the parts are those of the ELBO
    divergence = likelihood.latent_loss(*model.encode(images)).detach().sum(1)
    assert float(found["latent"].detach()) == pytest.approx(float(divergence.mean()), rel=1e-5)


def test_one_sample_is_the_elbo_bit_for_bit() -> None:
    images, truth = bits()
    for training in (True, False):
        found, expected = {}, {}
        for kept in (found, expected):
            model = small().train(training)
            torch.manual_seed(5)
            if kept is found:
                loss = task(1).loss(model, images, truth)["loss"]
            else:
                noise = torch.randn(7, 4) if training else seeded.normal(truth.seeds, 4)
                mean, log_variance = model.encode(images)
                decoded = model.decode(mean + torch.exp(0.5 * log_variance) * noise)
                divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
                loss = -PIXELS.log_probability(decoded, images).mean() + 1.0 * divergence.mean(0).sum()
            loss.backward()
            kept["loss"] = loss.detach()
            kept |= {name: value.grad for name, value in model.named_parameters()}
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert task(1).metrics(()) == Generate().for_model("vae").metrics(())
    assert [one.key for one in task(1).metrics(())] == ["elbo", "reconstruction", "latent"]


def test_bound_is_tighter_with_more_samples_and_the_same_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (images, truth) = small().eval(), bits(40)
    with torch.no_grad():
        model.encoder[-1].weight.mul_(4)  # a posterior that is off
    bounds = [likelihood.bound(model, PIXELS, images, truth, k) for k in (1, 5, 100)]
    means = [float(one.mean()) for one in bounds]
    assert means[0] + 0.05 < means[1] < means[2] - 0.02
    torch.testing.assert_close(likelihood.bound(model, PIXELS, images[3:5], truth[[3, 4]], 5), bounds[1][3:5])
    monkeypatch.setattr(likelihood, "_NUMBERS", 3000)  # two samples at a time
    torch.testing.assert_close(likelihood.bound(model, PIXELS, images, truth, 5), bounds[1])
    with torch.no_grad():
        found = task(5).measure(model, images, truth)
        np.testing.assert_allclose(found["bound_5"], bounds[1].numpy(), rtol=1e-5)
        np.testing.assert_array_equal(found["elbo"], task(1).measure(model, images, truth)["elbo"])
        assert float(task(5).loss(model, images, truth)["loss"]) == pytest.approx(-means[1], rel=1e-5)


def test_grey_pixels_with_a_learned_variance_have_it_too() -> None:
    torch.manual_seed(3)
    given = {"name": "vae", "channels": 1, "outputs": 2, "size": [5, 6], "options": {"encoder": (9,), "latent": 4}}
    model, images = _building.build(given).eval(), torch.rand(3, 1, 5, 6)
    truth = SeededImages(images, torch.arange(3))
    kind = task(4, likelihood="gaussian")
    with torch.no_grad():
        loss = float(kind.loss(model, images, truth)["loss"])
        noise = seeded.normal(truth.seeds, 16).view(3, 4, 4)
        expected = 0.0
        for image, draws in zip(images, noise, strict=True):
            mean, log_variance = (part[0] for part in model.encode(image[None]))
            deviation = torch.exp(0.5 * log_variance)
            z = mean + deviation * draws  # (4, latent)
            means, spread = model.decode(z).chunk(2, 1)
            log_p = Normal(means.sigmoid(), torch.exp(0.5 * spread)).log_prob(image).sum((1, 2, 3))
            log_p = log_p + (Normal(0.0, 1.0).log_prob(z) - Normal(mean, deviation).log_prob(z)).sum(1)
            expected -= float(log_p.exp().mean().log()) / 3
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_trained_by_the_bound_a_run_is_measured_reported_and_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "limit": 128, "batch_size": 32, "device": "cpu", "progress": False, "encoder": (16,), "latent": 3, "epochs": 3,
        "bound_samples": 4, "importance": 50,
    }  # fmt: skip
    whole = train("generate", "digits", "vae", tmp_path / "whole", **options)
    row = [row for row in whole.history if row["split"] == "val"][-1]
    assert row["loss"] == pytest.approx(-row["bound_4"], rel=1e-4)
    assert row["bound_4"] > -row["reconstruction"] - row["latent"]
    assert whole.info["task"]["options"]["bound_samples"] == 4
    assert whole.info["best"]["measure"] == "bound_4"
    found = evaluate(whole)
    assert -found["model"]["nll"]["value"] > found["model"]["bound_4"]["value"] > found["model"]["elbo"]["value"]
    tree = found["baselines"]["tree of pixels"]
    assert tree["bound_4"]["value"] == tree["elbo"]["value"]
    assert found["details"]["likelihood"][0]["bound"] == "importance-weighted, 4 samples per image"
    assert "bound of 4 samples" in report(whole, maps=0).read_text(encoding="utf-8")

    class Interrupted(Exception):
        pass

    original, count = Variational.loss, []

    def broken(self: Variational, *given: Any) -> dict[str, Tensor]:
        count.append(1)
        if len(count) > 7:
            raise Interrupted
        return original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Variational, "loss", broken)
        with pytest.raises(Interrupted):
            train("generate", "digits", "vae", tmp_path / "cut", **options)
    cut = train("generate", "digits", "vae", tmp_path / "cut", **options)
    ours, theirs = (load_file(run.path / "last.safetensors") for run in (whole, cut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_batch_norm_stands_before_each_function_of_a_vae_and_answers_do_not_depend_on_the_batch() -> None:
    model = small(batch_norm=True, encoder=(9, 8))
    kinds = [type(layer).__name__ for layer in (*model.encoder, *model.decoder)]
    assert kinds.count("BatchNorm1d") == 4
    assert all(kinds[i + 1] == "LeakyReLU" for i, kind in enumerate(kinds) if kind == "BatchNorm1d")
    images, truth = bits(20)
    model.train()
    for samples in (1, 3):  # the decoder normalises over all codes of a batch
        assert np.isfinite(float(task(samples).loss(model, images, truth)["loss"].detach()))
    assert float(model.encoder[2].running_mean.abs().max()) > 0
    with torch.no_grad():
        whole = task(3).measure(model.eval(), images, truth)
        part = task(3).measure(model, images[4:6], truth[[4, 5]])
    np.testing.assert_allclose(part["bound_3"], whole["bound_3"][4:6], rtol=1e-5)


def test_batch_statistics_are_measured_again_on_images_of_all_classes() -> None:
    grey = torch.arange(40, dtype=torch.uint8).repeat_interleave(30).view(-1, 1, 1, 1).expand(-1, 1, 5, 6) * 6
    store = [Batch(grey[i : i + 60], {}, torch.arange(i, i + 60)) for i in range(0, 1200, 60)]  # sorted by brightness
    model = small(batch_norm=True).eval()
    model.encoder[2].running_var.fill_(1e6)
    task(1).update_buffers(model, lambda: iter(store), 0, 1, 0)
    assert not model.training
    assert model.encoder[2].momentum == 0.1
    images = task(1).prepare(Batch(grey, {}, torch.arange(1200)), Draws.images(0, torch.arange(1200)), training=False)[
        0
    ]
    with torch.no_grad():
        units = model.encoder[:2](images)
    torch.testing.assert_close(model.encoder[2].running_var, units.var(0), rtol=0.15, atol=0.0)
    torch.testing.assert_close(model.encoder[2].running_mean, units.mean(0), rtol=0.15, atol=0.05)


def test_options_that_cannot_be() -> None:
    for options, sentence in (
        ({"bound_samples": 0}, "bound_samples=0: must be at least 1; give another value."),
        ({"bound_samples": 5, "beta": 4.0}, "beta=4.0: weighs the latent loss, which the importance-weighted bound of "
         "bound_samples=5 does not have; leave out one of the two."),
    ):  # fmt: skip
        with pytest.raises(UsageError) as found:
            Generate(**options)  # type: ignore[arg-type]
        assert str(found.value) == sentence
    with pytest.raises(UsageError, match="bound_samples=5: has no meaning for a gan"):
        Generate(bound_samples=5).for_model("gan")
