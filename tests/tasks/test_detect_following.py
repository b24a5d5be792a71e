# SPDX-License-Identifier: Apache-2.0
"""Which detection a lens follows, its score in changed images, and the lenses on a detector that looks at four quarters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid._boxes import encode
from pellucid.errors import PellucidError
from pellucid.lenses import Network
from pellucid.lenses.attribution import Attribution
from pellucid.lenses.guided_backprop import GuidedBackprop
from pellucid.lenses.occlusion import Occlusion
from pellucid.models import Proposals, Regions
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.following import LOWEST, evidence, followed, log_odds
from pellucid.tasks.detect.objects import Detected

CLASSES = ("cat", "hot dog", "dog 2")
SIZE = (20, 40)  # H, W px


def regions(corners: list[list[float]], logits: list[list[float]]) -> Regions:
    """The regions of one image, whose boxes are themselves for every class."""
    boxes, scores = torch.tensor([corners]), torch.tensor([logits])
    none = torch.zeros(1, len(corners), scores.shape[2] - 1, 4)
    proposals = Proposals(boxes, scores[..., 0])
    return Regions(proposals, boxes, scores, none, boxes[0], scores[..., 0], torch.zeros(1, len(corners), 4))


LEFT, RIGHT, SMALL = [2.0, 2, 12, 12], [20.0, 2, 36, 14], [22.0, 4, 30, 10]
OUTPUT = regions(
    [LEFT, RIGHT, SMALL, [2.0, 2, 12, 13]],
    [[0.0, 3, 0, 0], [0.0, 0, 2, -1], [0.0, 1, 1.5, -1], [0.0, 2.5, 0, 0]],
)


def found() -> Detected:
    whole: Detected = Detect().predict(lambda images: OUTPUT, torch.zeros(1, 3, *SIZE))  # type: ignore[arg-type]
    return whole


def chosen(named: str | None) -> tuple[str, list[float]]:
    one = followed(OUTPUT, found(), named, SIZE, CLASSES)
    assert one.box is not None
    return one.name.rpartition(" ")[0], list(one.box)


@pytest.mark.parametrize(
    ("named", "name", "box"),
    [
        (None, "cat", LEFT),
        ("cat", "cat", LEFT),
        ("HOT DOG", "hot dog", RIGHT),
        ("hot dog 1", "hot dog", RIGHT),
        ("hot dog 2", "hot dog", SMALL),
        ("dog 2", "dog 2", None),  # a class, and not the second dog
        ("2", "hot dog", RIGHT),
        ("0.1,0.2", "cat", LEFT),  # inside
        ("0.95,0.95", "hot dog", RIGHT),  # the nearest of those around nothing
        ("0.65,0.35", "hot dog", SMALL),  # in two, and nearer to this one's middle
        ("0.5,0.1,0.9,0.7", "hot dog", RIGHT),
        ("0.56,0.2,0.74,0.5", "hot dog", SMALL),
    ],
)
def test_a_detection_is_chosen_by_class_rank_point_or_box(
    named: str | None, name: str, box: list[float] | None
) -> None:
    of, corners = chosen(named)
    assert of == name
    if box is not None:
        assert corners == pytest.approx(box, abs=1e-4)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("hot dog 9", r"follow='hot dog 9': the image has \d detections of hot dog; give a number from 1 to that."),
        ("99", r"follow='99': the image has \d+ detections; give a number from 1 to that."),
        ("cow", r"follow='cow' is not known\. Known: cat, dog 2, hot dog\."),
        ("cow 2", r"follow='cow 2' is not known.*Known: cat, dog 2, hot dog\."),
        ("1.5,0.2", r"follow='1.5,0.2': a place is x,y or x0,y0,x1,y1 in shares of the width and the height; give .*"),
        ("a,b", r"follow='a,b': a place is x,y or .*"),
        ("0.1,0.2,0.3", r"follow='0.1,0.2,0.3': a place is x,y or .*"),
    ],
)
def test_what_cannot_be_followed_is_refused(named: str, words: str) -> None:
    with pytest.raises(PellucidError, match=f"^{words}$"):
        followed(OUTPUT, found(), named, SIZE, CLASSES)


def test_where_nothing_was_found_the_surest_region_is_followed_and_no_place_is() -> None:
    sure = regions([LEFT, RIGHT], [[30.0, 1, 0, 0], [30.0, 2, 0, 0]])
    nothing = Detected([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)], torch.zeros(1))
    one = followed(sure, nothing, None, SIZE, CLASSES)
    assert one.name == "cat 0.00" and list(one.box or ()) == pytest.approx(RIGHT, abs=1e-4)
    with pytest.raises(PellucidError, match="nothing was found in the image"):
        followed(sure, nothing, "0.5,0.5", SIZE, CLASSES)


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = logits.softmax(1)[:, 1:]
    torch.testing.assert_close(log_odds(logits), (share / (1 - share)).log())
    assert evidence(OUTPUT).item() == pytest.approx(float(log_odds(OUTPUT.logits)[0, 0, 0]))


def test_the_score_of_a_changed_image_is_the_best_of_the_regions_at_the_place() -> None:
    one = followed(OUTPUT, found(), "cat", SIZE, CLASSES)
    shifted, half, beside = [3.0, 2, 13, 12], [2.0, 2, 12, 6], [20.0, 2, 30, 12]  # IoU 0.82, 0.4 and 0
    changed = [
        ([shifted, half, beside], [[0.0, 1, 0, 0], [0.0, 4, 0, 0], [0.0, 5, 0, 0]], [0.0, 1, 0, 0]),
        ([shifted, LEFT, beside], [[0.0, 1, 0, 0], [0.0, 2, 0, 0], [0.0, 5, 0, 0]], [0.0, 2, 0, 0]),
        ([half, beside], [[0.0, 4, 0, 0], [0.0, 5, 0, 0]], None),
        ([shifted, half, beside], [[9.0, 1, 0, 0], [0.0, 4, 0, 0], [0.0, 5, 0, 0]], None),  # there, and hardly a cat
    ]
    for corners, logits, best in changed:
        expected = LOWEST if best is None else float(log_odds(torch.tensor(best))[0])
        assert one.score(regions(corners, logits)).item() == pytest.approx(expected)


def test_a_region_that_is_far_away_counts_for_nothing_unless_the_detection_was_found_in_it() -> None:
    """Its box for the class lies where the detection is, but no training moves a box so far."""

    def moved(logits: list[float], corners: list[float]) -> Regions:
        output = regions([corners], [logits])
        onto = encode(torch.tensor(LEFT), torch.tensor(corners))
        return output._replace(offsets=onto.expand(1, 1, 3, 4))

    far, there = [10.0, 8, 20, 18], [4.0, 2, 14, 12]  # IoU 0.04 and 0.67
    logits = [0.0, 2, 0, 0]
    one = followed(OUTPUT, found(), "cat", SIZE, CLASSES)
    assert one.score(moved(logits, far)).item() == pytest.approx(LOWEST)
    assert one.score(moved(logits, there)).item() == pytest.approx(float(log_odds(torch.tensor(logits))[0]))
    own = followed(moved(logits, far), found(), None, SIZE, CLASSES)
    assert own.box == pytest.approx(LEFT, abs=1e-4)
    assert own.score(moved(logits, far)).item() == pytest.approx(float(log_odds(torch.tensor(logits))[0]))


def test_a_detector_that_answers_around_the_detection_has_the_score_of_the_whole_one() -> None:
    torch.manual_seed(0)
    model = FastRcnn(3, 2, (64, 64), widths=(8, 8, 16, 16), width=8, hidden=16, proposals=60).eval()
    nn.init.normal_(model.classes.weight, std=0.5)
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(images)
        for place in range(5):
            own = type(whole)(type(whole.proposals)(*(part[place : place + 1] for part in whole.proposals)),
                              *(part if part is whole.grid else part[place : place + 1] for part in whole[1:]))  # fmt: skip
            one = Detect().chosen(own, None, (64, 64), ("cat", "dog"))
            part = one.narrowed(model)(images)
            assert part.logits.shape[1] < 60
            torch.testing.assert_close(one.score(part), one.score(whole))
            assert float(one.score(part)[place]) > LOWEST


def test_the_score_has_a_slope_where_a_region_is_at_the_place_and_none_elsewhere() -> None:
    one = followed(OUTPUT, found(), "cat", SIZE, CLASSES)
    for corners, steep in ((LEFT, True), (RIGHT, False)):
        output = regions([corners], [[0.0, 1, 0, 0]])
        logits = output.logits.clone().requires_grad_()
        one.score(output._replace(logits=logits)).sum().backward()
        assert logits.grad is not None and bool(logits.grad.isfinite().all())
        assert bool((logits.grad != 0).any()) is steep


# -- the lenses


class Quarters(nn.Module):
    """A detector whose four regions are the quarters of an image; each is a cat as far as it is bright, else a dog."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.early.weight)

    def forward(self, images: Tensor) -> Regions:
        seen = self.early(images).relu()
        aside = self.late(seen)  # of another part of the answer
        height, width = images.shape[2:]
        parts = [part for half in seen.chunk(2, 2) for part in half.chunk(2, 3)]
        bright = torch.stack([part.mean((1, 2, 3)) for part in parts], 1)  # (B, 4)
        logits = torch.stack([bright * 0, 8 * bright - 3, -8 * bright], 2)
        y, x = height / 2, width / 2
        corners = torch.tensor([[0, 0, x, y], [x, 0, width, y], [0, y, x, height], [x, y, width, height]])
        corners = corners.expand(len(images), 4, 4)
        return Regions(Proposals(corners, bright), corners, logits, torch.zeros(len(images), 4, 2, 4), corners[0],
                       bright + 0 * aside.mean(), torch.zeros(len(images), 4, 4))  # fmt: skip


