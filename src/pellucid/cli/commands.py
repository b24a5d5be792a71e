# SPDX-License-Identifier: Apache-2.0
"""The commands: functions whose signatures are their command lines; each calls the Python function and prints the result.

Positional-only parameters are positional on the command line; `**given` takes the options of the task, model, training or
lens, which depend on the names that were given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pellucid.cli import listing, printing
from pellucid.cli.converting import converted
from pellucid.cli.named import newest, opened, runs_below
from pellucid.cli.predicting import predict
from pellucid.cli.serving import serve
from pellucid.errors import UnknownNameError
from pellucid.files import check_space, write_atomically
from pellucid.own.files import is_reference

if TYPE_CHECKING:
    from pellucid.worked.forms.command import work

__all__ = [
    "compare",
    "completion",
    "data",
    "evaluate",
    "export",
    "list",
    "look",
    "merge",
    "predict",
    "report",
    "serve",
    "sweep",
    "table",
    "train",
    "work",
]


def __getattr__(name: str) -> Any:
    if name != "work":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pellucid.worked.forms.command import work  # the only command of the worked half: the others do without it

    return work


def train(
    task: str = "classify",
    /,
    *,
    data: str | None = None,
    model: str | None = None,
    out: Path | None = None,
    **given: Any,
) -> int:
    """Train a model for a task; the same command resumes a run that was stopped or killed.

    Args:
        task: a task from `pellucid list tasks`, or FILE.py:NAME of your own.
        data: a dataset from `pellucid list data`, a path, or a hub id; by default the task's example.
        model: a model from `pellucid list models`, timm/NAME or torchvision/NAME with weights, or FILE.py:NAME of your own; by
            default the task's own; `--model NAME -h` shows the options of another one.
        out: the run's folder; by default one below runs/ with a name made of task, data and model.
    """
    from pellucid.training.training import train as verb

    run = verb(task, data, model, out, **given)
    printing.trained(run)
    return 130 if run.status == "stopped" else 0


def sweep(
    task: str = "classify",
    /,
    *,
    data: str | None = None,
    model: tuple[str, ...] = (),
    case: tuple[str, ...] = (),
    out: Path | None = None,
    baselines: bool = False,
    dry_run: bool = False,
    **given: Any,
) -> int:
    """Train every combination of lists of options for a task, and compare the runs; the same command resumes a sweep.

    Args:
        task: a task from `pellucid list tasks`.
        data: a dataset from `pellucid list data`, a path, or a hub id; by default the task's example.
        model: one or more models from `pellucid list models`; by default the task's own.
        case: a name with options that go together, e.g. "frozen: --frozen" "all layers: --lr 0.0003"; each is tried.
        out: the folder for the runs and their comparison; by default one below runs/.
        baselines: measure the task's baselines too, on the training images of each run.
        dry_run: list the runs with their commands, and train none.
    """
    from pellucid.cli.cases import read
    from pellucid.sweeping.sweeping import planned
    from pellucid.sweeping.sweeping import sweep as verb

    cases = read(case, task, model)
    if dry_run:
        printing.planned(planned(task, data, model, out, cases=cases, **given))
    else:
        printing.say(verb(task, data, model, out, cases=cases, baselines=baselines, **given))
    return 0


def evaluate(
    run: Path | None = None,
    /,
    *,
    data: str | None = None,
    split: Literal["train", "val", "test"] = "test",
    baselines: bool = True,
    batch_size: int = 256,
    which: Literal["best", "last"] = "best",
    threshold: float | Literal["chosen"] | None = None,
    model: str | None = None,
    task: str | None = None,
    views: tuple[str, ...] = (),
    level: float | None = None,
) -> int:
    """Measure a run's model and its trivial and classical baselines on images that it was not trained on.

    Args:
        run: the run's folder; by default the newest below runs/.
        data: other data than the run's own.
        split: the split to evaluate on.
        baselines: measure the baselines too.
        batch_size: images per batch; does not change the results.
        which: the weights: the best by validation, or the last.
        threshold: answer from this score on, or "chosen": by the threshold that the training chose; of two classes the
            positive one's probability.
        model: FILE.py:NAME of the class that the run was trained with, where it is your own.
        task: the same of its task.
        views: answer with the mean over views of each image: flip, turn, factors of the size such as 1.25; kept in views.json.
        level: of the noise that images get, where the task adds some; by default as in the training.
    """
    from pellucid.inference import evaluate as verb

    path = run or newest()
    settings: dict[str, Any] = {"split": split, "baselines": baselines, "batch_size": batch_size, "which": which}
    found = verb(opened(path, model, task), data, threshold=threshold, views=views, level=level, **settings)
    printing.measured(found)
    if data is None:
        print(f"written to {path / ('views.json' if 'views' in found else 'metrics.json')}")
    return 0


def look(
    what: Path,
    lens: str,
    images: tuple[str, ...] = (),
    /,
    *,
    out: Path | None = None,
    data: str | None = None,
    model: str | None = None,
    task: str | None = None,
    size: tuple[int, ...] = (),
    letter: tuple[int, ...] = (),
    memory: float | None = None,
    seed: int | None = None,
    verbose: bool = False,
    **given: Any,
) -> int:
    """Look into a model through a lens: a picture, the numbers behind it, and a summary in words.

    Args:
        what: a run's folder, a pretrained model such as torchvision/resnet18, efficientnet_lite0 or mobilenet_v2, or a task (untrained).
        lens: a lens from `pellucid list lenses`; `pellucid look RUN LENS -h` shows its options.
        images: image files, folders or globs; by default some of the run's own.
        out: the folder for the picture and the numbers; by default the run's figures/.
        data: other data than the run's own; for a task, its data.
        model: for a task, a model from `pellucid list models`; for a run, FILE.py:NAME of the class that it was trained with, where
            it is your own.
        task: FILE.py:NAME of a run's task, where it is your own.
        size: height and width in px (or one number for both) to which a pretrained model's images are resized.
        letter: of a run that reads pages, the numbers of the letters that are looked at on each page, in reading order.
        memory: memory limit in GiB (default: 2).
        seed: random seed; by default the run's.
        verbose: print more about the work.
    """
    from pellucid.looking.looking import look as verb

    of_run = (what / "run.json").exists() and (task is not None or (model is not None and is_reference(model)))
    thing = opened(what, model, task) if of_run else str(what)
    model = None if of_run else model
    asked: dict[str, Any] = {
        "data": data,
        "model": model,
        "size": size,
        "letter": letter,
        "memory": memory,
        "seed": seed,
    }
    view = verb(thing, lens, [*images], out, **asked, verbose=verbose, progress=True, **given)
    print(view.words)
    return 0


def compare(runs: tuple[Path, ...] = (), /, *, out: Path | None = None) -> int:
    """Compare runs: parameters, times, measures with intervals, and which differences are significant.

    Args:
        runs: two or more run folders; by default all below runs/.
        out: the folder for the table as CSV and the curves as PNG.
    """
    from pellucid.comparison.comparison import compare as verb

    printing.compared(verb([*runs] or runs_below(), out))
    return 0


def merge(
    run: Path,
    /,
    *,
    threshold: tuple[float, ...] = (0.9, 0.8, 0.7),
    epochs: int = 3,
    out: Path | None = None,
) -> int:
    """Merge similar filters of a run's model and fine-tune the smaller model, until no more filters merge.

    Args:
        run: the run's folder.
        threshold: one or more cosine similarities above which filters are merged, from -1 to 1.
        epochs: epochs of fine-tuning after each round of merging.
        out: the folder for the smaller models' runs, the table and the pictures; by default merged/ in the run's folder.
    """
    from pellucid.merging import merge as verb

    printing.merged(verb(run, threshold, out, epochs=epochs))
    return 0


def report(run: Path | None = None, /, *, maps: int = 8, model: str | None = None, task: str | None = None) -> int:
    """Write a self-contained HTML report on a run, which opens without a network.

    Args:
        run: the run's folder; by default the newest below runs/.
        maps: number of images with attribution maps, which take most of the time.
        model: FILE.py:NAME of the class that the run was trained with, where it is your own.
        task: the same of its task.
    """
    from pellucid.reporting.reporting import report as verb

    print(verb(opened(run or newest(), model, task), maps=maps))
    return 0


def export(
    run: Path | None = None,
    /,
    *,
    out: Path | None = None,
    formats: tuple[Literal["onnx", "torch"], ...] = ("onnx", "torch"),
    model: str | None = None,
    task: str | None = None,
    logits: bool = False,
    int8: bool = False,
) -> int:
    """Export a run's model to files that other programs load, each verified against the model.

    Args:
        run: the run's folder; by default the newest below runs/.
        out: the folder for the files; by default the run's own.
        formats: onnx for ONNX Runtime and others, torch for torch.export.load.
        model: FILE.py:NAME of the class that the run was trained with, where it is your own.
        task: the same of its task.
        logits: give the scores before the softmax, named logits, rather than the probabilities of the classes.
        int8: also write the ONNX file in whole numbers of 8 bits, smaller and faster, and measure it beside the full one.
    """
    from pellucid.exporting import export as verb
    from pellucid.exporting import facts

    for file in verb(opened(run or newest(), model, task), out, formats, logits, int8):
        found = facts(file)
        print(f"{file}   takes {found['input']}")
        if "int8" in found:
            from pellucid.quantising import Quantised

            printing.say(Quantised.of(found["int8"]).words)
    return 0


def data(
    what: str = "digits",
    /,
    *,
    range: tuple[float, ...] = (),
    convert: Literal["coco", "voc", "yolo"] | None = None,
    out: Path | None = None,
) -> int:
    """Inspect a dataset: counts per split and class, sizes, corrupt files, duplicates; and draw a contact sheet.

    Args:
        what: a dataset from `pellucid list data`, a path, or a hub id.
        range: the value that is black and the one that is white in images with more than 8 bits.
        convert: write the images and their annotations in this form instead, into the folder `--out`.
        out: the contact sheet's PNG file; by default contact-NAME.png in the current folder. With `--convert`, the new folder.
    """
    from pellucid.data import inspection, open

    if convert is not None:
        return converted(what, range, convert, out)
    if out is not None:
        check_space(out)  # inspecting may take minutes
    with printing.reading():
        dataset = open(what, range)
        inspected = inspection.inspect(dataset)
    printing.say(inspected)
    stem = Path(what).resolve().stem if Path(what).exists() else what.replace("/", "-")
    print(f"contact sheet: {inspection.contact_sheet(dataset, out or Path(f'contact-{stem}.png'))}")
    return 0


def table(
    what: str = "input 300x200x2; conv 64 of 3x3xU_1; max-pool 2; conv 256 of 3x3xU_2; max-pool 2; flatten; N_2; N_3; output 60*100",
    /,
    *,
    size: tuple[int, ...] = (),
    outputs: int | None = None,
    batch: int = 1,
    format: Literal["text", "markdown", "json"] | None = None,
    out: Path | None = None,
    answers: Path | None = None,
) -> int:
    """Tabulate a network's layers: sizes, parameters with their formulas, memory, operations, receptive field.

    Args:
        what: layers separated by semicolons, a file with a layer per line, or a model: torchvision/NAME or one from `pellucid list models`.
        size: channels, height and width in px of a model's images; by default its own.
        outputs: classes or channels of a model's output; by default its own, or 10.
        batch: images per batch, for the memory.
        format: format of the table; by default the one of the --out file's ending, else text.
        out: the file to write; by default the terminal.
        answers: a file of sizes and parameters to check, such as "2 = 149x99x64" or "conv 64 parameters = 1216", one per line.
    """
    from pellucid.bridging.tables import checked_layers, layer_table
    from pellucid.worked.forms.command import format_of, terminal_width

    if answers is not None:
        report = checked_layers(what, answers, size or None, outputs)
        print(report)
        return 2 if report.bad else 0
    chosen = format_of(format, out, {".md": "markdown", ".json": "json"}, plain="text")
    # a file has lines of any length
    written = layer_table(what, size or None, outputs, batch).write(chosen, terminal_width() if out is None else 0)
    if out is None:
        print(written)
        return 0
    with write_atomically(out) as draft:
        draft.write_text(written + "\n", encoding="utf-8")
    print(out)
    return 0


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the script that completes commands and options in a shell; its first line says where it goes.

    Args:
        shell: the shell.
    """
    from pellucid.cli.completing import SCRIPTS

    print(SCRIPTS[shell], end="")
    return 0


def list(kind: str | None = None, /) -> int:
    """List the tasks, models, lenses, builders of worksheets and datasets, each with a line about it.

    Args:
        kind: tasks, models, lenses, builders or data; by default all of them.
    """
    if kind is not None and kind not in listing.KINDS:
        raise UnknownNameError("kind", kind, listing.KINDS)
    printing.catalogue({name: listing.about(name) for name in ((kind,) if kind else listing.KINDS)})
    return 0
