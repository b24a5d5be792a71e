# SPDX-License-Identifier: Apache-2.0
"""The command line: which commands there are, and what becomes of a mistake.

A mistake of the user's ends with exit code 2 and one sentence, a failure of ours with 1, Ctrl-C with 130; `--debug`
shows the traceback. This module imports nothing heavy: `pellucid -h` answers without torch.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from pellucid.errors import PellucidError, UnknownNameError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train a model for a task on data; the same command resumes it",
    "evaluate": "measure a run's model, beside simpler answers to the same question",
    "predict": "answer for new images",
    "look": "see how a model sees, through a lens",
    "compare": "set runs side by side: measures, times, and whether a difference is real",
    "sweep": "train the same task over lists of options, and compare",
    "merge": "merge redundant filters of a model, and train the smaller ones on",
    "report": "write one self-contained HTML page about a run",
    "export": "write a run's model as ONNX and torch.export files",
    "data": "say what is in a data set, and what is wrong with it",
    "work": "work a small network by hand, in symbols and numbers, every line checked",
    "table": "write a network as a table of its layers, with the formula of every number",
    "list": "name the tasks, models, lenses, builders of worksheets and data sets",
}
"""Every command with a line about it, in the order of use; `pellucid.cli.commands` has a function of each name."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code is returned.

    >>> main(["--version"])
    pellucid 0.1.0
    0

    Args:
        words: the words after `pellucid`; by default the process's own.
    """
    given = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        return _run(given)
    except KeyboardInterrupt:
        return _say("stopped.", 130, debug)
    except BrokenPipeError:
        # the reader, e.g. `head`, has gone: nothing more to say to it, nor at exit when Python flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PellucidError as fault:
        return _say(str(fault), fault.exit_code, debug)
    except Exception as fault:
        hint = "" if debug else " This is a fault of pellucid's; the same command with --debug shows where."
        return _say(f"{type(fault).__name__}: {fault}.{hint}", 1, debug)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        from pellucid._version import __version__

        print(f"pellucid {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    from pellucid.cli.binding import bind

    try:
        return bind(name, rest)()
    except SystemExit as end:  # -h of a command
        return end.code if isinstance(end.code, int) else 0


def _help() -> str:
    lines = "\n".join(f"  {name:9} {line}" for name, line in COMMANDS.items())
    return f"""usage: pellucid COMMAND …

Trains, measures and explains neural networks on images, and shows its work.

commands:
{lines}

options:
  -h, --help     this text; after a command, that command's options with units and defaults
  -V, --version  the version
  --debug        show the traceback of an error

examples:
  pellucid train classify                                 the embedded digits, to a run below runs/
  pellucid train denoise --data photos/ --out runs/photos
  pellucid evaluate runs/photos
  pellucid report runs/photos"""


def _say(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"pellucid: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
