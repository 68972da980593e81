# Everything from a fresh machine with Python 3.11 or newer and make. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup tools clients demo dev review test quick test-slow lint bench bench-large bench-pull bench-runs bench-desk docs clean lock

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The environment is made anew when a lock changes. Who only uses Bindwatch needs no tools of its tests.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Bindwatch needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pipelines.install requirements.lock
	@touch $@

$(VENV)/.with-tools: requirements-dev.lock $(VENV)/.installed
	@$(BIN)/python -m pipelines.install requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed  ## Virtual environment with the locked dependencies (one to three minutes, once)
tools: $(VENV)/.with-tools  ## The same, with what tests, style and types need
clients: ## The JavaScript clients that some tests point at the sandbox (needs npm)
	cd tests/clients && npm ci --no-audit --no-fund
demo: setup  ## Two CRMs in miniature, two runs, and what came out (a minute); needs no account
	@$(BIN)/bindwatch demo
dev: setup  ## The Dagster UI at http://127.0.0.1:3000
	@$(BIN)/bindwatch dev
review: setup  ## The steward's desk at http://127.0.0.1:8000
	@$(BIN)/bindwatch review
test: tools  ## The tests
	$(BIN)/pytest
quick: tools  ## Those of them that take less than a second each: three of four, in four minutes
	$(BIN)/pytest -m "not slow and not long"
test-slow: tools  ## The tests that take long, too
	$(BIN)/pytest -m ""
lint: tools  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
bench: tools  ## Time every model at 100,000 and 1,000,000 records; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.models 100000 1000000
bench-large: tools  ## The same, and 10,000,000 records (40 GB of disk, a quarter of an hour)
	$(BIN)/python -m benchmarks.models 100000 1000000 10000000
bench-pull: tools  ## What pulling costs, up to 1,000,000 records and at a rate limit (six minutes)
	$(BIN)/python -m benchmarks.pull 10000 100000 1000000
bench-runs: tools  ## Time whole runs on 4,000 and 1,000,000 records, with no, few and many changes (ten minutes)
	$(BIN)/python -m benchmarks.runs 4000 1000000
bench-desk: tools  ## Time the pages of the desk on more than 100,000 findings (one minute; two more the first time, when it makes them)
	$(BIN)/python -m benchmarks.desk 800000
docs: tools  ## Make docs/checks.md and docs/tables.md from the headers of the SQL files, and tests/house.json from the assets
	$(BIN)/python -m expectations.catalogue > docs/checks.md
	$(BIN)/python -m pipelines.dictionary > docs/tables.md
	$(BIN)/python -m tests.house
COMPILE := uv pip compile pyproject.toml --group checkout --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet
lock:  ## Resolve the dependencies anew (needs uv)
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
clean:  ## Remove the environment; data stays
	rm -rf $(VENV) *.egg-info
