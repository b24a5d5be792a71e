# SPDX-License-Identifier: Apache-2.0
"""What was given in this process: models and tasks of the user's own, by the names under which runs record them."""

from __future__ import annotations

import copy
import functools
import inspect
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from pellucid.errors import RunError, UsageError, brief
from pellucid.own import files, sources

__all__ = [
    "Own",
    "Taken",
    "accept",
    "borrowed",
    "difference",
    "find",
    "is_own",
    "other_settings",
    "recorded",
    "resolve",
    "settings_of",
    "take",
]

_LONGEST = 1000  # characters of a setting
_OPTION = {"models": "model", "tasks": "task"}


@final
@dataclass(frozen=True)
class Own:
    """A model or a task of the user's own.

    `record` is what run.json says of it: "class", "module", "file", "how" it was given (class, instance or function), "source"
    and its "digest", and of an instance the "settings" in which two of one class may differ.
    """

    name: str  # "my:Net", which no member of a catalogue is called
    kind: Any = field(repr=False)  # the class, or the function that makes the model
    record: Mapping[str, Any] = field(repr=False)
    prototype: Any = field(default=None, repr=False)  # the instance, as it was when it was given
    reference: str = ""  # FILE.py:NAME, "" where a command line cannot name it

    @property
    def title(self) -> str:
        """It as one would write it: the class, or an instance of it."""
        return f"{self.kind.__name__}(…)" if self.prototype is not None else str(self.kind.__name__)

    @property
    def key(self) -> str:
        """What tells it from another one of its name."""
        return _key(self.record)


class Taken(NamedTuple):
    """What was given, by name, and the options that came with it."""

    name: str | None
    options: Mapping[str, Any] = {}


_latest: dict[tuple[str, str], Own] = {}  # by folder and name
_given: dict[tuple[str, str, str], Own] = {}  # and by the digests that a run records
_borrowing = threading.RLock()


def is_own(name: str) -> bool:
    """Whether a name is that of a part of the user's own.

    >>> is_own("my:Net"), is_own("mlp")
    (True, False)
    """
    return ":" in name and not name.startswith(("timm/", "torchvision/"))


def find(folder: str, name: str) -> Own | None:
    """What was given last under a name in this process."""
    return _latest.get((folder, name))


def recorded(folder: str, description: Mapping[str, Any]) -> Own | None:
    """The part of the user's own that a description means: by its digests where it has them, else the one given last."""
    record = description.get("own")
    if record is None:
        return find(folder, description["name"])
    return _given.get((folder, description["name"], _key(record)), find(folder, description["name"]))


def take(folder: str, given: Any) -> Taken:
    """Keep a class, a function, an instance or FILE.py:NAME under a name; a name in the catalogue stays as it is.

    Only what a user gives comes here: naming a file runs it.

    >>> take("models", "mlp")
    Taken(name='mlp', options={})

    Args:
        folder: "models" or "tasks".
        given: what the user gave.

    Raises:
        UsageError: it is none of these, or there is no such file.
    """
    option = _OPTION[folder]
    if given is None or (isinstance(given, str) and (not files.is_reference(given) or find(folder, given) is not None)):
        return Taken(given)
    if isinstance(given, str):
        made = _own(folder, files.from_text(option, given))
        where = given.rpartition(":")[0]
        made = Own(
            made.name, made.kind, made.record, made.prototype, given if where.endswith(".py") else made.reference
        )
        return Taken(_keep(folder, made).name)
    if isinstance(given, functools.partial):
        if given.args:
            raise UsageError(f"{option}={given!r}: has values without names; write them as name=value.")
        return Taken(_keep(folder, _own(folder, given.func)).name, dict(given.keywords))
    if not callable(given) or not (
        inspect.isclass(given) or inspect.isroutine(given) or hasattr(given, "named_modules")
    ):
        raise UsageError(
            f"{option}={given!r}: is neither a name nor a class, a function or an nn.Module; `pellucid list {folder}` has the names."
        )
    return Taken(_keep(folder, _own(folder, given)).name)


