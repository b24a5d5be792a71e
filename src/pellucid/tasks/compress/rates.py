# SPDX-License-Identifier: Apache-2.0
"""Rate and distortion: what is measured of a codec's files, of the model's as of its rivals', and the curves of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Split
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._fidelity import ms_ssim, psnr
from pellucid.tasks._metrics import Measure, mean, summarise
from pellucid.tasks._records import Records
from pellucid.tasks.compress.baselines import Components, Saved, jpeg, png, webp
from pellucid.tasks.compress.coding import Coded, encoded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["columns", "curve_gain", "measure_model", "psnr_at", "rivals"]

_RIVALS = (400, 3_000_000)  # test images, and pixels, that the rivals are measured on at most,
_SURVEYED = (100, 2_000_000)  # and those whose curves are drawn: a few dozen files of each
_LEARNT_PIXELS = 8_000_000  # of training images that PCA learns from
_AT_ONCE = 3_000_000  # numbers of pictures that are measured together
_WHOLE = 32  # px: up to this side PCA is of whole images, beyond it of 8×8 blocks
_FEW = 32  # components of whole images
_RATES = np.geomspace(0.2, 1.0, 17)  # bits per pixel at which curves are compared
_MARKS = {
    "this model": ("o-", "#c0392b"),
    "PCA": ("s--", "#4a6fa5"),
    "JPEG": ("^-", "#555555"),
    "WebP": ("v-", "#2a7f4f"),
    "PNG": ("x:", "#8a6d3b"),
}

Rows = list[dict[str, Any]]
Rule = Callable[[NDArray[np.uint8]], Iterator[tuple[str, Saved]]]


def columns(
    pictures: Tensor, truth: Tensor, sizes: Sequence[int], bare: Sequence[int], weight: float
) -> dict[str, NDArray[Any]]:
    """What is measured of each picture (B, C, H, W) that came out of a file of so many bytes (with and without header)."""
    area = truth.shape[2] * truth.shape[3]
    bpp = 8 * np.array(sizes, np.float64) / area
    squares = (pictures - truth).square().mean((1, 2, 3)).double().cpu().numpy() * 255**2
    return {
        "psnr": psnr(pictures, truth).cpu().numpy(),
        "ms_ssim": ms_ssim(pictures, truth).cpu().numpy(),
        "bpp": bpp,
        "bpp_bare": 8 * np.array(bare, np.float64) / area,
        "cost": bpp + weight * squares,
    }


def rivals(train: Split, test: Split, weight: float) -> dict[str, Records]:
    """Records of JPEG, WebP, PNG and PCA on (some of the) test images, each image at the setting that costs least."""
    index = _some(test, *_RIVALS)
    images = _images(test, index)
    tables: dict[str, Rows] = {"JPEG": [], "WebP": [], "PNG": []}
    for image in images:
        for name, rule in (("JPEG", jpeg), ("WebP", webp), ("PNG", png)):
            tables[name].append(min(_measured(image, rule, weight), key=lambda row: float(row["cost"])))
    said = "" if len(index) == len(test) else f" (on {len(index)} test images)"
    answers: dict[str, Records] = {name + said: _stacked(rows, index) for name, rows in tables.items()}
    if len(train):
        whole = max(train.images.sizes.max(0)) <= _WHOLE and len(np.unique(train.images.sizes, axis=0)) == 1
        block = (int(train.images.sizes[0, 0]), int(train.images.sizes[0, 1])) if whole else (8, 8)
        most = _FEW if whole else 64 * images[0].shape[0]
        codec = Components(_learnt(train, images[0].shape[0]), block, most, [weight])
        name = f"PCA of {'whole images' if whole else '8×8 blocks'}, {len(codec.basis)} components"
        rows = [_own(codec, image, 0, weight) for image in images]
        answers[name + said] = _stacked(rows, index)
    return answers


def measure_model(model: Any, train: Split, test: Split, weight: float, seed: int) -> ModelMeasures:
    """The curves of the model's every quality and of its rivals, on (some of the) test images, as tables, measures, pictures."""
    images = _images(test, _some(test, *_SURVEYED))
    curves: dict[str, list[Rows]] = {"this model": [_sweep(model, image, weight) for image in images]}
    if len(train):
        codec = Components(
            _learnt(train, model.normalize.mean.shape[1]),
            model.stride,
            len(model.prior.log_step[0]),
            model.prior.weights.tolist(),
        )
        curves[f"PCA, {len(codec.basis)} components"] = [_sweep(codec, image, weight) for image in images]
    for name, rule in (("JPEG", jpeg), ("WebP", webp), ("PNG", png)):
        curves[name] = [_measured(image, rule, weight) for image in images]
    table = [row for name, found in curves.items() for row in _means(name, found)]
    measures: dict[str, Measure] = {}
    for key, title, rate in (
        ("gain_over_jpeg", "PSNR over JPEG at equal size", "bpp"),
        ("gain_over_jpeg_bare", "PSNR over JPEG without headers", "bpp_bare"),
    ):
        gains = [curve_gain(mine, its, rate) for mine, its in zip(curves["this model"], curves["JPEG"], strict=True)]
        known = np.array([gain for gain in gains if np.isfinite(gain)])
        if len(known):
            measures |= summarise([mean(key, title, "dB")], {key: known}, seed)
    words = (
        f"The mean over {len(images)} test images at each setting; files as they are, with headers. Up and to the left is better. "
        "PCA has the model's own entropy coder; JPEG has optimised tables, and sequential or progressive scans, whichever is smaller."
    )
    shown = NamedFigure("rates", "Picture quality against file size", words, _figure(table))
    return ModelMeasures(measures, {"rates": table}, [shown])


