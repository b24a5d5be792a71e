# SPDX-License-Identifier: Apache-2.0
"""How large activations and gradients are by layer: one pass forwards and one backwards, and what is seen on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.lenses._layers import CONVOLUTIONS

__all__ = ["FLAT", "Profile", "measured", "prepared"]

FLAT = 0.1  # of its steepest slope: below it a sigmoid or tanh passes next to nothing back
_NONLINEAR = {
    "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish",
    "hardsigmoid", "hardtanh", "sigmoid", "tanh",
}  # fmt: skip
_SILENT: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda a: a == 0,
    "relu6": lambda a: (a == 0) | (a == 6),
    "sigmoid": lambda a: 4 * a * (1 - a) < FLAT,
    "tanh": lambda a: 1 - a * a < FLAT,
}
_OTHERS = {
    "abs",
    "exp",
    "log",
    "round",
    "square",
    "pow",
    "__pow__",
    "sqrt",
}  # what comes after is no layer's nonlinearity
_JOINS = {"add", "add_", "__add__", "__iadd__", "__radd__", "cat", "concat", "concatenate"}


class _Question(Protocol):
    """A batch: anything with a length, which the loss understands."""

    def __len__(self) -> int: ...


@final
@dataclass(frozen=True)
class Profile:
    """Sizes by layer with weights, in the order of their calls; arrays have a row a layer, sizes are root mean squares.

    A layer's activation is what its nonlinearity answers, or the layer itself where none follows. The gradient is that of one
    image's loss with respect to it; that of the weights is of the mean loss.
    """

    names: tuple[str, ...]
    nonlinear: tuple[str, ...]  # the nonlinearity after each, or ""
    depth: NDArray[np.int64]  # layers with weights on the longest way to it, itself included
    path: NDArray[np.bool_]  # whether it is deeper than all before it: on the longest way through the network
    activation: NDArray[np.float64]
    gradient: NDArray[np.float64]  # NaN where the loss does not depend on it
    weight: NDArray[np.float64]
    weight_gradient: NDArray[np.float64]
    gain: NDArray[np.float64]  # weight times the root of the layer's inputs: √2 by He's initialisation
    units: NDArray[np.int64]  # of a nonlinearity that can fall silent; 0 of any other
    dead: NDArray[np.int64]  # units of which no value passes a gradient
    silent: NDArray[np.float64]  # share of the values that pass none
    loss: float
    norm: bool  # whether the network normalises
    shortcut: bool  # whether answers of different depths are added or joined


@final
@dataclass
class _Sum:
    """Squares so far."""

    squares: float = 0.0
    count: int = 0

    def add(self, tensor: Tensor, scale: float = 1.0) -> None:
        self.squares += float((tensor.detach().double() * scale).square().sum())
        self.count += tensor.numel()

    @property
    def root(self) -> float:
        return float((self.squares / self.count) ** 0.5) if self.count else float("nan")


@final
@dataclass
class _Row:
    """What is known of one call of a layer, over all batches."""

    name: str
    module: nn.Module
    depth: int = 0
    nonlinear: str = ""
    activation: _Sum = field(default_factory=_Sum)
    gradient: _Sum = field(default_factory=_Sum)
    units: Tensor | None = None  # (U,) whether all values of a unit were silent
    silent: int = 0
    values: int = 0


@final
@dataclass(frozen=True)
class _Tag:
    """Where a tensor comes from: the deepest layer behind it."""

    depth: int
    seen: _Seen
    open: bool = True  # whether its nonlinearity may still follow


@final
class _Seen:
    """One call of a layer in one batch: its row, and the size of what stands for its activation so far."""

    def __init__(self, row: _Row, images: float) -> None:
        self.row, self.images, self.nonlinear = row, images, ""
        self.shape: tuple[int, ...] = ()
        self.activation, self.gradient = _Sum(), _Sum()
        self.quiet: Tensor | None = None

    def take(self, tensor: Tensor, nonlinear: str = "") -> None:
        """Let this tensor be the activation; what was so before it is forgotten."""
        self.nonlinear = nonlinear
        self.activation, gradient = _Sum(), _Sum()
        self.gradient = gradient
        self.shape = tuple(tensor.shape)
        self.activation.add(tensor)
        if nonlinear in _SILENT:
            self.quiet = _SILENT[nonlinear](tensor.detach())
        if tensor.requires_grad:
            tensor.register_hook(lambda slope: gradient.add(slope, self.images))

    def suits(self, tensor: Tensor) -> bool:
        """Whether a tensor has the layer's units: its map may be pooled, but a density's values, say, are others."""
        return tensor.ndim == len(self.shape) and tuple(tensor.shape[:2]) == self.shape[:2]

    def finish(self) -> None:
        """Add what was found to the row."""
        row = self.row
        row.nonlinear = self.nonlinear
        for total, own in ((row.activation, self.activation), (row.gradient, self.gradient)):
            total.squares += own.squares
            total.count += own.count
        if self.quiet is not None:
            # a unit is a channel of a map, and otherwise what stands last: (B, U), or (B, …, U) of tokens
            axis = 1 if isinstance(row.module, CONVOLUTIONS) else self.quiet.ndim - 1
            flat = self.quiet.transpose(0, axis).flatten(1).all(1)
            row.units = flat if row.units is None else row.units & flat
            row.silent += int(self.quiet.sum())
            row.values += self.quiet.numel()


@final
class _Followed(TorchFunctionMode):
    """Follows tensors through functions and modules alike, so that a nonlinearity is known by the layer that it comes after."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tags = [tag for tensor in _tensors([args, kwargs or {}]) if (tag := getattr(tensor, "_flow", None)) is not None]
        answer = func(*args, **(kwargs or {}))
        if not tags:
            return answer
        tag = max(tags, key=lambda one: (one.depth, one.open))
        name = getattr(func, "__name__", "")
        if name in _JOINS and len({one.depth for one in tags}) > 1:
            self.shortcut = True
        if name.removesuffix("_") in _OTHERS:
            tag = replace(tag, open=False)
        for tensor in _tensors(answer):
            if tensor.is_floating_point():
                tensor._flow = tag  # type: ignore[attr-defined]
                known = name.removesuffix("_")
                if known == "hardtanh" and (kwargs or {}).get("min_val") == 0 and (kwargs or {}).get("max_val") == 6:
                    known = "relu6"  # as torch writes it
                if known in _NONLINEAR and tag.open and not tag.seen.nonlinear and tag.seen.suits(tensor):
                    tag.seen.take(tensor, known)
        return answer