@contextmanager
def borrowed(folder: str, given: Any) -> Iterator[str]:
    """The name of a part that is kept for a while only; what was known of that name before is known again afterwards.

    Raises:
        UsageError: as `take` does.
    """
    with _borrowing:  # modules of one class have one name: each thread gets its own weights
        latest, kept = dict(_latest), dict(_given)
        name = take(folder, given).name or ""
        own = _latest.get((folder, name))
        try:
            yield name
        finally:
            places: list[tuple[Any, Any, Any]] = [(_latest, latest, (folder, name))]
            places += [(_given, kept, (folder, name, own.key))] if own is not None else []
            for now, before, key in places:
                if key in before:
                    now[key] = before[key]
                else:
                    now.pop(key, None)


def resolve(folder: str, name: str, record: Mapping[str, Any], base: Any, options: Mapping[str, Any], run: str) -> Own:
    """The part that a run was trained with: given in this process, or importable; nothing that the run records is executed.

    Args:
        folder: "models" or "tasks".
        name: under which the run records it.
        record: what else run.json says of it.
        base: the class that it must be of.
        options: that it is made with.
        run: the path of the run, for the sentence.

    Raises:
        RunError: it was not given, and is not importable.
    """
    key = _key(record)
    own = _given.get((folder, name, key))
    if own is not None:
        _latest[folder, name] = own  # what is now asked by name alone is of this run
        return own
    found = files.importable(record, base, options)
    if found is not None:
        own = _own(folder, found)
        own = Own(name, own.kind, own.record, None, own.reference)
        _given[folder, name, key] = own  # as it is now: whether it differs, `difference` says
        _latest[folder, name] = own
        return own
    option, title = _OPTION[folder], str(record.get("class", "?")).rpartition(".")[2]
    way = f"load({run!r}, {option}={title})"
    file = f" or --{option} {record['file']}:{title}" if record.get("file") else ""
    raise RunError(
        f"run={run!r}: its {option} is {title} of the module {record.get('module')!r}, which is not in pellucid, and no code of a "
        f"run is executed; give it again with {way}{file} (its source is in run.json)."
    )


def accept(folder: str, name: str, record: Mapping[str, Any] | None, given: Any, run: str) -> None:
    """Take what is given again as that which a run records, whether it differs or not.

    Raises:
        UsageError: the run's is one of the catalogue, or it is none that could be taken.
    """
    option = _OPTION[folder]
    if record is None:
        raise UsageError(f"{option}={_said(given)}: the run has {option}={name!r} of pellucid's own; leave it out.")
    taken = take(folder, given)
    own = find(folder, taken.name or "")
    if own is None:
        raise UsageError(f"{option}={given!r}: the run has one of its own, {name!r}; give that class, or FILE.py:NAME.")
    _given[folder, name, _key(record)] = own
    _latest[folder, name] = own


def difference(own: Own, record: Mapping[str, Any], was: str, now: str) -> str:
    """A sentence on how a class differs from the recorded one; "" where it does not.

    Args:
        own: what is at hand.
        record: what the run says of it.
        was: the beginning of the sentence.
        now: the beginning of its second half.
    """
    here = own.record
    title, other = (str(one["class"]).rpartition(".")[2] for one in (record, here))
    if title != other:
        return f"{was} {title}, {now} another class; its answers may be others."
    if not here["digest"] or not record["digest"]:
        return f"{was} {title}, whose source cannot be read, so that nothing says whether this is the same class."
    if here["digest"] != record["digest"]:
        digests = f"digest {here['digest'][:12]}, was {record['digest'][:12]}"
        return f"{was} {title}, {now} of another source ({digests}); its answers may be others."
    if record.get("settings") and here["settings"] and here["settings"] != record["settings"]:
        return f"{was} {title}, {now} one {other_settings(here['settings'], record['settings'])}"
    return ""


