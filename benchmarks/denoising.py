# SPDX-License-Identifier: Apache-2.0
"""A trained denoiser against BM3D and non-local means on the test split of its data, PSNR in dB.

    python benchmarks/denoising.py RUN [--whole] [--level 0.098] [--views flip turn]

RUN is a run of `pellucid train denoise --level 0.098 …`, or of a range of levels, of which `--level` then names one. Every rival gets
the same noisy images as the model in `pellucid evaluate`, and also the true σ; the strength of non-local means is tuned on the test
images themselves. A run of colour images is compared in colour: BM3D by its version for colour (Dabov et al. 2007, section V),
non-local means over all planes together. With `--whole`, the photographs of `patches` are denoised whole instead of patch by patch,
where BM3D finds more similar blocks. With `--views`, the model's answer is the mean over them.
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
from pellucid.tasks import AnyTask, in_views
from pellucid.tasks.denoise import Denoise

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


def pairs(run: Run, task: AnyTask, split: Split) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Position, noisy image and clean image (C, H, W), as in `evaluate`."""
    for batch in own_size_batches(split, run.channels, 64):
        noisy, target = task.prepare(
            Batch(batch.images, {}, batch.index), Draws.images(int(run.info["seed"]), batch.index), training=False
        )
        yield from zip(batch.index.tolist(), noisy.numpy(), target.pixels.numpy(), strict=True)


def by_bm3d(noisy: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """(C, H, W) denoised by BM3D, in colour by its version for colour."""
    if len(noisy) == 1:
        return np.asarray(bm3d.bm3d(noisy[0], sigma_psd=sigma))[None]
    return np.asarray(bm3d.bm3d_rgb(noisy.transpose(1, 2, 0), sigma)).transpose(2, 0, 1)


def by_means(noisy: NDArray[np.float32], sigma: float, share: float) -> NDArray[np.float32]:
    """(C, H, W) denoised by non-local means whose strength is a share of σ."""
    grey = len(noisy) == 1
    found = denoise_nl_means(
        noisy[0] if grey else noisy.transpose(1, 2, 0),
        patch_size=5,
        patch_distance=6,
        h=share * sigma,
        sigma=sigma,
        fast_mode=True,
        channel_axis=None if grey else 2,
    )
    return found[None] if grey else found.transpose(2, 0, 1)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("run")
    options.add_argument("--whole", action="store_true")
    options.add_argument("--level", type=float)
    options.add_argument("--views", nargs="*", default=[])
    asked = options.parse_args()
    run = pellucid.load(asked.run)
    assert isinstance(run, Run) and isinstance(run.task, Denoise)
    least, most = run.task.levels
    if asked.level is None and least != most:
        options.error(f"the run has levels from {least:.4g} to {most:.4g}; name one with --level")
    sigma = least if asked.level is None else float(asked.level)
    plain = run.task.at_level(sigma)
    task = in_views("denoise", plain, asked.views)
    data: Dataset = run.data()
    if asked.whole:
        arrays = [photograph(*where, colour=run.channels == 3) for where in PHOTOGRAPHS.values()]
        split = Split(Arrays(arrays), names=list(PHOTOGRAPHS))
    else:
        split = data["test"]
    model = run.model()
    rivals: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "model": lambda noisy: task.predict(model, torch.from_numpy(noisy)[None]).pixels[0].numpy(),
        "BM3D": lambda noisy: by_bm3d(noisy, sigma),
        **{
            f"non-local means, h = {share} σ": lambda noisy, share=share: by_means(noisy, sigma, share)
            for share in STRENGTHS
        },
    }
    found: dict[str, list[float]] = {name: [] for name in rivals}
    seconds = dict.fromkeys(rivals, 0.0)
    places: list[int] = []
    with torch.no_grad():
        for place, noisy, clean in pairs(run, plain, split):
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
        trained_for=[least, most],
        views=asked.views,
        channels=run.channels,
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
