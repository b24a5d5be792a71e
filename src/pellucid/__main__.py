# SPDX-License-Identifier: Apache-2.0
"""`python -m pellucid` is `pellucid`; `accelerate launch -m pellucid train …` runs it in several processes."""

from __future__ import annotations

import sys

from pellucid.cli.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
