# SPDX-License-Identifier: Apache-2.0
"""The targets and losses of the task cluster against their formulas."""

from __future__ import annotations

import torch

from pellucid.models._kept import Kept
from pellucid.models.embedding_autoencoder import EmbeddingAutoencoder
from pellucid.tasks.cluster import scan, training
from pellucid.tasks.cluster.cluster import Cluster


def test_the_target_of_an_image_is_that_of_its_neighbours() -> None:
    """The first image of the second group is nearer to the first group's centre; its neighbours are not."""
    angles = torch.cat(
        [torch.linspace(-0.5, 0.3, 40) ** 3, 0.66 + torch.linspace(0, 1, 40) ** 1.1]
    )  # no two equal distances
    codes = torch.stack([angles.cos(), angles.sin()], 1)
    turned = torch.tensor([-0.2, 1.7])  # the middle is 0.75
    centres = torch.stack([turned.cos(), turned.sin()], 1)
    kept, places = Kept(), torch.randperm(80, generator=torch.Generator().manual_seed(0))
    kept.put(centres=centres)
    training._update_targets(kept, codes, places, True, last=False)
    shares = kept["shares"][places]
    own = (codes @ centres.T / 0.1).softmax(1)
    assert own[40, 1] < 0.5 < shares[40, 1]
    near = (angles[:, None] - angles).abs().argsort(1)[:, :11]  # itself and ten
    mean = own[near].mean(1)
    expected = mean**2 / mean.sum(0)
    torch.testing.assert_close(shares, expected / expected.sum(1, keepdim=True), rtol=1e-3, atol=1e-4)
    means = torch.stack([(shares[:, [k]] * codes).sum(0) for k in range(2)])
    torch.testing.assert_close(kept["centres"], means / means.norm(dim=1, keepdim=True))
    training._update_targets(kept, codes, places, True, last=True)
    assert "shares" not in kept


def test_the_parts_of_the_loss_by_hand() -> None:
    """Scatter, contrast and divergence against their formulas, image by image."""
    torch.manual_seed(0)
    code = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    terms = []
    for i in range(6):
        alike = torch.exp(code @ code[i] / 0.3)
        terms.append(-torch.log(alike[(i + 3) % 6] / (alike.sum() - alike[i])))
    torch.testing.assert_close(training._contrastive_loss(code, 3), torch.stack(terms).mean())
    centres, shares = torch.nn.functional.normalize(torch.randn(2, 4), dim=1), torch.tensor([[0.9, 0.1], [0.2, 0.8]])

    class Drawn:
        kept = {"centres": centres, "shares": torch.cat([torch.zeros(3, 2), shares.flip(0)])}

    terms = []
    for i in range(4):  # images 1 and 0, in two views each, at the places 3 and 4
        likely = torch.exp(-((code[i] - centres) ** 2).sum(1) / 0.2)
        terms.append(-(shares[1 - i % 2] * (likely / likely.sum()).log()).sum())
    found = training._assignment_loss(Drawn, code[:4], torch.tensor([3, 4]), True)
    torch.testing.assert_close(found, torch.stack(terms).mean())

    class Inner:
        training = False
        kept = {"centres": torch.randn(2, 4)}

    nearest = torch.cdist(code, Inner.kept["centres"]).square().amin(1).mean()
    spread = (code - code.mean(0)).square().sum(1).mean()
    torch.testing.assert_close(training._centre_loss(Inner, code, False), nearest / spread)
    Inner.kept["centres"] *= 3
    torch.testing.assert_close(
        training._centre_loss(Inner, code * 3, False), nearest / spread
    )  # free of the codes' scale