def other_settings(here: str, recorded: str) -> str:
    """The end of a sentence on a module whose settings are not those that were recorded."""
    changed = [line for line in here.split("\n") if line not in recorded.split("\n")]
    return f"with other settings ({' '.join((changed or ['fewer'])[0].split())}); its answers may be others."


def _key(record: Mapping[str, Any]) -> str:
    return f"{record['digest']}-{sources.digest_of(record.get('settings', ''))}"


def _said(given: Any) -> str:
    return repr(given) if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def _keep(folder: str, own: Own) -> Own:
    if folder == "tasks" and not any(
        base.__module__.startswith("pellucid.tasks.") for base in getattr(own.kind, "__mro__", ())
    ):
        raise UsageError(f"task={own.kind.__name__}: is no task; give a class that is made from pellucid.tasks.Task.")
    _latest[folder, own.name] = own
    _given[folder, own.name, own.key] = own
    return own


def _own(folder: str, given: Any) -> Own:
    """What is recorded of a class, a function, or an instance."""
    is_class = inspect.isclass(given)
    instance = not is_class and not inspect.isroutine(given)
    kind = type(given) if instance else given
    name, module = kind.__name__, str(kind.__module__)
    file = sources.file_of(kind)
    home = file.stem if module == "__main__" and file is not None else module.removeprefix("own_")
    home = home.partition(".")[0] if sources.is_installed(module) else home
    source = sources.source_of(kind)
    record = {
        "class": kind.__qualname__,
        "module": module,
        "file": file.name if file is not None else "",
        "how": "instance" if instance else "class" if is_class else "function",
        "source": source,
        "digest": sources.digest_of(source),
        "settings": settings_of(given) if instance else "",
        **({"start": _start(given)} if instance else {}),
    }
    named = file is not None and not instance and "." not in kind.__qualname__ and name.isidentifier()
    reference = f"{_shown(file)}:{name}" if named and file is not None else ""
    try:
        prototype = copy.deepcopy(given) if instance else None
    except Exception as fault:  # of any kind: it is a module of somebody else's
        raise UsageError(
            f"{_OPTION[folder]}={name}: cannot be copied ({type(fault).__name__}: {brief(fault)}), so that it would not stay as it is; "
            "keep what cannot be copied out of its attributes, or give its class."
        ) from fault
    return Own(f"{home}:{name}", kind, record, prototype, reference)


def settings_of(net: Any) -> str:
    """What tells two modules of one class apart, apart from their weights: their layers and plain attributes."""
    lines = [repr(net)]
    for path, module in net.named_modules():
        if sources.is_installed(type(module).__module__):
            continue
        for key, value in sorted(vars(module).items()):
            if key != "training" and not key.startswith("_") and (said := _told(value)):
                lines.append(f"{path or 'itself'}.{key} = {said}")
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(lines))


def _told(value: Any) -> str:
    """A plain value, a function or a tensor as a text; "" of what none can tell."""
    if isinstance(value, (bool, int, float, str, tuple, list, dict, set, frozenset, type(None))):
        return repr(value)[:_LONGEST]
    if isinstance(value, type) or callable(getattr(value, "__call__", None)):  # noqa: B004
        names = getattr(value, "__module__", ""), getattr(value, "__qualname__", type(value).__qualname__)
        return ".".join(filter(None, names))
    if hasattr(value, "detach"):  # a tensor that is no buffer, and so not among the weights
        array = value.detach().cpu().contiguous()
        return f"{tuple(array.shape)} {sources.digest_of(repr(array.flatten().tolist()))[:12]}"
    return ""


def _start(net: Any) -> str:
    """The digest of the weights that a module begins with; "" where they are made with its first batch."""
    from torch.nn.parameter import is_lazy

    from pellucid import weights

    tensors = {name: value.detach().cpu() for name, value in net.state_dict().items() if not is_lazy(value)}
    return weights.digest(tensors) if len(tensors) == len(net.state_dict()) else ""


def _shown(file: Path) -> str:
    """A file as a command names it: relative to the current folder where it lies below it."""
    try:
        return os.fspath(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(file)
