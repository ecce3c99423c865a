# Two commands matter: `make demo` runs the main job, `make test` runs every check. Each sets itself up.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo test check lint type layers unit engine mutants fuzz bench wheel enclave-wheel models setup setup-core clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# -- set-up -------------------------------------------------------------------------------------------------
setup: $(VENV)/.setup-full models ## Everything: virtual environment, all extras, pinned models

$(VENV)/.setup-full: pyproject.toml constraints.txt deploy/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) deploy/setup.sh full
	@touch $@

setup-core: $(VENV)/.setup-core ## Only what the quick checks need: no torch, no vLLM, no models

$(VENV)/.setup-core: pyproject.toml constraints.txt deploy/setup.sh
	@if [ ! -e $(VENV)/.setup-full ]; then PYTHON=$(PYTHON) VENV=$(VENV) deploy/setup.sh core; fi
	@touch $@

models: $(VENV)/.setup-full ## The pinned models, as data (fetched once, checked by SHA-256)
	@$(BIN)/python -P -m mitai.models fetch

# -- the two commands ---------------------------------------------------------------------------------------
demo: setup ## The main job, end to end, on this machine
	@$(BIN)/mitai demo $(DEMO_ARGS)

test: setup lint type layers unit engine mutants ## Every check

# -- the checks, one by one ---------------------------------------------------------------------------------
check: setup-core lint type layers ## The quick checks: no torch, no vLLM, no models
	$(BIN)/pytest -m "not engine and not models" -n 2 --dist loadgroup

lint: setup-core ## ruff, code and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup-core ## mypy --strict
	$(BIN)/mypy

layers: setup-core ## import-linter: who may import whom
	$(BIN)/lint-imports

unit: setup ## The suite without the real engine
	$(BIN)/pytest -m "not engine" -n 2 --dist loadgroup

engine: setup ## The real vLLM, end to end
	$(BIN)/pytest -m engine

mutants: setup ## Take each defence out in turn and see its test fail
	$(BIN)/python tests/mutants/run.py --jobs 2

fuzz: setup ## Fuzz every parser, SECONDS each
	$(BIN)/python fuzz/run.py --seconds $(or $(SECONDS),60)

# -- measuring and shipping ---------------------------------------------------------------------------------
bench: setup ## The figures of bench/README.md, as ratios side by side
	$(BIN)/python bench/opening.py
	$(BIN)/python bench/channel.py
	$(BIN)/python bench/workers.py
	$(BIN)/python bench/padding.py
	$(BIN)/python bench/leakage.py
	$(BIN)/python bench/sealed_vs_direct.py
	$(BIN)/python bench/serve_load.py

wheel: setup-core ## The distribution for the device
	$(BIN)/python -m hatchling build -t wheel

enclave-wheel: setup-core ## The wheel that goes into the enclave: exactly mitai_enclave and mitai_crypto
	cd cloud_enclave && ../$(BIN)/python -m hatchling build -t wheel -d ../dist

clean: ## Remove what the targets made (models stay)
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
