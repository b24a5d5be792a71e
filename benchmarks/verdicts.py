# SPDX-License-Identifier: Apache-2.0
"""Verdicts on 40 trainings whose truth is known by construction: losses of every kind of failure, and games of two networks.

    python benchmarks/verdicts.py [--data NAME] [--case WORD] [--seed N] [--record FOLDER]

The truth of a row is planted: a one-unit network underfits, shuffled labels teach nothing, a generator that never saw seven of ten
classes has lost seven modes, one step of training leaves noise. The three datasets are `digits`, ten classes of `glyphs` scaled to
16×16 px, and eight shapes drawn here, 12×12 px. The thresholds of the rules were chosen on seeds 0 and 1; seed 2 was held out. `--record`
writes what the rules read; `tests/lenses/histories/` holds the 40 records of seed 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

import pellucid
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish
from pellucid.data.targets import Label
from pellucid.errors import TrainingError
from pellucid.run import Run
from pellucid.tasks import KnowsChance, MeasuresModel

SIDE = 12  # px, of the drawn shapes
SHAPES = ("disc", "ring", "square", "frame", "cross", "bar", "slash", "corner")


@dataclass(frozen=True)
class Case:
    """One training and the verdicts that are right for it."""

    name: str
    data: str
    truth: tuple[str, ...]
    task: str
    options: Mapping[str, Any]
    spoil: Callable[[Dataset, np.random.Generator], Dataset] = field(default=lambda data, rng: data)
    game: bool = False


# -- data


def shapes(count: int, rng: np.random.Generator) -> Split:
    """Shapes of random place, size, ink and thickness on a noisy ground."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    images, labels = np.zeros((count, 1, SIDE, SIDE), np.uint8), rng.integers(0, len(SHAPES), count)
    for place, kind in enumerate(labels):
        u, v = x - 6 - rng.uniform(-1, 1), y - 6 - rng.uniform(-1, 1)
        size, thick = rng.uniform(3.2, 4.6), rng.uniform(0.8, 1.4)
        far, near = np.hypot(u, v), np.maximum(abs(u), abs(v))
        distance = {
            "disc": far - size,
            "ring": abs(far - size) - thick,
            "square": near - size,
            "frame": abs(near - size) - thick,
            "cross": np.maximum(np.minimum(abs(u), abs(v)) - thick, near - size),
            "bar": np.maximum(abs(v) - thick, abs(u) - size),
            "slash": np.maximum(abs(u - v) / 1.4 - thick, far - size),
            "corner": np.maximum(np.minimum(u + size, size - v) - 2 * thick, near - size),
        }[SHAPES[kind]]
        ink = np.clip(0.5 - distance, 0, 1) * rng.uniform(0.7, 1.0)
        images[place, 0] = (255 * np.clip(ink + 0.03 * rng.normal(size=ink.shape), 0, 1)).round()
    return Split(Pixels(images), {"label": Label(torch.from_numpy(labels))}, [f"shapes/{i}" for i in range(count)])


def opened(name: str) -> Dataset:
    """One of the three datasets."""
    if name == "shapes":
        counts = {"train": 1500, "val": 400, "test": 400}
        return finish(
            name, {part: shapes(n, np.random.default_rng([9, n, len(part)])) for part, n in counts.items()}, SHAPES
        )
    data = pellucid.data.open(name)
    if name == "digits":
        return data
    splits = {}
    for part, split in data.splits.items():  # the ten digits of the glyphs, each pixel a mean of four
        rows = np.flatnonzero(labels_of(split) < 10)
        pixels = np.stack([split.images.read(int(i), 1) for i in rows])
        small = pixels.reshape(len(rows), 1, 16, 2, 16, 2).mean((3, 5)).round().astype(np.uint8)
        splits[part] = Split(
            Pixels(small), {"label": split.targets["label"][rows.tolist()]}, [split.names[i] for i in rows]
        )
    return finish("glyphs", splits, data.classes[:10])


def labels_of(split: Split) -> NDArray[np.int64]:
    label = split.targets["label"]
    assert isinstance(label, Label)
    return np.asarray(label.index.numpy())