def measured(
    model: nn.Module, batches: Sequence[_Question], loss: Callable[[nn.Module, Any], Tensor], seed: int = 0
) -> Profile:
    """The sizes in a model, which is left with a gradient, over batches together; see `prepared` for the copy to take.

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = model[0].weight.copy_(torch.eye(2)), model[2].weight.fill_(3.0)
    >>> found = measured(model, [torch.tensor([[1.0, -1.0]])], lambda net, images: net(images).mean())
    >>> found.names, found.gradient.tolist(), found.dead.tolist()
    (('0', '2'), [3.0, 1.0], [1, 0])

    Args:
        model: its gradients are set anew.
        batches: of images with their truth.
        loss: the mean over a batch's images.
        seed: of what a loss may draw from torch's own generator.
    """
    total = sum(map(len, batches))
    rows: dict[tuple[str, int], _Row] = {}
    summed, shortcut = 0.0, False
    model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for batch in batches:
            with _followed(model, rows, total) as (mode, seen), mode:
                mean = loss(model, batch)
            # times its share, so that the gradients of the weights add up to that of the mean over all images
            if mean.requires_grad:  # of a model that has something to learn
                (mean * (len(batch) / total)).backward()
            for one in seen:
                one.finish()
            summed += float(mean.detach()) * len(batch) / total
            shortcut |= mode.shortcut
    return _profile(model, list(rows.values()), summed, shortcut)


def prepared(model: nn.Module) -> nn.Module:
    """The model as one step of training sees it, but for dropout: batch norm takes the batch's own statistics.

    Gradients go through all its layers, those that a training would leave as they are included.
    """
    model.eval()
    ready = not any(weight.requires_grad for weight in model.parameters())  # one of others, that is only looked at
    for part in model.modules():
        weights = list(part.parameters(recurse=False))
        free = ready or not weights or any(weight.requires_grad for weight in weights)
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and free:
            part.train()  # one that is frozen keeps to its stored ones
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())
    return model


@contextmanager
def _followed(
    model: nn.Module, rows: dict[tuple[str, int], _Row], total: int
) -> Iterator[tuple[_Followed, list[_Seen]]]:
    """While the block runs, each call of a layer with weights is noted; its hooks go with the block."""
    seen: list[_Seen] = []
    calls: dict[str, int] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not isinstance(module, (nn.Linear, *CONVOLUTIONS)):
                continue

            def note(module: nn.Module, given: Any, answer: Any, name: str = name) -> None:
                if not isinstance(answer, Tensor):
                    return
                call = calls[name] = calls.get(name, 0) + 1
                title = name if call == 1 else f"{name} ({call})"
                row = rows.setdefault((name, call), _Row(title, module))
                tag = getattr(next(_tensors(given), None), "_flow", None)
                row.depth = 1 + (tag.depth if tag is not None else 0)
                one = _Seen(row, total)
                one.take(answer)
                answer._flow = _Tag(row.depth, one)  # type: ignore[attr-defined]
                seen.append(one)

            stack.callback(module.register_forward_hook(note).remove)
        yield _Followed(), seen


def _profile(model: nn.Module, rows: Sequence[_Row], loss: float, shortcut: bool) -> Profile:
    weights = [row.module.weight for row in rows]
    sizes = [_rms(weight) for weight in weights]
    inputs = [weight[0].numel() for weight in weights]  # type: ignore[index]
    deepest, path = 0, []
    for row in rows:
        path.append(row.depth > deepest)
        deepest = max(deepest, row.depth)
    return Profile(
        names=tuple(row.name for row in rows),
        nonlinear=tuple(row.nonlinear for row in rows),
        depth=np.array([row.depth for row in rows], np.int64),
        path=np.array(path, bool),
        activation=np.array([row.activation.root for row in rows], np.float64),
        gradient=np.array([row.gradient.root for row in rows], np.float64),
        weight=np.array(sizes, np.float64),
        weight_gradient=np.array([_rms(weight.grad) for weight in weights], np.float64),
        gain=np.array([size * count**0.5 for size, count in zip(sizes, inputs, strict=True)], np.float64),
        units=np.array([0 if row.units is None else len(row.units) for row in rows], np.int64),
        dead=np.array([0 if row.units is None else int(row.units.sum()) for row in rows], np.int64),
        silent=np.array([row.silent / row.values if row.values else np.nan for row in rows], np.float64),
        loss=loss,
        norm=any(_normalises(part) for part in model.modules()),
        shortcut=shortcut,
    )


def _normalises(part: nn.Module) -> bool:
    known = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    return isinstance(part, known) or type(part).__name__.endswith("Norm")


def _rms(tensor: Any) -> float:
    return float("nan") if tensor is None else float(tensor.detach().double().square().mean().sqrt())


def _tensors(given: Any) -> Iterator[Tensor]:
    """The tensors in what a function takes or gives."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
    elif isinstance(given, (tuple, list)):
        for one in given:
            yield from _tensors(one)
