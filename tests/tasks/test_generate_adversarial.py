# SPDX-License-Identifier: Apache-2.0
"""The game of two players against closed forms, turn by turn, and what is measured of samples against brute force and planted faults."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks.generate import Generate, energy, model_measures
from pellucid.tasks.generate.diagnosis import SampleStatistics, diagnose
from pellucid.tasks.generate.game import Game
from pellucid.tasks.generate.reference import Distances, frechet


def game(objective: str = "non_saturating", **changes: object) -> Game:
    return Game(
        **{"objective": objective, "smoothing": 0.0, "penalty": 0.0, "share": 1.0, "updates": (1, 1), **changes}
    )  # type: ignore[arg-type]


def test_losses_are_those_of_the_papers() -> None:
    real, fake = torch.randn(9, 1), torch.randn(9, 1)
    one, zero = torch.ones(9, 1), torch.zeros(9, 1)
    play = game()
    expected = F.binary_cross_entropy(real.sigmoid(), one) + F.binary_cross_entropy(fake.sigmoid(), zero)
    torch.testing.assert_close(play.on_discriminator(real, fake), expected)
    torch.testing.assert_close(play.on_generator(fake), F.binary_cross_entropy(fake.sigmoid(), one))
    smooth = F.binary_cross_entropy(real.sigmoid(), 0.9 * one) + F.binary_cross_entropy(fake.sigmoid(), zero)
    torch.testing.assert_close(game(smoothing=0.1).on_discriminator(real, fake), smooth)
    play = game("least_squares")
    torch.testing.assert_close(
        play.on_discriminator(real, fake), 0.5 * F.mse_loss(real, one) + 0.5 * F.mse_loss(fake, zero)
    )
    torch.testing.assert_close(play.on_generator(fake), 0.5 * F.mse_loss(fake, one))
    play = game("wasserstein")
    torch.testing.assert_close(play.on_discriminator(real, fake), fake.mean() - real.mean())
    torch.testing.assert_close(play.on_generator(fake), -fake.mean())
    for objective in ("least_squares", "wasserstein"):
        assert torch.equal(game(objective).realness(real), real)


class Plane(nn.Module):
    """D(x) = w·x: its gradient is w everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 0.0, 4.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weight.to(images.dtype))[:, None]


@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_penalties_of_a_plane_are_known_and_differentiable(bf16: bool) -> None:
    images, fake = torch.rand(6, 1, 2, 2), torch.rand(6, 1, 2, 2)
    # (|w| − 1)² = 16 has the slope 2(|w| − 1)·w/|w|; ½|w|² = 12.5 the slope w
    for objective, value, slope in (("wasserstein", 16.0, 8 / 5), ("non_saturating", 12.5, 1.0)):
        plane = Plane()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = game(objective, penalty=1.0)._gradient_penalty(plane, images, fake)
        found.backward()
        assert found.item() == pytest.approx(value, rel=1e-5)
        torch.testing.assert_close(plane.weight.grad, slope * plane.weight.detach(), rtol=1e-4, atol=1e-4)


def model(name: str = "gan", **options: object) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = _building.build(
        {"name": name, "channels": 1, "outputs": 1, "size": [8, 8], "options": {"latent": 6, **options}}
    )
    return made


def test_turns_follow_the_ratio_and_each_player_moves_alone() -> None:
    net = model("conv_gan", widths=(4, 8))
    images = torch.rand(10, 1, 8, 8)
    seen: list[Tensor] = []
    net.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))  # type: ignore[union-attr]
    turns = []
    for player, losses in game(updates=(5, 2)).steps(net, images):
        for module in (net.generator, net.discriminator):
            module.zero_grad()  # type: ignore[operator,union-attr]
        losses["loss"].backward()
        mine, other = (
            (net.generator, net.discriminator) if player is net.generator else (net.discriminator, net.generator)
        )
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in mine.parameters() if p.ndim > 1)  # type: ignore[union-attr]
        assert all(p.grad is None for p in other.parameters())  # type: ignore[union-attr]
        turns.append("G" if player is net.generator else "D")
        assert all(not value.requires_grad for name, value in losses.items() if name != "loss")
    assert "".join(turns) == "DDDDDGG"
    real = [part for part in seen if any(torch.equal(part[0], image) for image in images)]
    assert torch.equal(torch.cat(real), images)  # each update has real images of its own, and none is left out
    assert all(p.requires_grad for p in net.parameters())


