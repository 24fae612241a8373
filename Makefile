PYTHON ?= python3
BIN := .venv/bin
# `mlflow run` and what it starts take the first python on the PATH.
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help install demo test test-slow check docs docs-links bench bench-mini clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: .venv/installed ## make .venv with the fedtune command and the tested versions

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fedtune needs Python 3.11 or newer; give one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into .venv (a few minutes the first time) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# FEDTUNE_COMMAND is what fedtune tells the user to type again after Ctrl-C. Texts are cut to 64 tokens,
# for half the time: some processors have no bf16.
demo: install ## one comparison on real text, K = 1 against K = 32, tracked in MLflow (four minutes)
	@$(IN_VENV) FEDTUNE_COMMAND="make demo" \
	  mlflow run . --env-manager local --experiment-name fedtune -P clients=32 -P max_length=64

# Two at a time, whole files: a file's tests share servers and trials that take long to make. In the
# order of tests/conftest.py, where the longest files are first.
test: install ## the tests (a quarter of an hour on two cores)
	@$(IN_VENV) python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: install ## the tests that take minutes each
	@$(IN_VENV) python -m pytest -m slow

check: install ## ruff, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: install ## the documentation as a site, in docs/_build/html (the tutorial is executed: a minute)
	@$(IN_VENV) python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: install ## do the links of the documentation to other sites lead somewhere? (needs a network)
	@$(IN_VENV) python -m sphinx -W --keep-going -q -b linkcheck -D nb_execution_mode=off docs docs/_build/links

bench: install ## every speed table: other tools, techniques, scaling, launches (an hour)
	@$(BIN)/python -m benchmarks

bench-mini: install ## the miniatures against the same models from random weights (hours)
	@$(BIN)/python -m benchmarks.mini

clean: ## remove .venv and caches, never trials
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache docs/_build
