# Every target sets up .venv first if needed; only Python 3.11 or newer and make have to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a user needs, and in addition what tests and checks of the code need: browsers' drivers, type checkers, clients.
PRODUCT := $(VENV)/.product
DEVELOPMENT := $(VENV)/.development
# Python compiles what is imported; compiling everything would take 130 MB, and longer.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# More than processors: tests also wait, for processes and for time-outs.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 3 / 2)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q
# Twice as long as one of these tests may take.
PATIENT := -o faulthandler_timeout=7200
CONTAINERS := $(BIN)/pytest $(PATIENT) -n 0 -q --durations 5
HASHES := $(BIN)/python -m uv pip compile --quiet --no-header --no-annotate --generate-hashes \
  --python-platform linux --python-version 3.11 --constraint constraints.txt
# Tests that make nightly runs with other parameters.
REPEATED := catalogue/test_household_year.py publishing/server/test_crashes.py trakt/test_sync.py
# Benchmarks that take longer than a coffee break, and those that are for nights.
LONG := first_lists idle contest user_weights
OF_THE_NIGHT := quarter
BENCHMARKS := $(filter-out verdict peers protocol cells $(LONG) $(OF_THE_NIGHT),$(basename $(notdir $(wildcard benchmarks/*.py))))
# What is tried with the newest Dagster: where it is, its packages, and the tests that are most about it.
NEXT := .venv-next
DAGSTERS := dagster dagster-dg-cli dagster-graphql dagster-postgres dagster-webserver
ON_DAGSTER ?= instance defs sensors test_build.py e2e/test_from_the_ui.py e2e/test_demo_and_up.py e2e/test_whole_cycle.py
# Every one is run, also after one that missed a limit; an exit code of 3 means that its data is not here.
run-benchmarks = missed=; for one in $(1); do set -- $$one; echo "== benchmarks/$$*"; \
  $(BIN)/python benchmarks/$$1.py $${2:+"$$2"} || test $$? = 3 || missed="$$missed $$1"; done; test -z "$$missed" || { echo "MISSED:$$missed"; exit 1; }
export DAGSTER_HOME := $(CURDIR)
# Otherwise each process of a test, and each command, would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up up-demo test lint format settings nas site screenshots bench bench-full nightly dates quarter \
  test-wheel test-containers nightly-containers arm64 hashes bases next-dagster release release-image install-size size clean

help:  ## list these targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
	  printf '  make %-15s %s\n' "$$name" "$$text"; done

install: $(DEVELOPMENT)  ## set up .venv with everything that developing needs

demo: $(PRODUCT)  ## run the whole graph once on stand-ins, and show the results
	@$(BIN)/aperture demo

up: $(PRODUCT)  ## run members' pages, the Dagster UI and the daemon; without a media server, the pages to set one up
	@$(BIN)/aperture up

up-demo: $(PRODUCT)  ## the same on the stand-ins, with the results of the demo
	@$(BIN)/aperture up --demo

test: $(DEVELOPMENT)  ## run the tests, but for those that are marked as nightly
	@$(PYTEST)

lint: $(DEVELOPMENT)  ## check style, types and workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/zizmor --quiet --offline --no-progress --persona pedantic .github

format: $(DEVELOPMENT)  ## format the code, and fix what can be fixed by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

settings: $(DEVELOPMENT)  ## write docs/settings.md
	@$(BIN)/python -m aperture_dagster.settings.reference

nas: $(DEVELOPMENT)  ## write the templates in deploy/nas from deploy/compose.yaml
	@$(BIN)/python tools/nas.py

site: $(DEVELOPMENT)  ## build the documentation as a site, and fail on any broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

screenshots: $(DEVELOPMENT)  ## take the pictures of README and docs from the demo
	@$(BIN)/python docs/screenshots.py

bench: $(DEVELOPMENT)  ## run the benchmarks: quality of the recommendations, speed, requests
	@$(call run-benchmarks,$(BENCHMARKS))

bench-full: $(DEVELOPMENT)  ## run all benchmarks: also idle minutes, first lists, and a very large library
	@$(call run-benchmarks,$(filter-out performance,$(BENCHMARKS)) $(LONG) "performance --full")

nightly: $(DEVELOPMENT)  ## run the long tests, the random and the killed ones at every step and with more histories
	@$(PYTEST) $(PATIENT) --hypothesis-profile=night -m '(nightly or hypothesis) and not containers' $(addprefix --ignore=aperture_dagster_tests/, $(REPEATED))
	@HOUSEHOLD_YEARS=50 CRASH_STRIDE=1 $(BIN)/pytest $(PATIENT) --hypothesis-profile=night -n $(WORKERS) -q -m '' \
	  $(addprefix aperture_dagster_tests/, $(REPEATED))

dates: $(DEVELOPMENT)  ## run the tests on four other dates, in other zones than UTC; needs faketime
	@$(BIN)/python tools/dates.py $(DATES) -- $(PYTEST) -m 'not nightly and not containers and not this_day'

quarter: $(DEVELOPMENT)  ## live through 90 days with kills, faults and wrong clocks, compare them with quiet ones, and show what grew
	@$(BIN)/python benchmarks/quarter.py

test-wheel: $(DEVELOPMENT)  ## install the wheel with each Python at hand, from a package index, and test it
	@$(BIN)/python -m aperture_dagster_tests.wheels

test-containers: $(DEVELOPMENT)  ## build the image, and run a household as a container; needs Docker
	@$(CONTAINERS) -m 'containers and not nightly' aperture_dagster_tests/deploy

nightly-containers: $(DEVELOPMENT)  ## also kill and upgrade containers, and run services, a release and a first evening
	@$(CONTAINERS) -m containers aperture_dagster_tests/deploy

arm64: $(DEVELOPMENT)  ## look whether every package of the image has a wheel for ARM, from a package index
	@$(BIN)/python tools/arm64.py

# The files of every platform; uvloop is for speed that nobody needs.
hashes: $(DEVELOPMENT)  ## write the image's packages with hashes, and the extra `tested`, as constraints.txt pins them
	@$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	@$(HASHES) --no-emit-package uvloop --output-file deploy/requirements.txt pyproject.toml
	@for extra in docker k8s celery; do \
	  $(HASHES) --no-emit-package uvloop --upgrade --extra $$extra --output-file deploy/requirements-$$extra.txt pyproject.toml; \
	done
	@echo setuptools | $(HASHES) --output-file deploy/requirements-build.txt -
	@$(BIN)/python tools/pins.py

bases: $(DEVELOPMENT)  ## raise the image that ours begins with, and the embedded PostgreSQL, from their registries
	@$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	@$(BIN)/python tools/bases.py
	@$(MAKE) --no-print-directory hashes

freeze: $(DEVELOPMENT)  ## write what a release promises, its schema and a household with it, for later versions to be tested
	@$(BIN)/python tools/freeze.py

next-dagster:  ## try the newest release of Dagster, whatever is pinned, and say what it breaks
	@$(PYTHON) -m venv --clear $(NEXT)
	@$(NEXT)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(NEXT)/bin/python -m pip install --quiet --upgrade $(DAGSTERS)
	@echo "Dagster $$($(NEXT)/bin/python -c 'import dagster; print(dagster.__version__)'):"
	@$(NEXT)/bin/python -m pytest -n $(WORKERS) --dist loadfile -q --tb line $(addprefix aperture_dagster_tests/, $(ON_DAGSTER))

release: $(DEVELOPMENT)  ## make what is published of TAG=v1.0.0: wheel, sdist, image, its contents, notes, checksums
	@$(BIN)/python tools/release.py "$$TAG"

release-image: $(DEVELOPMENT)  ## make the image of TAG=v1.0.0 and its contents alone, for one more architecture
	@$(BIN)/python tools/release.py "$$TAG" --only-image

install-size: $(DEVELOPMENT)  ## install the wheel alone, from a package index, and compare its size with the limit
	@$(BIN)/python benchmarks/install_size.py --fresh

size: $(DEVELOPMENT)  ## count the lines of code of each room
	@$(BIN)/python tools/size.py

clean:  ## remove .venv, the results of the demo, and caches
	rm -rf $(VENV) $(NEXT) .aperture/demo .pytest_cache .ruff_cache .hypothesis build dist site .logs_queue logs *.egg-info

$(PRODUCT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Python packages into $(VENV) (once) …"
	@$(PIP) --editable .
	@touch $@

$(DEVELOPMENT): $(PRODUCT)
	@echo "Installing the packages for tests and checks (once) …"
	@$(PIP) --editable '.[dev]'
	@touch $@
