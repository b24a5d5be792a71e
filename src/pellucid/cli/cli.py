# SPDX-License-Identifier: Apache-2.0
"""The entry point of the command line: the list of commands, and the exit codes.

A user's mistake exits with code 2 and one sentence, a failure of ours with 1, Ctrl-C with 130, SIGTERM with 143 and SIGHUP
with 129; `--debug` shows the traceback. This module imports nothing heavy, so that `pellucid -h` answers without loading torch.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pellucid import _catalog
from pellucid._halves import missing
from pellucid._launched import first_process
from pellucid._memory import collecting_seldom
from pellucid.errors import PellucidError, PellucidWarning, UnknownNameError, UsageError, one_line

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train a model for a task; the same command resumes it",
    "evaluate": "measure a run's model and its baselines",
    "predict": "predict for new images",
    "look": "look into a model through a lens: attribution, embedding, filters, …",
    "compare": "compare runs: measures, times, and which differences are significant",
    "sweep": "train every combination of options, and compare the runs",
    "merge": "merge redundant filters of a model, and fine-tune the smaller model",
    "report": "write a self-contained HTML report on a run",
    "serve": "open runs and worksheets as pages in a browser, and over HTTP",
    "export": "export a run's model to ONNX and torch.export",
    "data": "inspect a dataset: contents, sizes, corrupt files, duplicates",
    "work": "work a small network by hand, in symbols and numbers, every line checked",
    "table": "tabulate a network's layers, with the formula of every number",
    "completion": "print the script that completes commands and options in bash, zsh or fish",
    "list": "list the tasks, models, lenses, builders of worksheets and datasets",
}
"""Every command with a line about it, in the usual order of use; `pellucid.cli.commands` has a function for each."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    >>> main(["--version"])
    pellucid 0.1.0
    0

    Args:
        words: the words after `pellucid`; by default the process's own.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # the name of a file need not be text in the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        with _terminable(), _plain_warnings(), _sparing(own=words is None):
            return _run(given)
    except KeyboardInterrupt:
        return _say("stopped.", 130, debug)
    except _Terminated as end:
        return _say(
            f"stopped by {signal.Signals(end.number).name}; nothing was left half-written.", 128 + end.number, debug
        )
    except BrokenPipeError:
        # the reader, e.g. `head`, has closed the pipe: write nothing more, also when Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PellucidError as fault:
        return fault.exit_code if fault.quiet else _say(str(fault), fault.exit_code, debug)
    except ModuleNotFoundError as fault:
        wanting = missing(fault, given[0])
        return _bug(fault, debug) if wanting is None else _say(str(wanting), wanting.exit_code, debug)
    except Exception as fault:
        return _bug(fault, debug)


def _bug(fault: Exception, debug: bool) -> int:
    hint = "" if debug else " This is a bug in pellucid; give the same command with --debug to see where."
    return _say(f"{type(fault).__name__}: {fault}.{hint}", 1, debug)


class _Terminated(BaseException):
    """The process was asked to end. Like KeyboardInterrupt it is no Exception, so that no handler of ours takes it for a fault."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, so that drafts are removed; a training stops after its step instead."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise _Terminated(number)

    # who ignores hang-ups (nohup) goes on ignoring them
    asking = [signal.SIGTERM]
    if sys.platform != "win32":
        asking.append(signal.SIGHUP)
    asking = [number for number in asking if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_LISTS_WHAT_IS_LEFT = {"onnx", "triton"}  # they are made with nanobind


def _without_a_list() -> None:
    """Close standard error as the last step of a process in which a package would list on it what nobody took apart."""
    if _LISTS_WHAT_IS_LEFT & {*sys.modules}:
        with contextlib.suppress(
            OSError, ValueError
        ):  # output that cannot be written, or is closed: Python says so itself
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@contextmanager
def _sparing(own: bool) -> Iterator[None]:
    """Spare the processor what brings nothing.

    Garbage in circles is looked for seldom: a sixth of a small command's time went into that. Where the process is the command's `own`,
    another sixth went into taking all objects apart at its end: they are left to the operating system. And threads that have nothing to
    do wait for it asleep, where they would by default turn in a circle, which took another fifth with two of them.
    """
    if own:
        atexit.register(_without_a_list)  # before anything else is imported, and so it is called last
        if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & {*os.environ}:
            os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded
    with collecting_seldom():
        try:
            yield
        finally:
            if own:
                gc.freeze()


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Our warnings are printed as a sentence, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PellucidWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            if not issubclass(category, PellucidWarning):
                shown(message, category, *where, **options)
                return
            if not first_process():
                return
            with contextlib.suppress(OSError):  # a terminal that was closed
                print(f"warning: {one_line(str(message))}", file=sys.stderr)

        warnings.showwarning = show
        yield


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version", "version"):
        from pellucid._version import __version__

        print(f"pellucid {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if words[:2] == ["completion", "words"]:  # as the shells' scripts ask
        from pellucid.cli.completing import fitting

        print(*fitting(rest[1:], [*COMMANDS]), sep="\n")
        return 0
    if name not in COMMANDS:
        raise _swapped(words) or UnknownNameError("command", name, COMMANDS)
    from pellucid.cli.binding import bind

    try:
        return bind(name, rest)()
    except SystemExit as end:  # -h of a command
        return end.code if isinstance(end.code, int) else 0


def _swapped(words: Sequence[str]) -> UsageError | None:
    """The fault of a line whose first word is no command, but belongs behind `work`, or whose second or third is one."""
    if words[0].replace("-", "_") in _catalog.names("worked/builders"):
        rest = words[2:] if words[1:2] == ["work"] else words[1:]
        meant = shlex.join(["pellucid", "work", words[0], *rest])
        return UsageError(f"command={words[0]!r}: is a word of work; write: {meant}")
    place = next((place for place, word in enumerate(words[:3]) if word in COMMANDS), None)
    if place is None or any(word.startswith("-") for word in words[:place]):
        return None
    meant = shlex.join(["pellucid", words[place], *words[:place], *words[place + 1 :]])
    return UsageError(f"command={words[0]!r}: is not a command, and {words[place]} is; write: {meant}")


def _help() -> str:
    lines = "\n".join(f"  {name:11} {line}" for name, line in COMMANDS.items())
    return f"""usage: pellucid COMMAND …

Trains, measures and explains neural networks on images, and shows its work.

commands:
{lines}

options:
  -h, --help     show this text; after a command, its options with units and defaults
  -V, --version  show the version
  --debug        show the traceback of an error

examples:
  pellucid train classify                                 on the embedded digits, into a folder below runs/
  pellucid train denoise --data photos/ --out runs/photos
  pellucid evaluate runs/photos
  pellucid report runs/photos"""


def _say(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(OSError):  # a terminal that was closed
        print(f"pellucid: {one_line(sentence)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