def relabelled(share: float) -> Callable[[Dataset, np.random.Generator], Dataset]:
    """A share of the labels of training and validation images drawn again at random."""

    def spoil(data: Dataset, rng: np.random.Generator) -> Dataset:
        splits = dict(data.splits)
        for part in ("train", "val"):
            labels = labels_of(splits[part]).copy()
            chosen = rng.random(len(labels)) < share
            labels[chosen] = rng.integers(0, len(data.classes), int(chosen.sum()))
            splits[part] = Split(splits[part].images, {"label": Label(torch.from_numpy(labels))}, splits[part].names)
        return finish(data.name, splits, data.classes)

    return spoil


def only(*modes: int) -> Callable[[Dataset, np.random.Generator], Dataset]:
    """The images of some classes."""

    def spoil(data: Dataset, rng: np.random.Generator) -> Dataset:
        kept = {part: np.flatnonzero(np.isin(labels_of(split), modes)) for part, split in data.splits.items()}
        return data.replace(
            splits={part: Split(split.images.select(kept[part]), {}, ()) for part, split in data.splits.items()},
            classes=(),
        )

    return spoil


# -- the trainings


def cases() -> Iterator[Case]:
    """Twelve to fifteen of each dataset, forty in all."""
    for data in ("digits", "glyphs", "shapes"):
        wide = {"hidden": (256, 256)}

        def curve(
            name: str, *truth: str, spoil: Any = None, task: str = "classify", data: str = data, **options: Any
        ) -> Case:
            model = {"model": "mlp"} if task == "classify" else {"model": "vae"}
            return Case(name, data, truth, task, model | options, spoil or (lambda d, rng: d))

        if data == "digits":
            yield curve("few images, constant rate", "overfitting", limit=100, epochs=60, schedule="constant", **wide)
        yield curve("few images, one cycle", "overfitting", limit=120, epochs=40, batch_size=32, **wide)
        yield curve("one unit", "underfitting", hidden=(1,), activation="tanh", epochs=30, lr=0.02)
        high = {"optimizer": "momentum", "lr": 1.0} if data == "glyphs" else {"lr": 1.0}
        yield curve("rate too high", "learning rate too high", hidden=(64, 64), epochs=12, schedule="constant", **high)
        schedule = "constant" if data == "digits" else "one_cycle"
        yield curve("rate too low", "learning rate too low", hidden=(64,), epochs=12, lr=3e-6, schedule=schedule)
        schedule = "constant" if data == "shapes" else "one_cycle"
        yield curve(
            "too few epochs", "stopped too early", hidden=(64,), epochs=5, lr=1e-3, batch_size=64, schedule=schedule
        )
        if data != "shapes":
            wrong = relabelled(0.4)
            yield curve(
                "40 % of the labels wrong", "overfitting", limit=600, epochs=60, batch_size=64, spoil=wrong, **wide
            )
        yield curve("shuffled labels", "nothing learnt", hidden=(8,), epochs=10, spoil=relabelled(1.0))
        if data == "glyphs":
            yield curve("healthy", "healthy", hidden=(256,), epochs=80, dropout=0.2, noise=0.1, crop=1)
        else:
            yield curve("healthy", "healthy", hidden=(128,), epochs=30, dropout=0.3, noise=0.1)
        vae = {"latent": 10, "task": "generate", "ema": 0.0}
        if data == "digits":
            yield curve("VAE, healthy", "healthy", epochs=40, encoder=(128,), **vae)
        if data != "glyphs":
            yield curve(
                "VAE, latent loss × 300", "posterior collapse", epochs=60, beta=300.0, lr=5e-3, encoder=(128,), **vae
            )
        else:
            few = {"limit": 100, "batch_size": 32, "binarise": "static", "schedule": "constant", "lr": 2e-3}
            yield curve("VAE of 100 images", "overfitting", epochs=150, encoder=(500,), **few, **vae)

        def game(name: str, truth: str, *modes: int, data: str = data, **options: Any) -> Case:
            spoil = only(*modes) if modes else (lambda d, rng: d)
            return Case(name, data, (truth,), "generate", {"model": "gan", **options}, spoil, game=True)

        yield game("GAN, all modes", "healthy", epochs=60)
        yield game("GAN, all modes but one", "healthy", *[k for k in range(10) if k != 3], epochs=60)
        few = {"digits": (1,), "glyphs": (2, 7), "shapes": (0, 4, 6)}[data]
        yield game(
            f"GAN, {len(few)} mode{'s' * (len(few) > 1)}", "mode collapse", *few, epochs=60 * (3 if len(few) < 3 else 2)
        )
        yield game("GAN, hardly trained", "not learnt", epochs=1 if data != "glyphs" else 4, ema=0.0)


