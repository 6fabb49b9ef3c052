# make compare and make test install what they need; the second time nothing is installed.
# Another Python: PYTHON=python3.12 make compare
# Options of the command: make compare ARGS="--epochs 20"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
PYTEST := -n 2 --durations 15

# What this Python prints: its version, as in 3.12; yes, or nothing; and why it does not start.
VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
HAS_VENV = $(shell $(PYTHON) -c 'import ensurepip, venv; print("yes")' 2>/dev/null)
PROBLEM = $(shell $(PYTHON) -V 2>&1 | sed '/^Note/,$$d' | tr -s '\n ' '  ' | cut -c1-200)
VERSIONS := 3.11 3.12 3.13
HOWTO = PYTHON=/path/to/python3.12 make $(MAKECMDGOALS)
PYENV = (with pyenv: PYENV_VERSION=3.12.1 make $(MAKECMDGOALS), with a version that 'pyenv versions' lists)

# On Linux the default build of PyTorch brings CUDA. README.md has the command for the CPU build.
SIZE := about 3 GB
ifeq ($(shell uname -s),Linux)
SIZE := about 7 GB, or 3 GB with the CPU build of PyTorch (README.md, "Install")
endif

.DEFAULT_GOAL := help
.PHONY: help compare verify bench test test-slow coverage certify lint types setup clean

help: ## show the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'Options go into ARGS:    make compare ARGS="--epochs 20 --hidden 128,64"'
	@echo 'Another Python:          PYTHON=python3.12 make compare'

compare: $(VENV)/.runtime ## train the network in every engine, prove them equal, time them, write a report; one to two minutes
	@$(BIN)/python compare_all_implementations.py $(ARGS)

verify: $(VENV)/.runtime ## prove every engine equal, step by step
	@$(BIN)/triptych verify $(ARGS)

bench: $(VENV)/.runtime ## time the engines against what people use instead, and against the machine's best rate
	@$(BIN)/python -m benchmarks $(ARGS)

test: $(VENV)/.dev ## run the tests that are not slow, two files at a time
	@$(BIN)/python -m pytest -m "not slow" --dist loadfile $(PYTEST) $(ARGS)

test-slow: $(VENV)/.dev ## run the tests that take minutes each
	@$(BIN)/python -m pytest -m slow --dist worksteal $(PYTEST) $(ARGS)

coverage: $(VENV)/.dev ## run the tests that start no process, and report which lines of the package they miss
	@$(BIN)/python -m pytest -m "not slow and not process" --dist loadfile $(PYTEST) --cov --cov-report=term $(ARGS)

certify: $(VENV)/.dev ## run what takes hours: full seeds, many kills, whole benchmarks; continues where it was stopped
	@$(BIN)/python tools/certify.py $(ARGS)

lint: $(VENV)/.dev ## style, and which module may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev ## types, strict outside of the engines
	@$(BIN)/pyright

setup: $(VENV)/.dev ## the set-up alone, development tools included

clean: ## remove the environment; data and runs stay
	rm -rf $(VENV) build dist *.egg-info

# Installed again whenever a list of requirements has changed.
$(VENV)/.runtime: requirements.txt pyproject.toml
	$(if $(shell command -v $(firstword $(PYTHON))),,$(error there is no '$(PYTHON)'; install Python 3.11, 3.12 or 3.13, or name one: $(HOWTO)))
	$(if $(VERSION),,$(error '$(PYTHON)' does not start: $(or $(strip $(PROBLEM)),it prints nothing). Name a Python that does: $(HOWTO) $(if $(findstring pyenv,$(PROBLEM)),$(PYENV))))
	$(if $(filter $(VERSIONS),$(VERSION)),,$(error '$(PYTHON)' is Python $(VERSION); Python 3.11, 3.12 or 3.13 is needed: $(HOWTO)))
	$(if $(HAS_VENV),,$(error '$(PYTHON)' has no venv; on Debian and Ubuntu: apt install python3-venv; or name another: $(HOWTO)))
	@test -x $(BIN)/pip || { echo 'Setting up $(VENV), once: a few minutes and $(SIZE).'; $(PYTHON) -m venv --clear $(VENV); }
	@$(PIP) install --quiet --upgrade pip setuptools
	@$(PIP) install -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@echo 'Set up. For the commands python and triptych, once in each terminal: source $(BIN)/activate'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt
	@touch $@
