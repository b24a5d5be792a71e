# SPDX-License-Identifier: Apache-2.0
"""The task compress: files and back, refusals, what is measured, and what is learned."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from pellucid import data
from pellucid._options import build
from pellucid.cli.cli import main
from pellucid.data.dataset import Batch, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.splitting import finish
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.inference import evaluate, predict
from pellucid.models.dense_codec import DenseCodec
from pellucid.models.factorized import Factorized
from pellucid.models.hyperprior import Hyperprior
from pellucid.run import Run
from pellucid.tasks.compress import Compress
from pellucid.tasks.compress.answers import answer
from pellucid.tasks.compress.codecs import writes_avif
from pellucid.tasks.compress.coding import decoded, encoded, nearest
from pellucid.tasks.compress.container import Container, fingerprint
from pellucid.training.training import train

BOTH = pytest.mark.parametrize("kind", [Factorized, Hyperprior])


def smooth(n: int, channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pictures with edges and gradients, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    phase = rng.uniform(0, 6, (n, channels, 2, 1, 1))
    wave = np.sin(3 * x + phase[:, :, 0]) + np.cos(4 * y + phase[:, :, 1]) + ((x + y + phase[:, :, 0]) % 1 > 0.5)
    return np.clip(wave * 45 + 110 + rng.normal(0, 2, wave.shape), 0, 255).astype(np.uint8)


def made(channels: int = 1, kind: Any = Factorized, **options: Any) -> Any:
    """An untrained codec with counted tables: it starts as a block transform, so that its pictures are good."""
    torch.manual_seed(0)
    model = kind(channels, channels, (64, 64), width=8, blocks=0, **options).eval()
    images = torch.from_numpy(smooth(24, channels, 64, 64))
    model.normalize.fit(images.float().div(255).mean((0, 2, 3)), images.float().div(255).std((0, 2, 3)))
    task = Compress()
    batch = Batch(images, {}, torch.arange(24))
    with torch.no_grad():
        task.update_buffers(model, lambda: iter([batch]), 1, 1, 0)
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """A trained run for grey and one for colour images."""
    found = {}
    for channels in (1, 3):
        parts = {"train": 64, "val": 8, "test": 6}
        splits = {p: Split(Pixels(smooth(n, channels, 64, 64, seed=k))) for k, (p, n) in enumerate(parts.items())}
        path = tmp_path_factory.mktemp("runs") / f"run{channels}"
        found[channels] = train(
            "compress", finish(f"waves{channels}", splits), None, path, epochs=2, batch_size=16, width=8, blocks=0,
            qualities=3, device="cpu", progress=False,
        )  # fmt: skip
    return found


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (7, 9), (33, 100)])
def test_a_file_gives_the_picture_that_was_measured(channels: int, size: tuple[int, int], kind: Any) -> None:
    model = made(channels, kind)
    images = torch.from_numpy(smooth(2, channels, *size)).float() / 255
    for quality in (0, 7):
        coded = encoded(model, images, quality)
        for file, pixels in zip(coded.files, coded.pixels, strict=True):
            back = decoded(model, file, "a.plc")
            assert back.shape == (channels, *size)
            assert np.abs(back.astype(int) - (pixels * 255).round().numpy()).max() <= 1  # a level, by float rounding


@BOTH
def test_a_higher_quality_costs_more_and_is_nearer(kind: Any) -> None:
    model = made(kind=kind)
    images = torch.from_numpy(smooth(4, 1, 64, 96, seed=9)).float() / 255
    sizes, errors = [], []
    for quality in range(8):
        coded = encoded(model, images, quality)
        sizes.append(sum(map(len, coded.files)))
        errors.append(float((coded.pixels - images).square().mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


@BOTH
def test_every_flipped_bit_of_every_byte_is_refused(kind: Any) -> None:
    model = made(kind=kind)
    (file,) = encoded(model, torch.from_numpy(smooth(1, 1, 24, 24)).float() / 255, 3).files
    decoded(model, file, "whole.plc")
    for place in range(len(file)):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            changed = bytearray(file)
            changed[place] ^= flip
            with pytest.raises(UsageError, match=r"^images='x.plc': is (damaged|not a .plc file)"):
                decoded(model, bytes(changed), "x.plc")


@BOTH
def test_every_cut_and_every_lengthened_file_is_refused(kind: Any) -> None:
    model = made(kind=kind)
    (file,) = encoded(model, torch.from_numpy(smooth(1, 1, 16, 16)).float() / 255, 3).files
    for length in range(len(file)):
        with pytest.raises(UsageError, match=r"is (damaged|not a .plc file)"):
            decoded(model, file[:length], "x.plc")
    with pytest.raises(UsageError, match="is damaged"):
        decoded(model, file + b"\0", "x.plc")


def signed(body: bytes) -> bytes:
    """With a checksum that fits: what a careful forger, or another machine, would write."""
    return body + struct.pack("<I", zlib.crc32(body))


@BOTH
def test_with_a_checksum_that_fits_the_symbols_are_still_checked(kind: Any) -> None:
    model = made(kind=kind)
    (file,) = encoded(model, torch.from_numpy(smooth(1, 1, 24, 24)).float() / 255, 3).files
    whole, same = decoded(model, file, "x.plc"), 0
    for place in range(13, len(file) - 4):  # an entropy decoder that goes wrong finds other symbols
        changed = bytearray(file[:-4])
        changed[place] ^= 0x40
        try:
            assert (decoded(model, signed(bytes(changed)), "x.plc") == whole).all()
            same += 1
        except UsageError:
            with pytest.raises(UsageError, match="symbols do not decode as they were encoded"):
                decoded(model, signed(bytes(changed)), "x.plc")
    assert same <= 3  # the coder's last bits tell nothing
    body = bytearray(file[:-4])
    body[8] = 2 * 100
    with pytest.raises(UsageError, match="do not decode"):  # a quality that there is not
        decoded(model, signed(bytes(body)), "x.plc")
    body = bytearray(file[:-4])
    body[3] = 2
    with pytest.raises(
        UsageError, match="has version 2 of the format, and this program reads version 1; update the program"
    ):
        decoded(model, signed(bytes(body)), "x.plc")
    for size in ((0, 8), (2**27, 2**27), (20_000, 20_000), (9_900, 10_000)):  # none is allocated
        forged = Container(fingerprint(model), 3, True, size, 0, b"abc").written()
        with pytest.raises(UsageError, match="is damaged"):
            decoded(model, forged, "x.plc")


def test_tables_that_differ_by_one_count_do_not_decode_to_garbage() -> None:
    """Another machine's arithmetic would change a table: the fingerprint tells, and behind it the symbols' checksum."""
    model = made()
    (file,) = encoded(model, torch.from_numpy(smooth(1, 1, 48, 48)).float() / 255, 5).files
    busiest = model.prior.frequencies[5, 0, 0]
    most = int(busiest.argmax())
    busiest[most] -= 1
    busiest[(most + 1) % len(busiest)] += 1
    with pytest.raises(UsageError, match="written by another model"):
        decoded(model, file, "x.plc")
    as_own = bytearray(file[:-4])
    as_own[4:8] = fingerprint(model)
    busiest[most] -= 200_000
    busiest[(most + 5) % len(busiest)] += 200_000
    as_own[4:8] = fingerprint(model)
    with pytest.raises(UsageError, match="do not decode"):
        decoded(model, signed(bytes(as_own)), "x.plc")


def test_fingerprints_tell_models_apart_and_survive_saving(runs: dict[int, Run]) -> None:
    run = runs[1]
    assert fingerprint(run.model()) == fingerprint(Run(run.path).model())
    assert fingerprint(run.model()) == fingerprint(run.model().to(memory_format=torch.channels_last))
    assert fingerprint(run.model()) != fingerprint(runs[3].model())
    other = run.model()
    with torch.no_grad():
        other.encoder[0].bias[0] += 1e-6
    assert fingerprint(run.model()) != fingerprint(other)


def test_files_of_every_kind_through_predict(runs: dict[int, Run], tmp_path: Path) -> None:
    grey, colour = smooth(1, 1, 45, 70)[0], smooth(1, 3, 50, 40)[0]
    Image.fromarray(grey[0]).save(tmp_path / "grey.png")
    Image.fromarray(colour.transpose(1, 2, 0)).save(tmp_path / "colour.png")
    for channels, names in ((1, ["grey"]), (3, ["grey", "colour"])):
        for name in names:
            plc, png = tmp_path / f"{name}{channels}.plc", tmp_path / f"{name}{channels}.png"
            (row,) = predict(runs[channels], tmp_path / f"{name}.png", plc, quality=3)
            assert plc.stat().st_size == row["bytes"]
            assert set(row) == {"name", "bytes", "bpp", "psnr", "file"}
            predict(runs[channels], plc, png)
            with Image.open(tmp_path / f"{name}.png") as truth, Image.open(png) as back:
                assert truth.mode == back.mode
                assert truth.size == back.size
                error = (np.asarray(truth, float) - np.asarray(back, float)) ** 2
                # the row rounds to two places
                assert -10 * np.log10(error.mean() / 255**2) == pytest.approx(row["psnr"], abs=0.0051)
            assert row["bpp"] == pytest.approx(8 * row["bytes"] / truth.size[0] / truth.size[1], abs=1e-4)


def test_the_psnr_of_a_grey_picture_is_that_of_the_plane_that_is_written() -> None:
    """A colour model that reddens: the file of a grey picture keeps one plane of three, and its row measures that one."""
    model, picture = made(3), smooth(1, 1, 40, 56)[0]  # (1, H, W)
    with torch.no_grad():
        model.decoder[-1].bias[0] += 0.3  # type: ignore[operator, index, union-attr]
    (row,) = answer(model, [picture[0]], quality=2)
    back = decoded(model, row["content"], "a.plc")
    assert back.shape == picture.shape
    error = ((back.astype(float) - picture) ** 2).mean() / 255**2
    assert row["psnr"] == pytest.approx(-10 * np.log10(error), abs=0.0051)  # two places
    coded = encoded(model, torch.from_numpy(picture).float().expand(3, -1, -1)[None] / 255, 2, grey=True)
    planes = ((coded.pixels[0] * 255 - torch.from_numpy(picture)) ** 2).mean((1, 2)) / 255**2
    assert abs(-10 * np.log10(float(planes.mean())) - row["psnr"]) > 0.5, "with equal planes this shows nothing"


def test_folders_floats_and_mixed_lists(runs: dict[int, Run], tmp_path: Path) -> None:
    for k, picture in enumerate(smooth(3, 1, 40, 40)):
        Image.fromarray(picture[0]).save(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    rows = predict(runs[1], tmp_path, tmp_path / "out")
    assert [("file" in row, "error" in row) for row in rows] == [(True, False)] * 3 + [(False, True)]
    assert len(list((tmp_path / "out").glob("*.plc"))) == 3
    back = predict(runs[1], str(tmp_path / "out" / "*.plc"), tmp_path / "back")
    assert [Path(row["picture"]).name for row in back] == ["0.png", "1.png", "2.png"]
    floats = smooth(1, 1, 40, 40)[0, 0] / 255
    assert predict(runs[1], floats)[0]["content"] == predict(runs[1], (floats * 255).astype(np.uint8))[0]["content"]


def test_what_a_file_cannot_hold_is_refused(
    runs: dict[int, Run], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save("alpha.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save("deep.png")
    Image.fromarray(smooth(1, 3, 16, 16)[0].transpose(1, 2, 0)).save("colour.png")
    Image.fromarray(smooth(1, 1, 16, 16)[0, 0]).save("grey.png")
    main(["predict", str(runs[1].path), "grey.png", "--out", "grey.plc"])
    capsys.readouterr()
    run = str(runs[1].path)
    said = refused(["predict", run, "alpha.png", "--out", "a.plc"], capsys)
    assert said == "images='alpha.png': has transparency, which a .plc file cannot store; put it on a background first."
    said = refused(["predict", run, "deep.png", "--out", "a.plc"], capsys)
    assert (
        said
        == "images='deep.png': has more than 8 bits per channel, and a .plc file stores 8; convert it to 8 bits first."
    )
    said = refused(["predict", run, "colour.png", "--out", "a.plc"], capsys)
    assert said.startswith("images='colour.png': has colour, and this run encodes grey images;")
    said = refused(["predict", str(runs[3].path), "grey.plc", "--out", "a.png"], capsys)
    assert "was written by another model (fingerprint" in said
    said = refused(["predict", run, "grey.plc", "--quality", "4", "--out", "a.png"], capsys)
    assert said == "quality=4: this run has the qualities 1 to 3; give one of them."
    said = refused(["predict", run, "none.plc", "--out", "a.png"], capsys)
    assert said == "images='none.plc': is not a file and matches nothing; check the spelling."
    content = bytearray(Path("grey.plc").read_bytes())
    content[20] ^= 4
    Path("bad.plc").write_bytes(content)
    assert "bad.plc': is damaged" in refused(["predict", run, "bad.plc", "--out", "a.png"], capsys)
    rows = predict(run, ["bad.plc", "grey.plc", "alpha.png"])
    assert ["error" in row for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (DenseCodec, {"encoder": (8, 300)}, "encoder=(8, 300): its code is larger than the image's 256 numbers"),
        (DenseCodec, {"encoder": (0,)}, "encoder=0: must be whole numbers of at least 1"),
        (Factorized, {"code": 0}, "code=0: must be a whole number of at least 1"),
        (Hyperprior, {"side": 0}, "side=0: must be a whole number of at least 1; give e.g. --side 12"),
        (Hyperprior, {"hidden": 1.5}, "hidden=1.5: must be a whole number of at least 1"),
        (Factorized, {"lowest": 0.2}, "lowest=0.2: λ must be above 0 and at most highest=0.15"),
        (Factorized, {"qualities": 0}, "qualities=0: must lie between 1 and 64"),
    ],
)
def test_models_refuse_what_cannot_be(kind: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as fault:
        kind(1, 1, (16, 16), **options)
    assert str(fault.value).startswith(said)


def test_options_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"^weight=0: must be above 0"):
        Compress(weight=0)
    with pytest.raises(UsageError, match=r"^rotate=500: must lie in"):
        build(Compress, {"rotate": 500})


def test_what_is_learned_is_the_moved_picture_itself() -> None:
    images = torch.from_numpy(smooth(6, 3, 20, 20))
    batch = Batch(images, {}, torch.arange(6))
    task = Compress(augment=Augment(flip=True, turn=True, rotate=10, scale=0.2, crop=2, exposure=0.5))
    moved, target = task.prepare(batch, Draws.step(0, 0, slice(0, 6), 6), training=True)
    assert isinstance(target, Picture)
    assert target.pixels is moved
    assert moved.shape == images.shape
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert not torch.equal(moved, images / 255)
    same, _ = task.prepare(batch, Draws.images(0, batch.index), training=False)
    torch.testing.assert_close(same, images / 255)


def test_training_starts_as_the_cosine_transform() -> None:
    from scipy.fft import dctn

    model = Factorized(1, 1, (8, 8))
    model.normalize.mean.fill_(0.4)
    image = smooth(1, 1, 8, 8)[0, 0] / 255
    codes = model.down(torch.from_numpy(image).float()[None, None] - 0.4)[0, :, 0, 0]
    waves = dctn(image - 0.4, norm="ortho") * 255 / 16
    order = np.add.outer(np.arange(8), np.arange(8)).ravel().argsort(kind="stable")
    assert codes.detach().numpy() == pytest.approx(waves.ravel()[order], abs=1e-4)
    colour = Factorized(3, 3, (8, 8))
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(colour.up(colour.down(images)), images, rtol=1e-4, atol=1e-4)  # orthogonal


def test_the_loss_is_rate_and_distortion() -> None:
    model, task = made(), Compress(weight=0.012)
    images = torch.from_numpy(smooth(4, 1, 64, 64)).float() / 255
    losses = task.loss(model, images, Picture(images))
    quality = torch.full((4,), nearest(model, 0.012))
    codes = model.analyse(images)
    back = model.synthesise(model.prior.restored(model.prior.symbols(codes, quality), quality), (64, 64))
    rate = model.prior.bits(model.prior.symbols(codes, quality) * model.prior.step(quality), quality) / 64**2
    squares = ((back - images) * 255).square().mean((1, 2, 3))
    weight = float(model.prior.weights[quality[0]])
    expected = ((rate + weight * squares) * (0.012 / weight) ** 0.5).mean()
    torch.testing.assert_close(losses["loss"], expected)
    assert nearest(model, 1e-9) == 0
    assert nearest(model, 1e9) == 7


def test_dense_codes_of_larger_images_are_those_of_their_tiles() -> None:
    torch.manual_seed(1)
    model = DenseCodec(3, 3, (8, 12), encoder=(20, 6)).eval()
    images = torch.rand(2, 3, 16, 24)
    codes = model.analyse(images)
    assert codes.shape == (2, 6, 2, 2)
    torch.testing.assert_close(codes[:, :, 1, 0], model.analyse(images[:, :, 8:, :12])[:, :, 0, 0])
    whole = model.synthesise(codes, (16, 24))
    torch.testing.assert_close(whole[:, :, :8, 12:], model.synthesise(codes[:, :, :1, 1:], (8, 12)))


def test_evaluation_measures_true_files(tmp_path: Path) -> None:
    whole = data.open("patches")
    dataset = whole.replace(splits={part: split.select(range(12)) for part, split in whole.splits.items()})
    run = train("compress", dataset, None, tmp_path / "run", epochs=1, batch_size=4, width=8, blocks=0, progress=False)
    found = evaluate(run, dataset)
    split = dataset.splits["test"]
    rows = predict(run, [split.images.read(i, 1)[0] for i in range(len(split))])
    assert found["model"]["bpp"]["value"] == pytest.approx(np.mean([8 * row["bytes"] / 64**2 for row in rows]))
    assert found["model"]["psnr"]["value"] == pytest.approx(np.mean([row["psnr"] for row in rows]), abs=0.01)
    assert found["model"]["bpp"]["value"] > found["model"]["bpp_bare"]["value"]
    codecs = {row["codec"] for row in found["details"]["rates"]}
    avif = {"AVIF"} if writes_avif() else set()
    assert codecs == {"this model", "PCA, 64 components", "JPEG", "WebP", "PNG"} | avif
    gains = {key for key in found["model"] if key.startswith("gain_over")}
    assert gains == {"gain_over_jpeg", "gain_over_jpeg_bare"} | (
        {"gain_over_avif", "gain_over_avif_bare"} if avif else set()
    )
    assert [picture["name"] for picture in found["pictures"]] == ["rates"]
    assert set(found["baselines"]) == {"JPEG", "WebP", "PNG", "PCA of 8×8 blocks, 64 components"} | avif
    cost = {name: measures["cost"]["value"] for name, measures in found["baselines"].items()}
    assert cost["JPEG"] < cost["PNG"]  # with loss is cheaper at this λ


@pytest.mark.slow
def test_learned_is_ahead_of_jpeg_on_photographs_it_never_saw(tmp_path: Path) -> None:
    run = train("compress", "patches", None, tmp_path / "run", epochs=3, flip=True, turn=True, progress=False)
    found = evaluate(run)["model"]
    assert found["gain_over_jpeg"]["value"] > 1.0
    assert found["gain_over_jpeg_bare"]["value"] > 0.3


@pytest.mark.slow
def test_the_dense_code_is_ahead_of_as_many_principal_components(tmp_path: Path) -> None:
    run = train(
        "compress", data.open("glyphs"), "dense_codec", tmp_path / "run", encoder=(512, 256, 32), weight=0.03,
        activation="leaky_relu", rotate=8.0, scale=0.1, shift=2, epochs=30, progress=False,
    )  # fmt: skip
    found = evaluate(run)
    # on some of the test images; the model on the same
    pca = next(row for name, row in found["baselines"].items() if name.startswith("PCA of whole images, 32 components"))
    assert found["on_same_images"]["model"]["psnr"]["value"] > pca["psnr"]["value"] + 1
