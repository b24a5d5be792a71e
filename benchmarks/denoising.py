# SPDX-License-Identifier: Apache-2.0
"""A trained denoiser against BM3D and non-local means on the test split of its data, PSNR in dB.

    python benchmarks/denoising.py RUN [--whole]

RUN is a run of `pellucid train denoise --level 0.098 …`. Every rival gets the same noisy images as the model in `pellucid
evaluate`, and also the true σ; the strength of non-local means is tuned on the test images themselves. With `--whole`, the
photographs of `patches` are denoised whole instead of patch by patch, where BM3D finds more similar blocks.
BM3D (Mäkinen, Azzari, Foi 2020) is the authors' package, for non-commercial use only; nothing else in the project installs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import bm3d
import numpy as np
import torch
from _timing import report, timed
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

import pellucid
from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.embedded.embedded import photograph
from pellucid.data.given import Arrays
from pellucid.run import Run

PHOTOGRAPHS = {
    "camera": ("skimage", "data", "camera.png"),
    "coffee": ("skimage", "data", "coffee.png"),
    "rocket": ("skimage", "data", "rocket.jpg"),
    "flower": ("sklearn", "datasets/images", "flower.jpg"),
}
STRENGTHS = (0.6, 0.8, 1.0, 1.2)  # of non-local means, times σ


def psnr(answer: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """PSNR in dB of one image in [0, 1]."""
    return float(-10 * np.log10(np.mean((np.clip(answer, 0, 1).astype(np.float64) - clean) ** 2)))


def pairs(run: Run, split: Split) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Position, noisy image and clean image (H, W), as in `evaluate`."""
    for batch in own_size_batches(split, 1, 64):
        noisy, target = run.task.prepare(
            Batch(batch.images, {}, batch.index), Draws.images(int(run.info["seed"]), batch.index), training=False
        )
        yield from zip(batch.index.tolist(), noisy[:, 0].numpy(), target.pixels[:, 0].numpy(), strict=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("run")
    options.add_argument("--whole", action="store_true")
    asked = options.parse_args()
    run = pellucid.load(asked.run)
    assert isinstance(run, Run)
    sigma = float(run.info["task"]["options"]["level"])
    data: Dataset = run.data()
    if asked.whole:
        arrays = [photograph(*where, colour=False) for where in PHOTOGRAPHS.values()]
        split = Split(Arrays(arrays), names=list(PHOTOGRAPHS))
    else:
        split = data["test"]
    model = run.model()
    rivals: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "model": lambda noisy: run.task.predict(model, torch.from_numpy(noisy)[None, None]).pixels[0, 0].numpy(),
        "BM3D": lambda noisy: bm3d.bm3d(noisy, sigma_psd=sigma),
        **{
            f"non-local means, h = {share} σ": lambda noisy, share=share: denoise_nl_means(
                noisy, patch_size=5, patch_distance=6, h=share * sigma, sigma=sigma, fast_mode=True
            )
            for share in STRENGTHS
        },
    }
    found: dict[str, list[float]] = {name: [] for name in rivals}
    seconds = dict.fromkeys(rivals, 0.0)
    places: list[int] = []
    with torch.no_grad():
        for place, noisy, clean in pairs(run, split):
            places.append(place)
            for name, rival in rivals.items():
                answers: list[NDArray[np.float32]] = []
                seconds[name] += timed(lambda answers=answers, rival=rival, noisy=noisy: answers.append(rival(noisy)))
                found[name].append(psnr(answers[0], clean))
    groups = [split.names[place].split("@")[0] for place in places]
    means = {name: float(np.mean(values)) for name, values in found.items()}
    gain = np.subtract(found["model"], found["BM3D"])
    draws = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(1)
    report(
        f"denoising at σ = {sigma:.4f}: {run.info['model']['name']} against BM3D and non-local means, mean PSNR in dB",
        n=len(gain),
        images="whole photographs" if asked.whole else f"{data.name}, test split",
        psnr={name: round(value, 2) for name, value in means.items()},
        model_above_bm3d={
            "mean": round(float(gain.mean()), 3),
            "interval_95": [round(float(np.quantile(draws, q)), 3) for q in (0.025, 0.975)],
            "images_won": int((gain > 0).sum()),
        },
        by_photograph={
            group: {
                name: round(float(np.mean([v for v, g in zip(values, groups, strict=True) if g == group])), 2)
                for name, values in found.items()
                if name in ("model", "BM3D")
            }
            for group in dict.fromkeys(groups)
        },
        seconds_an_image={name: round(value / len(gain), 3) for name, value in seconds.items()},
    )


if __name__ == "__main__":
    main()
