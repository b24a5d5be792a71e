# SPDX-License-Identifier: Apache-2.0
"""t-SNE maps: 10,000 × 64 in under 60 s on two cores, 1,000 new images placed in under 10 s, against scikit-learn and openTSNE.

    python benchmarks/embedding.py [RUN] [--images 10000] [--new 1000] [--peer 2000] [--only-tree]

The synthetic codes are 64 numbers around 20 centres. With RUN (of any task), the codes of its training images are mapped too, and
those of its test images placed; the numbers of images are reported. scikit-learn, which cannot place new images, and Pellucid map
the first `--peer` codes in turn, with the same perplexity, initialisation and number of iterations. The optimiser alone, from the
same affinities and the same places, is timed against openTSNE's by a tree as it is (Barnes & Hut, angle 0.5), on all codes: at least 2.5 ×
as fast, at an equal or lower divergence, which is summed over all pairs. Quality is reported with the
seconds: the share of the 10 nearest neighbours that stay among the 10 nearest on the map, and trustworthiness.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import openTSNE
import torch
from _timing import in_turn, ratio, report, timed
from numpy.typing import NDArray
from openTSNE.affinity import PerplexityBasedNN
from openTSNE.initialization import pca
from openTSNE.nearest_neighbors import PrecomputedNeighbors
from sklearn.manifold import TSNE

import pellucid
from pellucid.lenses import Network, Splits
from pellucid.lenses._codes import chosen_layer, of_split
from pellucid.lenses._index import Index
from pellucid.lenses.embedding import exact
from pellucid.lenses.embedding.agreement import kept, trustworthiness
from pellucid.lenses.embedding.maps import fit, place
from pellucid.looking import subjects
from pellucid.run import Run

K, PERPLEXITY, SEED = 10, 30.0, 0


def clustered(count: int, new: int, wide: int = 64) -> tuple[NDArray[Any], NDArray[Any]]:
    dice = np.random.default_rng(SEED)
    centres = 2 * dice.standard_normal((20, wide))
    both = centres[dice.integers(0, 20, count + new)] + dice.standard_normal((count + new, wide))
    return both[:count].astype(np.float32), both[count:].astype(np.float32)


def of_run(run: Run, count: int, new: int) -> tuple[NDArray[Any], NDArray[Any]]:
    subject = subjects.of_run(run)
    network, splits = subject.part(Network), subject.part(Splits)
    assert network is not None and splits is not None
    layer = chosen_layer(network, None)
    train, test = (of_split(network, splits, split, layer, limit) for split, limit in (("train", count), ("test", new)))
    return train.codes, test.codes


def quality(codes: NDArray[Any], places: NDArray[Any], rows: NDArray[np.int64]) -> dict[str, float]:
    near, _ = Index(codes).search(codes[rows], K, rows)
    beside, _ = Index(places).search(places[rows], K, rows)
    return {
        "kept": round(float(kept(near, beside).mean()), 3),
        "trustworthiness": round(float(trustworthiness(codes, codes[rows], beside, rows).mean()), 4),
    }


def whole(codes: NDArray[Any], new: NDArray[Any], refit: bool) -> dict[str, Any]:
    """Seconds and quality of fitting a map, of placing new images, and of refitting everything for comparison."""
    made: list[Any] = []
    seconds = {"map": timed(lambda: made.append(fit(codes, "tsne", PERPLEXITY, SEED)))}
    chart = made[0]
    before = chart.places.tobytes()
    seconds["place"] = timed(lambda: made.append(place(chart, new)))
    print(f"  {codes.shape}: {seconds}", file=sys.stderr)
    near, _ = Index(codes).search(new, K)
    found: dict[str, Any] = {
        "images": codes.shape[0],
        "numbers": codes.shape[1],
        "new": len(new),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "met": seconds["map"] < 60 and seconds["place"] < 10,
        "map_moved": chart.places.tobytes() != before,
        "map": quality(codes, chart.places, np.arange(0, len(codes), max(1, len(codes) // 2000))),
        "placed_kept": round(float(kept(near, Index(chart.places).search(made[1], K)[0]).mean()), 3),
    }
    if refit:
        refitted = fit(np.concatenate([codes, new]), "tsne", PERPLEXITY, SEED).places
        beside, _ = Index(refitted[: len(codes)]).search(refitted[len(codes) :], K)
        found["placed_kept_refitted"] = round(float(kept(near, beside).mean()), 3)
    return found


def against(codes: NDArray[Any], rounds: int) -> dict[str, Any]:
    """Seconds and quality of both libraries on the same codes, in turn."""
    made: dict[str, Any] = {}

    def ours() -> None:
        made["pellucid"] = fit(codes, "tsne", PERPLEXITY, SEED).places

    def peer() -> None:
        made["scikit-learn"] = TSNE(perplexity=PERPLEXITY, init="pca", max_iter=750, random_state=SEED).fit_transform(
            codes
        )

    taken = in_turn({"pellucid": lambda: timed(ours), "scikit-learn": lambda: timed(peer)}, rounds)
    return {
        "images": len(codes),
        "rounds": rounds,
        "seconds": {name: [round(value, 2) for value in values] for name, values in taken.items()},
        "times_faster": round(ratio(taken, "pellucid", "scikit-learn"), 2),
        "quality": {name: quality(codes, places, np.arange(len(codes))) for name, places in made.items()},
    }


def divergence(places: NDArray[Any], P: Any) -> float:
    """Of the map's affinities from those of the codes, over all pairs in float64."""
    total = -float(len(places))
    for start in range(0, len(places), 500):
        total += float((1 / (1 + ((places[start : start + 500, None] - places[None]) ** 2).sum(2))).sum())
    near = P.tocoo()
    w = 1 / (1 + ((places[near.row] - places[near.col]) ** 2).sum(1))
    shown = near.data > 0
    return float((near.data * (np.log(near.data) - np.log(w / total)))[shown].sum())


