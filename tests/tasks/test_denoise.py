# SPDX-License-Identifier: Apache-2.0
"""denoise against scikit-image, closed forms, and what each classical filter must do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from pellucid.data import open as open_data
from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Batch, Images, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UnknownNameError, UsageError
from pellucid.tasks import _fidelity, summarise
from pellucid.tasks._tiling import tiled
from pellucid.tasks.denoise import Denoise, baselines


def pair(*shape: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    clean = torch.rand(shape, generator=rng)
    return (clean + noise * torch.randn(shape, generator=rng)).clamp(0, 1), clean


def smooth(count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Uint8 images (N, C, H, W) with edges and slopes, none like another, and not symmetric."""
    y, x = np.mgrid[:height, :width]
    images = [
        127 + 60 * np.sin(x / (5 + i) + i) + 50 * (y > height // 3 + i % 5) + 10 * c
        for i in range(count)
        for c in range(channels)
    ]
    return np.stack(images).reshape(count, channels, height, width).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (2, 3, 40, 33), (2, 1, 11, 12), (1, 1, 12, 1100)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_ssim_equals_scikit_image(shape: tuple[int, ...], noise: float) -> None:
    noisy, clean = pair(*shape, noise=noise)
    expected = [
        np.mean(
            [
                structural_similarity(
                    a.numpy(), b.numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
                )
                for a, b in zip(one, other, strict=True)
            ]
        )
        for one, other in zip(noisy, clean, strict=True)
    ]
    assert _fidelity.ssim(noisy, clean).numpy() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_flat_and_of_small_images() -> None:
    dark, light = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.8)
    luminance = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)  # variances are 0, so that the second factor is 1
    assert float(_fidelity.ssim(dark, light)) == pytest.approx(luminance, abs=1e-6)
    for side in (1, 2, 5, 8):
        noisy, clean = pair(3, 1, side, side)
        assert _fidelity.ssim(clean, clean) == pytest.approx(1)
        assert (_fidelity.ssim(noisy, clean) < 1).all()


def test_psnr_equals_scikit_image_and_is_100_for_equal_images() -> None:
    noisy, clean = pair(4, 3, 20, 20)
    expected = [peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1) for a, b in zip(noisy, clean, strict=True)]
    assert _fidelity.psnr(noisy, clean).numpy() == pytest.approx(expected, abs=1e-4)
    assert _fidelity.psnr(clean, clean).tolist() == [100.0] * 4


def test_tiles_of_the_identity_leave_any_picture_as_it_is() -> None:
    for size in [(8, 8), (5, 7), (3, 30), (31, 17), (64, 64)]:
        images = torch.rand(2, 3, *size)
        assert torch.allclose(tiled(nn.Identity(), images, (8, 8)), images, atol=1e-6)
        assert torch.allclose(tiled(nn.Identity(), images, (7, 5)), images, atol=1e-6)


class Brighter(nn.Module):
    """Refuses every size but its own, and gives each tile another brightness: the worst case for seams."""

    fixed_size = (8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2:] == self.fixed_size
        return images + torch.arange(len(images)).view(-1, 1, 1, 1) % 2 * 0.2


def test_tiles_blend_without_seams_and_single_tiles_are_as_the_model_gives_them() -> None:
    flat = torch.full((1, 1, 8, 40), 0.4)
    blended = Denoise().predict(Brighter(), flat).pixels
    assert blended.shape == flat.shape
    assert (
        blended.diff(dim=3).abs().max() <= 0.2 / 4 + 1e-6
    )  # neighbouring tiles share 4 px, over which one becomes the other
    one = torch.rand(3, 1, 8, 8) * 0.5
    assert torch.equal(Denoise().predict(Brighter(), one).pixels, Brighter()(one))


def test_convolutional_models_see_pictures_whole_and_answers_lie_in_range() -> None:
    seen: list[torch.Size] = []

    class Doubling(nn.Module):
        fixed_size = None

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.shape)
            return images * 4 - 1

    answer = Denoise().predict(Doubling(), torch.rand(1, 3, 50, 37)).pixels
    assert seen == [(1, 3, 50, 37)]
    assert (float(answer.min()), float(answer.max())) == (0.0, 1.0)


