# SPDX-License-Identifier: Apache-2.0
# Needs python3 (3.11 or later), pip and make; everything else is installed into .venv, once.
.PHONY: demo test test-all hostile check bench docs site help
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/.ready
# one thread per test process: two processes with two threads each on two cores take turns rather than help each other
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile

help:
	@echo "make demo      set up, train and report a classifier and a denoiser on embedded images"
	@echo "make test      set up, then lint, strict types, import directions and the quick tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make hostile   kills, full disks and damaged files by the thousand, with their numbers (some 20 minutes)"
	@echo "make docs      draw the pictures of the documents on lenses again"
	@echo "make site      build the documentation as pages that open offline, site/index.html"
	@echo "make bench     every benchmark, each against a named peer (tens of minutes)"

# pip runs again only when what is to be installed has changed; Debian's python3 may come with pip and without ensurepip
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is %d.%d: Pellucid needs Python 3.11 or later; name one, as in: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up .venv, once: some 6 GB to fetch and unpack"
	@test -x $(BIN)/pip -o -x $(BIN)/pip.exe || if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
	else $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; fi
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

# -rP: each campaign prints what it did and how long the worst case took
hostile: $(READY)
	$(PYTEST) -rP -m hostile tests/campaigns

docs: $(READY)
	$(BIN)/python docs/lens_pictures.py
	$(BIN)/python docs/classify_pictures.py
	$(BIN)/python docs/fit_pictures.py
	$(BIN)/python docs/localize_pictures.py
	$(BIN)/python docs/segment_pictures.py

.venv/.site: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,site]'
	@touch $@

# mkdocs.yml has `strict`: a link that leads nowhere stops it
site: .venv/.site
	$(BIN)/zensical build --clean
	@echo "open site/index.html"

.venv/.bench: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench: .venv/.bench
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done
