# pyhv. `make run` and `make test` need nothing done before them: see tools/setup.sh.
#
# Every target stops with a non-zero code when something in it fails.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

BIN := .venv/bin
PY := $(BIN)/python
JOBS ?= 2
PYTEST ?=
BENCH ?=
ORACLE ?= --seconds 600
JUDGE ?= host
FUZZ ?= --seconds 600 --findings 10

.PHONY: help setup build run test test-slow test-system soak sanitize fuzz lint format docs bench oracle fresh clean distclean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

# .ready holds the folder it was made for: a checkout that was moved is set up again.
ifneq ($(shell cat .venv/.ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/.ready
endif
.venv/.ready: pyproject.toml tools/setup.sh
	@tools/setup.sh

setup: .venv/.ready ## system packages, .venv, the editable install (the others call it)

build: .venv/.ready ## compile what changed in silicon/, bindings/ and the example guests
	@JOBS=$(JOBS) tools/build.sh
	@$(MAKE) --silent -C examples/guests

run: build ## SeaBIOS to its banner, some of memtest86+, a 64-bit guest of our own, Debian to a shell
	@$(PY) tools/run_demo.py

# what only the tests and the oracle run: programs of the native part without Python
.PHONY: build-all
build-all: build
	@JOBS=$(JOBS) tools/build.sh all

test: build-all ## all tests but the slow ones; PYTEST="-k name" chooses
	@$(BIN)/pytest $(PYTEST)

test-slow: build-all ## the slow tests only
	@$(BIN)/pytest -m slow $(PYTEST)

test-system: build-all ## boot Debian's kernel to a shell, on one and two processors, with disks (needs network once)
	@$(BIN)/pytest -m "slow or not slow" tests/system $(PYTEST)

soak: build-all ## storms of kicks and memory changes for some minutes, and a thousand VMs
	@$(BIN)/pytest -m "slow or not slow" tests/soak $(PYTEST)

sanitize: .venv/.ready ## hv-stress under the address and undefined-behaviour sanitizers (minutes to build)
	@JOBS=$(JOBS) tools/sanitize.sh stress

fuzz: .venv/.ready ## guests of random bits under the same sanitizers, for long; FUZZ="--help" lists options
	@JOBS=$(JOBS) tools/sanitize.sh fuzz $(FUZZ)

lint: .venv/.ready ## ruff, mypy --strict, a C++ build without warnings, the import rule, generated files current
	@JOBS=$(JOBS) $(PY) tools/lint.py

format: .venv/.ready ## let ruff put the Python source in order
	@$(BIN)/ruff check --fix --quiet . && $(BIN)/ruff format --quiet .

docs: build ## make docs/reference and the generated Python anew from spec/
	@$(PY) tools/generate.py

bench: build ## the promises of bench/README.md, measured; BENCH=--json for a machine
	@$(PY) -m bench $(BENCH)

oracle: build-all ## random instructions against this processor (JUDGE=kvm: a guest of KVM), for long; ORACLE="--family shift"
	@$$(find build/dev -name hv-oracle -type f -print -quit) --judge $(JUDGE) $(ORACLE)

fresh: ## `make run` and `make test` in a bare Debian 12 made for it (needs root, mmdebstrap)
	@tools/fresh.sh

clean: ## remove what was built, keep .venv
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache && find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf .venv