def curve_gain(mine: Rows, its: Rows, rate: str = "bpp") -> float:
    """Decibels by which one codec is ahead of another on an image, the mean over equal rates from 0.2 to 1 bit per pixel.

    Only rates that both reach count; NaN where there are none. Between settings the PSNR is linear in the log of the rate.

    >>> low, high = {"bpp": 0.1, "psnr": 20.0}, {"bpp": 2.0, "psnr": 40.0}
    >>> round(curve_gain([low, high], [{**low, "psnr": 19.0}, {**high, "psnr": 39.0}]), 6)
    1.0
    """
    gap = np.array([psnr_at(mine, rate, bits) - psnr_at(its, rate, bits) for bits in _RATES])
    known = np.isfinite(gap)
    return float(gap[known].mean()) if known.any() else float("nan")


def psnr_at(rows: Rows, rate: str, bits: float) -> float:
    """PSNR at so many bits per pixel; NaN outside of what the settings span. One that costs more for less is left out.

    >>> psnr_at([{"bpp": 0.1, "psnr": 20.0}, {"bpp": 1.0, "psnr": 40.0}], "bpp", 0.1**0.5)
    30.0
    """
    best: list[tuple[float, float]] = []
    for spent, value in sorted((row[rate], row["psnr"]) for row in rows):
        if not best or value > best[-1][1]:
            best.append((spent, value))
    rates, values = np.array(best).T
    return float(np.interp(np.log(bits), np.log(rates), values, left=np.nan, right=np.nan))


def _sweep(model: Any, image: NDArray[np.uint8], weight: float) -> Rows:
    return [
        {"setting": f"quality {quality + 1}", **_own(model, image, quality, weight)}
        for quality in range(model.prior.qualities)
    ]


def _own(model: Any, image: NDArray[np.uint8], quality: int, weight: float) -> dict[str, float]:
    truth = torch.from_numpy(image.copy())[None].float().div(255).to(model.normalize.mean.device)
    coded: Coded = encoded(model, truth, quality)
    found = columns(coded.pixels, truth, [len(coded.files[0])], coded.bare, weight)
    return {name: float(value[0]) for name, value in found.items()}


