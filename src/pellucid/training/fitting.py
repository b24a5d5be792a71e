# SPDX-License-Identifier: Apache-2.0
"""Tensors of another training put into a model: which of them are its body's, whatever they are called, and which do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._building import build, describe
from pellucid.models._contract import Published
from pellucid.models._kept import Kept
from pellucid.models._layers import Frozen

__all__ = ["Fitted", "canonical", "fit"]

_SHOWN = 3  # names in a sentence
_COUNTER = "num_batches_tracked"  # of batch norm, which nothing reads: older files have none


class Fitted(NamedTuple):
    """What became of the tensors."""

    notes: list[str]  # plain sentences
    warning: str  # which tensors did not fit; "" where all did
    named: str  # by whose names: "published" or "own"
    normalized: bool  # whether the statistics of the normalisation were among them


@final
class _Names(NamedTuple):
    """A way to name a model's tensors."""

    own: Mapping[str, str]  # the model's own names by these
    kind: str
    prefix: str = ""  # before each of them in a file


def canonical(model: nn.Module) -> dict[str, str]:
    """A model's own names by names that do not depend on what of it is frozen.

    >>> canonical(nn.Sequential(Frozen(nn.Linear(2, 1))))
    {'0.weight': '0.body.weight', '0.bias': '0.body.bias'}
    """
    frozen = [name for name, module in model.named_modules() if isinstance(module, Frozen)]
    plain = {_bare(name, frozen): name for name in model.state_dict()}
    published = model.published if isinstance(model, Published) else ()
    if not published:
        return plain
    body = {name: own for name, own in published[0].items() if own.startswith("backbone.")}
    return body | {name: own for name, own in plain.items() if not own.startswith("backbone.")}


def fit(model: Any, given: Mapping[str, Tensor], what: str, *, named: bool = False, head: bool | None = None) -> Fitted:
    """Put tensors into a model: those of its body, of its normalisation where they have any, and of its head where that fits.

    Args:
        model: of this catalogue, as it was built.
        given: the tensors by name, after prefixes such as `module.`.
        what: they are, for messages.
        named: whether their names are `canonical`.
        head: whether the head's outputs mean the same; None where this is not known.

    Raises:
        UsageError: most of the body is not among them, or its first convolution takes another number of channels.
    """
    own = model.state_dict()
    if not named and _whole(model, own, given):
        model.load_state_dict(given)
        model.normalize.pretrained = True
        return Fitted(["they are the whole model, with its last layer and its normalisation."], "", "own", True)
    outer = _outer(model)
    names, notes = _best(model, own, given, outer, named), []
    if isinstance(model, Published) and (renamed := _in_order(model, own, given, names)):
        given, names = renamed, _Names(model.published[0], "published")
        notes.append(
            "their names are unknown, but they have the body's shapes in its order, and are taken in that order."
        )
    layer = next(f"{name}." for name, module in model.named_modules() if module is model.normalize)
    body, inner = {}, {}
    for name, mine in names.own.items():
        if mine not in outer and not mine.startswith(layer):
            inner[name] = mine
            if (value := given.get(names.prefix + name)) is not None:
                body[mine] = value
    _check_channels(own, body, what)
    counted = {name: mine for name, mine in inner.items() if not name.endswith(_COUNTER)}
    fitting = {mine: value for mine, value in body.items() if value.shape == own[mine].shape}
    _check_most(model, counted, fitting, own, given, names.prefix, what)
    if names.prefix:
        notes.append(f"names are taken without their prefix {names.prefix!r}.")
    tops = {mine: given.get(names.prefix + name) for name, mine in names.own.items() if mine in outer}
    last = {mine: value for mine, value in tops.items() if value is not None and value.shape == own[mine].shape}
    if head is not False and tops and len(last) == len(outer):
        fitting |= last
        meaning = "" if head else ", so that its outputs must be these classes in this order"
        notes.append(f"the last layer fits too and is taken{meaning}.")
    elif outer:
        notes.append("the last layer is new.")
    norm = {mine: given.get(names.prefix + name) for name, mine in names.own.items() if mine.startswith(layer)}
    statistics = {mine: value for mine, value in norm.items() if value is not None and value.shape == own[mine].shape}
    normalized = names.kind == "own" and len(statistics) == 2
    if normalized:
        fitting |= statistics
        model.normalize.pretrained = True
    model.load_state_dict({**own, **fitting})
    return Fitted(notes, _misfit(what, counted, body, own, given, names), names.kind, normalized)


def _bare(name: str, frozen: Iterable[str]) -> str:
    for owner in frozen:
        before = f"{owner}." if owner else ""
        if name.startswith(f"{before}body."):
            return before + name[len(before) + len("body.") :]
    return name


