# SPDX-License-Identifier: Apache-2.0
"""The processor that computes: its name, and the instructions for which torch has kernels here."""

from __future__ import annotations

import contextlib
import platform

__all__ = ["instructions", "name"]


def name() -> str:
    """The processor's name as its maker writes it."""
    found = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        found = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), found)
    return found


def instructions() -> str:
    """The instruction set of torch's kernels and what computes in bf16, which an environment variable can limit.

    >>> instructions().split()[0] in ("DEFAULT", "NO AVX", "AVX2", "AVX512", "SVE128", "SVE256", "NEON", "VSX", "ZVECTOR")
    True
    """
    import torch

    found = [torch.backends.cpu.get_cpu_capability()]
    found += ["AMX"] * bool(torch.cpu._is_amx_tile_supported())
    found += ["BF16"] * bool(torch.cpu._is_avx512_bf16_supported())
    return " ".join(found)