def test_noise_has_the_level_and_the_truth_stays_clean() -> None:
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    batch = Batch(images, {}, torch.arange(4))
    noisy, target = Denoise(level=0.2).prepare(batch, Draws.images(0, batch.index), training=False)
    assert isinstance(target, Picture)
    assert torch.equal(target.pixels, images.float() / 255)
    residue = noisy - target.pixels
    assert float(residue.std()) == pytest.approx(0.2, rel=0.02)
    assert float(residue.mean()) == pytest.approx(0, abs=0.005)  # clipping would pull it towards grey


def test_noise_in_evaluation_depends_on_the_position_alone() -> None:
    images = torch.randint(0, 256, (5, 1, 9, 9), dtype=torch.uint8)
    task = Denoise(noise="salt_and_pepper", level=0.4)

    def noisy(index: torch.Tensor) -> torch.Tensor:
        return task.prepare(Batch(images[index], {}, index), Draws.images(3, index), training=False)[0]

    everything = noisy(torch.arange(5))
    assert torch.equal(noisy(torch.tensor([4, 1])), everything[[4, 1]])


def test_flips_are_for_training_and_move_truth_and_noisy_together() -> None:
    images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    images[..., 0] = 255
    task = Denoise(level=0.0, augment=Augment(flip=True))
    batch = Batch(images, {}, torch.arange(64))
    noisy, target = task.prepare(batch, Draws.step(0, 0, slice(0, 64), 64), training=True)
    assert isinstance(target, Picture)
    assert torch.equal(noisy, target.pixels)
    flipped = int(target.pixels[:, 0, 0, -1].sum())
    assert 16 < flipped < 48
    tested, _ = task.prepare(batch, Draws.images(0, batch.index), training=False)
    assert torch.equal(tested, images.float() / 255)


@pytest.mark.parametrize(("error", "expected"), [("mse", 0.25), ("l1", 0.5)])
def test_loss_in_closed_form(error: str, expected: float) -> None:
    task = Denoise(error=error)  # type: ignore[arg-type]
    truth = Picture(torch.full((2, 1, 4, 4), 0.5))
    assert float(task.loss(nn.Identity(), torch.ones(2, 1, 4, 4), truth)["loss"]) == pytest.approx(expected)


def test_bad_options_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="noise='gausian' is not known; did you mean 'gaussian'"):
        Denoise(noise="gausian")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^level=1.5: must lie in \[0, 1\] for missing noise"):
        Denoise(noise="missing", level=1.5)
    with pytest.raises(UsageError, match=r"^error='mae': is not known; choose mse or l1"):
        Denoise(error="mae")  # type: ignore[arg-type]


def test_records_and_summary_tell_before_from_after() -> None:
    clean = torch.rand(6, 1, 24, 24) * 0.5 + 0.25
    noisy = clean + 0.2 * torch.randn(6, 1, 24, 24)
    better = clean + 0.25 * (noisy - clean)
    task = Denoise()
    table = task.score(noisy, Picture(better), Picture(clean))
    assert {name: len(column) for name, column in table.items()} == dict.fromkeys(
        ("psnr", "ssim", "mae", "psnr_before", "ssim_before", "noise"), 6
    )
    assert table["mae"] == pytest.approx((better - clean).abs().mean((1, 2, 3)).numpy())
    found = summarise(task.metrics(()), table)
    assert task.metrics(())[0].key in found
    assert found["psnr"].value == pytest.approx(table["psnr"].mean(), abs=1e-5)
    assert found["psnr"].value > found["psnr_before"].value + 10
    assert found["psnr"].low < found["psnr"].value < found["psnr"].high
    assert (found["psnr"].unit, found["mae"].better, found["psnr_before"].better) == ("dB", "lower", "neither")
    assert task.ranking(table).tolist() == table["psnr"].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_keeps_the_picture_upright_and_takes_noise_out(channels: int) -> None:
    clean = list(smooth(4, channels, 40, 48).astype(np.float32) / 255)  # not square: a transposed answer cannot pass
    rng = np.random.default_rng(0)
    noisy = [(image + 0.15 * rng.standard_normal(image.shape)).astype(np.float32) for image in clean]
    rules = baselines.filters(0.15)
    pca = baselines.PCA(np.stack(clean))
    rules[pca.name] = (pca, pca.strengths())

    def error(images: list[np.ndarray]) -> float:
        return float(np.mean([((a - b) ** 2).mean() for a, b in zip(images, clean, strict=True)]))

    for name, (rule, strengths) in rules.items():
        strength = baselines.tune(rule, strengths, noisy, clean)
        answer = baselines.run(rule, noisy, strength)
        assert [image.shape for image in answer] == [image.shape for image in clean], name
        assert error(answer) < 0.5 * error(noisy), name
        for other in strengths:
            assert error(answer) <= error(baselines.run(rule, noisy, other)) * 1.1, (name, strength, other)


