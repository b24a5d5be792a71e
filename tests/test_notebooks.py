# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom: each cell as plain Python, and in a kernel with the outputs that a person sees."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[str]:
    """The sources of its cells of code."""
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def shown(source: str, names: dict[str, object]) -> object:
    """Run a cell as a notebook does; what its last expression gives is what a person sees."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_as_it_was_written(notebook: Path) -> None:
    """No outputs and no counts are kept, which would say nothing about today's code, and no path of anybody's machine."""
    book = json.loads(notebook.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    assert book["cells"][0]["cell_type"] == "markdown"
    for cell in book["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
    assert {cell["id"] for cell in book["cells"]} and len({cell["id"] for cell in book["cells"]}) == len(book["cells"])


def test_there_are_three() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["compare_and_explain", "network_by_hand", "photographs_to_model"]


# of which a kernel runs all
QUICK = [
    pytest.param(file, marks=[] if file.stem == "network_by_hand" else pytest.mark.slow, id=file.stem)
    for file in NOTEBOOKS
    if file.stem != "compare_and_explain"
]


@pytest.mark.parametrize("notebook", QUICK)
def test_the_cells_of_a_notebook_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for source in cells(notebook):
            shown(source, names)
    said = out.getvalue()
    assert said
    if notebook.stem == "network_by_hand":
        assert "∂L/∂w" in said
        assert "1 of 2 answers is right" in said and "sign" in said
    else:
        assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_in_a_kernel(notebook: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(notebook, as_version=4)
    nbformat.validate(book)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [(cell, output) for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    # a cell shows its result, once: nothing is displayed beside it
    assert [cell.source for cell, output in outputs if output.output_type == "display_data"] == []
    results = {cell.source.splitlines()[-1]: output.data for cell, output in outputs if "data" in output}
    expected = {"photographs_to_model": {"run", "view"}, "compare_and_explain": {"comparison", "view"}}
    assert set(results) == expected.get(notebook.stem, set())
    for last, data in results.items():
        assert "text/html" in data, last
        assert last != "view" or "data:image/png;base64" in data["text/html"]