def test_losses_in_evaluation_are_a_function_of_the_seeds() -> None:
    task, net = Generate().for_model("gan"), model().eval()
    batch = Batch(torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8), {}, torch.arange(6))
    images, target = task.prepare(batch, Draws.images(0, batch.index), training=False)
    with torch.no_grad():
        first, second = (task.loss(net, images, target) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["loss"] == first["discriminator/loss"] + first["generator/loss"]
    assert 0 < float(first["discriminator/D_real"]) < 1


def test_energy_score_is_that_of_all_pairs_and_least_for_the_images_own_distribution() -> None:
    rng = torch.Generator().manual_seed(0)
    samples, images = (torch.rand(40, 1, 8, 8, generator=rng) for _ in range(2))
    score, near = energy.SampleSet.of(samples).score(images[:3])
    seen = energy.features(samples).double()
    pairs = [float((a - b).norm()) for a, b in itertools.combinations(seen, 2)]
    for i in range(3):
        x = energy.features(images[i : i + 1]).double()
        expected = float((seen - x).norm(dim=1).mean()) - 0.5 * float(np.mean(pairs))
        assert float(score[i]) == pytest.approx(expected / math.sqrt(seen.shape[1]), rel=1e-3)
        nearest = float((samples - images[i]).square().flatten(1).mean(1).sqrt().min())
        assert float(near[i]) == pytest.approx(nearest, rel=1e-4)
    blobs = (
        torch.rand(900, 1, 1, 1, generator=rng) * torch.ones(900, 1, 8, 8)
        + 0.05 * torch.rand(900, 1, 8, 8, generator=rng)
    ) / 1.05
    held, own = blobs[:300], blobs[300:]
    kinds = {
        "own": own,
        "blurred": own.mean(0, keepdim=True) * 0.7 + own * 0.3,
        "one": own[:1].expand(600, -1, -1, -1),
        "shuffled": own.flatten()[torch.randperm(own.numel(), generator=rng)].view_as(own),
    }
    means = {name: float(energy.SampleSet.of(made).scores(held)[0].mean()) for name, made in kinds.items()}
    assert min(means, key=lambda name: means[name]) == "own"
    assert min(means[name] for name in means if name != "own") > 1.02 * means["own"]


def test_samples_are_made_again_when_the_weights_change() -> None:
    net = model().eval()
    made: list[int] = []

    def draw(seeds: Tensor) -> Tensor:
        made.append(len(seeds))
        return torch.rand(len(seeds), 1, 8, 8)

    one = energy.samples_of(net, draw)
    assert energy.samples_of(net, draw) is one
    with torch.no_grad():
        next(net.parameters()).add_(0.01)
    assert energy.samples_of(net, draw) is not one
    assert len(made) == 2


def test_frechet_distance_equals_the_formula_with_scipys_root() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    b = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 1
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-6)
    assert frechet(torch.from_numpy(a), torch.from_numpy(a)) == pytest.approx(0, abs=1e-6)
    assert frechet(torch.from_numpy(a), torch.from_numpy(a + 2)) == pytest.approx(24, rel=1e-6)


def test_distance_beside_its_floor_is_one_floor_for_real_images_and_more_for_others() -> None:
    rng = torch.Generator().manual_seed(0)
    real, same, other = (
        torch.randn(1000, 5, generator=rng),
        torch.randn(1000, 5, generator=rng),
        1 + torch.randn(1000, 5),
    )
    found = Distances.of(real, same, None, 0)
    assert found.size == 500
    assert found.training is None
    assert found.generated.mean() / found.floor.mean() == pytest.approx(1, abs=0.5)
    assert Distances.of(real, other, None, 0).generated.mean() == pytest.approx(5, abs=0.7)


def test_training_images_of_another_distribution_lie_as_far_from_the_held_out_ones_as_a_generator_of_them() -> None:
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(1000, 5, generator=rng)
    learnt, training = (0.5 + torch.randn(1000, 5, generator=rng) for _ in range(2))
    found = Distances.of(real, learnt, training, 0)
    assert found.training is not None
    assert found.training.mean() > 3 * found.floor.mean()
    assert found.generated.mean() / found.training.mean() == pytest.approx(1, abs=0.2)
    assert Distances.of(real, learnt, training[:499], 0).training is None
    assert (Distances.of(real, learnt, None, 0).generated == found.generated).all()


def samples(**changes: object) -> SampleStatistics:
    even = np.full(5, 0.2)
    healthy = {"real": even, "generated": even, "modes": tuple("abcde"), "spread": 1.0, "ratio": 2.0, "auc": 0.8}
    return SampleStatistics(**{**healthy, "nearest": 1.0, **changes})  # type: ignore[arg-type]


