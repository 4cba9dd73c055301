# Everything a person or CI does here. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The venv is complete when this file is newer than the lock.
READY := $(VENV)/.ready

export PYTHONPATH := include
export AIRFLOW_HOME ?= $(CURDIR)/.packwatch/test-airflow

.DEFAULT_GOAL := help
.PHONY: help setup demo up down clean test test-fast check format docs lock bench

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the venv with the locked requirements

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Packwatch needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)

demo: $(READY) ## Run a demo fleet through the real pipeline on this machine
	@$(BIN)/packwatch demo

up: $(READY) ## Start Postgres, S3 and Airflow here, in the background
	@$(BIN)/packwatch up

down: $(READY) ## Stop them; the data stays
	@$(BIN)/packwatch down

clean: $(READY) ## Stop them and remove their data
	@$(BIN)/packwatch clean --yes

test: $(READY) ## Run every test
	$(BIN)/python -m pytest

test-fast: $(READY) ## Run the tests that do not start Airflow's scheduler
	$(BIN)/python -m pytest -m "not slow"

check: $(READY) ## Lint, types, SQL, generated docs; edits nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --disable-progress-bar include/packwatch/load
	$(BIN)/python docs/build.py --check

format: $(READY) ## Put the code into the house format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(READY) ## Make the generated pages again
	$(BIN)/python docs/build.py

lock: $(READY) ## Lock the requirements again
	$(BIN)/pip-compile --quiet --strip-extras --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements.txt requirements.in

bench: $(READY) ## Measure speed, as ratios within one run
	$(BIN)/python benchmarks/bench_sessions.py