def test_agreement_with_neighbours_by_hand() -> None:
    """Image by image: −log⟨p, p̄⟩ with the neighbours' mean assignment, and log k less the entropy of the mean assignment."""
    torch.manual_seed(1)
    code = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)  # two images in two views each
    kept = Kept()
    kept.put(
        centres=torch.nn.functional.normalize(torch.randn(3, 3), dim=1),
        shares=torch.rand(5, 3).softmax(1),
        near=torch.tensor([[1, 2], [0, 4], [3, 4], [0, 1], [2, 3]]),
    )
    places, before, centres = torch.tensor([4, 1]), kept["shares"].clone(), kept["centres"].clone()
    inner = torch.nn.Module()
    inner.kept = kept
    inner.eval()
    apart, unequal = scan.losses(inner, code, places, True)
    shares = torch.stack([(one @ centres.T / 0.1).softmax(0) for one in code])
    terms = []
    for row, place in enumerate([4, 1, 4, 1]):
        mean = sum(before[other] for other in kept["near"][place].tolist()) / 2
        terms.append(-torch.log((shares[row] * mean).sum()))
    torch.testing.assert_close(apart, torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)
    mean = shares.mean(0)
    torch.testing.assert_close(unequal, torch.log(torch.tensor(3.0)) + (mean * mean.log()).sum(), rtol=1e-4, atol=1e-5)
    assert kept["shares"].equal(before), "evaluation writes nothing"
    inner.train()
    again = scan.losses(inner, code, places, True)
    torch.testing.assert_close(again, (apart, unequal))
    after = kept["shares"]
    torch.testing.assert_close(after[[4, 1]], (shares[:2] + shares[2:]) / 2)
    assert after[[0, 2, 3]].equal(before[[0, 2, 3]]), "only the batch's own images"
    weight = shares.sum(0)[:, None]
    means = torch.where(weight > 0.5, shares.T @ code / weight, centres)
    moved = torch.nn.functional.normalize(0.95 * centres + 0.05 * means, dim=1)
    torch.testing.assert_close(kept["centres"], moved, rtol=1e-4, atol=1e-5)


def test_the_table_of_neighbours_is_by_the_images_own_places() -> None:
    """Two far groups in any order of the data: each image's ten neighbours are of its own group, and never itself."""
    angles = torch.cat([torch.linspace(0, 0.5, 15) ** 1.1, 2 + torch.linspace(0, 0.5, 15) ** 1.1])
    codes = torch.stack([angles.cos(), angles.sin()], 1)
    places = 3 * torch.randperm(30, generator=torch.Generator().manual_seed(0))  # two of three images are in no batch
    kept = Kept()
    kept.put(centres=codes[[7, 22]])
    scan.update_table(kept, codes, places, True)
    assert kept["near"].shape == (88, 10)
    assert kept["shares"].shape == (88, 2)
    group = torch.full((88,), -1)
    group[places[:15]], group[places[15:]] = 0, 1
    for image in places.tolist():
        near = kept["near"][image]
        assert image not in near.tolist()
        assert len(set(near.tolist())) == 10
        assert (group[near] == group[image]).all()
        assert int(kept["shares"][image].argmax()) == int(group[image])


def test_unlike_sizes_cost_and_equal_ones_do_not() -> None:
    kept = Kept()
    kept.put(centres=torch.eye(2), shares=torch.full((4, 2), 0.5), near=torch.zeros(4, 1, dtype=torch.int64))
    inner = torch.nn.Module()
    inner.kept = kept
    inner.eval()
    one, other = torch.eye(2)[[0, 0, 0, 0]], torch.eye(2)[[0, 1, 0, 1]]
    costs = [float(scan.losses(inner, code, torch.arange(4), True)[1]) for code in (one, other)]
    assert abs(costs[1]) < 1e-6
    assert 0.69 < costs[0] < 0.6932, "all in one of two: log 2"


def test_scan_shows_the_decoder_one_view_and_its_error_no_longer_shapes_drawn_codes() -> None:
    torch.manual_seed(0)
    model, images = EmbeddingAutoencoder(1, 1, (8, 8), widths=(4,), latent=3), torch.rand(4, 1, 8, 8)
    truth = training.Views(images, images.flip(3), torch.arange(4), torch.full((4,), -1))
    task = Cluster(method="scan", clusters=2, contrast=1e-12, pull=0.0, balance=0.0)
    for drawn in (False, True):
        if drawn:
            centres = torch.nn.functional.normalize(torch.randn(2, 3), dim=1)
            model.kept.put(drawn=torch.ones(1), centres=centres, scale=torch.ones(()))
            model.kept.put(near=torch.tensor([[1], [0], [3], [2]]), shares=torch.full((4, 2), 0.5))
        model.zero_grad()
        seen = []
        with model.decoder.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0]))):
            training.losses(task, model, images, truth)["loss"].backward()
        assert seen == [4]
        encoder, decoder = (
            sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
            for part in (model.encoder, model.decoder)
        )
        assert decoder > 0.01
        assert (encoder < 1e-6) == drawn
