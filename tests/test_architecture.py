# SPDX-License-Identifier: Apache-2.0
"""The shape of the tree: who may import whom, what a member's file holds, and what stands in no file."""

from __future__ import annotations

import ast
import functools
import graphlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid
from pellucid import _catalog, _halves

HERE = Path(pellucid.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(file.relative_to(HERE) for file in HERE.rglob("*.py"))
_NAMES = {str(file) for file in FILES}

# a module imports from lower levels, or from its own level where that is one folder or one group
LEVELS: tuple[tuple[str, ...], ...] = (
    (
        "_boxes", "_catalog", "_contact", "_colours", "_coupling", "_digits", "_following", "_halves", "_helps",
        "_launched", "_ledger", "_memory", "_notebooks", "_options", "_pages", "_png", "_processes", "_processor",
        "_ready", "_once", "_operations", "_scores", "_spread", "_values", "_verbs", "errors", "files", "own", "recorded",
        "weights", "_version",
    ),
    ("data", "models", "lenses", "worked"),
    ("bridging",),
    ("tasks",),
    ("run", "bare", "describing", "levels", "measures", "predictions", "restoring", "thresholds", "viewing"),
    (
        "annotating",
        "answering",
        "boxed",
        "bulk",
        "exporting",
        "features",
        "inference",
        "predicting",
        "quantising",
        "rivals",
    ),
    ("training",),
    ("merging", "comparison", "looking", "sweeping"),
    ("reporting",),
    ("serving",),
    ("cli", "__main__"),
)  # fmt: skip
APART = {"data", "models", "lenses", "worked"}  # of one level, and yet strangers
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

# the rooms of `worked`, in the order of its flow; rooms of one level do not know each other
WORKED: tuple[tuple[str, ...], ...] = (
    ("expressions",),
    ("notation", "showing"),
    ("worksheet", "derivation", "iteration", "layers", "network"),
    ("answers",),
    ("forms",),
    ("builders",),
)
BESIDE = {"derivation", "iteration", "layers", "network"}  # beside the flow: in `worked`, only builders import them


def room(module: str) -> str:
    """The part of the tree that a module of ours belongs to: `pellucid.data.draws` to `data`."""
    return [*module.split("."), ""][1]


@functools.cache
def file_of(module: str) -> Path | None:
    """The file of a module of ours, if it is one rather than a name inside one."""
    inner = Path(*module.split(".")[1:])
    found = (
        [path for path in (inner.with_name(f"{inner.name}.py"), inner / "__init__.py") if str(path) in _NAMES]
        if inner.name
        else []
    )
    return found[0] if found else None


@functools.cache
def imports(file: Path) -> tuple[tuple[str, int], ...]:
    """The modules of ours that a file imports, wherever it does, with the line."""
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names if name.name.split(".")[0] == "pellucid")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            if node.module and node.module.split(".")[0] == "pellucid":
                inner = [f"{node.module}.{name.name}" for name in node.names]
                modules = {name if file_of(name) else node.module for name in inner}
                yield from ((module, node.lineno) for module in sorted(modules))


@functools.cache
def tree(file: Path) -> ast.Module:
    """A file of ours, parsed once."""
    return ast.parse((HERE / file).read_text(encoding="utf-8"))


def public(file: Path) -> list[str]:
    """The names in a file's `__all__`."""
    for node in tree(file).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{file} has no __all__")


def test_every_module_has_a_level() -> None:
    rooms = {file.parts[0].removesuffix(".py") for file in FILES} - {"__init__"}
    assert rooms == set(LEVEL)


def test_imports_go_down() -> None:
    # the public names import nothing before they are asked for, see test_import_is_light
    for file in (file for file in FILES if file.parts[0] != "__init__.py"):
        own = file.parts[0].removesuffix(".py")
        for module, line in imports(file):
            other = room(module)
            if other == own:
                continue
            assert LEVEL[other] <= LEVEL[own], (
                f"{file}:{line}: {own} (level {LEVEL[own]}) imports {module} (level {LEVEL[other]})"
            )
            assert not (own in APART and other in APART), f"{file}:{line}: {own} and {other} know nothing of each other"


COLLECTIONS = ("tasks", "models", "lenses", "worked/builders")  # a member is a file or a folder of its name
MACHINERY = (
    "bridging",
    "bulk",
    "cli",
    "comparison",
    "looking",
    "reporting",
    "serving",
    "sweeping",
    "training",
)  # rooms whose face is empty


