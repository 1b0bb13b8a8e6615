# Everything a new checkout needs: `make run`, `make test`. Both set up .venv first; a second set-up is instant.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run test lint typecheck wheel clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.fraudloom-installed
WORKERS ?= 2
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The first interpreter that is new enough; `make setup PYTHON=...` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo $$p; break; fi; done)

help:
	@echo "make run    set up, then weave a sealed world of a million arrivals (ARGS='--seed 7' adds options)"
	@echo "make test   set up, then ruff, mypy and pytest (WORKERS=2, ARGS='-k name')"
	@echo "make wheel  set up, then build dist/*.whl"
	@echo "make setup  make $(VENV) and install the tested versions;  make clean  remove caches and builds, never runs"

setup: $(STAMP)
	@:

$(STAMP): pyproject.toml setup.py constraints.txt
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "fraudloom needs Python 3.11 or newer; '$(if $(PYTHON),$(PYTHON),python3)' is not. Name one: make setup PYTHON=python3.12" >&2; exit 1; fi
	@$(PIP) --version >/dev/null 2>&1 || { echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); } || { \
		echo "Could not make $(VENV): is the venv module of your Python installed (on Debian: python3-venv)?" >&2; exit 1; }
	@echo "Installing the versions of constraints.txt into $(VENV) (about a minute the first time)"
	@$(PIP) install -qq -c constraints.txt setuptools wheel
	@$(PIP) install -qq -c constraints.txt --no-build-isolation -e '.[dev,query]'
	@touch $@

run: setup
	@$(BIN)/fraudloom run $(ARGS)

lint: setup
	$(BIN)/ruff check .

typecheck: setup
	$(BIN)/python tests/tools/typecheck.py

test: lint typecheck
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

wheel: setup
	$(BIN)/python tests/tools/build_wheel.py dist

clean:
	rm -rf build dist fraudloom.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
