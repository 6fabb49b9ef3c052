# make compare and make test do all their own set-up, and are instant about it the second time.
# Another Python: PYTHON=python3.12 make compare

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

# Each prints yes, or nothing.
IN_RANGE := 'import sys; print("yes" * ((3, 11) <= sys.version_info[:2] <= (3, 13)))'
HAS_VENV := 'import ensurepip, venv; print("yes")'
HOWTO = PYTHON=python3.12 make $(MAKECMDGOALS)

.DEFAULT_GOAL := help
.PHONY: help compare verify bench test test-slow certify lint types setup clean

help: ## show what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

compare: $(VENV)/.runtime ## train the network in every engine, prove them equal, time them, write a report
	@$(BIN)/python compare_all_implementations.py $(ARGS)

verify: $(VENV)/.runtime ## prove every engine equal, step by step
	@$(BIN)/triptych verify $(ARGS)

bench: $(VENV)/.runtime ## time the engines against what people use instead, and against the floor
	@$(BIN)/python -m benchmarks $(ARGS)

test: $(VENV)/.dev ## run the tests, two files at a time
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/.dev ## run the tests that take minutes each
	@$(BIN)/python -m pytest -m slow -n 2 --dist load $(ARGS)

certify: $(VENV)/.dev ## run what takes hours: full seeds, many kills, whole benchmarks; goes on where it was stopped
	@$(BIN)/python tools/certify.py $(ARGS)

lint: $(VENV)/.dev ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## types, strict above the waist
	@$(BIN)/pyright

setup: $(VENV)/.dev ## the set-up alone, development tools included

clean: ## remove the environment; data and runs stay
	rm -rf $(VENV) build dist *.egg-info

# Installed again whenever a list of requirements has changed.
$(VENV)/.runtime: requirements.txt pyproject.toml
	$(if $(shell command -v $(PYTHON)),,$(error no '$(PYTHON)' here; install Python 3.11 to 3.13, or name one: $(HOWTO)))
	$(if $(shell $(PYTHON) -c $(IN_RANGE)),,$(error $(PYTHON) is $(shell $(PYTHON) -V 2>&1); Python 3.11 to 3.13 is needed: $(HOWTO)))
	$(if $(shell $(PYTHON) -c $(HAS_VENV) 2>/dev/null),,$(error $(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv; or $(HOWTO)))
	@test -x $(BIN)/pip || { echo "Setting up $(VENV), once: a few minutes and about 3 GB."; $(PYTHON) -m venv --clear $(VENV); }
	@$(PIP) install --quiet --upgrade pip setuptools
	@$(PIP) install -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt
	@touch $@
