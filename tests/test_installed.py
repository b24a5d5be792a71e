# SPDX-License-Identifier: Apache-2.0
"""The wheel in environments of its own: with worksheets and the command line alone, and with what works on images.

Needs an index of packages, as pip is set up to find one; skips with pip's own words where it cannot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = pytest.mark.slow


def call(*words: object, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, words)], cwd=folder, env=PLAIN, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def pip(python: Path, *words: object, folder: Path) -> None:
    """Install; without an index the test is skipped, whatever else fails is a failure."""
    line = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(line, cwd=folder, env=PLAIN, capture_output=True, text=True, check=False)
    if done.returncode and ("No matching distribution" in done.stderr or "Connection" in done.stderr):
        pytest.skip(f"pip finds no index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def program(folder: Path, name: str) -> Path:
    """A program of an environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin") / name


def size(folder: Path) -> float:
    """MB of what a folder holds."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", folder, ROOT, folder=folder)
    (built,) = folder.glob("pellucid-*.whl")
    return built


def test_worksheets_alone_are_light(wheel: Path, tmp_path: Path) -> None:
    """An empty environment: under 300 MB, worksheets work, and what works on images says what is missing."""
    home = tmp_path / "light"
    venv.create(home, with_pip=True)
    python, pellucid = program(home, "python"), program(home, "pellucid")
    packages = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).stdout.strip()
    )
    before = size(packages)
    pip(python, "install", "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    assert size(packages) - before < 300
    work = tmp_path / "work"
    work.mkdir()
    assert call(pellucid, "version", folder=work).stdout.startswith("pellucid ")
    assert (
        call(python, "-m", "pellucid", "version", folder=work).stdout == call(pellucid, "version", folder=work).stdout
    )
    assert "each checked" in call(pellucid, "work", "mlp", folder=work).stdout
    assert "650" in call(pellucid, "table", "input 8x8x1; flatten; dense 10", folder=work).stdout
    assert "classify" in call(pellucid, "list", folder=work).stdout
    assert "complete -o default" in call(pellucid, "completion", "bash", folder=work).stdout
    refused = call(pellucid, "train", folder=work, code=2).stderr
    assert (
        refused
        == "pellucid: train: needs torch, which is not installed; install what works on images with: pip install 'pellucid[images]'\n"
    )
    refused = call(python, "-c", "import pellucid; pellucid.train('classify', 'digits')", folder=work, code=1).stderr
    assert refused.endswith("with: pip install 'pellucid[images]'\n")
    assert not any(work.iterdir())


def test_the_wheel_works_on_images_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The wheel itself, in an environment that borrows its dependencies from the one of the tests.

    What it shows: the wheel holds every file that a training, a report and a prediction need. That pip brings the dependencies by
    itself is shown by `make`, which installs the same extra.
    """
    home = tmp_path / "borrowing"
    venv.create(home, with_pip=True)
    python, pellucid = program(home, "python"), program(home, "pellucid")
    pip(python, "install", "--no-deps", wheel, folder=tmp_path)
    words = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(call(python, "-c", words, folder=tmp_path).stdout.strip())
    lenders = {Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    # after its own packages, so that the wheel is the pellucid that is imported
    (packages / "lenders.pth").write_text("\n".join(map(str, lenders)) + "\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    found = call(python, "-c", "import pellucid; print(pellucid.__file__)", folder=work).stdout.strip()
    assert Path(found).is_relative_to(home)
    call(pellucid, "train", "classify", "--limit", 400, "--epochs", 1, "--out", "runs/a", folder=work)
    call(pellucid, "evaluate", "runs/a", folder=work)
    assert Path(call(pellucid, "report", "runs/a", "--maps", 1, folder=work).stdout.strip()).name == "report.html"
    call(pellucid, "look", "runs/a", "confusion", folder=work)


def test_pip_keeps_a_torch_that_is_installed(tmp_path: Path) -> None:
    """The extra asks for what is missing, and leaves a build of torch for processors alone as it is."""
    home = tmp_path / "kept"
    venv.create(home, with_pip=True)
    python = program(home, "python")
    words = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(call(python, "-c", words, folder=tmp_path).stdout.strip())
    for name, version in (("torch", "2.15.0+cpu"), ("torchvision", "0.29.2+cpu")):
        record = packages / f"{name}-{version}.dist-info"
        record.mkdir()
        needs = "Requires-Dist: torch==2.15.0\n" if name == "torchvision" else ""
        (record / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}", encoding="utf-8"
        )
        (record / "RECORD").write_text("", encoding="utf-8")
        (record / "INSTALLER").write_text("pip\n", encoding="utf-8")
    report = tmp_path / "report.json"
    what = f"pellucid[images] @ {ROOT.as_uri()}"
    constraints = ROOT / "constraints.txt"
    pip(python, "install", "--dry-run", "--report", report, "-c", constraints, what, folder=tmp_path)
    brought = {entry["metadata"]["name"].lower() for entry in json.loads(report.read_text())["install"]}
    assert {"pellucid", "timm", "accelerate"} <= brought
    assert not {"torch", "torchvision"} & brought