def member(module: str) -> str:
    """The member of a collection that a module belongs to, or "": `pellucid.tasks.cluster.metrics` to `tasks.cluster`."""
    for folder in COLLECTIONS:
        inner = module.removeprefix(f"pellucid.{folder.replace('/', '.')}.")
        if inner != module and inner[0] != "_":
            return ".".join([*folder.split("/"), inner.split(".")[0]])
    return ""


def test_a_member_is_reached_through_its_face() -> None:
    """A file outside a member's folder imports the member itself, never a file inside its folder."""
    for file in FILES:
        own = member("pellucid." + ".".join(file.with_suffix("").parts))
        for module, line in imports(file):
            other = member(module)
            if other and other != own:
                assert module == f"pellucid.{other}", f"{file}:{line}: imports {module}, an inner file of {other}"


@pytest.mark.parametrize(
    "face", [file for file in FILES if file.name == "__init__.py" and len(file.parts) > 1], ids=str
)
def test_a_face_is_thin(face: Path) -> None:
    """The face of a member exports its class alone, from the file of its name; the face of a room of machinery is empty."""
    *rooms, name, _ = face.parts
    statements = [
        node
        for node in tree(face).body
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
    ]
    if "/".join(rooms) in COLLECTIONS:
        assert [ast.unparse(node) for node in statements] == [
            f"from pellucid.{'.'.join(rooms)}.{name}.{name} import {public(face)[0]}"
        ]
        assert len(public(face)) == 1
        assert public(face)[0].lower() == name.replace("_", "")
    elif name in MACHINERY:
        assert not statements and not public(face)


def test_rooms_have_no_stray_files() -> None:
    """What lies flat at the top is machinery of one file; a leading _ inside a collection is shared by several members."""
    top = {file.stem for file in FILES if len(file.parts) == 1}
    rooms = {file.parts[0] for file in FILES if len(file.parts) > 1}
    assert not top & rooms
    for folder in COLLECTIONS:
        depth = len(Path(folder).parts)
        shared = [file for file in FILES if file.parent == Path(folder) and file.stem[0] == "_"]
        for file in (file for file in shared if file.stem not in ("__init__", "_contract")):
            module = f"pellucid.{folder.replace('/', '.')}.{file.stem}"
            users = {
                other.with_suffix("").parts[: depth + 1] if other.is_relative_to(folder) else other.parts[:1]
                for other in FILES
                if other != file and module in {name for name, _ in imports(other)}
            }
            if any(len(user) > 1 and user[1][0] == "_" for user in users):
                continue  # a part of another shared file
            assert len(users) > 1, f"{file} is used by {users or 'nobody'} alone: it belongs there"


