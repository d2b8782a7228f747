# The two commands of the README are `make demo` and `make test`. Both work in one environment, .venv: what is missing is
# installed, and what is there is left alone until pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Test processes: each takes whole files. Rigs in real time share the cores with their neighbours, so no more than two.
JOBS ?= 2

# Stamps lie inside the environment, so that removing it forgets them too.
CREATED := $(VENV)/.stamp-created
DEMO_READY := $(VENV)/.stamp-demo
DEV_READY := $(VENV)/.stamp-dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long check format install clean

help:
	@echo "make demo       run the rig on simulated cameras with the bundled model; the address of its monitor page is printed"
	@echo "make test       run the tests, as the continuous integration does"
	@echo "make test-long  run the tests that make test leaves out for their time"
	@echo "make check      run the linters, the type checker and the layer contracts"
	@echo "make format     put the code into its standard form"
	@echo "make install    only prepare .venv, with everything that the tests need"
	@echo "make clean      remove .venv and all caches"
	@echo
	@echo "Options go in ARGS:  make demo ARGS=\"--seconds 20 --headless --report r.json\""
	@echo "                     make test ARGS=\"tests/sync -x\" JOBS=0"

demo: $(DEMO_READY)
	@$(BIN)/ethostream demo $(ARGS)

test: $(DEV_READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-long: $(DEV_READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m long $(ARGS)

# Every tool runs, so that one report names all that is wrong.
check: $(DEV_READY)
	@failed=0; for tool in "ruff check" "ruff format --check" basedpyright lint-imports; do \
		echo "== $$tool"; $(BIN)/$$tool || failed=1; \
	done; exit $$failed

format: $(DEV_READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(DEV_READY)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build ethostream.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "ethostream needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1): install one and name it, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv module (on Debian and Ubuntu: sudo apt-get install python3-venv) and call make again" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The demo needs no training libraries, so a first look does not wait for them.
$(DEMO_READY): pyproject.toml | $(CREATED)
	@echo "Preparing $(VENV) for the demo (once; a minute or two on a fast network)"
	$(BIN)/python -m pip install --quiet --editable '.[cpu]'
	@touch $@

$(DEV_READY): pyproject.toml | $(CREATED)
	@echo "Preparing $(VENV) for training and development (once; several minutes, torch is large)"
	$(BIN)/python -m pip install --quiet --editable '.[cpu,train,search,ray,basler,genicam,serial,lsl,nidaq,gpio,osc,sound,align,sleap,dev]'
	@touch $(DEMO_READY) $@