def network() -> Network:
    images = torch.full((1, 1, 16, 16), 0.5)
    images[0, 0, :8, :8] = 0.9
    images[0, 0, 8:, 8:] = 0.1
    task, classes = Detect(), ("cat", "dog")

    def choose(output: Any, named: str | None, size: tuple[int, int]) -> Any:
        return task.chosen(output, named, size, classes)

    return Network(Quarters(), images, (), classes, task.evidence, choose=choose)


@pytest.mark.parametrize(
    ("follow", "quarter"),
    [(None, (0, 0)), ("cat", (0, 0)), ("cat 2", None), ("dog", (1, 1)), ("0.9,0.1", (0, 1)), ("0,0.5,0.5,1", (1, 0))],
)
def test_lenses_see_only_what_the_chosen_detection_rests_on(
    follow: str | None, quarter: tuple[int, int] | None
) -> None:
    part = network()
    covered = Occlusion(patch=4, stride=4, fill="zero", follow=follow).look(part)
    mapped = Attribution("saliency", follow=follow, depths=0, tested=0).look(network())
    x0, y0 = (int(end) for end in covered["box"][0, :2])
    assert quarter is None or (y0, x0) == (8 * quarter[0], 8 * quarter[1])
    inside = np.zeros((16, 16), bool)
    inside[y0 : y0 + 8, x0 : x0 + 8] = True
    for view in (covered, mapped):
        assert (np.abs(view["map"][0][inside]) > 1e-6).all() and (np.abs(view["map"][0][~inside]) < 1e-9).all()
        assert "What is followed is the log-odds of a detection's class" in " ".join([view.words, *part.remarks])


