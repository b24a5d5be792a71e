# SPDX-License-Identifier: Apache-2.0
"""The root cause of a stack's time, in words."""

from __future__ import annotations

NETWORK = "network"


def cause_of(stack: tuple[str, ...]) -> str:
    """Provisional."""
    for name in stack:
        if name.startswith("import ") and not name.startswith(
            ("import pellucid", "import __main__", "import _", "import encodings")
        ):
            return "import of " + name.split(" ")[1].split(".")[0]
    for name in reversed(stack):
        if "_engine_run_backward" in name:
            return "network, backward"
        if name.startswith("torch/optim/") and ".step" in name:
            return "network, update"
        if "Module._call_impl" in name:
            return "network, forward"
        if name.startswith("pellucid/"):
            return name.split(":")[0].removesuffix(".py")
    return stack[-1] if stack else "?"
