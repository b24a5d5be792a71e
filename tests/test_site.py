# SPDX-License-Identifier: Apache-2.0
"""The documentation as pages: nothing is missing from them, nothing leads nowhere, and nothing is fetched from elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import pellucid
from pellucid import _catalog

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference-*.md"))


def pages(part: object) -> list[str]:
    """The pages of the site's navigation."""
    if isinstance(part, str):
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return [page for one in inner for page in pages(one)]


def test_every_page_stands_in_the_navigation_once() -> None:
    assert sorted(pages(CONFIG["nav"])) == sorted(page.name for page in DOCS.glob("*.md"))


def test_every_task_and_lens_has_a_page() -> None:
    """A page begins with the name of its task or lens, and belongs to it alone."""
    named = pages(CONFIG["nav"])
    members = {f"{task}.md": task for task in _catalog.names("tasks")}
    members |= {f"lenses-{lens.replace('_', '-')}.md": lens for lens in _catalog.names("lenses")}
    assert [page for page in members if page not in named] == []
    titles = {page: (DOCS / page).read_text(encoding="utf-8").split("\n")[0] for page in members}
    assert [page for page, name in members.items() if not titles[page].startswith(f"# {name}")] == []
    assert [page for page in named if page.startswith("lenses-") and page not in members] == []


def test_the_reference_holds_everything_public() -> None:
    listed = re.findall(r"^::: ([\w.]+)$", REFERENCE, re.M)
    assert len(set(listed)) == len(listed)
    for name in listed:
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(module), member) or importlib.util.find_spec(name), name
    for folder in ("tasks", "models", "lenses"):
        kinds = [_catalog.find(folder, name) for name in _catalog.names(folder)]
        assert [kind for kind in kinds if f"{kind.__module__}.{kind.__name__}" not in listed] == []
    assert [name for name in pellucid.__all__ if f"pellucid.{pellucid._HOME[name]}.{name}" not in listed] == []


def test_pages_link_to_pages() -> None:
    """A link to a file outside docs/ would lead nowhere on the site."""
    for page in DOCS.glob("*.md"):
        assert "](../" not in page.read_text(encoding="utf-8"), page.name


def test_nothing_is_fetched_by_the_settings() -> None:
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["use_directory_urls"] is False
    assert CONFIG["strict"] is True
    assert "offline" in CONFIG["plugins"]
    # instead of one from elsewhere, which the plugin would take
    assert CONFIG["extra"]["polyfills"] == ["iframe-worker.js"]


def test_examples_in_docstrings_become_code() -> None:
    pytest.importorskip("griffe")
    sys.path.insert(0, str(DOCS))
    try:
        fenced = importlib.import_module("fenced_examples").fenced
    finally:
        sys.path.remove(str(DOCS))
    assert fenced("A.\n\n>>> 1\n1\n\nB.") == "A.\n\n```pycon\n>>> 1\n1\n```\n\nB."
    assert fenced("A.\n>>> for i in x:\n...     i") == "A.\n\n```pycon\n>>> for i in x:\n...     i\n```"
    assert fenced("plain [0]") == "plain [0]"


class Page(HTMLParser):
    """What a built page loads, links to, and can be linked to at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given.get("href", ""))


@pytest.mark.slow
def test_the_built_pages_need_no_network_and_lead_somewhere(tmp_path: Path) -> None:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: `make site` installs it")
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    words = [sys.executable, "-m", "zensical", "build", "--clean"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "site"
    read = {file: Page(file.read_text(encoding="utf-8")) for file in built.glob("*.html")}
    assert len(read) >= len(pages(CONFIG["nav"]))
    for file, page in read.items():
        if file.name == "404.html":  # of a server alone, with addresses from its root
            continue
        assert [load for load in page.loads if "://" in load or load.startswith("//")] == [], file.name
        for target in [*page.loads, *(link for link in page.links if "://" not in link)]:
            if target.startswith(("data:", "mailto:", "javascript:")):
                continue
            parts = urlsplit(target)
            other = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            other = other / "index.html" if other.is_dir() else other
            assert other.exists(), f"{file.name}: {target}"
            if parts.fragment and other in read:
                assert unquote(parts.fragment) in read[other].anchors, f"{file.name}: {target}"
    # examples are code, and the options of a lens have their words
    lenses = (built / "reference-lenses.html").read_text(encoding="utf-8")
    assert re.search(r'<span class="gp">&gt;&gt;&gt; *</span>', lenses)
    assert "largest change of a pixel" in lenses