def test_planted_faults_are_named() -> None:
    assert diagnose(samples())[0] == "healthy"
    assert "5 of 5 modes covered; entropy of the modes 1.61 nats, of real images 1.61" in diagnose(samples())[1]
    lost = diagnose(samples(generated=np.array([0.5, 0.47, 0.03, 0.0, 0.0])))
    assert lost[0] == "mode collapse"
    assert "2 of 5 modes covered (missing: c, d, e)" in lost[1]
    assert diagnose(samples(spread=0.3))[0] == "mode collapse"
    uneven = samples(generated=np.array([0.8, 0.05, 0.05, 0.05, 0.05]))
    assert (int(uneven.covered.sum()), diagnose(uneven)[0]) == (5, "mode collapse")
    assert diagnose(samples(auc=0.995))[0] == "discriminator wins"
    assert "99.5%" in diagnose(samples(auc=0.995))[1]
    assert diagnose(samples(ratio=80.0))[0] == "not learnt"
    assert diagnose(samples(nearest=0.2))[0] == "copies"
    assert diagnose(samples(auc=math.nan))[0] == "healthy"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"nearest": 3.0}, "3.0 times as far from their nearest training image"),
        ({"roughness": 8.0}, "noisy"),
        ({"roughness": 0.2}, "blurred"),
        ({"confidence": 0.5}, "50% as sure"),
    ],
)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_noise_and_mush_are_no_collapse_and_not_healthy(fault: dict[str, float], words: str, share: float) -> None:
    """Whatever classes a classifier gives them, one or all."""
    generated = np.full(5, 0.2) if share < 1 else np.eye(5)[0]
    state, sentence = diagnose(samples(generated=generated, spread=0.3, **fault))
    assert state == "not learnt" and words in sentence


def test_one_missing_mode_of_ten_is_named_and_no_collapse() -> None:
    ten = {"real": np.full(10, 0.1), "modes": tuple("0123456789")}
    state, sentence = diagnose(samples(**ten, generated=np.where(np.arange(10) == 3, 0.005, 0.11)))
    assert state == "healthy" and sentence.startswith(
        "Healthy but for 1 of 10 modes: 9 of 10 modes covered (missing: 3)"
    )
    assert diagnose(samples(**ten, generated=np.where(np.arange(10) < 3, 0.33, 0.0)))[0] == "mode collapse"


def test_contrast_of_adjacent_pixels_tells_noise_from_pictures() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(8, 1, 16, 16, generator=rng)
    assert model_measures._roughness(noise) == pytest.approx(
        2 / 6, rel=0.1
    )  # two axes, each the variance of a difference of two uniforms
    assert model_measures._roughness(torch.full((2, 1, 4, 4), 0.5)) == 0
    blurred = torch.nn.functional.avg_pool2d(noise, 3, 1)
    assert model_measures._roughness(blurred) < 0.2 * model_measures._roughness(noise)


def test_ranking_of_pairs_counts_ties_by_half() -> None:
    real, made = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in real for b in made]
    assert model_measures._auc(real, made) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("vae", {"smoothing": 0.1}, "smoothing=0.1: has no meaning for a vae; leave it out, or choose a gan."),
        ("conv_gan", {"beta": 2.0}, "beta=2.0: has no meaning for a gan; leave it out, or choose a vae."),
        ("gan", {"family": "vae"}, "family='vae': model='gan' is a gan; leave family out, or choose another model."),
    ],
)
def test_options_of_the_other_family_are_refused(name: str, options: dict, sentence: str) -> None:
    with pytest.raises(UsageError) as found:
        Generate(**options).for_model(name)
    assert str(found.value) == sentence


def test_more_halvings_than_the_image_has_are_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"widths: halve the image 4 times, but 8×8 px shrink to one pixel earlier; give model='conv_gan'",
    ):
        model("conv_gan", widths=(4, 4, 4, 4))


def test_batch_statistics_are_those_of_the_weights_after_an_epoch() -> None:
    torch.manual_seed(0)
    net = model()
    with torch.no_grad():
        for parameter in net.generator.parameters():  # type: ignore[union-attr]
            parameter.mul_(1.7)  # as averaging does, behind the statistics' back
        Generate().for_model("gan").update_buffers(net, lambda: iter(()), 1, 2, 0)
        net.eval()
        norm = next(layer for layer in net.generator.modules() if isinstance(layer, nn.BatchNorm1d))  # type: ignore[union-attr]
        before = net.generator[0](torch.randn(20_000, 6))  # type: ignore[index]
    assert norm.momentum == 0.1
    torch.testing.assert_close(norm.running_var, before.var(0), rtol=0.1, atol=1e-3)
    torch.testing.assert_close(norm.running_mean, before.mean(0), rtol=0.1, atol=0.1)
