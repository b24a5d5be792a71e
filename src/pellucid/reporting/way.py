# SPDX-License-Identifier: Apache-2.0
"""The way of one image through a model that shows its steps, or of one page to its text."""

from __future__ import annotations

import numpy as np

from pellucid import _catalog
from pellucid.errors import PellucidError
from pellucid.lenses import Evaluation, Labelled, Network, Pages
from pellucid.looking.subjects import Subject
from pellucid.models import Stepwise
from pellucid.reporting.pictures import png
from pellucid.run import Run

__all__ = ["way"]


def way(run: Run, subject: Subject) -> dict[str, str] | None:
    """A picture and words about the image whose answer is in the middle of all; None where the model shows no steps.

    Of a run that reads pages and was trained on letters it is a page made of its own test letters.
    """
    try:
        if subject.part(Pages) is not None:
            view = subject.look(_catalog.find("lenses", "page")())
            return {"title": "The way of one page", "words": view.words, "picture": png(view.figure)}
        network, evaluation = subject.part(Network), subject.part(Evaluation)
        if network is None or not isinstance(network.model, Stepwise):
            return None
        shown = _middle(run, evaluation)
        own = (
            subject.showing(list(network.images[:1]), list(network.names[:1]), list(network.truth[:1]))
            if shown is None
            else subject.showing(list(shown.images), list(shown.names), [shown.target])
        )
        view = own.look(_catalog.find("lenses", "proposals")())
    except PellucidError:  # the data or the weights are gone, which the page says elsewhere
        return None
    return {"title": "The way of one image", "words": view.words, "picture": png(view.figure)}


def _middle(run: Run, evaluation: Evaluation | None) -> Labelled | None:
    """The evaluated image in the middle of the task's ranking."""
    if evaluation is None or evaluation.images is None:
        return None
    order = np.argsort(run.task.ranking(evaluation.records), kind="stable")
    return next(iter(evaluation.images([int(order[len(order) // 2])])))
