# SPDX-License-Identifier: Apache-2.0
"""inpaint: what belongs in a picture's holes?"""

from __future__ import annotations

import functools
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
from pellucid.data.colour import unit
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError, check_choice
from pellucid.models import OutputKind, Refines, _building
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.inpaint import answers, baselines, distances, holes, losses, metrics, own_patches
from pellucid.tasks.inpaint.fill import diffused, mean_filled
from pellucid.tasks.inpaint.options import InpaintOptions
from pellucid.tasks.inpaint.windows import in_windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Inpaint"]

_UNIT = 0.1  # brightness that a dense layer's 1 adds: an untrained model then changes little
_WINDOW = 256  # px, least window of models that take any size, where they were trained on smaller images
_CHOICES = {
    "holes": ("rectangles", "strokes", "pixels", "files"),
    "output": ("image", "patch"),
    "fill": ("diffusion", "mean"),
    "error": ("psnr", "l1", "mse"),
}


@final
@dataclass(frozen=True)
class Inpaint(Task[Tensor, Picture, Picture]):
    """What belongs in a picture's holes?

    The model's input is the picture with its holes filled neutrally, and the mask as the last plane, 1 = missing. Training
    draws new holes for every batch; in evaluation they are fixed by the seed and the image's position.

    >>> task = Inpaint(holes="rectangles", hole=(2, 3), place=(1, 2), fill="mean")
    >>> batch = Batch(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), {}, torch.arange(2))
    >>> input, truth = task.prepare(batch, Draws.images(0, batch.index), training=False)
    >>> input.shape, input[0, 1, 1].tolist(), round(float(input[0, 0, 1, 2]), 3)
    (torch.Size([2, 2, 8, 8]), [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 0.2)
    """

    holes: Literal["rectangles", "strokes", "pixels", "files"] = "rectangles"
    """shape of the holes: rectangles, brush strokes, scattered pixels, or mask files (see masks)"""
    area: tuple[float, ...] = (0.15,)
    """share of the picture that is missing, or a range (from, to); rectangles that overlap cover less"""
    count: tuple[int, ...] = (1,)
    """rectangles or strokes per picture, or a range (from, to)"""
    hole: tuple[int, ...] = ()
    """height and width of each rectangle in px; by default random"""
    place: tuple[int, ...] = ()
    """row and column of the rectangle's upper left corner in px; by default random; with a fixed place, pictures are resized to --size"""
    masks: str = ""
    """folder of mask images, white where a pixel is missing, for --holes files"""
    on_image: str = ""
    """mask image of the single picture that --data names, white where a pixel is missing: train on patches of its known part alone"""
    output: Literal["image", "patch"] = "image"
    """output of the model: the whole picture, or the missing patch only (needs --hole and --place)"""
    fill: Literal["diffusion", "mean"] = "diffusion"
    """fill of the holes in the model's input: surrounding colours diffused into them, or the mean of the known pixels"""
    error: Literal["psnr", "l1", "mse"] = "psnr"
    """pixel loss; psnr: each hole's squared error over that of the fill, as a geometric mean (0.8 is 1 dB better); l1, mse: the mean absolute or squared error"""  # noqa: E501
    hole_weight: float = 1.0
    """weight of the loss of the missing pixels"""
    rest_weight: float = 0.1
    """weight of the loss of the known pixels"""
    gradient: float = 0.0
    """weight of the gradient loss: the differences between neighbouring pixels in the hole and across its border, answer against truth"""
    perceptual: float = 0.0
    """weight of the perceptual loss: the difference between a pretrained network's features of answer and truth"""
    network: str = "efficientnet_lite0"
    """pretrained network of the perceptual loss: efficientnet_lite0, torchvision/NAME or timm/NAME"""
    adversarial: float = 0.0
    """weight of the adversarial loss; needs a model with a critic: pix2pix"""
    augment: Augment = unfolded(
        Augment(), "crop", "flip", "turn", "rotate", "scale", "stretch", "slant", "exposure", "shading", "contrast"
    )

    flat: bool = learned(False)  # whether the model is dense: its output is a vector of pixels

    example: ClassVar[str] = "glyphs"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 2, "batch_size": 32}
    default_model: ClassVar[str] = "unet"
    evidence_title: ClassVar[str] = "mean value"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("map", "dense")
    extra_planes: ClassVar[int] = 1  # the mask
    restores: ClassVar[bool] = True
    predict_options: ClassVar[type[PredictOptions]] = InpaintOptions

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        return {"residual": True} if model == "encoder_decoder" else {}

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        _check_numbers("area", self.area, "one share or a range, above 0 and below 1", lambda v: 0 < v < 1)
        _check_numbers("count", self.count, "one whole number or a range, at least 1", lambda v: v >= 1)
        _check_numbers("hole", self.hole, "a height and a width of at least 1 px", lambda v: v >= 1, lengths=(0, 2))
        _check_numbers("place", self.place, "a row and a column of at least 0 px", lambda v: v >= 0, lengths=(0, 2))
        for name in ("hole_weight", "rest_weight", "gradient", "perceptual", "adversarial"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name}={getattr(self, name)!r}: is a weight; give 0 or more.")
        if not self.hole_weight:
            raise UsageError("hole_weight=0: would leave the hole without a loss; give more than 0.")
        if (self.hole or self.place) and self.holes != "rectangles":
            raise UsageError(f"hole, place: are options of holes='rectangles', not of {self.holes!r}; leave them out.")
        if self.place and (not self.hole or max(self.count) > 1):
            raise UsageError(
                f"place={self.place!r}: needs a single rectangle of fixed size; give --hole HEIGHT WIDTH and no --count."
            )
        if self.output == "patch" and not self.place:
            raise UsageError(
                "output='patch': needs a patch of fixed size and place; give --hole HEIGHT WIDTH and --place ROW COLUMN."
            )
        if bool(self.masks) != (self.holes == "files"):
            raise UsageError(f"masks={self.masks!r}: goes with --holes files; give both or neither.")

    @property
    def keeps_size(self) -> bool:
        """Whether pictures keep their own size; a patch of fixed place needs pictures of one size."""
        return not self.place

    def for_model(self, model: str) -> Self:
        kind: Any = _catalog.find("models", model)
        dense = _building.output_of(model, "map") == "dense"
        if self.output == "patch" and not dense:
            raise UsageError(
                f"model={model!r}: gives whole pictures; choose --output image, or mlp or lenet for the patch."
            )
        if self.adversarial and "critic" not in getattr(kind, "__annotations__", {}):
            raise UsageError(f"adversarial={self.adversarial!r}: needs a model with a critic; choose --model pix2pix.")
        return replace(self, flat=dense)

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        if self.on_image:
            data = own_patches.patches(data, self.on_image)
        if self.masks:
            holes.clear_cache()  # the files may have changed since
            masks = holes.mask_files(self.masks)  # refuses a folder without usable masks
            # other masks make another training, which must not be resumed from this one
            data = replace(data, fingerprint=holes.fingerprint(masks, data.fingerprint))
        if self.hole and not self.place:
            sizes = np.concatenate([split.images.sizes for split in data.splits.values() if len(split)])
            _check_fits(self.hole, (0, 0), (int(sizes[:, 0].min()), int(sizes[:, 1].min())), "the smallest image")
        return data, self

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        if self.hole:
            _check_fits(self.hole, self.place or (0, 0), size, "the training size")
        height, width = self.hole if self.output == "patch" else size
        return data.channels * height * width if self.flat else data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        clean = unit(batch.images)  # (B, C, H, W)
        if training:
            clean = self.augment(clean, Picture(clean[:, :0]), draws)[0]
        return self.model_input(clean, self.mask(draws, (clean.shape[2], clean.shape[3]))), Picture(clean)

    def mask(self, draws: Draws, size: tuple[int, int]) -> Tensor:
        """Masks for images of this size, (B, 1, H, W) with 1 = missing."""
        if self.holes == "rectangles":
            return holes.rectangles(draws, size, self.area, self.count, self.hole, self.place)
        if self.holes == "strokes":
            return holes.strokes(draws, size, self.area, self.count)
        if self.holes == "pixels":
            return holes.scattered(draws, size, self.area)
        return holes.from_files(draws, size, self.masks)

    def model_input(self, images: Tensor, mask: Tensor) -> Tensor:
        """(B, C + 1, H, W): images with their holes filled neutrally, and the mask."""
        rule = diffused if self.fill == "diffusion" else mean_filled
        return torch.cat([rule(images, mask), mask], dim=1)

    def loss(self, model: nn.Module, input: Tensor, truth: Picture) -> dict[str, Tensor]:
        return self._loss(model, input, truth)[0]

    def _loss(self, model: nn.Module, input: Tensor, truth: Picture) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the pictures (B, C, H, W) with the model's answer in their holes."""
        whole, mask = truth.pixels, input[:, -1:]
        *rough, answer = self._stages(model, input)
        loss, parts = self._pixel_loss(answer, whole, input)
        for earlier in rough:  # each stage learns to answer, not only to help the next one
            judged, of_hole = self._pixel_loss(earlier, whole, input)
            loss, parts["coarse"] = loss + judged, of_hole["hole"]
        inpainted = torch.where(mask > 0.5, answer, whole)
        if self.gradient:
            parts["gradient"] = losses.gradient_loss(inpainted, whole, mask)
            loss = loss + self.gradient * parts["gradient"]
        if self.perceptual:
            parts["perceptual"] = losses.features(self.network, whole.device).distance(inpainted, whole)
            loss = loss + self.perceptual * parts["perceptual"]
        if self.adversarial:
            parts["adversarial"] = losses.generator_loss(_critic(model)(torch.cat([input, inpainted], dim=1)))
            loss = loss + self.adversarial * parts["adversarial"]
        return {"loss": loss, **parts}, inpainted

    def _pixel_loss(self, answer: Tensor, whole: Tensor, input: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of the pixels, and its parts before they are weighted."""
        hole, rest = losses.pixel_losses(self.error, answer, whole, input[:, :-1], input[:, -1:])
        if self.output == "patch":  # then the model has no answer for known pixels
            return self.hole_weight * hole, {"hole": hole}
        return self.hole_weight * hole + self.rest_weight * rest, {"hole": hole, "rest": rest}

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        if not self.adversarial:
            return {"model": model}
        return {"generator": model.get_submodule("generator"), "critic": _critic(model)}

    def steps(self, model: nn.Module, input: Tensor, truth: Picture) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        of_model, inpainted = self._loss(model, input, truth)
        players = list(self.players(model).values())
        yield players[0], of_model
        if self.adversarial:
            critic = _critic(model)
            # the critic sees the input beside the picture: it learns whether the two fit each other
            real, fake = (torch.cat([input, picture], dim=1) for picture in (truth.pixels, inpainted.detach()))
            yield critic, losses.critic_loss(critic(real), critic(fake))

    @property
    def lr_factors(self) -> Mapping[str, float]:
        return {}

    def predict(self, model: nn.Module, input: Tensor) -> Picture:
        """Known pixels as they are, holes from the model's answer; in overlapping windows where the picture is too large."""
        window = self._window(model, (input.shape[2], input.shape[3]))
        answer = in_windows(lambda part: self._answer(model, part), input, window)
        return Picture(torch.where(input[:, -1:] > 0.5, answer.clamp(0, 1), input[:, :-1]))

    def _stages(self, model: nn.Module, input: Tensor) -> list[Tensor]:
        """The whole pictures (B, C, H, W) of all of the model's stages; the last is its answer."""
        inner = unwrapped(model)
        if isinstance(inner, Refines) and inner.refines:
            return [picture.float() for picture in model(input, stages=True)]
        return [self._answer(model, input)]

    def _answer(self, model: nn.Module, input: Tensor) -> Tensor:
        """The model's whole pictures (B, C, H, W): its map, or the input plus its vector of pixels (of the picture or patch)."""
        answer: Tensor = model(input).float()
        if answer.ndim == 4:
            return answer
        channels, size = input.shape[1] - 1, (input.shape[2], input.shape[3])
        (height, width), (top, left) = (self.hole, self.place) if self.output == "patch" else (size, (0, 0))
        added = _UNIT * answer.view(len(input), channels, height, width)  # a residual: training starts from the fill
        return input[:, :-1] + F.pad(added, (left, size[1] - left - width, top, size[0] - top - height))

    def _window(self, model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) in px of what goes through the model at once: its own size, or for convolutional ones at least 256 px."""
        trained: tuple[int, int] = tuple(getattr(model, "description", {"size": (_WINDOW, _WINDOW)})["size"])
        fixed: tuple[int, int] | None = getattr(model, "fixed_size", None)
        if fixed is not None:
            return fixed
        # bounded, so that memory does not grow with the picture
        largest = [max(_WINDOW, 2 * side) for side in trained]
        return min(size[0], largest[0]), min(size[1], largest[1])

    def score(self, input: Tensor, prediction: Picture, truth: Picture) -> dict[str, NDArray[Any]]:
        return metrics.columns(prediction.pixels, truth.pixels, input[:, -1:])

    def measure_slowly(self, input: Tensor, prediction: Picture, truth: Picture) -> dict[str, Any]:
        return distances.columns(prediction.pixels, truth.pixels, input[:, -1:])

    @property
    def unmeasured(self) -> Sequence[str]:
        return distances.unmeasured()

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The PSNR inside the hole in dB."""
        return np.asarray(records["psnr"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        place = None
        if self.place and size is not None:
            place = holes.rectangles(
                Draws.step(0, 0, slice(0, 1), 1), size, self.area, self.count, self.hole, self.place
            )
        prepare = functools.partial(self.prepare, training=False)
        return baselines.measured(prepare, train, test, size, seed, place, self.augment.flip)

    def answer(
        self, model: nn.Module, images: Any, options: InpaintOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        return answers.answer(self, model, images, options)

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
    return model.get_submodule("critic")


def _check_numbers(
    name: str, values: Sequence[float], rule: str, holds: Callable[[float], bool], lengths: Sequence[int] = (1, 2)
) -> None:
    """Refuse a wrong number of values, or values that break the rule."""
    if len(values) not in lengths or not all(holds(value) for value in values):
        raise UsageError(f"{name}={tuple(values)!r}: must be {rule}; give other numbers.")


def _check_fits(hole: Sequence[int], place: Sequence[int], size: tuple[int, int], whose: str) -> None:
    """Refuse a patch that does not lie within the image, or covers all of it."""
    inside = all(start + side <= have for start, side, have in zip(place, hole, size, strict=True))
    if not inside or tuple(hole) == tuple(size):
        at = f" at {place[0]}, {place[1]}" if any(place) else ""
        raise UsageError(
            f"hole={hole[0]}×{hole[1]}{at}: does not fit into {whose}, {size[0]}×{size[1]} px, or covers all of it; "
            "give a smaller one, or larger images."
        )
