# SPDX-License-Identifier: Apache-2.0
"""Trained codecs against JPEG, WebP, AVIF, PNG and PCA on whole photographs that they have never seen, and the time that each takes.

    python benchmarks/compression.py RUN [RUN …] [--images FOLDER] [--most N] [--picture FILE]

RUN is a run of `pellucid train compress`. By default the images are the whole photographs of the validation and test splits of
`patches`; with `--images` those of a folder. All sizes are file sizes including header and checksum ("without headers": for JPEG
only the scans, for AVIF only the coded data). JPEG uses optimised Huffman tables and sequential or progressive scans, whichever is
smaller, and 4:2:0 or 4:4:4, whichever has the higher PSNR at a rate. WebP uses its slowest search (method 6). AVIF is libaom's at
Pillow's speed (6), once tuned for PSNR and once as libavif tunes it. PCA of 8×8 blocks uses the codec's quantisation and entropy
coder. PSNR, and MS-SSIM as −10·log₁₀(1 − MS-SSIM), are interpolated linearly in the log of the rate. The picture is of the first run.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import pellucid
from pellucid.data.decoding import SUFFIXES, decode
from pellucid.data.embedded.embedded import photograph
from pellucid.run import Run
from pellucid.tasks.compress.baselines import training_images
from pellucid.tasks.compress.codecs import avif, codecs, jpeg
from pellucid.tasks.compress.coding import decoded, encoded
from pellucid.tasks.compress.curves import Curve, codec_curve, curve_gain, model_curve, value_at
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


def rivals(image: NDArray[np.uint8], codec: PCACodec, weight: float) -> dict[str, Curve]:
    """The settings of each other codec on one image."""
    others = codecs()
    if "AVIF" in others:
        others["AVIF, own tuning"] = partial(avif, tune=None)
    curves = {name: codec_curve(image, other, weight) for name, other in others.items()}
    return {**curves, "PCA": model_curve(codec, image, weight)}


def gaps(mine: Curve, its: Curve, rate: str = "bpp", measure: str = "psnr") -> list[float]:
    """The lead in dB at each of RATES; NaN where one of them does not reach the rate."""
    return [value_at(mine, rate, at, measure) - value_at(its, rate, at, measure) for at in RATES]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("runs", nargs="+")
    options.add_argument("--images")
    options.add_argument("--most", type=int, default=24)
    options.add_argument("--picture")
    asked = options.parse_args()
    runs = [pellucid.load(path) for path in asked.runs]
    first = runs[0]
    images = pictures(asked.images, asked.most, first.channels == 3)
    if "AVIF" not in codecs():
        print("AVIF is missing: this machine's Pillow does not write it")
    train = first.data().splits["train"]
    codec = PCACodec(
        training_images(train, first.channels), (8, 8), 64 * first.channels, first.model().prior.weights.tolist()
    )
    with torch.no_grad():
        others = {name: rivals(image, codec, first.task.weight) for name, image in images.items()}
        for run in runs:
            model, weight = run.model(), run.task.weight
            mine = {name: model_curve(model, image, weight) for name, image in images.items()}
            print(
                f"\n{run.path}, {model.__class__.__name__}: dB ahead at {', '.join(map(str, RATES))} bit/px of whole files"
            )
            leads(images, mine, others)
            if asked.picture and run is first:
                found = {name: {"this model": mine[name], **others[name]} for name in images}
                draw(run, images, found, asked.picture)
    times({run.path.name: run.model() for run in runs}, images)


def leads(
    images: Mapping[str, NDArray[np.uint8]], mine: Mapping[str, Curve], others: Mapping[str, dict[str, Curve]]
) -> None:
    """Print how far a model is ahead of each codec, on each image and in the mean."""
    for name, image in images.items():
        size = f"{image.shape[2]}×{image.shape[1]}"
        whole, bare = (gaps(mine[name], others[name]["JPEG"], rate) for rate in ("bpp", "bpp_bare"))
        print(f"{name[:24]:24s} {size:>9s}  JPEG {said(whole)}   without headers {said(bare)}")
    cases = [
        (rival, "bpp", measure)
        for measure in ("psnr", "ms_ssim")
        for rival in others[next(iter(images))]
        if rival != "PNG"
    ]
    for rival, rate, measure in [*cases, ("JPEG", "bpp_bare", "psnr"), ("AVIF", "bpp_bare", "psnr")]:
        if rival not in others[next(iter(images))]:
            continue
        table = np.array([gaps(mine[name], others[name][rival], rate, measure) for name in images]).T
        mean = [float(np.nanmean(column)) if np.isfinite(column).any() else np.nan for column in table]
        counts = [int(np.isfinite(column).sum()) for column in table]
        title = f"{rival}, {measure}" + (", without headers" if rate == "bpp_bare" else "")
        print(f"mean over {len(images)} images, ahead of {title:34s} {said(mean)}   of {counts} images")
    gains = [curve_gain(mine[name], others[name]["JPEG"]) for name in images]
    print(
        f"ahead of JPEG over 0.2–1 bit/px: {np.nanmean(gains):+.2f} dB, least {np.nanmin(gains):+.2f}, most {np.nanmax(gains):+.2f}"
    )


def times(models: Mapping[str, Any], images: Mapping[str, NDArray[np.uint8]], rounds: int = 3) -> None:
    """Print processor seconds for each megapixel at about half a bit per pixel, the least of several rounds taken in turn."""
    pillow: dict[str, dict[str, Any]] = {"JPEG": {"format": "JPEG", "quality": 50, "optimize": True}}
    pillow["WebP, method 6"] = {"format": "WEBP", "quality": 50, "method": 6}
    if "AVIF" in codecs():
        for speed in (6, 2):
            pillow[f"AVIF, speed {speed}"] = {
                "format": "AVIF", "quality": 54, "speed": speed, "max_threads": 1, "codec": "aom", "advanced": {"tune": "psnr"},
            }  # fmt: skip
    rows: dict[str, list[list[float]]] = {name: [] for name in [*models, *pillow]}
    pixels = sum(image.shape[1] * image.shape[2] for image in images.values()) / 1e6
    for _ in range(rounds):
        for name, model in models.items():
            rows[name].append([0.0, 0.0])
            for image in images.values():
                truth, quality = torch.from_numpy(image.copy())[None].float() / 255, model.prior.qualities // 2
                coded = spent(rows[name][-1], 0, partial(encoded, model, truth, quality))
                spent(rows[name][-1], 1, partial(decoded, model, coded.files[0], "x"))
        for name, settings in pillow.items():
            rows[name].append([0.0, 0.0])
            for image in images.values():
                content = spent(rows[name][-1], 0, partial(saved, image, settings))
                spent(rows[name][-1], 1, partial(read, content))
    print(f"\nprocessor seconds per megapixel, of {torch.get_num_threads()} threads: writing, reading")
    for name, values in rows.items():
        writing, reading = np.array(values).min(0) / pixels
        print(f"{name:24s} {writing:7.3f} {reading:7.3f}")


def spent(row: list[float], place: int, work: Callable[[], Any]) -> Any:
    """A call's answer; its processor time, of all threads, is added to the row."""
    begun = time.process_time()
    answer = work()
    row[place] += time.process_time() - begun
    return answer


def saved(image: NDArray[np.uint8], settings: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, **settings)
    return file.getvalue()


def read(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


def said(values: list[float]) -> str:
    return " ".join("   – " if not np.isfinite(value) else f"{value:+5.2f}" for value in values)


def draw(run: Run, images: Mapping[str, NDArray[np.uint8]], found: Any, path: str) -> None:
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
    as_jpeg = min((s for _, s in jpeg(image, range(1, 60))), key=lambda s: abs(s.bytes - len(file)))
    shown = {
        "original": (image, None),
        "this model": (decoded(model, file, "x"), len(file)),
        "JPEG": (as_jpeg.picture, as_jpeg.bytes),
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
