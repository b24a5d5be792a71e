# SPDX-License-Identifier: Apache-2.0
"""read: which text does a photographed page show, letter by letter?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._options import learned
from pellucid._pages import PageSteps
from pellucid.data.annotations.records import Instance
from pellucid.data.batches import Store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label, Text, target_of
from pellucid.errors import DataError, UsageError
from pellucid.models import OutputKind
from pellucid.tasks._contract import Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.classify import Classify
from pellucid.tasks.read import baselines, forms, metrics, page, pages, specimen, steps
from pellucid.tasks.read.alphabet import only
from pellucid.tasks.read.answers import Lettered, Pages, page_of
from pellucid.tasks.read.language import Words
from pellucid.tasks.read.options import ReadOptions
from pellucid.tasks.read.placing import places_of
from pellucid.tasks.read.preparing import prepared
from pellucid.tasks.read.varying import Varying

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Read"]


@final
@dataclass(frozen=True)
class Read(Task[Tensor, Any, Any]):
    """Which text does a photographed page show, letter by letter?

    The network learns single letters, and pictures of none; pages are read by finding their ink, its parts, and the letters
    that the network is surest of.

    >>> from pellucid.data import open
    >>> data, task = Read().read(open("handprint"))
    >>> task.outputs(data, (40, 40))
    37
    """

    slant: float = 0.3
    """slant training letters by up to this many px aside for each px up"""
    pen: float = 0.9
    """widen or thin the strokes of training letters by up to this many px"""
    tilt: float = 10.0
    """turn training letters by up to this many degrees each way"""
    stretch: float = 0.15
    """make training letters wider or narrower, and taller or lower, by up to this share"""
    soften: float = 0.8
    """blur training letters by up to this much, 1 for about a px"""
    beside: float = 0.15
    """share of training letters that show a part of a neighbour too"""
    strange: float = 0.12
    """share of training pictures that show no letter: two side by side, blots, edges"""
    shadow: float = 0.0
    """let the edge of a shadow across training letters leave false ink of up to this strength"""
    alphabet: tuple[str, ...] = ()
    """learn these letters of the data alone: upper, lower, digits, punctuation, or any characters; by default all"""
    label_smoothing: float = 0.02
    """share of the target spread over all classes (Szegedy et al. 2016)"""

    names: tuple[str, ...] = learned(())  # of the classes
    side: tuple[int, ...] = learned(())  # (H, W) of letters as the network sees them

    example: ClassVar[str] = "handprint"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 8}
    default_model: ClassVar[str] = "convnet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("vector", "dense")
    keeps_size: ClassVar[bool] = True  # a page is read at its own size; letters are brought to one by their preparation
    crops: ClassVar[bool] = False
    longest: ClassVar[int] = 40
    predict_options: ClassVar[type[ReadOptions]] = ReadOptions
    listed: ClassVar[str] = forms.LISTED

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        return {"lr": 3e-3} if model == "convnet" else {}

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        return {"widths": (32, 64), "batch_norm": True, "stride": 2} if model == "convnet" else {}

    def __post_init__(self) -> None:
        for name, most in (
            ("slant", 1.0), ("pen", 3.0), ("tilt", 45.0), ("stretch", 0.6), ("soften", 1.0), ("beside", 1.0), ("strange", 0.9),
            ("shadow", 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UsageError(f"{name}={value!r}: must lie in [0, {most:g}]; give another value.")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing={self.label_smoothing!r}: must lie in [0, 1); give another value.")

    def read(self, data: Dataset) -> tuple[Dataset, Read]:
        full = [split for split in data.splits.values() if len(split)]
        if full and all("text" in split.targets for split in full):
            if not self.names:
                raise DataError(
                    f"data={data.name!r}: has whole texts, and read learns single letters; give a folder of images for each letter, "
                    "or leave out --data."
                )
            return pages.held_out(data).replace(classes=self.names), self
        if not data.classes or not all("label" in split.targets for split in full):
            raise DataError(
                f"data={data.name!r}: has no labels, which read needs; put each letter's images into a folder of its own."
            )
        if self.alphabet:
            data = only(data, self.alphabet)
        return data, replace(self, names=data.classes)

    def learn(self, images: Store) -> Read:
        return replace(self, side=tuple(int(side) for side in images.size))

    def statistics(self, images: Store) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel (C,) of the prepared letters, not of their images."""
        every = torch.arange(0, len(images), max(1, len(images) // _COUNTED))[:_COUNTED]
        size = (self.side[0], self.side[1]) if self.side else images.size
        sums = torch.zeros(2, dtype=torch.float64)  # of ink and of its square; all channels are alike
        for some in every.split(500):
            ink = prepared(images.batch(some).images.float().div_(255), size)[:, 0].double()
            sums += torch.stack([ink.mean((1, 2)).sum(), ink.square().mean((1, 2)).sum()])
        mean, square = (sums / len(every)).tolist()
        spread = max(0.0, square - mean**2) ** 0.5
        return torch.full((images.channels,), mean), torch.full((images.channels,), spread)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"names": list(self.names), "side": list(self.side)} if self.names else {}

    def recall(self, facts: Mapping[str, Any]) -> Read:
        return replace(self, names=tuple(facts.get("names", ())), side=tuple(facts.get("side", ())))

    @property
    def findings(self) -> Sequence[str]:
        return ()

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(data.classes) + 1

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Any]:
        input = batch.images.float().div_(255)  # (B, C, H, W)
        if "text" in batch.targets and "label" not in batch.targets:
            return input, target_of(batch.targets, "text", Text)
        ink = prepared(input, (self.side[0], self.side[1]) if self.side else (input.shape[2], input.shape[3]))
        if "label" not in batch.targets:  # images that a lens is shown
            return ink, Label(torch.zeros(len(input), dtype=torch.int64, device=input.device))
        truth = target_of(batch.targets, "label", Label)
        if not training:
            return ink, truth
        varied, odd = self._varying(ink, draws)
        return varied, Label(truth.index.masked_fill(odd, len(self.names)))

    @property
    def _varying(self) -> Varying:
        return Varying(
            self.slant, self.pen, self.tilt, self.stretch, self.soften, self.beside, self.strange, self.shadow
        )

    def loss(self, model: nn.Module, input: Tensor, truth: Label) -> dict[str, Tensor]:
        logits = model(prepared(input, _size(model, input))).float()
        return {"loss": F.cross_entropy(logits, truth.index, label_smoothing=self.label_smoothing)}

    def predict(self, model: nn.Module, input: Tensor) -> Lettered:
        """Which letter each image shows; pages are answered by `answer_parts`."""
        shares = model(prepared(input, _size(model, input))).float().softmax(1)
        own = shares[:, :-1] / shares[:, :-1].sum(1, keepdim=True).clamp_min(1e-9)
        return Lettered(own.argmax(1), own, shares[:, -1])

    # -- pages

    def in_parts(self, options: ReadOptions) -> bool:
        return not options.single

    def answer(
        self, model: nn.Module, images: Any, options: ReadOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """None, as images are answered one by one; a list of words that cannot be read is refused here."""
        options.vocabulary()
        return None

    def answer_parts(self, model: nn.Module, image: Tensor, options: ReadOptions) -> Pages:
        listed = options.vocabulary()
        words = None if listed is None else Words(listed, self.names)
        return Pages([page_of(self._reading(model, image), self.names, words)])

    def _reading(self, model: nn.Module, image: Tensor) -> page.Reading:
        def look(crops: Tensor) -> Tensor:
            return model(_seen(model, crops, len(image))).float().softmax(1)  # type: ignore[no-any-return]

        return page.read(_grey(image), look, places_of(self.names))

    def named_outputs(self, classes: Sequence[str]) -> Sequence[str]:
        return [*classes, steps.NOTHING]

    @torch.no_grad()
    def page_steps(self, model: nn.Module, image: Tensor) -> PageSteps:
        return steps.steps_of(self._reading(model, image), self.names, lambda crops: _seen(model, crops, len(image)))

    def page_of_letters(self, letters: Split, seed: int) -> tuple[NDArray[np.uint8], str]:
        return specimen.specimen(letters, self.names, seed)

    def page_baselines(self, train: Split | None, pages: Split, seed: int) -> tuple[dict[str, Records], Sequence[str]]:
        return baselines.on_pages(train, pages, self.names, self._varying, seed)

    # -- measures

    def measure(self, model: nn.Module, input: Tensor, truth: Any) -> dict[str, Any]:
        if not isinstance(truth, Text):
            return self.score(input, self.predict(model, input), truth)
        pages = [page_of(self._reading(model, image), self.names) for image in input]
        return self.score(input, Pages(pages), truth)

    def score(self, input: Tensor, prediction: Any, truth: Any) -> dict[str, Any]:
        if isinstance(prediction, Pages):
            return metrics.columns(prediction.pages, truth.lines, self.names)
        return _LETTERS.score(input, Label(prediction.index, prediction.probabilities), truth)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """Those of letters, and those of pages; each is of records of its own kind."""
        letters = [replace(metric, needs=("probabilities",)) for metric in _LETTERS.metrics(classes)]
        return [*letters, *metrics.METRICS]

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return metrics.details(records, classes) if "edits" in records else _LETTERS.details(records, classes)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The probability of the true letter; of a page, how little of it is wrong."""
        if "edits" in records:
            return np.asarray(-records["edits"] / np.maximum(1, records["length"]), np.float64)
        return _LETTERS.ranking(records)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return {} if "text" in test.targets else dict(baselines.measured(train, test, seed))

    # -- answers

    def write(self, prediction: Any, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        if isinstance(prediction, Lettered):
            return forms.letter_rows(prediction, names, classes)
        return [forms.row(name, own, classes) for name, own in zip(names, prediction.pages, strict=True)]

    def datasets(self, options: ReadOptions) -> Sequence[str]:
        return ()

    def annotations(self, row: Mapping[str, Any]) -> tuple[Instance, ...]:
        return tuple(
            Instance(one["label"], (one["x0"], one["y0"], one["x1"], one["y1"]), more={"score": one["probability"]})
            for one in row[forms.LISTED]
        )

    def files(
        self,
        rows: Sequence[Mapping[str, Any]],
        titles: Sequence[str],
        sizes: Sequence[tuple[int, int]],
        options: ReadOptions,
    ) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for one, title, size in zip(rows, titles, sizes, strict=True):
            for form in options.forms:
                if form == "txt":
                    found[f"{title}.txt"] = (one["text"] + "\n").encode()
                elif form == "hocr":
                    found[f"{title}.hocr"] = forms.hocr(one, size)
                else:
                    found[f"{title}.alto.xml"] = forms.alto(one, size)
        return found

    def drawn(self, image: NDArray[np.uint8], prediction: Any, classes: Sequence[str]) -> NDArray[np.uint8]:
        from pellucid.tasks.read import drawing

        return image if isinstance(prediction, Lettered) else drawing.drawn(image, prediction.pages[0], classes)

    def draw(self, input: Tensor, prediction: Any, truth: Any, names: Sequence[str], classes: Sequence[str]) -> Figure:
        from pellucid.tasks import _figures

        label = Label(prediction.index, prediction.probabilities)
        return _figures.answers(input, label, truth, names, classes)

    def evidence(self, output: Tensor) -> Tensor:
        """The probability of the most probable letter."""
        return output.float().softmax(1)[:, :-1].amax(1)


_COUNTED = 10_000  # training letters, at most, whose mean ink is taken
_LETTERS = Classify()  # letters are measured as any other images of classes


def _size(model: nn.Module, input: Tensor) -> tuple[int, int]:
    """(H, W) of letters as the model sees them."""
    described = getattr(unwrapped(model), "description", None)
    height, width = input.shape[2:] if described is None else described["size"]
    return int(height), int(width)


def _seen(model: nn.Module, crops: Tensor, planes: int) -> Tensor:
    """Crops (n, 1, H, W) of a page, an image of so many planes, as the model takes them."""
    device = next(model.parameters()).device
    channels = int(getattr(unwrapped(model), "description", {"channels": planes})["channels"])
    return prepared(crops.to(device).expand(-1, channels, -1, -1), _size(model, crops))


def _grey(image: Tensor) -> NDArray[np.uint8]:
    """A page (C, H, W), uint8 or float in [0, 1], as its brightness (H, W)."""
    import cv2

    pixels = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    array = pixels.cpu().numpy()
    if len(array) == 1:
        return np.ascontiguousarray(array[0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(array.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY), np.uint8)
