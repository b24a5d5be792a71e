# SPDX-License-Identifier: Apache-2.0
"""The machine that a training runs on: its devices and processes, its signals, and what its numbers depend on."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import nn

from pellucid import _processor
from pellucid._launched import launched
from pellucid.errors import UsageError
from pellucid.training.peers import meet

__all__ = ["accelerator", "environment", "evaluating", "interruptible", "stopping"]

_PATIENCE = timedelta(days=7)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """A model in eval mode for a while; afterwards each module is back in its own mode.

    >>> layer = nn.Dropout()
    >>> with evaluating(layer) as quiet:
    ...     quiet.training
    False
    >>> layer.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set, to stop after the current step; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    asking = [signal.SIGINT, signal.SIGTERM]  # also where a script has started it in the background, ignoring SIGINT
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` goes on ignoring it
        asking.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in asking}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping(accelerator: Accelerator, stop: threading.Event, step: int) -> bool:
    """Whether to stop before this step; several processes agree on it, at every tenth step, so that none waits for another."""
    if accelerator.num_processes == 1:
        return stop.is_set()
    if step % 10:
        return False
    asked = torch.tensor(int(stop.is_set()), device=accelerator.device)
    return bool(accelerator.reduce(asked, "sum").item())


def environment(device: torch.device, bfloat16: bool, memory_format: torch.memory_format) -> dict[str, Any]:
    """What numbers depend on besides the options: versions, processor, threads, precision."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "accelerate", "numpy")},
        "system": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor.name(),
        "instructions": _processor.instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "precision": "bf16" if bfloat16 else "fp32",
        "memory_format": str(memory_format).removeprefix("torch."),
    }


def accelerator(device: str) -> Accelerator:
    """Accelerate's access to the processes and the device; "auto" takes a GPU if there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device='cuda': there is no CUDA device; give device='cpu' or leave it out.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device='mps': there is no Apple GPU; give device='cpu' or leave it out.")
    # several processes without a GPU exchange their gradients only if Accelerate is told that they shall use the processor
    several = launched() > 1
    cpu = device == "cpu" or (several and device == "auto" and not torch.cuda.is_available())
    # one of them may decode for hours while the others wait; `peers` notices those that have ended
    patient = InitProcessGroupKwargs(timeout=_PATIENCE)
    made = Accelerator(cpu=cpu, kwargs_handlers=[patient] if several else None)
    meet()
    return made