def test_what_is_worked_by_hand_stands_alone() -> None:
    """NumPy and SymPy with its mpmath, the errors, atomic writes and the catalogue: no torch, and nothing else of the package."""
    for file in (file for file in FILES if file.parts[0] == "worked"):
        for module, line in imports(file):
            assert room(module) in ("worked", "errors", "files", "_catalog"), f"{file}:{line}: imports {module}"
        for node in ast.walk(tree(file)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            outside = {name.split(".")[0] for name in names} - {"pellucid", "__future__"} - sys.stdlib_module_names
            assert outside <= {"numpy", "sympy", "mpmath", "matplotlib"}, f"{file}: imports {outside}"


def test_worked_reads_as_its_flow() -> None:
    level = {name: number for number, names in enumerate(WORKED) for name in names}
    files = [file for file in FILES if file.parts[0] == "worked" and len(file.parts) > 2]
    assert {file.parts[1] for file in files} == set(level)
    for file in files:
        own = file.parts[1]
        for module, line in imports(file):
            other = [*module.split("."), "", ""][2]
            if room(module) != "worked" or other == own:
                continue
            assert other in level, f"{file}:{line}: imports {module}, the face of worked"
            assert level[other] < level[own], f"{file}:{line}: {own} imports {module}, against the flow"
            assert other not in BESIDE or own == "builders", f"{file}:{line}: {own} imports {module}, beside the flow"


def test_nothing_imports_in_a_circle() -> None:
    graph = {file: {found for module, _ in imports(file) if (found := file_of(module))} for file in FILES}
    graph[Path("__init__.py")] = set()  # imports only when it is asked
    for file in FILES:
        graph[file] -= {file}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the ring


def test_files_are_in_order() -> None:
    for file in FILES:
        text = (HERE / file).read_text(encoding="utf-8")
        lines = text.splitlines()
        assert lines[0] == "# SPDX-License-Identifier: Apache-2.0", file
        assert len(lines) <= 400, f"{file}: {len(lines)} lines"
        assert ast.get_docstring(tree(file)), f"{file}: no docstring"
        assert "from __future__ import annotations" in text or file.name == "__init__.py", file
        names = public(file)  # ruff keeps them sorted
        assert len(set(names)) == len(names), file


def test_nothing_unpickles() -> None:
    """A file from elsewhere must not run code: tensors travel as safetensors, arrays as plain .npy."""
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                unsafe = found & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
                assert not unsafe, f"{file}:{node.lineno}: {unsafe}"
            if isinstance(node, ast.Call):
                _check_call(node, f"{file}:{node.lineno}")


def _check_call(node: ast.Call, place: str) -> None:
    called = ast.unparse(node.func) if isinstance(node.func, (ast.Name, ast.Attribute)) else ""
    tensors_only = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
    assert called != "torch.load" or tensors_only, place
    assert called not in ("torch.save", "eval", "exec", "builtins.eval"), place
    if called in ("np.load", "numpy.load"):
        allow = [word.value for word in node.keywords if word.arg == "allow_pickle"]
        assert allow, f"{place}: np.load without allow_pickle=False"
        assert isinstance(allow[0], ast.Constant), place
        assert allow[0].value is False, place


@pytest.mark.parametrize(
    ("folder", "name"),
    [(folder, name) for folder in ("tasks", "models", "lenses", "worked/builders") for name in _catalog.names(folder)],
)
def test_a_member_file_holds_one_class(folder: str, name: str) -> None:
    member = _catalog.find(folder, name)
    assert member.__name__.lower() == name.replace("_", "").lower()
    assert inspect.getdoc(member)


def test_what_is_public_is_explained() -> None:
    """Every public function and class says in one line what it is for."""
    for file in FILES:
        names = set(public(file))
        for node in tree(file).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name not in names:
                continue
            document = ast.get_docstring(node)
            assert document, f"{file}:{node.lineno}: {node.name} has no docstring"
            first = document.split("\n")[0]
            assert first.rstrip().endswith((".", ":", "?")), (
                f"{file}:{node.lineno}: {node.name}: {first!r} is no sentence"
            )


def test_import_is_light() -> None:
    """`import pellucid` pulls in no library; a benchmark measures how long it takes."""
    code = "import sys; before = set(sys.modules); import pellucid; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "rich", "tyro", "PIL", "matplotlib", "pandas", "datasets"}
    assert not heavy & set(done.stdout.split())


def test_help_imports_no_torch() -> None:
    code = "import sys; from pellucid.cli.cli import main; main(['-h']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_public_names_are_exactly_these() -> None:
    names = ["Run", "compare", "evaluate", "export", "load", "look", "merge", "predict", "report", "sweep", "train"]
    assert pellucid.__all__ == names
    assert all(callable(getattr(pellucid, name)) for name in names)
    # a module of a verb's name would be put in the verb's place by its own import
    assert not {file.stem for file in HERE.glob("*.py")} & set(names)


def test_the_version_is_told_once() -> None:
    assert pellucid.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def distribution(word: str) -> str:
    """The package of a requirement: `torch>=2.11` to `torch`."""
    return re.split(r"[<>=\[; ]", word)[0]


def test_what_is_imported_is_declared() -> None:
    """Every third-party package that the source imports stands in pyproject.toml, and every one there in constraints.txt."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: {distribution(word) for word in words} for name, words in project["optional-dependencies"].items()}
    assert set(_halves.IMAGES.values()) == extras["images"]
    needed = {distribution(word) for word in project["dependencies"]}
    offered = set().union(*(words for name, words in extras.items() if name not in ("bench", "dev", "site")))
    modules = _halves.IMAGES | {"faiss": "faiss-cpu", "umap": "umap-learn"}
    for file in FILES:
        for node in ast.walk(tree(file)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in (
                {name.split(".")[0] for name in names} - {"pellucid", "__future__", ""} - sys.stdlib_module_names
            ):
                assert modules.get(name, name) in needed | offered, f"{file} imports {name}"
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in constraints.splitlines() if "==" in line}
    assert pinned >= needed.union(*extras.values()) - {"pellucid"}
    assert "://" not in constraints, "a registry's address"


def test_files_beside_the_source_are_of_a_readable_length() -> None:
    files = [file for folder in ("tests", "benchmarks", "examples") for file in (ROOT / folder).rglob("*.py")]
    long = [f"{file.name}: {n}" for file in files if (n := len(file.read_text(encoding="utf-8").splitlines())) > 400]
    assert not long


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by their names alone, and cannot collect the second one."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
