# SPDX-License-Identifier: Apache-2.0
"""Pellucid trains, measures and explains neural networks on images, and shows its work.

    train(task, data, model, out, **options)  train a model; the run's folder holds everything about it
    evaluate(run)                             measure the model and its baselines
    predict(run, images)                      predict for new images
    look(run, lens, images)                   look into the model through a lens
    compare(runs), sweep(task, …)             compare several runs
    report(run)                               write a self-contained HTML report
    merge(run, threshold)                     merge similar filters, and fine-tune the smaller models
    export(run)                               write ONNX and torch.export files
    load(path)                                a `Run` from its folder

>>> import pellucid
>>> sorted(pellucid.__all__)
['Run', 'compare', 'evaluate', 'export', 'load', 'look', 'merge', 'predict', 'report', 'sweep', 'train']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pellucid._version import __version__ as __version__

if TYPE_CHECKING:
    from pellucid.comparison.comparison import compare
    from pellucid.exporting import export
    from pellucid.inference import evaluate, predict
    from pellucid.looking.looking import look
    from pellucid.merging import merge
    from pellucid.reporting.reporting import report
    from pellucid.run import Run, load
    from pellucid.sweeping.sweeping import sweep
    from pellucid.training.training import train

__all__ = ["Run", "compare", "evaluate", "export", "load", "look", "merge", "predict", "report", "sweep", "train"]

# name -> module: importing torch takes seconds, so that modules are imported on first access (PEP 562)
_HOME = {
    "Run": "run",
    "compare": "comparison.comparison",
    "evaluate": "inference",
    "export": "exporting",
    "load": "run",
    "look": "looking.looking",
    "merge": "merging",
    "predict": "inference",
    "report": "reporting.reporting",
    "sweep": "sweeping.sweeping",
    "train": "training.training",
}


_ROOMS = ("data", "lenses", "models", "tasks")


def __getattr__(name: str) -> Any:
    if name not in _HOME and name not in _ROOMS:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"pellucid.{_HOME.get(name, name)}")
    except ModuleNotFoundError as fault:
        from pellucid._halves import missing

        if (sentence := missing(fault, f"pellucid.{name}")) is None:
            raise
        raise sentence from fault
    if name in _ROOMS:
        return module
    value = getattr(module, name)
    globals()[name] = value  # the next access is a plain attribute
    return value


def __dir__() -> list[str]:
    from importlib.util import find_spec

    # help() and completion get every name that is listed: without the packages for images, each would raise
    listed = [*__all__, *_ROOMS] if find_spec("torch") else []
    return [*listed, "__version__"]
