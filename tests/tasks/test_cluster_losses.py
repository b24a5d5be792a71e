# SPDX-License-Identifier: Apache-2.0
"""The targets and losses of the task cluster against their formulas."""

from __future__ import annotations

import torch

from pellucid.models._kept import Kept
from pellucid.tasks.cluster import training


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
