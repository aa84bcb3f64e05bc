# Everything runs in .venv, which is made once and again only when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install data tune serve test lint format clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: .venv/installed  ## make .venv and install the package into it

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another with: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) -m venv does not work here. Install it with: sudo apt-get install python3-venv"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing fmnist_ray and its packages into .venv (several minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -e '.[dev]'
	@touch $@

data: install  ## fetch and verify the data
	$(BIN)/python -m fmnist_ray.data fetch

tune: install  ## the main job: search, retrain, score
	$(BIN)/python -m fmnist_ray.tune

serve: install  ## the web app, with the newest model
	$(BIN)/python -m fmnist_ray.serve

test: install  ## run the tests
	$(BIN)/python -m pytest

lint: install  ## format and lint checks, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and caches; results stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
