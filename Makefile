# make demo · make test · make lint · make bench.  Everything lives in .venv and .tools; nothing needs root, Docker
# or a Google account.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
BIN := .venv/bin

.PHONY: demo test lint bench down environment lock coverage clean

demo: environment
	@$(BIN)/mlops demo

# Files in the order in which they are collected: the demo first, then the accelerator's, which have few tests and long ones.
test: environment lint
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: environment
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: environment
	@$(BIN)/python -m benchmarks

down: environment
	@$(BIN)/mlops down

# The environment is made again when a lock changes.
environment: .venv/.made

.venv/.made: requirements/dev.txt pyproject.toml | uv
	@$(UV) venv --quiet --allow-existing --no-python-downloads --python "$(PYTHON)" .venv
	@$(UV) pip install --quiet --compile-bytecode --python .venv --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python .venv --no-deps -e .
	@touch $@

.PHONY: uv
uv:
	@command -v $(UV) >/dev/null || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet 'uv>=0.8'; }

# Locks record versions and hashes, no addresses. An image's packages follow the locks of its versions here.
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --upgrade
lock: | uv
	@$(COMPILE) --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	@for image in training prediction; do \
	  $(COMPILE) --python-version 3.11 -c requirements/dev.txt images/$$image/requirements.in -o images/$$image/requirements.txt; \
	done
	@$(COMPILE) --python-version 3.11 images/preprocessing/requirements.in -o images/preprocessing/requirements.txt
	@$(COMPILE) --python-version 3.11 --override images/data-validation/overrides.txt \
	  images/data-validation/requirements.in -o images/data-validation/requirements.txt
	@for lock in src/localcloud/runtime/public/*/requirements.in; do \
	  $(COMPILE) --python-version 3.11 $$lock -o $${lock%.in}.txt; \
	done

# docs/coverage.md: every RPC of every service, implemented or not.
coverage: environment
	@$(BIN)/python scripts/coverage.py

clean:
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
