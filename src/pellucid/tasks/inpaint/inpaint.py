# SPDX-License-Identifier: Apache-2.0
"""What stands in a picture's holes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _catalog
from pellucid._options import learned, unfolded
from pellucid.data.batches import own_size_batches, store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._contract import PredictOptions, Task
from pellucid.tasks._metrics import Metric, mean
from pellucid.tasks._records import Records
from pellucid.tasks.inpaint import answers, baselines, holes
from pellucid.tasks.inpaint.fill import diffused, mean_filled
from pellucid.tasks.inpaint.losses import critic_loss, features, realness_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Inpaint"]

_BASELINE_IMAGES = 300  # test images that the classical ways are measured on, at most: biharmonic takes a second each
_BASELINE_PIXELS = 6_000_000
_UNIT = 0.1  # of brightness, that a dense layer's 1 stands for: an untrained one then adds little
_FLOOR = 1e-5  # mean squared error of 50 dB: nobody sees a difference below it
_WINDOW = 256  # px, of models that take any size, where they were trained on smaller images


_METRICS = (
    mean("psnr", "PSNR in the hole", "dB"),
    mean("ssim", "SSIM"),
    mean("mae", "mean absolute error in the hole", better="lower"),
    mean("missing", "missing share", better="neither"),
)


@final
@dataclass(frozen=True)
class Inpaint(Task[Tensor, Picture, Picture]):
    """What stands in a picture's holes?

    The model's input is the picture with something neutral in its holes, and as a last plane the mask, 1 = missing. Holes are
    drawn afresh for every training batch, and fixed by the seed and the image's position in evaluation.

    >>> task = Inpaint(holes="rectangles", hole=(2, 3), place=(1, 2), fill="mean")
    >>> batch = Batch(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), {}, torch.arange(2))
    >>> input, truth = task.prepare(batch, Draws.images(0, batch.index), training=False)
    >>> input.shape, input[0, 1, 1].tolist(), round(float(input[0, 0, 1, 2]), 3)
    (torch.Size([2, 2, 8, 8]), [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 0.2)
    """

    holes: Literal["rectangles", "strokes", "pixels", "files"] = "rectangles"
    """what is missing: rectangles, brush strokes, scattered pixels, or what the files of `masks` say"""
    area: tuple[float, ...] = (0.15,)
    """share of the area that is missing, or from and to; several rectangles may overlap and then cover less"""
    count: tuple[int, ...] = (1,)
    """rectangles or strokes a picture, or from and to"""
    hole: tuple[int, ...] = ()
    """height and width of each rectangle in px; by default of random form"""
    place: tuple[int, ...] = ()
    """row and column of the rectangle's upper left corner in px; by default at random; pictures are then resized to --size"""
    masks: str = ""
    """folder of mask images, white where a pixel is missing, for --holes files"""
    output: Literal["image", "patch"] = "image"
    """what the model answers: the whole picture, or the missing patch only (of a fixed --hole and --place)"""
    fill: Literal["diffusion", "mean"] = "diffusion"
    """what stands in the holes of the input: the surroundings' colours spread into them, or the mean of the known pixels"""
    error: Literal["psnr", "l1", "mse"] = "psnr"
    """what is minimised: each hole's mean squared difference over the fill's (geometric mean; 0.8 is 1 dB better), or the mean absolute or squared difference"""  # noqa: E501
    hole_weight: float = 1.0
    """weight of the missing pixels' mean error"""
    rest_weight: float = 0.1
    """weight of the known pixels' mean error"""
    perceptual: float = 0.0
    """weight of the difference between a ready network's features of answer and truth"""
    network: str = "efficientnet_lite0"
    """ready network of the perceptual part: efficientnet_lite0, torchvision/NAME or timm/NAME"""
    adversarial: float = 0.0
    """weight of a critic's opinion that is trained beside the model; needs a model with a critic: pix2pix"""
    augment: Augment = unfolded(Augment(), "flip", "turn", "exposure")

    flat: bool = learned(False)  # whether the model is dense: its output is a vector of pixels

    example: ClassVar[str] = "patches"
    default_model: ClassVar[str] = "unet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("map", "dense")
    extra_planes: ClassVar[int] = 1  # the mask
    predict_options: ClassVar[type[PredictOptions]] = answers.Mending

    def __post_init__(self) -> None:
        choices = {"holes": ("rectangles", "strokes", "pixels", "files"), "output": ("image", "patch")}
        choices |= {"fill": ("diffusion", "mean"), "error": ("psnr", "l1", "mse")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)!r}: is not known; choose one of {', '.join(known)}.")
        _numbers("area", self.area, "a share, or from and to, each above 0 and below 1", lambda v: 0 < v < 1)
        _numbers("count", self.count, "a whole number of at least 1, or from and to", lambda v: v >= 1)
        _numbers("hole", self.hole, "a height and a width of at least 1 px", lambda v: v >= 1, lengths=(0, 2))
        _numbers("place", self.place, "a row and a column of at least 0 px", lambda v: v >= 0, lengths=(0, 2))
        for name in ("hole_weight", "rest_weight", "perceptual", "adversarial"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name}={getattr(self, name)!r}: is a weight; give 0 or more.")
        if not self.hole_weight:
            raise UsageError("hole_weight=0: asks for no answer in the hole; give more than 0.")
        if (self.hole or self.place) and self.holes != "rectangles":
            raise UsageError(f"hole, place: belong to rectangles, not to holes={self.holes!r}; leave them out.")
        if self.place and (not self.hole or max(self.count) > 1):
            raise UsageError(
                f"place={self.place!r}: is of one rectangle of fixed size; give --hole HEIGHT WIDTH and no --count."
            )
        if self.output == "patch" and not self.place:
            raise UsageError(
                "output='patch': needs a patch that is always the same; give --hole HEIGHT WIDTH and --place ROW COLUMN."
            )
        if bool(self.masks) != (self.holes == "files"):
            raise UsageError(f"masks={self.masks!r}: belongs to --holes files, and only there; give both or neither.")

    @property
    def keeps_size(self) -> bool:
        """Whether pictures stay as large as they are: a patch of fixed place is one of pictures of one size."""
        return not self.place

    def for_model(self, model: str) -> Self:
        kind = _catalog.find("models", model)
        if self.output == "patch" and kind.output != "dense":  # type: ignore[attr-defined]
            raise UsageError(
                f"model={model!r}: answers whole pictures; choose --output image, or mlp or lenet for the patch."
            )
        if self.adversarial and "critic" not in getattr(kind, "__annotations__", {}):
            raise UsageError(f"adversarial={self.adversarial!r}: needs a model with a critic; choose --model pix2pix.")
        return replace(self, flat=kind.output == "dense")  # type: ignore[attr-defined]

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        if self.masks:
            holes.forget()  # the files may have changed since
            masks = holes.mask_files(self.masks)  # refuses a folder without good masks
            # a training with other masks is another training
            data = replace(data, fingerprint=holes.digest(masks, data.fingerprint))
        if self.hole and not self.place:
            sizes = np.concatenate([split.images.sizes for split in data.splits.values() if len(split)])
            _fits(self.hole, (0, 0), (int(sizes[:, 0].min()), int(sizes[:, 1].min())), "the smallest image")
        return data, self

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        if self.hole:
            _fits(self.hole, self.place or (0, 0), size, "the training size")
        height, width = self.hole if self.output == "patch" else size
        return data.channels * height * width if self.flat else data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        clean = batch.images.float().div_(255)
        if training:
            clean = self.augment(clean, Picture(clean[:, :0]), draws)[0]
        return self.broken(clean, self.mask(draws, (clean.shape[2], clean.shape[3]))), Picture(clean)

    def mask(self, draws: Draws, size: tuple[int, int]) -> Tensor:
        """What is missing of images of this size, (B, 1, H, W) with 1 = missing."""
        if self.holes == "rectangles":
            return holes.rectangles(draws, size, self.area, self.count, self.hole, self.place)
        if self.holes == "strokes":
            return holes.strokes(draws, size, self.area, self.count)
        if self.holes == "pixels":
            return holes.scattered(draws, size, self.area)
        return holes.from_files(draws, size, self.masks)

    def broken(self, images: Tensor, mask: Tensor) -> Tensor:
        """The input (B, C + 1, H, W): images without what the mask takes away, and the mask."""
        rule = diffused if self.fill == "diffusion" else mean_filled
        return torch.cat([rule(images, mask), mask], dim=1)

    def loss(self, model: nn.Module, input: Tensor, truth: Picture) -> dict[str, Tensor]:
        return self._loss(model, input, truth)[0]

    def _loss(self, model: nn.Module, input: Tensor, truth: Picture) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the whole pictures (B, C, H, W) with the model's answer in their holes."""
        known, mask = truth.pixels, input[:, -1:]
        answer = self._answer(model, input)
        difference = answer - known
        size = difference.abs() if self.error == "l1" else difference.square()
        missing = mask.sum((1, 2, 3)) * known.shape[1]  # (B,)
        if self.error == "psnr":  # a flat picture counts as much as a lively one, as it does in the measure
            filled = (input[:, :-1] - known).square()
            mine, its = (
                ((part * mask).sum((1, 2, 3)) / missing.clamp_min(1) + _FLOOR).log() for part in (size, filled)
            )
            hole = (mine - its).mean().exp()
        else:
            hole = (size * mask).sum() / missing.sum().clamp_min(1)
        rest = (size * (1 - mask)).sum() / (known.numel() - missing.sum()).clamp_min(1)
        parts = {"hole": hole} if self.output == "patch" else {"hole": hole, "rest": rest}
        loss = self.hole_weight * hole + (0 if self.output == "patch" else self.rest_weight * rest)
        mended = torch.where(mask > 0.5, answer, known)
        if self.perceptual:
            parts["perceptual"] = features(self.network, known.device).distance(mended, known)
            loss = loss + self.perceptual * parts["perceptual"]
        if self.adversarial:
            parts["adversarial"] = realness_loss(_critic(model)(torch.cat([input, mended], dim=1)))
            loss = loss + self.adversarial * parts["adversarial"]
        return {"loss": loss, **parts}, mended

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        if not self.adversarial:
            return {"model": model}
        return {"generator": model.generator, "critic": _critic(model)}  # type: ignore[dict-item]

    def steps(self, model: nn.Module, input: Tensor, truth: Picture) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        losses, mended = self._loss(model, input, truth)
        players = list(self.players(model).values())
        yield players[0], losses
        if self.adversarial:
            critic = _critic(model)
            real, fake = (torch.cat([input, picture], dim=1) for picture in (truth.pixels, mended.detach()))
            yield critic, critic_loss(critic(real), critic(fake))

    @property
    def lr_factors(self) -> Mapping[str, float]:
        return {}

    def predict(self, model: nn.Module, input: Tensor) -> Picture:
        """Known pixels as they are; holes from the whole picture, or in overlapping windows where it is larger than those."""
        window = self._window(model, (input.shape[2], input.shape[3]))
        answer = baselines.in_windows(lambda part: self._answer(model, part), input, window)
        return Picture(torch.where(input[:, -1:] > 0.5, answer.clamp(0, 1), input[:, :-1]))

    def _answer(self, model: nn.Module, input: Tensor) -> Tensor:
        """The model's whole pictures (B, C, H, W): a map is one, a vector is what comes to the input's picture or patch."""
        answer: Tensor = model(input).float()
        if answer.ndim == 4:
            return answer
        channels, size = input.shape[1] - 1, (input.shape[2], input.shape[3])
        (height, width), (top, left) = (self.hole, self.place) if self.output == "patch" else (size, (0, 0))
        added = _UNIT * answer.view(len(input), channels, height, width)
        return input[:, :-1] + F.pad(added, (left, size[1] - left - width, top, size[0] - top - height))

    def _window(self, model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) in px of what goes through a model at once: its own size, or for convolutional ones at least 256 px."""
        trained: tuple[int, int] = tuple(getattr(model, "description", {"size": (_WINDOW, _WINDOW)})["size"])
        bound: tuple[int, int] | None = getattr(model, "fixed_size", None)
        if bound is not None:
            return bound
        most = [max(_WINDOW, 2 * side) for side in trained]
        return min(size[0], most[0]), min(size[1], most[1])

    def score(self, input: Tensor, prediction: Picture, truth: Picture) -> dict[str, NDArray[Any]]:
        return baselines.columns(prediction.pixels, truth.pixels, input[:, -1:])

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return _METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The PSNR inside the hole in dB."""
        return np.asarray(records["psnr"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        channels = max(part.images.channels for part in (train, test) if len(part))
        pixels = int(np.prod(size) if size else test.images.sizes.prod(1).mean())
        count = min(len(test), _BASELINE_IMAGES, max(2, _BASELINE_PIXELS // pixels))
        index = np.linspace(0, len(test) - 1, count).round().astype(np.int64)
        said = f" (on {count} test images)" if count < len(test) else ""
        found: dict[str, dict[str, list[NDArray[Any]]]] = {way: {} for way in baselines.CLASSICAL}
        places = []
        part = test.select(index)
        batches = (
            store(part, size, channels, fingerprint="").batches(64) if size else own_size_batches(part, channels, 64)
        )
        for batch in batches:
            own = torch.from_numpy(index)[batch.index]
            input, whole = self.prepare(Batch(batch.images, {}, own), Draws.images(seed, own), training=False)
            places.append(batch.index.numpy())
            mask = input[:, -1:]
            truth, holes = list(whole.pixels.numpy()), list(mask[:, 0].numpy() > 0)
            for way, table in found.items():
                answer = torch.from_numpy(np.stack(baselines.fill(way, truth, holes)))
                for name, column in baselines.columns(answer, whole.pixels, mask).items():
                    table.setdefault(name, []).append(column)
        order = np.argsort(np.concatenate(places), kind="stable")
        return {
            way + said: {**{name: np.concatenate(parts)[order] for name, parts in table.items()}, "index": index}
            for way, table in found.items()
        }

    def answer(
        self, model: nn.Module, images: Any, options: answers.Mending, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        return answers.mend(self, model, images, options)

    def write(self, prediction: Picture, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        pictures = (prediction.pixels * 255).round().to(torch.uint8).cpu().numpy()
        return [{"name": name, "picture": picture} for name, picture in zip(names, pictures, strict=True)]

    def draw(
        self, input: Tensor, prediction: Picture, truth: Picture | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks import _figures

        mask = input[:, -1:].cpu()
        whole = None if truth is None else truth.pixels.cpu()
        known = (input[:, :-1].cpu() if whole is None else whole) * (1 - mask)
        columns = {"given": torch.where(mask > 0, torch.ones(()), known), "inpainted": prediction.pixels.cpu()}
        if whole is not None:
            filled = [
                baselines.fill("biharmonic", [one.numpy()], [hole[0].numpy() > 0])[0]
                for one, hole in zip(whole, mask, strict=True)
            ]
            columns["biharmonic"] = torch.from_numpy(np.stack(filled))
        return _figures.pictures(columns, whole, names, where=mask)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean absolute value of the picture, in [0, 1] units."""
        return output.float().abs().flatten(1).mean(1)


def _critic(model: nn.Module) -> nn.Module:
    critic: nn.Module = model.critic  # type: ignore[assignment]
    return critic


def _numbers(
    name: str, values: Sequence[float], rule: str, holds: Callable[[float], bool], lengths: Sequence[int] = (1, 2)
) -> None:
    """Refuse other than one or two numbers that hold to a rule."""
    if len(values) not in lengths or not all(holds(value) for value in values):
        raise UsageError(f"{name}={tuple(values)!r}: must be {rule}; give other numbers.")


def _fits(hole: Sequence[int], place: Sequence[int], size: tuple[int, int], whose: str) -> None:
    """Refuse a patch that does not lie within an image, or leaves nothing of it."""
    inside = all(start + side <= have for start, side, have in zip(place, hole, size, strict=True))
    if not inside or tuple(hole) == tuple(size):
        at = f" at {place[0]}, {place[1]}" if any(place) else ""
        raise UsageError(
            f"hole={hole[0]}×{hole[1]}{at}: does not leave a part of {whose}, {size[0]}×{size[1]} px; "
            "give a smaller one, or larger images."
        )
