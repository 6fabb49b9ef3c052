# make compare and make test do all their own set-up, and are instant about it the second time.
# Another Python: PYTHON=python3.12 make compare

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help compare verify test lint types setup clean

help: ## show what there is
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

compare: $(VENV)/.runtime ## train the network in every engine, prove them equal, time them, write a report
	@$(BIN)/python compare_all_implementations.py $(ARGS)

verify: $(VENV)/.runtime ## prove every engine equal, step by step
	@$(BIN)/triptych verify $(ARGS)

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

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
	@command -v $(PYTHON) >/dev/null || { echo "make: no '$(PYTHON)' here; install Python 3.11 to 3.13, or name one: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13))' \
	  || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 to 3.13 is needed, name one: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) has no venv; install it (on Debian and Ubuntu: apt install python3-venv), or name another Python: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || { echo "Setting up $(VENV), once: a few minutes and about 3 GB."; $(PYTHON) -m venv --clear $(VENV); }
	@$(PIP) install --quiet --upgrade pip setuptools
	@$(PIP) install -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt
	@touch $@