def against_tree(codes: NDArray[Any], rounds: int) -> dict[str, Any]:
    """Seconds, processor seconds and divergence of the optimiser's steps, by sums over all pairs and by a tree, in turn."""
    near = Index(codes).search(codes, int(3 * PERPLEXITY), np.arange(len(codes)))
    affinities = PerplexityBasedNN(knn_index=PrecomputedNeighbors(*near), perplexity=PERPLEXITY, n_jobs=2)
    start = pca(codes.astype(np.float64), random_state=SEED)
    made: dict[str, Any] = {}
    busy: dict[str, list[float]] = {}

    def steps(name: str, method: Any) -> float:
        plan = openTSNE.TSNE(perplexity=PERPLEXITY, n_jobs=2, random_state=SEED, negative_gradient_method=method)
        before = time.process_time()
        seconds = timed(
            lambda: made.update({name: np.array(plan.fit(affinities=affinities, initialization=start.copy()))})
        )
        busy.setdefault(name, []).append(time.process_time() - before)
        return seconds

    ours, theirs = "pellucid, all pairs", "openTSNE, Barnes-Hut"
    with exact.objective(2) as objective:
        taken = in_turn({ours: lambda: steps(ours, objective), theirs: lambda: steps(theirs, "bh")}, rounds)
    return {
        "images": len(codes),
        "rounds": rounds,
        "seconds": {name: [round(value, 2) for value in values] for name, values in taken.items()},
        "processor_seconds": {name: [round(value, 2) for value in values[1:]] for name, values in busy.items()},
        "times_faster": round(ratio(taken, ours, theirs), 2),
        "times_less_processor_time": round(ratio({name: values[1:] for name, values in busy.items()}, ours, theirs), 2),
        "divergence": {name: round(divergence(places, affinities.P), 5) for name, places in made.items()},
    }


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("run", nargs="?")
    asked.add_argument("--images", type=int, default=10_000)
    asked.add_argument("--new", type=int, default=1_000)
    asked.add_argument("--peer", type=int, default=2_000)
    asked.add_argument("--rounds", type=int, default=1)
    asked.add_argument("--refit", action="store_true", help="also refit everything with the new images")
    asked.add_argument("--only-tree", action="store_true", help="only compare with a tree")
    given = asked.parse_args()
    torch.set_num_threads(2)
    fit(clustered(60, 1)[0])  # loads the libraries before the clock starts
    codes, new = clustered(given.images, given.new)
    tree = against_tree(codes, given.rounds)
    if given.only_tree:
        report(
            "the steps of a t-SNE of 10,000 codes at least 2.5 × openTSNE's by a tree",
            tree=tree,
            perplexity=PERPLEXITY,
            seed=SEED,
        )
        return 0
    found = {"clustered": whole(codes, new, given.refit)}
    if given.run:
        run = pellucid.load(given.run)
        assert isinstance(run, Run)
        found[f"codes of {run.info['model']['name']}"] = whole(*of_run(run, given.images, given.new), given.refit)
    met = all(one["met"] for one in found.values())
    report(
        "t-SNE of 10,000 × 64 in under 60 s on two cores, 1,000 new images placed in under 10 s without moving it",
        met=met,
        maps=found,
        tree=tree,
        peer=against(codes[: given.peer], given.rounds),
        perplexity=PERPLEXITY,
        seed=SEED,
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
