# SPDX-License-Identifier: Apache-2.0
"""The rate–distortion curves of a model and of other codecs, and how far the model is ahead of JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pellucid.data.dataset import Split
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Measure, mean, summarise
from pellucid.tasks.compress import figures
from pellucid.tasks.compress.baselines import images_at, some_of, training_images
from pellucid.tasks.compress.codecs import codecs, writes_avif
from pellucid.tasks.compress.curves import Curve, codec_curve, curve_gain, model_curve
from pellucid.tasks.compress.pca import PCACodec

__all__ = ["mean_curve", "measure_model"]

_MEASURED = (100, 2_000_000)  # test images, and pixels of them, at most: each is coded at a few dozen settings
_AVIF = "AVIF is libaom's, at speed 6 and tuned for PSNR."
_NO_AVIF = "AVIF is missing: this machine's Pillow does not write it."


def measure_model(model: Any, train: Split, test: Split, weight: float, seed: int) -> ModelMeasures:
    """The curves of all qualities of the model and of the other codecs, on (some of the) test images."""
    images = images_at(test, some_of(test, *_MEASURED))
    curves: dict[str, list[Curve]] = {"this model": [model_curve(model, image, weight) for image in images]}
    if len(train):
        pca = PCACodec(
            training_images(train, model.normalize.mean.shape[1]),
            model.stride,
            len(model.prior.log_step[0]),
            model.prior.weights.tolist(),
        )
        curves[f"PCA, {len(pca.basis)} components"] = [model_curve(pca, image, weight) for image in images]
    for name, codec in codecs().items():
        curves[name] = [codec_curve(image, codec, weight) for image in images]
    table = [row for name, of_images in curves.items() for row in mean_curve(name, of_images)]
    measures: dict[str, Measure] = {}
    for rival in ("JPEG", "AVIF"):
        for suffix, title, rate in (("", "at equal size", "bpp"), ("_bare", "without headers", "bpp_bare")):
            pairs = zip(curves["this model"], curves.get(rival, []), strict=rival in curves)
            gains = np.array([curve_gain(ours, theirs, rate) for ours, theirs in pairs])
            defined = gains[np.isfinite(gains)]  # images on which the two curves share no rate have no gain
            key = f"gain_over_{rival.lower()}{suffix}"
            if len(defined):
                measures |= summarise([mean(key, f"PSNR over {rival} {title}", "dB")], {key: defined}, seed)
    words = (
        f"Each point is one setting, averaged over {len(images)} test images; file sizes include headers. Up and to the left is "
        "better. PCA has the model's own entropy coder; JPEG has optimised tables, and sequential or progressive scans, whichever "
        f"file is smaller. {_AVIF if writes_avif() else _NO_AVIF}"
    )
    picture = NamedFigure("rates", "Picture quality against file size", words, figures.rate_distortion(table))
    return ModelMeasures(measures, {"rates": table}, [picture])


def mean_curve(name: str, curves: list[Curve]) -> Iterator[dict[str, Any]]:
    """A row for each setting of a codec: the means over the images."""
    for points in zip(*curves, strict=True):
        means = {
            key: round(float(np.mean([point[key] for point in points])), 4)
            for key in ("bpp", "bpp_bare", "psnr", "ms_ssim")
        }
        yield {"codec": name, "setting": points[0]["setting"], **means}
