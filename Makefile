# `make demo` and `make test` set up everything they need; nothing else has to be installed but Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto
export DAGSTER_HOME := $(CURDIR)

.PHONY: demo up test lint bench chaos clean

demo: $(STAMP)  ## the whole graph once, on stand-ins, and what came of it
	@$(BIN)/aperture demo

up: $(STAMP)  ## the Dagster UI and daemon, on the configured server, or on the demo
	@$(BIN)/aperture up

test: $(STAMP)  ## all tests
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q

lint: $(STAMP)  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

bench: $(STAMP)  ## figures: how good the recommendations are, how fast it works
	@for benchmark in $(filter-out benchmarks/chaos.py,$(wildcard benchmarks/*.py)); do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

chaos: $(STAMP)  ## kill -9 at random moments of whole runs, and what is there afterwards
	@$(BIN)/python benchmarks/chaos.py

clean:  ## remove the virtual environment, and all that the demo and the caches left
	rm -rf $(VENV) .aperture/demo .pytest_cache .ruff_cache .hypothesis .logs_queue logs *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Python packages into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
