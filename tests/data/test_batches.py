# SPDX-License-Identifier: Apache-2.0
"""The store: same pixels in memory, mapped and streamed; safe against two processes, a kill, damage and a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import small_disk
from torch.nn import functional as F

from pellucid.data import batches, disk
from pellucid.data.batches import own_size_batches, resize, store
from pellucid.data.dataset import Pixels, Split
from pellucid.data.decoding import Files
from pellucid.data.scales import Scale
from pellucid.data.targets import Boxes, Label, Mask, Picture, Points
from pellucid.errors import DataError

EVERY = torch.arange(12)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    """Twelve files of three sizes, grey and coloured, and a cache of their own."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    paths = []
    for i in range(12):
        height, width = ((20, 30), (30, 20), (24, 24))[i % 3]
        array = rng.integers(0, 256, (height, width) if i % 2 else (height, width, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(array).save(paths[-1])
    return Split(Files(paths, [path.name for path in paths]), {"label": Label(EVERY % 4)})


def kept(folder: Path) -> list[str]:
    """What lies in the cache's stores, locks aside."""
    return sorted(file.name for file in (folder / "cache/stores").glob("*") if file.suffix != ".lock")


def test_memory_mapped_and_stream_hold_the_same(photos: Split, tmp_path: Path) -> None:
    memory = store(photos, (16, 16), 3)
    mapped = store(photos, (16, 16), 3, memory_share=0, fingerprint="a")
    stream = store(photos, (16, 16), 3, memory_share=0, disk_share=0, fingerprint="a")
    again = store(photos, (16, 16), 3, fingerprint="a")
    assert [one.kind for one in (memory, mapped, stream, again)] == ["memory", "mapped", "stream", "memory"]
    expected = memory.batch(EVERY).images
    assert expected.shape == (12, 3, 16, 16)
    assert expected.dtype == torch.uint8
    for one in (mapped, stream, again):
        assert torch.equal(one.batch(EVERY).images, expected)
        torch.testing.assert_close(one.statistics(), memory.statistics())
        chosen = one.batch(torch.tensor([7, 2]))
        assert torch.equal(chosen.images, expected[[7, 2]])
        assert chosen.targets["label"].index.tolist() == [3, 2]  # type: ignore[attr-defined]
        assert chosen.index.tolist() == [7, 2]
    for i in range(12):  # Pillow's own antialiased answer
        with Image.open(photos.images.sources[i]) as image:  # type: ignore[attr-defined]
            alone = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        assert np.abs(expected[i].permute(1, 2, 0).numpy().astype(int) - alone).max() <= 1


def test_the_second_opening_decodes_nothing(photos: Split, tmp_path: Path) -> None:
    first = store(photos, (16, 16), 1, fingerprint="b").batch(EVERY).images
    for path in photos.images.sources:  # type: ignore[attr-defined]
        path.unlink()
    assert torch.equal(store(photos, (16, 16), 1, fingerprint="b").batch(EVERY).images, first)
    for other in ({"size": (8, 8), "channels": 1}, {"size": (16, 16), "channels": 3}):
        with pytest.raises(DataError):  # the key holds size and channels
            store(photos, fingerprint="b", **other)  # type: ignore[arg-type]


def test_images_in_memory_of_the_right_size_are_not_copied() -> None:
    array = np.zeros((5, 1, 8, 8), np.uint8)
    one = store(Split(Pixels(array)), (8, 8), 1)
    array[3] = 9
    assert one.batch(torch.tensor([3])).images.max() == 9


def test_statistics_are_those_of_the_pixels() -> None:
    array = np.random.default_rng(1).integers(0, 256, (50, 3, 6, 7), dtype=np.uint8)
    mean, deviation = store(Split(Pixels(array)), (6, 7), 3).statistics()
    values = torch.from_numpy(array).double() / 255
    torch.testing.assert_close(mean, values.mean((0, 2, 3)).float())
    torch.testing.assert_close(deviation, values.std((0, 2, 3), unbiased=False).float())


@pytest.mark.parametrize("size", [(8, 8), (5, 12), (24, 24)])
def test_resizing_agrees_with_torch(size: tuple[int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 256, (3, 16, 20), dtype=np.uint8)
    peer = F.interpolate(torch.from_numpy(image)[None].float(), size, mode="bilinear", antialias=True)[0]
    assert np.abs(resize(image, size) - peer.numpy()).max() <= 1.01  # Pillow rounds after each axis


def test_cropping_takes_the_middle_and_repeats_edges() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(1, 1, 6, 8)
    taken = store(Split(Pixels(image)), (2, 4), 1, fit="middle").batch(torch.tensor([0])).images
    assert (taken[0, 0].numpy() == image[0, 0, 2:4, 2:6]).all()
    wide = store(Split(Pixels(image)), (6, 12), 1, fit="middle").batch(torch.tensor([0])).images
    assert (wide[0, 0].numpy() == np.pad(image[0, 0], ((0, 0), (2, 2)), mode="edge")).all()


def scene() -> Split:
    """One 6×8 image whose only bright pixel is told by every kind of target."""
    image = np.zeros((1, 1, 6, 8), np.uint8)
    image[0, 0, 2, 5] = 255
    mask = torch.from_numpy(image[:, 0] // 255)
    targets = {
        "points": Points(torch.tensor([[[5.5, 2.5]]])),
        "boxes": Boxes([torch.tensor([[5.0, 2.0, 6.0, 3.0]])], [torch.tensor([0])]),
        "mask": Mask(mask),
        "picture": Picture(torch.from_numpy(image)),
    }
    return Split(Pixels(image), targets)


@pytest.mark.parametrize(("fit", "size"), [("squash", (12, 24)), ("middle", (4, 6)), ("middle", (10, 12))])
def test_targets_move_with_their_images(fit: batches.Way, size: tuple[int, int]) -> None:
    found = store(scene(), size, 1, fit=fit).batch(torch.tensor([0]))
    bright = found.images[0, 0].float()
    rows, columns = (bright > 128).nonzero().unbind(1)
    centre = [columns.float().mean() + 0.5, rows.float().mean() + 0.5]
    points, boxes, mask, picture = (found.targets[kind] for kind in ("points", "boxes", "mask", "picture"))
    assert isinstance(points, Points) and isinstance(boxes, Boxes)
    assert isinstance(mask, Mask) and isinstance(picture, Picture)
    torch.testing.assert_close(points.xy[0, 0], torch.stack(centre))
    box = boxes.corners[0][0]
    torch.testing.assert_close((box[:2] + box[2:]) / 2, torch.stack(centre))
    inside_rows, inside_columns = (mask.classes[0] == 1).nonzero().unbind(1)
    torch.testing.assert_close(inside_columns.float().mean() + 0.5, centre[0])
    torch.testing.assert_close(inside_rows.float().mean() + 0.5, centre[1])
    assert picture.pixels.shape[2:] == size
    assert (picture.pixels[0, 0].argmax() == bright.argmax()).item() or fit == "squash"
    if fit == "middle" and size == (10, 12):
        assert (mask.classes[0] == 255).sum() == 10 * 12 - 6 * 8  # beyond the image nothing is known


def test_own_sizes_come_grouped_and_complete(photos: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(own_size_batches(photos, 3, 3))
    assert sorted(i for batch in found for i in batch.index.tolist()) == list(range(12))
    for batch in found:
        assert len(batch) <= 3
        for image, i in zip(batch.images, batch.index.tolist(), strict=True):
            assert (image.numpy() == photos.images.read(i, 3)).all()
    monkeypatch.setattr(batches, "_PIXELS", 1200)  # two images of 600 px
    assert max(len(batch) for batch in own_size_batches(photos, 3, 12)) == 2


# -- what goes wrong


def test_damaged_files_are_named_and_the_next_look_leaves_them_out(photos: Split, tmp_path: Path) -> None:
    for i in (3, 5):
        (tmp_path / f"{i}.png").write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        store(photos, (16, 16), 3, fingerprint="c")
    assert "'3.png'" in str(caught.value)
    assert "'5.png'" in str(caught.value)
    assert kept(tmp_path) == []
    assert list(Files(photos.images.sources).scanned.problems) == [3, 5]  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", [b"", b"junk", None], ids=["emptied", "overwritten", "truncated"])
def test_a_damaged_store_is_made_again(photos: Split, tmp_path: Path, damage: bytes | None) -> None:
    expected = store(photos, (16, 16), 3, fingerprint="d").batch(EVERY).images
    (file,) = (tmp_path / "cache/stores").glob("*.npy")
    file.write_bytes(file.read_bytes()[:500] if damage is None else damage)
    assert torch.equal(store(photos, (16, 16), 3, fingerprint="d").batch(EVERY).images, expected)


def test_a_cache_that_cannot_be_written_is_done_without(
    photos: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = store(photos, (16, 16), 3).batch(EVERY).images
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "a-file"))
    found = store(photos, (16, 16), 3, fingerprint="e")
    assert found.kind == "memory"
    assert torch.equal(found.batch(EVERY).images, expected)


def test_a_disk_that_is_full_is_done_without(photos: Split, tmp_path: Path) -> None:
    """The limit acts like a full disk: without room reserved before, writing to the mapped file would end the process."""
    expected = store(photos, (16, 16), 3).batch(EVERY).images
    (tmp_path / "cache/stores").mkdir(parents=True)
    with small_disk(5_000):
        found = store(photos, (16, 16), 3, fingerprint="full")  # 9,216 bytes
        streamed = store(photos, (16, 16), 3, fingerprint="full", memory_share=0)
    assert (found.kind, streamed.kind) == ("memory", "stream")
    assert torch.equal(found.batch(EVERY).images, expected)
    assert torch.equal(streamed.batch(EVERY).images, expected)
    assert kept(tmp_path) == []


def test_pixels_that_changed_on_the_disk_are_decoded_again(
    photos: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_BLOCK", 3 * 16 * 16 * 2)  # two images a block
    expected = store(photos, (16, 16), 3, fingerprint="g").batch(EVERY).images
    (file,) = (tmp_path / "cache/stores").glob("*.npy")
    content = bytearray(file.read_bytes())
    assert expected[4].any()
    begin = len(content) - (6 * 8 + 8 + 16) - 8 * 768  # the fifth image
    content[begin : begin + 768] = bytes(768)
    file.write_bytes(content)
    found = store(photos, (16, 16), 3, fingerprint="g")
    assert torch.equal(found.batch(torch.tensor([11, 4])).images, expected[[11, 4]])
    assert not file.exists(), "what is damaged is written again by the next training"
    assert torch.equal(found.batch(EVERY).images, expected)
    assert torch.equal(store(photos, (16, 16), 3, fingerprint="g").batch(EVERY).images, expected)


def test_stores_keep_sixteen_bits_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    deep = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8) * 16
    paths = []
    for i, image in enumerate(deep):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    scale = Scale(0, 4095)
    split = Split(Files(paths).scaled(scale))
    index = torch.arange(4)
    exact = np.rint(deep / 4095 * 65535)
    for options in ({}, {"fingerprint": "h"}, {"fingerprint": "h", "memory_share": 0}):
        found = store(split, (8, 8), 1, deep=True, **options)  # type: ignore[arg-type]
        assert found.batch(index).images.dtype == torch.uint16
        assert (found.batch(index).images[:, 0].numpy() == exact).all()
        mean, spread = found.statistics()
        assert float(mean) == pytest.approx((deep / 4095).mean(), abs=1e-5)
        assert float(spread) == pytest.approx((deep / 4095).std(), abs=1e-5)
        assert (
            store(split, (8, 8), 1, **options).batch(index).images[:, 0].numpy() == np.rint(deep / 4095 * 255)
        ).all()  # type: ignore[arg-type]
    (own,) = own_size_batches(split, 1, 8, deep=True)
    assert (own.images[:, 0].numpy() == exact).all()
    (colour,) = own_size_batches(split, 3, 8, deep=True)
    assert (colour.images.numpy() == exact[:, None]).all()
    assert store(split, (4, 4), 1, deep=True).batch(index).images.numpy().max() > 255
    of_array = Split(Pixels(deep[:, None], scale))
    assert (store(of_array, (8, 8), 1, deep=True).batch(index).images[:, 0].numpy() == exact).all()


JOB = """
import sys, time
import numpy as np
from pathlib import Path
from pellucid.data import batches
from pellucid.data.dataset import Split
from pellucid.data.decoding import Files
folder, slow = Path(sys.argv[1]), float(sys.argv[2])
fill = batches._fill
def watched(into, *more):
    print("filling", flush=True)
    fill(into, *more)
    time.sleep(slow)
batches._fill = watched
kept = batches.store(Split(Files(sorted(folder.glob("*.png")))), (16, 16), 3, memory_share=0, fingerprint="f")
print(kept.kind, int(np.asarray(kept._images).sum()), flush=True)
"""


def start(folder: Path, slow: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", JOB, str(folder), str(slow)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_two_processes_make_it_once_and_a_kill_leaves_no_part(photos: Split, tmp_path: Path) -> None:
    with start(tmp_path, 60) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "filling\n"
        assert [name.split(".")[1] for name in kept(tmp_path)] == [str(killed.pid)]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    with start(tmp_path, 0.5) as one, start(tmp_path, 0.5) as other:
        answers = [job.communicate()[0].split("\n") for job in (one, other)]
    assert sorted(len(answer) for answer in answers) == [2, 3], "one filled, the other waited"
    assert answers[0][-2] == answers[1][-2]
    total = int(store(photos, (16, 16), 3).batch(EVERY).images.sum())
    # by name 10.png comes before 2.png; the sum of all pixels is the same
    assert answers[0][-2] == f"mapped {total}"
    assert [Path(name).suffix for name in kept(tmp_path)] == [".npy"], "no part of the killed one is left"
