# SPDX-License-Identifier: Apache-2.0
"""Four ways up on the same data, seed and budget: mean IoU, parameters, memory, times, and how much of a checkerboard each leaves.

`encoder_decoder` is trained with each of its ways up on the same images for the same epochs with the same seed. Peak memory is what
one training step adds, measured in a process of its own; the times of steps and of answers are taken in turn. Checkerboard energy is
the share of a map's spectrum, without its mean, at the frequencies of a grid of 2 and of 4 px: that of the scores of test images, and
that of the gradient of their sum of squares with respect to the image. The true masks have some of it too, since they have edges.

    python benchmarks/upsampling.py [--epochs 12] [--limit 1000] [--rounds 5] [--picture docs/pictures/segment_upsampling.png]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from _timing import in_turn, report, timed
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import data
from pellucid.data.targets import Mask, target_of
from pellucid.inference import evaluate
from pellucid.models._building import build, parameter_count
from pellucid.tasks.segment.forms import palette

WAYS = ("unpool", "interpolate", "transpose", "dilated")
WIDTHS = (16, 32, 64, 96)
BATCH = 16
FINEST, COARSER = 2, 4  # px: the grids of the last doubling and of the last but one


def checkerboard(maps: Tensor) -> float:
    """The share of the power spectrum of maps (B, C, H, W), without their means, at the frequencies of grids of 2 and 4 px.

    >>> rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    >>> round(checkerboard(((rows + columns) % 2).float()[None, None]), 3)
    1.0
    >>> checkerboard(torch.randn(4, 4, 64, 64, generator=torch.Generator().manual_seed(0))) < 0.006
    True
    """
    height, width = (side - side % COARSER for side in maps.shape[2:])
    spectrum = torch.fft.fft2(maps[..., :height, :width].double()).abs().square()
    spectrum[..., 0, 0] = 0  # the mean
    grid = spectrum[..., :: height // COARSER, :: width // COARSER]  # frequencies that are multiples of 1/4 per px
    return float(grid.sum() / spectrum.sum())


def stepped(model: nn.Module, images: Tensor, truth: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model.train()(images), truth).backward()
    optimizer.step()


def made(way: str, classes: int, size: tuple[int, int]) -> Any:
    torch.manual_seed(0)
    options = {"upsample": way, "widths": WIDTHS}
    return build({"name": "encoder_decoder", "channels": 3, "outputs": classes, "size": list(size), "options": options})


def memory(way: str, classes: int, size: tuple[int, int], channel: Any) -> None:
    """Send the MB that a training step adds to what the process has before."""
    model = made(way, classes, size)
    optimizer = torch.optim.AdamW(model.parameters())
    images, truth = torch.rand(BATCH, 3, *size), torch.randint(classes, (BATCH, *size))
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = resident("VmRSS")
    stepped(model, images, truth, optimizer)
    channel.put(resident("VmHWM") - before)


def resident(name: str) -> float:
    """MB of this process's memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def peak(way: str, classes: int, size: tuple[int, int]) -> float:
    context = multiprocessing.get_context("spawn")  # a process that has not freed any memory yet
    channel = context.Queue()
    process = context.Process(target=memory, args=(way, classes, size, channel))
    process.start()
    found = float(channel.get(timeout=120))
    process.join()
    return found


def slopes(model: nn.Module, images: Tensor) -> Tensor:
    given = images.clone().requires_grad_()
    gradient: Tensor = torch.autograd.grad(model(given).square().sum(), given)[0]
    return gradient