def test_filters_equal_scikit_image_and_scipy() -> None:
    from scipy.ndimage import gaussian_filter, median_filter
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    image = (smooth(1, 1, 30, 44)[0] / 255 + 0.1 * np.random.default_rng(1).standard_normal((1, 30, 44))).astype(
        np.float32
    )
    known = {
        "median": (3, median_filter(image[0], 3)),
        "Gaussian blur": (0.8, gaussian_filter(image[0], 0.8)),
        "non-local means": (
            0.08,
            denoise_nl_means(image[0], h=0.08, sigma=0.1, patch_size=7, patch_distance=11, fast_mode=True),
        ),
        "total variation": (0.1, denoise_tv_chambolle(image[0], 0.1)),
    }
    rules = baselines.filters(0.1)
    assert rules.keys() == known.keys()
    for name, (strength, expected) in known.items():
        assert rules[name][0](image, strength)[0] == pytest.approx(expected, abs=1e-5), name


def test_pca_with_all_components_is_the_identity_and_equals_scikit_learn_with_few() -> None:
    from sklearn.decomposition import PCA

    clean = smooth(300, 1, 8, 8).astype(np.float32) / 255 + np.random.default_rng(0).random((300, 1, 8, 8), np.float32)
    pca = baselines.PCA(clean)
    assert pca.name == "PCA of whole images"
    assert pca(clean[0], 64) == pytest.approx(clean[0], abs=1e-4)
    judge = PCA(5).fit(clean.reshape(300, 64))
    expected = judge.inverse_transform(judge.transform(clean[:1].reshape(1, 64))).reshape(1, 8, 8)
    assert pca(clean[0], 5) == pytest.approx(expected, abs=1e-3)
    patches = baselines.PCA(smooth(5, 3, 50, 41).astype(np.float32) / 255)
    assert patches.name == "PCA of 8×8 patches"
    assert patches(clean[0].repeat(3, 0), 192).shape == (3, 8, 8)


def test_baselines_of_patches_stand_in_their_known_order() -> None:
    task = Denoise()
    data = open_data("patches")
    train, test = data.splits["train"], data.splits["test"].select(np.arange(0, 118, 4))
    found = task.baselines(train, test, None)
    mean = {name: summarise(task.metrics(()), table)["psnr"].value for name, table in found.items()}
    assert next(iter(mean)) == "do nothing"
    assert mean["do nothing"] == pytest.approx(-20 * np.log10(25 / 255), abs=1)  # clipping takes some of the noise away
    assert mean["do nothing"] < mean["median"] < mean["Gaussian blur"] < mean["non-local means"]
    assert mean["non-local means"] > mean["do nothing"] + 8
    assert mean["total variation"] > mean["Gaussian blur"]
    for table in found.values():  # the noise is the model's own
        assert table["psnr_before"] == pytest.approx(found["do nothing"]["psnr"], abs=1e-5)