# -- verdicts


def judged(case: Case, seed: int, folder: Path, known: dict[str, Dataset]) -> tuple[str, str, dict[str, Any]]:
    """The verdict, its words, and what the rules read."""
    data = known.setdefault(case.data, opened(case.data))
    given = case.spoil(data, np.random.default_rng([seed, len(case.name)]))
    options = {**case.options}
    try:
        run = pellucid.train(
            case.task, given, options.pop("model"), folder, seed=seed, device="cpu", progress=False, **options
        )
    except TrainingError:  # not finite: what is left is judged
        run = Run(folder)
    if case.game:
        return of_game(run, data, seed)
    return of_curves(run)


def of_curves(run: Run) -> tuple[str, str, dict[str, Any]]:
    from pellucid.looking.looking import look

    words = look(run, "curves").words
    task, counts = run.task, list(run.info["data"]["counts"]["train"].values())
    chance = task.chance(counts) if isinstance(task, KnowsChance) else None
    return words.split(":")[0].lower(), words, {"chance": chance, "history": columns(run.history)}


def of_game(run: Run, data: Dataset, seed: int) -> tuple[str, str, dict[str, Any]]:
    """Measured on all classes, also those that the generator never saw."""
    from pellucid.tasks.generate import model_measures

    model, task = run.model().eval(), run.task
    assert isinstance(task, MeasuresModel)
    with mock.patch.object(model_measures, "diagnose", wraps=model_measures.diagnose) as diagnosis, torch.no_grad():
        task.measure_model(model, data["train"], data["test"], data.size, seed)
    samples = diagnosis.call_args.args[0]
    state, words = model_measures.diagnose(samples)
    return state, words, {"samples": {name: rounded(value) for name, value in vars(samples).items()}}


def rounded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [round(float(share), 4) for share in value]
    return round(value, 4) if isinstance(value, float) else value


def columns(history: Any) -> dict[str, list[Any]]:
    """What the rules read of the rows, with four significant digits."""
    names = [
        name for name in ("epoch", "split", "loss", "learning_rate", "latent") if any(name in row for row in history)
    ]

    def short(value: Any) -> Any:
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return {name: [short(row.get(name)) for row in history] for name in names}


def kind_of(case: Case) -> str:
    return "games" if case.game else "curves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="one of the three datasets")
    parser.add_argument("--case", default="", help="only cases with this word in their names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a folder for what the rules read")
    parser.add_argument("--kind", choices=("curves", "games"), help="only losses, or only games of two networks")
    parser.add_argument("--keep", type=Path, help="a folder in which the runs stay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    right = healthy = count = 0
    known: dict[str, Dataset] = {}
    for case in cases():
        if (
            args.data not in (None, case.data)
            or args.case not in case.name
            or (args.kind or kind_of(case)) != kind_of(case)
        ):
            continue
        name = f"{case.data}-{case.name}-{args.seed}".replace(" ", "_").replace(",", "").replace("%", "percent")
        with tempfile.TemporaryDirectory() as folder:
            kind, words, read = judged(case, args.seed, (args.keep or Path(folder)) / name, known)
        good = kind in case.truth
        count, right, healthy = count + 1, right + good, healthy + (kind == "healthy" and not good)
        print(
            f"{case.data:7} {case.name:26} {' or '.join(case.truth):24} {kind:24} {'right' if good else 'WRONG'}  {words}",
            flush=True,
        )
        if args.record:
            args.record.mkdir(parents=True, exist_ok=True)
            record = {"data": case.data, "case": case.name, "truth": case.truth, "seed": args.seed, **read}
            (args.record / f"{name}.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"{right} of {count} right; {healthy} wrongly healthy", file=sys.stderr)


if __name__ == "__main__":
    main()