def test_occlusion_says_what_is_followed_and_that_images_are_computed_whole() -> None:
    part = network()
    view = Occlusion(patch=4, stride=4, fill="zero", follow="cat").look(part)
    share = torch.tensor([0.0, 8 * 0.9 - 3, -8 * 0.9]).softmax(0)[1].item()
    odds = float(np.log(share / (1 - share)))
    assert f"the log-odds of cat {share:.2f} falls from {odds:.3g}" in view.words
    less = torch.tensor([0.0, 8 * 0.9 * 0.75 - 3, -8 * 0.9 * 0.75]).softmax(0)[1].item()  # a quarter of it is covered
    assert view["drop"][0, 0, 0] == pytest.approx(odds - float(np.log(less / (1 - less))), abs=1e-4)


def test_gradients_and_guided_backprop_and_grad_cam_work_on_a_detection() -> None:
    for lens in (Attribution(steps=4, depths=2), Attribution("grad_cam", depths=2), GuidedBackprop(depths=2)):
        view = lens.look(network())
        assert np.isfinite(view["map"]).all() and np.abs(view["map"]).max() > 0
        assert view["box"].tolist() == [[0, 0, 8, 8]] and view["ssim"].shape == (1, 2)


def test_grad_cam_looks_at_the_last_convolution_on_which_the_detection_depends() -> None:
    notes: list[str] = []
    part = network()
    Attribution("grad_cam", depths=0, tested=0).look(Network(**{**vars(part), "note": notes.append}))
    assert "Grad-CAM looks at the layer early" in notes


def test_a_real_detector_is_covered_whole_and_says_so() -> None:
    torch.manual_seed(0)
    model = FastRcnn(3, 2, (64, 64), widths=(8, 8, 16, 16), width=8, hidden=16, proposals=30).eval()
    part = network()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    real = Network(model, images, (), part.classes, part.evidence, choose=part.choose)
    view = Occlusion(patch=32, stride=32).look(real)
    assert view["drop"].shape == (1, 2, 2) and np.isfinite(view["drop"]).all()
    [sentence] = [words for words in real.remarks if words.startswith("Every covered image")]
    assert sentence.endswith("its forward pass cannot be traced.")
    with torch.no_grad():
        whole = model(images)
        score = part.choose(whole, None, (64, 64)).score  # type: ignore[misc]
        covered = images.clone()
        covered[0, :, 32:, :32] = images[0].mean((1, 2))[:, None, None]
        drop = float(score(whole) - score(model(covered)))
    assert view["drop"][0, 1, 0] == pytest.approx(drop, abs=1e-4)
