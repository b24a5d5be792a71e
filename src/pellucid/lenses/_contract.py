# SPDX-License-Identifier: Apache-2.0
"""What a lens is: a way of looking into a model or a run.

A lens is one file, `lenses/NAME.py` (or `lenses/NAME/NAME.py`), with one frozen dataclass:

    class Brightness(Lens[Network]):
        '''How bright each image is, and what the model answers.'''

        darkest: float = 0.0
        '''images below this mean are left out'''

        def look(self, network: Network) -> View: ...

- The brackets name the parts that it reads, out of six (`_parts.py`, `_pages.py`): `Network`, `Splits`, `Training`, `Evaluation`,
  `TrainingLog` and `Pages`. `look` takes them in the same order. An optional part is `Splits | None`, with the default None. Only
  these parts are made, and a missing one is refused in one place for all lenses: "lens='NAME': needs …".
- Its fields are its options on the command line and in Python; the string below a field is the help. It checks them in
  `__post_init__` and raises `UsageError`.
- It returns a `View`: a figure fit for a paper, the raw numbers with their axes named, and a line of words with the finding
  (and the layer that was chosen, if any).

Tools: `_images.py` draws images and stacks arrays of several sizes, `_axes.py` styles plots; `_layers.py` finds layers
(`last_convolution`, `feature_layer`) and records what passes them (`recorded`); `_codes.py` turns images into feature vectors,
`_index.py` finds their neighbours; `_graph.py` and `_rules.py` follow a forward pass node by node.

`pellucid.looking.looking` does the rest. The model is in eval mode with in-place activations turned off; afterwards, also after
an exception or Ctrl-C, every hook and gradient is removed and every mode restored. A lens that changes weights works on a copy
(`Network.copied`). The figure, the numbers and `View.files` are written, and the words printed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVarTuple, final, get_args

from numpy.typing import NDArray

from pellucid._notebooks import picture
from pellucid._png import drawn
from pellucid.lenses._parts import Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Lens", "View", "parts_of"]

Parts = TypeVarTuple("Parts")
_SHOWN_AT = 100  # dots per inch in a notebook


@final
@dataclass(frozen=True)
class View:
    """What a lens saw: a figure, the numbers behind it, and a line of words.

    `axes` names the axes of the arrays ("map": ("image", "row", "column")); `files` are further files by name (a page of
    HTML, a picture of its own). A `drawing` that is a function draws the figure when it is first asked for: a report takes the numbers
    alone of some lenses. It must not call the model, whose mode and gradients are restored by then.
    """

    drawing: Figure | Callable[[], Figure]
    numbers: Mapping[str, NDArray[Any]]
    words: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def figure(self) -> Figure:
        """What `look` writes as a picture."""
        return self.drawing() if callable(self.drawing) else self.drawing

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.numbers[name]

    def _repr_html_(self) -> str:
        return picture(drawn(self.figure, _SHOWN_AT), self.words)


class Lens(ABC, Generic[*Parts]):
    """One way of looking, by the parts in its brackets. Concrete lenses are frozen dataclasses; their fields are options."""

    @abstractmethod
    def look(self, *parts: *Parts) -> View:
        """The view; leaves no hook and no train/eval change behind, also after an exception."""


def parts_of(lens: type) -> list[tuple[type[Part], bool]]:
    """The parts that a lens reads, in the order in which `look` takes them, and whether it needs each of them.

    >>> from pellucid.lenses.embedding import Embedding
    >>> [(part.__name__, needed) for part, needed in parts_of(Embedding)]
    [('Network', True), ('Splits', False)]
    """
    [base] = getattr(lens, "__orig_bases__", [Lens])
    parts = []
    for named in get_args(base):
        kinds = [kind for kind in get_args(named) or (named,) if kind is not type(None)]
        parts.append((kinds[0], len(get_args(named)) < 2))
    return parts