class Sizes(Images):
    """Pictures of different sizes."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def sizes(self) -> np.ndarray:
        return np.array([part.shape[1:] for part in self.parts], np.int32).reshape(-1, 2)

    @property
    def channels(self) -> int:
        return 1

    @property
    def digests(self) -> list[bytes]:
        return [part.tobytes() for part in self.parts]

    def select(self, index: np.ndarray | list[int]) -> Sizes:
        return Sizes([self.parts[int(i)] for i in index])

    def read(self, index: int, channels: int) -> np.ndarray:
        return self.parts[index].repeat(channels, 0)


def test_baselines_of_mixed_sizes_stand_in_the_order_of_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.denoise.baselines._BASELINE_IMAGES", 5)
    shapes = [(20, 30), (24, 16), (20, 30), (16, 24), (24, 16), (20, 30), (18, 18), (24, 16), (20, 30)]
    test = Split(Sizes([smooth(i + 1, 1, *shape)[i] for i, shape in enumerate(shapes)]))
    train = Split(Pixels(smooth(20, 1, 24, 24)))
    task = Denoise(level=0.15)
    found = task.baselines(train, test, None, seed=4)
    assert all(name.endswith(" (on 5 test images)") for name in found)
    table = found["do nothing (on 5 test images)"]
    assert table["index"].tolist() == [0, 2, 4, 6, 8]
    for row, place in enumerate(table["index"].tolist()):  # the very noise that the model meets at that position
        index = torch.tensor([place])
        batch = Batch(torch.from_numpy(test.images.read(place, 1))[None], {}, index)
        noisy, target = task.prepare(batch, Draws.images(4, index), training=False)
        assert isinstance(target, Picture)
        assert table["psnr"][row] == pytest.approx(float(_fidelity.psnr(noisy.clamp(0, 1), target.pixels)), abs=1e-4)


def test_photographs_of_one_size_go_through_a_few_at_a_time() -> None:
    tall = np.zeros((1, 1000, 700), np.uint8)
    split = Split(Sizes([tall] * 7 + [tall[:, :30, :40]] * 5 + [np.zeros((1, 1500, 2000), np.uint8)]))
    batches = list(own_size_batches(split, 1, 4))
    assert sorted(i for batch in batches for i in batch.index.tolist()) == list(range(13))
    assert [len(batch) for batch in batches if batch.images.shape[2] == 1000] == [2, 2, 2, 1]  # 0.7 megapixels each
    assert [len(batch) for batch in batches if batch.images.shape[2] == 30] == [4, 1]
    assert [len(batch) for batch in batches if batch.images.shape[2] == 1500] == [1]


def test_without_training_images_only_doing_nothing_is_left() -> None:
    test = Split(Pixels(smooth(3, 1, 16, 16)))
    empty = Split(test.images.select([]))
    assert list(Denoise().baselines(empty, test, None)) == ["do nothing"]


@pytest.mark.parametrize(
    ("noise", "level"),
    [("speckle", 0.3), ("salt_and_pepper", 0.2), ("poisson", 0.05), ("missing", 0.2), ("gaussian", 0.0)],
)
def test_baselines_bear_every_noise(noise: str, level: float) -> None:
    task = Denoise(noise=noise, level=level)  # type: ignore[arg-type]
    pictures = smooth(16, 1, 24, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = task.baselines(Split(Pixels(pictures[:12])), Split(Pixels(pictures[12:])), None)
    for name, table in found.items():
        assert np.isfinite(table["psnr"]).all(), name
        assert np.isfinite(summarise(task.metrics(()), table)["ssim"].value), name
    if noise == "salt_and_pepper":  # what the median is for
        assert found["median"]["psnr"].mean() > found["do nothing"]["psnr"].mean() + 5


def test_row_has_an_eight_bit_picture() -> None:
    (row,) = Denoise().write(Picture(torch.tensor([0.0, 0.5, 1.0, 0.2]).view(1, 1, 2, 2)), ["a.png"], ())
    assert row["name"] == "a.png"
    assert row["picture"].dtype == np.uint8
    assert row["picture"].tolist() == [[[0, 128], [255, 51]]]


def test_figure_has_a_column_each_with_its_psnr() -> None:
    noisy, clean = pair(2, 3, 20, 24)
    figure = Denoise().draw(noisy, Picture((noisy + clean) / 2), Picture(clean), ["a.png", "b.png"], ())
    assert [axes.get_title() for axes in figure.axes[:3]] == ["noisy", "denoised", "truth"]
    values = [float(axes.get_xlabel().split()[0]) for axes in figure.axes[:2]]
    assert values[1] - values[0] == pytest.approx(20 * np.log10(2), abs=0.11)  # half the error, 6.02 dB
    assert len(Denoise().draw(noisy, Picture(clean), None, ["a.png", "b.png"], ()).axes) == 4
