# SPDX-License-Identifier: Apache-2.0
"""What a classifier's outputs are: logits, or probabilities already; recognised by their values, in one place for all.

A softmax of probabilities would flatten them: 0.98 and 0.02 become 0.72 and 0.28.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["Kind", "class_score", "kind_of", "known", "logits", "probabilities", "sentence"]

Kind = Literal["logits", "probabilities", "log-probabilities", "sigmoids", "logit", "probability"]
"""The last two are of a single output, which tells two classes apart: class 1, and class 0, the rest."""

_CLOSE = 1e-4  # of sums that should be 1
_LEAST = 1e-30  # of a probability before its logarithm: the gradient through it stays finite in float32
_PROBES = 3  # images of noise that a guess is tested with
# steps of autograd: those that only move or average, and those that make a score rather than a probability
_PASSING = (
    "View",
    "UnsafeView",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "ToCopy",
    "Clone",
    "Alias",
    "Select",
    "Slice",
    "Mean",
)
_JOINING = ("AddBackward", "SubBackward", "Rsub", "Stack", "Cat")
_AFFINE = ("Addmm", "Mm", "Convolution", "Bmm", "Baddbmm", "Mv", "Addmv", "Sum", "NativeBatchNorm", "AccumulateGrad")
_SIGMOID = ("Sigmoid", "Hardsigmoid")

_known: WeakKeyDictionary[nn.Module, dict[bool, Kind]] = WeakKeyDictionary()  # by training or evaluation: some differ


def kind_of(model: nn.Module, output: Tensor, image: Callable[[], Tensor]) -> Kind:
    """What a model's outputs (B, K), (B, 1) or (B,) are; found once for each model and mode.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1)).eval()
    >>> images = torch.rand(5, 1, 2, 2)
    >>> kind_of(model, model(images), lambda: images[:1]), kind_of(model[:2], model[:2](images), lambda: images[:1])
    ('probabilities', 'logits')

    Args:
        model: whose outputs they are.
        output: what it gave.
        image: gives an image (1, C, H, W); read only if the outputs may be probabilities. In evaluation the guess is then
            tested on noise, black and white of its size.
    """
    kinds = _known.setdefault(model, {})
    if model.training in kinds:
        return kinds[model.training]
    rows, step = output.detach(), _last_step(output)
    guess = _guess(rows, step, suspected=True)
    if guess != "logits":
        many = not model.training  # in training another pass would change running statistics
        if many:
            rows, step = _probed(model, image())
        guess = _guess(rows, step, many=many)
    if bool(rows.isfinite().all()):
        kinds[model.training] = guess
    return guess


def known(model: nn.Module) -> bool:
    """Whether a model's outputs were recognised before, in this mode."""
    return model.training in _known.get(model, {})


def probabilities(output: Tensor, kind: Kind) -> Tensor:
    """(B, K) float32 probabilities of the classes; of a single output those of class 0 and class 1.

    >>> probabilities(torch.tensor([[0.0], [2.0]]), "logit")[:, 1].tolist()
    [0.5, 0.88...]
    """
    values = output.float()
    if kind in ("probabilities", "sigmoids"):
        return values
    if kind == "probability":
        return torch.stack([1 - values.flatten(), values.flatten()], 1)
    return logits(output, kind).softmax(1)


def logits(output: Tensor, kind: Kind) -> Tensor:
    """(B, K) float32 scores whose softmax are the probabilities; probabilities near 0 are taken as 1e-30."""
    values = output.float()
    if kind == "logit":
        return torch.stack([torch.zeros_like(values.flatten()), values.flatten()], 1)
    if kind in ("logits", "log-probabilities"):
        return values
    return probabilities(output, kind).clamp_min(_LEAST).log()


def class_score(output: Tensor, kind: Kind, index: int) -> Tensor:
    """(B,): a class's logit, or, where only its probability is known, its log-odds: neither flattens near 1."""
    if kind == "logits":
        return output[:, index]
    if kind == "sigmoids":
        share = output[:, index].float()
        return share.clamp_min(_LEAST).log() - (1 - share).clamp_min(_LEAST).log()
    known = logits(output, kind)
    others = known[:, [i for i in range(known.shape[1]) if i != index]]
    return known[:, index] - others.logsumexp(1)


def sentence(kind: Kind, classes: Sequence[str] = ()) -> str:
    """What was recognised, in words; nothing for logits, which are the rule."""
    one = classes[1] if len(classes) == 2 else "class 1"
    return {
        "logits": "",
        "probabilities": "The model's outputs are probabilities already, which lie in [0, 1] and sum to 1; they are used as they are.",
        "log-probabilities": "The model's outputs are logarithms of probabilities, and are read as such.",
        "sigmoids": "The model ends in a sigmoid for each class: its probabilities are used as they are and need not sum to 1.",
        "logit": f"The model has a single output, which is read as the logit of {one}.",
        "probability": f"The model has a single output, which is read as the probability of {one}.",
    }[kind]


def _guess(rows: Tensor, step: str, many: bool = False, suspected: bool = False) -> Kind:
    """What outputs look like, given the step of the network that made them.

    Args:
        rows: (B, K), (B, 1) or (B,).
        step: its name, "" where it is not known.
        many: the outputs are of images of all kinds.
        suspected: whatever the outputs may be, though the rows are too few to tell.
    """
    values = rows.double()
    near = max(_CLOSE, torch.finfo(rows.dtype).eps)
    share = bool(((values >= -near) & (values <= 1 + near)).all())
    if values.ndim == 1 or values.shape[1] == 1:
        bounded = step.startswith(_SIGMOID) or ((many or suspected) and not step.startswith(_AFFINE))
        return "probability" if share and bounded else "logit"
    # equal rows may sum to 1 by chance, as those of a layer that begins with zeros
    told = suspected or "Softmax" in step or not bool((values == values[:1]).all())
    if told and share and bool(((values.sum(1) - 1).abs() <= near).all()):
        return "probabilities"
    if told and bool((values <= near).all()) and bool((values.logsumexp(1).abs() <= near).all()):
        return "log-probabilities"
    return "sigmoids" if share and (suspected or step.startswith(_SIGMOID)) else "logits"


def _probed(model: nn.Module, image: Tensor) -> tuple[Tensor, str]:
    """The outputs for an image (1, C, H, W), noise, black and white, and the last step of the network."""
    chance = torch.Generator().manual_seed(0)
    noise = [torch.rand(image.shape, generator=chance).to(image) for _ in range(_PROBES)]
    found = []
    for probe in (image, *noise, torch.zeros_like(image), torch.ones_like(image)):
        with torch.enable_grad():
            output = model(probe.detach().clone().requires_grad_() * 1)  # a model may write into its input
        found.append(output)
    return torch.cat([output.detach() for output in found]), _last_step(found[0])


def _last_step(output: Tensor) -> str:
    """The name of the operation that made an output, as autograd knows it: "Softmax", "Addmm", …; "" where it does not.

    Of a mean of several networks it is what they all end in, else a step that makes a score, if there is one.
    """
    found: list[str] = []
    waiting: list[Any] = [output.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        before = [parent for parent, _ in node.next_functions if parent is not None]
        scaled = node.name().startswith(("Mul", "Div")) and len(before) == 1  # by a constant
        if before and (scaled or node.name().startswith((*_PASSING, *_JOINING))):
            waiting += before
        else:
            found.append(str(node.name()))
    if len({name.startswith(_SIGMOID) for name in found}) == 2:  # a sigmoid and something else
        found = [name for name in found if not name.startswith(_SIGMOID)]
    return next((name for name in found if name.startswith(_AFFINE)), found[0] if found else "")