def _whole(model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are those of the model, all of them; what a task stores in it may come on top."""
    kept = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Kept))
    more = (name for name in given if name not in own)
    same = all(name in given and given[name].shape == value.shape for name, value in own.items())
    return same and all(name.startswith(kept) for name in more)


def _outer(model: nn.Module) -> set[str]:
    """The tensors of the head: that of a published body, else those whose shape depends on the number of outputs."""
    own = model.state_dict()
    if isinstance(model, Published):
        return {name for name in own if name.startswith("head.")}
    described = describe(model)
    try:
        with torch.device("meta"):
            wider = build({**described, "outputs": described["outputs"] + 1}, fetch=False).state_dict()
    except Exception:  # a model that gives pictures has the images' number of channels
        return set()
    return {name for name, value in own.items() if name in wider and wider[name].shape != value.shape}


def _best(
    model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor], outer: set[str], named: bool
) -> _Names:
    """The names, with the prefix, by which most tensors of the body fit."""
    tables = [_Names(canonical(model), "own")]
    if not named:
        frozen = [name for name, module in model.named_modules() if isinstance(module, Frozen)]
        ours = [{name: name for name in own}, {_bare(name, frozen): name for name in own}]
        published = model.published if isinstance(model, Published) else ()
        # a file of ours has a normalisation; another program may call its body `backbone` too
        kind = "own" if not published or any(name.endswith("normalize.mean") for name in given) else "published"
        tables = [*(_Names(table, kind) for table in ours), *(_Names(table, "published") for table in published)]
    best, most = (
        tables[min(2, len(tables) - 1)],
        0,
    )  # published names, if there are any, in a message where nothing fits
    for table in tables:
        fits: Counter[str] = Counter()
        for name, value in given.items():
            if name.endswith(_COUNTER):  # a number, whose shape fits anywhere
                continue
            parts = name.split(".")
            for start in range(len(parts)):
                mine = table.own.get(".".join(parts[start:]))
                if mine is not None and mine not in outer and own[mine].shape == value.shape:
                    fits["".join(f"{part}." for part in parts[:start])] += 1
        if fits and fits.most_common(1)[0][1] > most:
            prefix, most = fits.most_common(1)[0]
            best = table._replace(prefix=prefix)
    return best


def _in_order(
    model: Published, own: Mapping[str, Tensor], given: Mapping[str, Tensor], names: _Names
) -> dict[str, Tensor] | None:
    """Tensors under published names, where no name of theirs is known but all shapes of the body follow each other in the file."""
    if not model.published or any(
        names.prefix + name in given and name[-len(_COUNTER) :] != _COUNTER for name in names.own
    ):
        return None
    body = {name: own[mine].shape for name, mine in model.published[0].items() if mine.startswith("backbone.")}
    if [value.shape for value in given.values()][: len(body)] != [*body.values()]:
        return None
    return dict(zip(body, given.values(), strict=False))


def _check_channels(own: Mapping[str, Tensor], body: Mapping[str, Tensor], what: str) -> None:
    """Refuse a first convolution for another kind of image."""
    first = next((name for name, value in own.items() if value.ndim == 4 and not name.startswith("normalize.")), None)
    if first is None or first not in body:
        return
    mine, other = own[first].shape, body[first].shape
    if len(other) == 4 and mine[1] != other[1] and (mine[0], *mine[2:]) == (other[0], *other[2:]):
        raise UsageError(
            f"weights={what!r}: their first convolution takes {_channels(other[1])}, and that of this training takes "
            f"{_channels(mine[1])}; give images as the weights know them, or other weights."
        )


def _channels(number: int) -> str:
    return f"{number} channel{'s' * (number > 1)}" + {1: " (grey)", 3: " (colour)"}.get(number, "")


def _check_most(
    model: nn.Module,
    counted: Mapping[str, str],
    fitting: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    prefix: str,
    what: str,
) -> None:
    """Refuse weights that have less than half of the body's tensors."""
    count = sum(mine in fitting for mine in counted.values())
    if 2 * count >= len(counted):
        return
    shapes = [
        f"{name} is {tuple(given[prefix + name].shape)} there and {tuple(own[mine].shape)} here"
        for name, mine in counted.items()
        if prefix + name in given and mine not in fitting
    ]
    theirs = [name for name in given if not name.endswith(_COUNTER)]
    apart = f" ({shapes[0]})" if shapes else ""
    raise UsageError(
        f"weights={what!r}: only {count} of the {len(counted)} tensors of the body of model={describe(model)['name']!r} "
        f"are in it with their shape{apart}: it begins with {_few(theirs, 2)}, and the model with "
        f"{_few([*counted], 2)}; choose the model and the options that the weights were trained with."
    )


def _misfit(
    what: str,
    counted: Mapping[str, str],
    body: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    names: _Names,
) -> str:
    """The sentence about tensors that did not fit."""
    missing = [name for name, mine in counted.items() if mine not in body]
    reshaped = [name for name, mine in counted.items() if mine in body and body[mine].shape != own[mine].shape]
    known = {names.prefix + name for name in names.own}
    left = [name for name in given if name not in known and not name.endswith(_COUNTER)]
    said = [
        f"{len(found)} {how} ({_few(found)})"
        for found, how in ((missing, "missing"), (reshaped, "of another shape"), (left, "left over"))
        if found
    ]
    count = len(counted) - len(missing) - len(reshaped)
    return (
        f"weights={what!r}: {count} of the {len(counted)} tensors of the body were taken; {', '.join(said)}."
        if said
        else ""
    )


def _few(names: Sequence[str], shown: int = _SHOWN) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
