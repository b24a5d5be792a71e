# SPDX-License-Identifier: Apache-2.0
"""The codecs that learned ones are compared with, and the measures themselves."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.dataset import Pixels, Split
from pellucid.tasks._fidelity import ms_ssim, ssim
from pellucid.tasks.compress.codecs import avif, codecs, jpeg, png, webp, writes_avif
from pellucid.tasks.compress.coding import decoded, encoded
from pellucid.tasks.compress.curves import curve_gain
from pellucid.tasks.compress.metrics import columns
from pellucid.tasks.compress.pca import PCACodec


def photograph(channels: int, height: int = 96, width: int = 120) -> np.ndarray:
    from skimage.data import astronaut

    picture = astronaut()[100 : 100 + height, 150 : 150 + width].transpose(2, 0, 1)
    return picture if channels == 3 else picture.mean(0, keepdims=True).round().astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_takes_the_best_that_pillow_writes(channels: int) -> None:
    picture = photograph(channels)
    found = dict(jpeg(picture, (20, 80)))
    assert list(found) == (
        ["quality 20", "quality 80"]
        if channels == 1
        else ["quality 20 4:4:4", "quality 20 4:2:0", "quality 80 4:4:4", "quality 80 4:2:0"]
    )
    flat = Image.fromarray(picture[0] if channels == 1 else picture.transpose(1, 2, 0))
    for setting, saved in found.items():
        quality, chroma = int(setting.split()[1]), setting[-5:]
        for progressive in (False, True):
            for optimize in (False, True):
                file = io.BytesIO()
                subsampling = chroma if channels == 3 else "4:4:4"
                flat.save(
                    file, "JPEG", quality=quality, optimize=optimize, subsampling=subsampling, progressive=progressive
                )
                assert saved.bytes <= len(file.getvalue())
                if optimize:
                    assert (np.asarray(Image.open(file)).reshape(-1) == to_flat(saved.picture)).all()
        assert 100 < saved.bytes - saved.bare < 800  # markers and tables


def to_flat(picture: np.ndarray) -> np.ndarray:
    return (picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).reshape(-1)


def test_scans_of_a_flat_picture_are_a_few_bytes() -> None:
    ((_, saved),) = jpeg(np.full((1, 16, 16), 99, np.uint8), (50,))
    assert 0 < saved.bare < 10
    assert saved.bytes > 100


def test_png_is_lossless_and_webp_is_smaller() -> None:
    picture = photograph(3)
    *palettes, (setting, lossless) = png(picture, (4, 32))
    assert (setting, [said for said, _ in palettes]) == ("lossless", ["4 colours", "32 colours"])
    for (_, saved), most in zip(palettes, (4, 32), strict=True):
        assert len(np.unique(saved.picture.reshape(3, -1), axis=1).T) <= most
        assert saved.bytes < lossless.bytes
    assert (lossless.picture == picture).all()
    ((_, lossy),) = webp(picture, (50,))
    assert lossy.bytes < lossless.bytes / 4
    assert np.abs(lossy.picture.astype(int) - picture).mean() < 12


@pytest.mark.skipif(not writes_avif(), reason="this Pillow does not write AVIF")
def test_avif_is_smaller_than_webp_and_without_its_boxes_smaller_still() -> None:
    for channels, kinds in ((1, [""]), (3, [" 4:4:4", " 4:2:0"])):
        picture = photograph(channels)
        found = list(avif(picture, (60,), speed=8))
        assert [setting for setting, _ in found] == [f"quality 60{kind}" for kind in kinds]
        for _, saved in found:
            assert saved.picture.shape == picture.shape
            assert np.abs(saved.picture.astype(int) - picture).mean() < 6
            assert 150 < saved.bytes - saved.bare < 600  # boxes that describe the image
    assert found[1][1].bare < found[0][1].bare  # colour at half resolution
    low, high = (saved for _, saved in avif(photograph(1), (30, 90), speed=8))
    assert low.bare < high.bare
    assert (
        np.square(low.picture - photograph(1).astype(float)).mean()
        > np.square(high.picture - photograph(1).astype(float)).mean()
    )


@pytest.mark.skipif(not writes_avif(), reason="this Pillow does not write AVIF")
def test_avif_tuned_for_psnr_has_more_of_it() -> None:
    """At equal bytes, on the mean of a few settings: the option reaches the encoder."""
    picture = photograph(1, 160, 160)
    curves = [
        [
            {
                "bpp": 8 * s.bytes / 160**2,
                "psnr": -10 * np.log10(np.square(s.picture.astype(float) - picture).mean() / 255**2),
            }
            for _, s in avif(picture, (20, 40, 60, 80, 92), tune=tune)
        ]
        for tune in ("psnr", None)
    ]
    assert curve_gain(*curves) > 0.1


def test_without_avif_the_others_stay_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    from pellucid.models.factorized import Factorized
    from pellucid.tasks.compress.model_measures import measure_model

    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    assert list(codecs()) == ["JPEG", "WebP", "PNG"]
    images = Split(Pixels(np.stack([photograph(1, 24, 24), photograph(1, 24, 24)[:, ::-1]])))
    empty = images.select([])
    found = measure_model(Factorized(1, 1, (24, 24), width=4, blocks=0).eval(), empty, images, 0.01, 0)
    assert {row["codec"] for row in found.details["rates"]} == {"this model", "JPEG", "WebP", "PNG"}
    assert "AVIF is missing: this machine's Pillow does not write it." in found.pictures[0].words
    assert "gain_over_avif" not in found.measures


def test_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    images = (rng.random((200, 1, 4, 6)) @ rng.random((6, 6)) / 6).astype(np.float32)
    codec = PCACodec(torch.from_numpy(images), (4, 6), 5, [0.01])
    fresh = (rng.random((20, 1, 4, 6)) @ rng.random((6, 6)) / 6).astype(np.float32)
    peer = PCA(5).fit(images.reshape(200, 24))
    expected = peer.inverse_transform(peer.transform(fresh.reshape(20, 24))).reshape(20, 1, 4, 6)
    codes = codec.analyse(torch.from_numpy(fresh))
    assert codes.shape == (20, 5, 1, 1)
    assert codec.synthesise(codes, (4, 6)).numpy() == pytest.approx(expected, abs=1e-4)


def test_a_pca_codec_makes_files_too() -> None:
    picture = torch.from_numpy(photograph(3).copy()).float()[None] / 255
    codec = PCACodec(
        picture.unfold(2, 32, 16).unfold(3, 32, 16).flatten(2, 3)[0].permute(1, 0, 2, 3), (8, 8), 192, [0.01, 0.1]
    )
    coarse, fine = (encoded(codec, picture, quality) for quality in (0, 1))
    assert len(coarse.files[0]) < len(fine.files[0])
    assert float((fine.pixels - picture).square().mean()) < float((coarse.pixels - picture).square().mean())
    back = decoded(codec, fine.files[0], "a.plc")
    assert np.abs(back - (fine.pixels[0] * 255).round().numpy()).max() <= 1


@pytest.mark.parametrize("size", [(176, 190), (181, 239), (256, 256)])
def test_ms_ssim_equals_torchmetrics(size: tuple[int, int]) -> None:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as peer

    torch.manual_seed(0)
    truth = torch.nn.functional.interpolate(torch.rand(3, 3, 20, 20), size, mode="bilinear")
    for noise in (0.02, 0.1, 0.3):
        pictures = (truth + noise * torch.randn_like(truth)).clamp(0, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = torch.stack(
                [peer(p[None], t[None], data_range=1.0) for p, t in zip(pictures, truth, strict=True)]
            )
        assert ms_ssim(pictures, truth).numpy() == pytest.approx(expected.numpy(), abs=2e-3)


def test_ms_ssim_of_a_small_image_is_ssim() -> None:
    truth = torch.rand(3, 1, 20, 20)
    pictures = (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1)
    torch.testing.assert_close(ms_ssim(pictures, truth), ssim(pictures, truth))
    assert ms_ssim(truth[:, :, :1, :1], truth[:, :, :1, :1]).tolist() == pytest.approx([1.0] * 3)


def test_gains_between_curves() -> None:
    def curve(ahead: float, rates: list[float], key: str = "bpp") -> list[dict[str, float]]:
        return [{key: rate, "psnr": 30 + 6 * np.log2(rate) + ahead} for rate in rates]

    many = [0.05, 0.1, 0.4, 1.6, 3.0]
    assert curve_gain(curve(1.5, many), curve(0, [0.1, 0.2, 0.8, 2.0])) == pytest.approx(1.5)
    assert curve_gain(curve(1.5, many, "bpp_bare"), curve(2, many, "bpp_bare"), "bpp_bare") == pytest.approx(-0.5)
    assert curve_gain(curve(1, [0.5, 2.0]), curve(0, [0.6, 3.0])) == pytest.approx(1.0)  # where both reach
    assert np.isnan(curve_gain(curve(1, many), curve(0, [1.2, 3.0])))
    worse = [*curve(0, many), {"bpp": 0.9, "psnr": 5.0}]  # a setting that costs more for less is left out
    assert curve_gain(curve(1, many), worse) == pytest.approx(1.0)


def test_columns_by_hand() -> None:
    truth = torch.full((2, 1, 16, 16), 100 / 255)
    pictures = truth.clone()
    pictures[1] += 2 / 255
    found = columns(pictures, truth, [32, 64], [16, 48], weight=0.01)
    assert found["bpp"].tolist() == [1.0, 2.0]
    assert found["bpp_bare"].tolist() == [0.5, 1.5]
    assert found["cost"] == pytest.approx([1.0, 2.0 + 0.01 * 4], abs=1e-6)
    assert found["psnr"] == pytest.approx([100, 20 * np.log10(255 / 2)], abs=1e-3)
