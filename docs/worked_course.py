# SPDX-License-Identifier: Apache-2.0
"""Write the solutions into the page with one exercise a topic: below each command what it prints; and Nesterov's sketch.

python docs/worked_course.py
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from pellucid.cli.cli import main

PAGE = Path(__file__).with_name("worked-course.md")
SKETCH = Path(__file__).parent / "pictures" / "worked-nesterov.png"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def solved(page: str) -> str:
    """The page with what its commands print in the blocks of text after them."""
    names: dict[str, object] = {}
    printed = io.StringIO()

    def written(block: re.Match[str]) -> str:
        language, text = block.groups()
        if language == "python":
            exec(compile(text, PAGE.name, "exec"), names)
        elif language == "console":
            with contextlib.redirect_stdout(printed):
                for line in text.splitlines():
                    main(shlex.split(line, comments=True)[1:])
        else:
            shown = printed.getvalue()
            printed.seek(0)
            printed.truncate()
            return f"```\n{shown}```"
        return block[0]

    return _BLOCK.sub(written, page)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    here = Path.cwd()
    os.environ["COLUMNS"] = "80"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = solved(text)
        shutil.copy("nesterov.png", SKETCH)
        os.chdir(here)
    PAGE.write_text(made, encoding="utf-8")
