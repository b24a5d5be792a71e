# SPDX-License-Identifier: Apache-2.0
"""What a task's inputs, predictions and truths are is said by its types: no task asserts it while it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid

TASKS = Path(pellucid.__file__).parent / "tasks"
FILES = sorted(file.relative_to(TASKS) for file in TASKS.rglob("*.py"))


def asserted_types(source: str) -> Iterator[int]:
    """The lines of assertions that ask a name for its type, alone or beside other conditions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            for call in ast.walk(node.test):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "isinstance":
                    yield node.lineno


def test_an_asserted_type_is_noticed() -> None:
    assert list(asserted_types("def f(truth):\n    assert truth is not None and isinstance(truth, int)\n")) == [2]
    assert not list(asserted_types("def f(truth):\n    return isinstance(truth, int)\n"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_task_asserts_the_type_of_what_it_is_given(file: Path) -> None:
    lines = list(asserted_types((TASKS / file).read_text(encoding="utf-8")))
    assert not lines, f"{file}: lines {lines}: say it in the brackets of Task[Input, Prediction, Truth]"