def _measured(image: NDArray[np.uint8], rule: Rule, weight: float) -> Rows:
    """A row for each of a rival's settings; several pictures are measured together."""
    truth = torch.from_numpy(image.copy())[None].float().div(255)
    settings = list(rule(image))
    at_once = max(1, _AT_ONCE // truth.numel())
    rows: Rows = []
    for part in (settings[start : start + at_once] for start in range(0, len(settings), at_once)):
        saved = [each for _, each in part]
        pictures = torch.from_numpy(np.stack([each.picture for each in saved])).float().div(255)
        sizes, bare = [each.bytes for each in saved], [each.bare for each in saved]
        found = columns(pictures, truth.expand_as(pictures), sizes, bare, weight)
        rows += [
            {"setting": setting, **{name: float(column[k]) for name, column in found.items()}}
            for k, (setting, _) in enumerate(part)
        ]
    return rows


def _stacked(rows: Rows, index: NDArray[np.int64]) -> Records:
    names = [name for name in rows[0] if name != "setting"]
    return {**{name: np.array([row[name] for row in rows]) for name in names}, "index": index}


def _means(name: str, found: list[Rows]) -> Iterator[dict[str, Any]]:
    """A row a setting: the means over the images."""
    for rows in zip(*found, strict=True):
        mean = {
            key: round(float(np.mean([row[key] for row in rows])), 4) for key in ("bpp", "bpp_bare", "psnr", "ms_ssim")
        }
        yield {"codec": name, "setting": rows[0]["setting"], **mean}


def _some(split: Split, most: int, pixels: int) -> NDArray[np.int64]:
    """Evenly spread positions, of at most so many images with about so many pixels together."""
    sizes = split.images.sizes.astype(np.int64).prod(1)
    count = int(min(len(split), most, max(2, pixels // max(1, sizes.mean()))))
    return np.linspace(0, len(split) - 1, count).round().astype(np.int64)


def _images(split: Split, index: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Images (C, H, W) at these positions, all with the split's channels."""
    chosen = split.select(index)
    found: dict[int, NDArray[np.uint8]] = {}
    for batch in own_size_batches(chosen, chosen.images.channels, 64):
        found |= dict(zip(batch.index.tolist(), batch.images.numpy(), strict=True))
    return [found[place] for place in range(len(index))]


def _learnt(train: Split, channels: int) -> Tensor:
    """(N, C, H, W) in [0, 1]: training images of the commonest size, or middles of them."""
    sizes, counts = np.unique(train.images.sizes, axis=0, return_counts=True)
    size = sizes[counts.argmax()]
    same = np.flatnonzero((train.images.sizes == size).all(1))
    count = int(min(len(same), max(2, _LEARNT_PIXELS // int(size.prod()))))
    chosen = train.select(same[np.linspace(0, len(same) - 1, count).round().astype(np.int64)])
    return torch.cat([batch.images for batch in own_size_batches(chosen, channels, 64)]).float().div_(255)


def _figure(table: Rows) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["codec"] for row in table):
        rows = sorted((row for row in table if row["codec"] == name), key=lambda row: float(row["bpp"]))
        whole = [row["bpp"] for row in rows if row["setting"] == "lossless"]
        if whole:
            name = f"{name} (lossless at {whole[0]:.1f})"
            rows = [row for row in rows if row["setting"] != "lossless"]
        mark, colour = _MARKS[name.split(",")[0].split(" (")[0]]
        for part, style in _parts(rows, mark):
            said = name if style == mark else None
            bits = [row["bpp"] for row in part]
            left.plot(
                bits, [row["psnr"] for row in part], style, color=colour, markersize=3.5, linewidth=1.4, label=said
            )
            right.plot(
                bits, [_decibels(row["ms_ssim"]) for row in part], style, color=colour, markersize=3.5, linewidth=1.4
            )
    widest = max(row["bpp"] for row in table if row["codec"] == "this model") * 1.35
    for axes, said in ((left, "PSNR, dB"), (right, "MS-SSIM as −10·log₁₀(1 − MS-SSIM), dB")):
        axes.set(xlabel="file size, bits per pixel", ylabel=said, xlim=(0, widest))
        axes.grid(color="0.9")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes, key in ((left, "psnr"), (right, "ms_ssim")):
        shown = [row[key] for row in table if row["bpp"] <= widest and row["codec"] != "PNG"]
        if key == "ms_ssim":
            shown = [_decibels(value) for value in shown]
        axes.set_ylim(min(shown) - 0.5, max(shown) + 0.5)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _decibels(similarity: float) -> float:
    """MS-SSIM spread out near 1."""
    return float(-10 * np.log10(max(1 - similarity, 1e-6)))


def _parts(rows: Rows, mark: str) -> list[tuple[Rows, str]]:
    """JPEG's two ways with colour are two curves, the second one dotted."""
    half = [row for row in rows if row["setting"].endswith("4:2:0")]
    if not half:
        return [(rows, mark)]
    return [([row for row in rows if not row["setting"].endswith("4:2:0")], mark), (half, mark[0] + ":")]
