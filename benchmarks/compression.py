# SPDX-License-Identifier: Apache-2.0
"""A trained codec against JPEG, WebP, PNG and PCA on whole photographs that it has never seen.

    python benchmarks/compression.py RUN [--images FOLDER] [--most N] [--picture FILE]

RUN is a run of `pellucid train compress`. By default the images are the whole photographs of the validation and test splits of
`patches`; with `--images` those of a folder. All sizes are file sizes including header and checksum ("bare": without them, and
for JPEG only the scans). JPEG uses optimised Huffman tables and sequential or progressive scans, whichever is smaller, and 4:2:0
or 4:4:4, whichever has the higher PSNR at a rate. WebP uses its slowest search (method 6). PCA of 8×8 blocks uses the codec's
quantisation and entropy coder. PSNR is interpolated linearly in the log of the rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pellucid
from pellucid.data.decoding import SUFFIXES, decode
from pellucid.data.embedded.embedded import photograph
from pellucid.run import Run
from pellucid.tasks.compress.baselines import training_images
from pellucid.tasks.compress.codecs import CODECS, jpeg
from pellucid.tasks.compress.coding import decoded, encoded
from pellucid.tasks.compress.curves import codec_curve, curve_gain, model_curve, psnr_at
from pellucid.tasks.compress.figures import rate_distortion
from pellucid.tasks.compress.model_measures import mean_curve
from pellucid.tasks.compress.pca import PCACodec

PHOTOGRAPHS = {
    "camera": ("skimage", "data", "camera.png"),
    "coffee": ("skimage", "data", "coffee.png"),
    "rocket": ("skimage", "data", "rocket.jpg"),
    "flower": ("sklearn", "datasets/images", "flower.jpg"),
    "moon": ("skimage", "data", "moon.png"),
    "ihc": ("skimage", "data", "ihc.png"),
    "coins": ("skimage", "data", "coins.png"),
    "gravel": ("skimage", "data", "gravel.png"),
}
RATES = (0.2, 0.3, 0.5, 0.7, 1.0)  # bits per pixel


def pictures(folder: str | None, most: int, colour: bool) -> dict[str, NDArray[np.uint8]]:
    """The images (C, H, W) by name."""
    if folder is None:
        return {name: photograph(*place, colour) for name, place in PHOTOGRAPHS.items()}
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in SUFFIXES)
    chosen = [files[k] for k in np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int))]
    return {file.stem: decode(file, 3 if colour else 1) for file in chosen}


def curves(run: Run, codec: PCACodec, image: NDArray[np.uint8]) -> dict[str, list[dict[str, Any]]]:
    """Each codec's settings on one image."""
    weight = run.task.weight
    found = {"this model": model_curve(run.model(), image, weight), "PCA": model_curve(codec, image, weight)}
    for name, other in CODECS.items():
        found[name] = codec_curve(image, other, weight)
    return found


def gaps(mine: list[dict[str, Any]], its: list[dict[str, Any]], rate: str) -> list[float]:
    """The lead in dB at each of RATES; NaN where one of them does not reach the rate."""
    return [psnr_at(mine, rate, at) - psnr_at(its, rate, at) for at in RATES]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("run")
    options.add_argument("--images")
    options.add_argument("--most", type=int, default=24)
    options.add_argument("--picture")
    asked = options.parse_args()
    run = pellucid.load(asked.run)
    assert isinstance(run, Run)
    images = pictures(asked.images, asked.most, run.channels == 3)
    train = run.data().splits["train"]
    model = run.model()
    codec = PCACodec(training_images(train, run.channels), (8, 8), 64 * run.channels, model.prior.weights.tolist())
    with torch.no_grad():
        found = {name: curves(run, codec, image) for name, image in images.items()}
    print(f"dB ahead of JPEG at {', '.join(map(str, RATES))} bit/px of whole files (bare: without headers)")
    rows: dict[str, list[list[float]]] = {}
    for name, image in images.items():
        whole = gaps(found[name]["this model"], found[name]["JPEG"], "bpp")
        bare = gaps(found[name]["this model"], found[name]["JPEG"], "bpp_bare")
        size = f"{image.shape[2]}×{image.shape[1]}"
        print(f"{name[:24]:24s} {size:>9s}  {said(whole)}   bare {said(bare)}")
        for rival in ("JPEG", "WebP", "PCA"):
            rows.setdefault(rival, []).append(gaps(found[name]["this model"], found[name][rival], "bpp"))
        rows.setdefault("JPEG, bare", []).append(bare)
    for rival, table in rows.items():
        columns = np.array(table).T
        mean = [float(np.nanmean(column)) if np.isfinite(column).any() else np.nan for column in columns]
        counts = [int(np.isfinite(column).sum()) for column in columns]
        print(f"mean over {len(table)} images, ahead of {rival:10s} {said(mean)}   of {counts} images")
    gains = [curve_gain(each["this model"], each["JPEG"]) for each in found.values()]
    print(
        f"mean over 0.2–1 bit/px: {np.nanmean(gains):+.2f} dB, least {np.nanmin(gains):+.2f}, most {np.nanmax(gains):+.2f}"
    )
    if asked.picture:
        draw(run, images, found, asked.picture)


def said(values: list[float]) -> str:
    return " ".join("   – " if not np.isfinite(value) else f"{value:+5.2f}" for value in values)


def draw(run: Run, images: dict[str, NDArray[np.uint8]], found: Any, path: str) -> None:
    """Draw the mean curves, and a detail of an image: the original, and at about 0.3 bits per pixel."""
    table = [
        row for codec in next(iter(found.values())) for row in mean_curve(codec, [f[codec] for f in found.values()])
    ]
    figure = rate_distortion(table)
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    from matplotlib.figure import Figure

    name, image = next(iter(images.items()))
    truth = torch.from_numpy(image.copy())[None].float() / 255
    model = run.model()
    quality = min(range(model.prior.qualities), key=lambda q: abs(found[name]["this model"][q]["bpp"] - 0.3))
    (file,) = encoded(model, truth, quality).files
    saved = min((s for _, s in jpeg(image, range(1, 60))), key=lambda s: abs(s.bytes - len(file)))
    shown = {
        "original": (image, None),
        "this model": (decoded(model, file, "x"), len(file)),
        "JPEG": (saved.picture, saved.bytes),
    }
    figure = Figure(figsize=(9.6, 3.5), dpi=150, layout="constrained")
    for axes, (title, (picture, size)) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        cut = picture[:, 60:260, 130:330]
        axes.imshow(cut[0] if len(cut) == 1 else cut.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        error = np.square(picture.astype(float) - image).mean()
        axes.set_title(
            title if size is None else f"{title}: {size:,} bytes, {10 * np.log10(255**2 / error):.1f} dB", fontsize=10
        )
        axes.set_axis_off()
    figure.savefig(Path(path).with_stem(Path(path).stem + "_cut"), bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