def picture(file: Path, images: Tensor, truth: Tensor, runs: dict[str, Any], classes: tuple[str, ...]) -> None:
    """Two images with their masks and the four answers, and below a corner of a class's scores, enlarged."""
    from matplotlib.figure import Figure

    colours = palette(classes)
    drawing = Figure(figsize=(9.6, 5.6), dpi=150, layout="constrained")
    grid = drawing.subplots(3, 2 + len(runs))
    with torch.no_grad():
        scores = {way: run.model()(images[:2]).float() for way, run in runs.items()}
    for row in range(2):
        panels = {"image": images[row].permute(1, 2, 0).numpy(), "truth": colours[truth[row].numpy()]}
        panels |= {way: colours[own[row].argmax(0).numpy()] for way, own in scores.items()}
        for axes, (title, panel) in zip(grid[row], panels.items(), strict=True):
            axes.imshow(panel, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(title, fontsize=9)
    shown = truth[0][truth[0] > 0].flatten().mode().values.item()  # the class of most pixels but the background
    where = (truth[0] == shown).nonzero().float().mean(0).round().int().tolist()
    top, left = (min(max(at - 12, 0), side - 24) for at, side in zip(where, truth.shape[1:], strict=True))
    for axes in grid[2]:
        axes.set_axis_off()
    corner = slice(top, top + 24), slice(left, left + 24)
    grid[2, 0].text(0, 0.5, f"24×24 px of the\nscore of {classes[shown]},\nfirst image", fontsize=8, va="center")
    grid[2, 1].imshow(images[0].permute(1, 2, 0).numpy()[corner], interpolation="nearest")
    for axes, own in zip(grid[2, 2:], scores.values(), strict=True):
        axes.imshow(own[0, shown][corner].numpy(), cmap="gray", interpolation="nearest")
    drawing.savefig(file)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--limit", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--picture", type=Path, default=Path("docs") / "pictures" / "segment_upsampling.png")
    asked = options.parse_args()
    scenes = data.open("scenes")
    size, classes = scenes.size, scenes.mask_classes
    assert size is not None and classes is not None
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        runs = {}
        for way in WAYS:
            run = pellucid.train("segment", scenes, "encoder_decoder", Path(place) / way, upsample=way, widths=WIDTHS,
                                 epochs=asked.epochs, limit=asked.limit, batch_size=BATCH,
                                 dice=1.0, lr=0.006, flip=True, progress=False)  # fmt: skip
            found = evaluate(run, scenes, baselines=False)["model"]["mean_iou"]
            rows[way] = {"mean IoU": f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"}
            runs[way] = run
        test = scenes.splits["test"]
        stored = data.batches.store(test, size, 3).batch(torch.arange(64))
        images, truth = stored.images.float() / 255, target_of(stored.targets, "mask", Mask).classes
        models = {way: made(way, len(classes), size) for way in WAYS}
        optimizers = {way: torch.optim.AdamW(model.parameters()) for way, model in models.items()}
        steps = in_turn(
            {
                way: (
                    lambda way=way: timed(
                        lambda: stepped(models[way], images[:BATCH], truth[:BATCH].long(), optimizers[way])
                    )
                )
                for way in WAYS
            },
            asked.rounds,
        )

        def answered(way: str) -> None:
            with torch.no_grad():
                models[way].eval()(images[:BATCH])

        answers = in_turn({way: (lambda way=way: timed(lambda: answered(way))) for way in WAYS}, asked.rounds)
        for way, run in runs.items():
            model = run.model()
            with torch.no_grad():
                scores = model(images)
            rows[way] |= {
                "parameters": parameter_count(model),
                "memory of a step, MB": round(peak(way, len(classes), size)),
                "step, ms": round(1000 * statistics.median(steps[way])),
                "answer, ms": round(1000 * statistics.median(answers[way])),
                "checkerboard, %": round(100 * checkerboard(scores), 2),
                "of the gradient, %": round(100 * checkerboard(slopes(model, images)), 2),
            }
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        picture(asked.picture, images, truth, runs, classes)
    one_hot = F.one_hot(truth.long(), len(classes)).permute(0, 3, 1, 2).float()
    names = list(rows[WAYS[0]])
    print("| way up | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for way, row in rows.items():
        print(
            f"| `{way}` | "
            + " | ".join(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in names)
            + " |"
        )
    report("four ways up", data="scenes", n=asked.limit, epochs=asked.epochs, batch_size=BATCH, widths=WIDTHS, seed=0, size=size,
           test_images=len(test), checkerboard_of_the_true_masks=round(100 * checkerboard(one_hot), 2), rows=rows)  # fmt: skip


if __name__ == "__main__":
    main()
