# SPDX-License-Identifier: Apache-2.0
"""How a model is trained: optimiser, schedule, weight averaging and precision, as one set of options."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, final, get_args, get_origin, get_type_hints

import torch
from torch import nn

from pellucid.errors import RunError, UsageError, brief, check_choice
from pellucid.models import Frozen
from pellucid.models._hastening import convolves, gains_from_channels_last
from pellucid.training.optimizers import plain

__all__ = ["Recipe"]

_RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adam": 2e-3, "adamw": 2e-3}
_DECAYS = {"sgd": 5e-4, "momentum": 5e-4, "nesterov": 5e-4, "adam": 0.0, "adamw": 0.01}


@final
@dataclass(frozen=True)
class Recipe:
    """How a model is trained, whatever the task.

    >>> recipe = Recipe(lr=0.1, schedule="cosine", warmup=1)
    >>> [round(recipe.rate(step, steps=40, per_epoch=10), 4) for step in (0, 9, 25, 39)]
    [0.01, 0.1, 0.05, 0.0003]
    """

    epochs: int = 10
    """passes over the training images"""
    batch_size: int = 128
    """images per step, over all processes"""
    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw"] = "adamw"
    """optimiser; momentum and nesterov are sgd with momentum"""
    lr: float | None = None
    """peak learning rate; by default 0.1 for sgd, 0.02 for momentum and nesterov, 0.002 for adam and adamw"""
    momentum: float = 0.9
    """momentum coefficient of momentum and nesterov"""
    betas: tuple[float, ...] = (0.9, 0.999)
    """decay rates of the running means of the gradient and of its square, for adam and adamw"""
    weight_decay: float | None = None
    """weight decay, which spares biases and norms; by default 0.01 for adamw, 0 for adam, else 0.0005"""
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "one_cycle"
    """learning-rate schedule"""
    warmup: float | None = None
    """epochs of linear warmup; by default a quarter of the training for one_cycle, else 0"""
    step_every: int = 10
    """epochs between drops of the step schedule"""
    step_factor: float = 0.1
    """factor of each drop of the step schedule"""
    clip: float | None = None
    """clip gradients to this norm"""
    patience: int | None = None
    """stop early after this many epochs without a better validation measure"""
    ema: float = 0.0
    """decay per step of an exponential moving average of the weights, which is then validated and kept; 0 for none"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """number format; auto measures which is faster for convolutional models on a processor that computes in bf16 (AMX, AVX-512 BF16), takes bf16 there in short trainings and on recent GPUs, and fp32 elsewhere"""  # noqa: E501
    channels_last: bool | None = None
    """use the channels-last memory layout; by default measured for convolutional models, except that short trainings take it where the processor has AVX-512, and all on a GPU"""  # noqa: E501
    compile: bool = False
    """compile the model with torch.compile"""
    size: tuple[int, ...] = ()
    """height and width of the training images in px, one number for a square; images of other sizes are scaled to it, height and width each by itself unless --fit says otherwise, and tasks that restore pictures train on parts of this size instead; by default their own if they all share one of at most 256 px"""  # noqa: E501
    range: tuple[float, ...] = ()
    """the value that is black and the one that is white in images with more than 8 bits; by default those that their bits hold"""
    limit: int | None = None
    """train on at most this many images, chosen at random by seed"""
    limit_per_class: int | None = None
    """train on exactly this many images of each class, chosen at random by seed"""
    unfreeze: Literal["never", "last", "all"] = "never"
    """train a frozen backbone too, its last layers or all of it, once the epochs of `after` are done"""
    after: int | None = None
    """with unfreeze: epochs in which only the head is trained; by default half of them"""
    below: float = 0.1
    """with unfreeze: factor on the learning rate of the backbone"""
    variants: int | None = None
    """with a frozen backbone: variants of each augmented training image whose features are computed once and kept; 0 computes them in every step; by default 1 where images stay as they are, else 0"""  # noqa: E501
    weights: str | None = None
    """weights that the model starts from: a file (.safetensors, .pth, .pt, .bin), or the folder of a run"""
    seed: int = 0
    """seed of all random numbers"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """device to train on"""
    checkpoint: float = 60.0
    """seconds between checkpoints, from which a stopped training resumes; there is always one after each epoch"""
    log: Literal["tensorboard", "wandb", "mlflow"] | None = None
    """write the history for one of these too, where it is installed; on this machine alone unless its environment names another"""

    def __post_init__(self) -> None:
        for name in ("size", "betas", "range"):  # also a single number, or a list from JSON
            given = getattr(self, name)
            values = () if given is None else tuple(given) if isinstance(given, (tuple, list)) else (given,)
            object.__setattr__(self, name, values)
        self._check(("epochs", "batch_size", "step_every"), "must be at least 1", lambda v: v >= 1)
        self._check(("patience", "limit", "limit_per_class"), "must be at least 1", lambda v: v is None or v >= 1)
        self._check(("variants",), "must not be negative", lambda v: v is None or v >= 0)
        self._check(
            ("size",),
            "must be one or two sides of at least 1 px",
            lambda v: len(v) <= 2 and all(side >= 1 for side in v),
        )
        if self.limit is not None and self.limit_per_class is not None:
            raise UsageError(f"limit={self.limit}: cannot be given with limit_per_class; leave out one of the two.")
        self._check(("below",), "must lie in (0, 1]", lambda v: 0 < v <= 1)
        self._check(("after",), "must lie between 0 and epochs - 1", lambda v: v is None or 0 <= v < self.epochs)
        if self.after is not None and self.unfreeze == "never":
            raise UsageError(
                f"after={self.after}: has no effect unless something is unfrozen; add --unfreeze last, or all."
            )
        self._check(("betas",), "must be two numbers in [0, 1)", lambda v: len(v) == 2 and all(0 <= b < 1 for b in v))
        self._check(("lr", "clip"), "must be above 0", lambda v: v is None or 0 < v < math.inf)
        self._check(("momentum", "ema"), "must lie in [0, 1)", lambda v: 0 <= v < 1)
        self._check(
            ("weight_decay", "step_factor", "checkpoint"), "must not be negative", lambda v: v is None or v >= 0
        )
        self._check(("warmup",), "must lie between 0 and epochs", lambda v: v is None or 0 <= v <= self.epochs)
        hints = get_type_hints(Recipe)
        for field in fields(self):
            if get_origin(hints[field.name]) is Literal:
                check_choice(field.name, getattr(self, field.name), get_args(hints[field.name]))
        if self.log is not None:
            check_choice("log", self.log, ("tensorboard", "wandb", "mlflow"))

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe in a run's record; options that were added since have their defaults.

        >>> Recipe.recorded({"momentum": "high"})
        Traceback (most recent call last):
        pellucid.errors.RunError: recipe={'momentum': 'high'}: is none in the run's run.json ('<=' not supported ...); put ...

        Raises:
            RunError: an option that is not known, or a value that none of them can have.
        """
        try:
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as fault:
            raise RunError(
                f"recipe={values!r}: is none in the run's run.json ({brief(fault)}); put back a copy of that file."
            ) from fault

    def _check(self, names: Iterable[str], rule: str, holds: Any) -> None:
        for name in names:
            value = getattr(self, name)
            if not holds(value):
                raise UsageError(f"{name}={value!r}: {rule}; give another value.")

    @property
    def part(self) -> str:
        """Names the training images that a limit chooses; "" for all of them.

        >>> Recipe(limit=50).part, Recipe(limit_per_class=5, seed=1).part, Recipe().part
        ('-50-0', '-5-of-each-1', '')
        """
        if self.limit_per_class is not None:
            return f"-{self.limit_per_class}-of-each-{self.seed}"
        return f"-{self.limit}-{self.seed}" if self.limit else ""

    @property
    def peak(self) -> float:
        """The highest learning rate of the training."""
        return self.lr if self.lr is not None else _RATES[self.optimizer]

    def rate(self, step: int, steps: int, per_epoch: int) -> float:
        """The learning rate of a step, from 0; a pure function, so that a resumed training has no state of it to restore.

        one_cycle rises linearly and falls as a cosine to a thousandth of the peak (Smith & Topin 2018; the cosine is fastai's).

        Args:
            step: which step, from 0.
            steps: steps of the whole training.
            per_epoch: steps of an epoch.
        """
        default = 0.25 * steps if self.schedule == "one_cycle" else 0.0
        rise = default if self.warmup is None else self.warmup * per_epoch
        if step < rise:
            return self.peak * (step + 1) / max(1.0, rise)
        done = (step - rise) / max(1.0, steps - rise)  # in [0, 1)
        if self.schedule == "constant":
            return self.peak
        if self.schedule == "step":
            return self.peak * self.step_factor ** (step // (self.step_every * per_epoch))
        floor = 1e-3 if self.schedule == "one_cycle" else 0.0
        return self.peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))

    @property
    def thaws(self) -> int | None:
        """The epochs after which a frozen backbone is trained too; None for never."""
        if self.unfreeze == "never":
            return None
        return self.epochs // 2 if self.after is None else self.after

    def make_optimizer(self, player: nn.Module) -> torch.optim.Optimizer:
        """A fused optimiser of a module's trainable parameters; biases and norms do not decay."""
        trained = [p for p in player.parameters() if p.requires_grad]
        if not trained:
            raise UsageError("frozen=True: leaves nothing to train; unfreeze the backbone or give the model a head.")
        later = [p for module in player.modules() if isinstance(module, Frozen) for p in module.later.values()]
        waiting = {id(p) for p in later}
        groups = self._groups([p for p in trained if id(p) not in waiting]) + self._groups(later, self.below)
        made: torch.optim.Optimizer
        if self.optimizer in ("adam", "adamw"):
            kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
            made = plain(kind)(groups, lr=self.peak, betas=(self.betas[0], self.betas[1]), fused=True)
            return made
        momentum = 0.0 if self.optimizer == "sgd" else self.momentum
        made = plain(torch.optim.SGD)(
            groups, lr=self.peak, momentum=momentum, nesterov=self.optimizer == "nesterov", fused=True
        )
        return made

    def _groups(self, parameters: list[nn.Parameter], scale: float = 1.0) -> list[dict[str, Any]]:
        """Parameters with and without decay, whose rate is the schedule's times `scale`."""
        decay = _DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay
        decaying = [p for p in parameters if p.ndim > 1] if decay else []  # without decay, one group is one call a step
        groups: list[dict[str, Any]] = [
            {"params": decaying, "weight_decay": decay, "scale": scale},
            {"params": [p for p in parameters if p.ndim <= 1 or not decay], "weight_decay": 0.0, "scale": scale},
        ]
        return [group for group in groups if group["params"]]

    def bfloat16(self, model: nn.Module, device: torch.device) -> bool:
        """Whether a model is trained in bf16 on a device."""
        if self.precision != "auto":
            return self.precision == "bf16"
        return convolves(model) and computes_bfloat16(device)

    def memory_format(self, model: nn.Module, device: torch.device) -> torch.memory_format:
        """The memory layout in which a model is trained on a device: channels-last or contiguous."""
        auto = convolves(model) and gains_from_channels_last(device)
        chosen = auto if self.channels_last is None else self.channels_last
        return torch.channels_last if chosen else torch.contiguous_format


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has bf16 arithmetic of its own, rather than an emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
