# Two recipes for a newcomer, each works from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
JOBS ?= 2
# `make demo MODEL=smollm2` runs another model: what `memplus models` lists, a directory, a hub id.
MODEL ?= nano
VENV := .venv
BIN := $(VENV)/bin
# Small models: more threads would only get in each other's way.
ONE_THREAD := OMP_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) -q

.PHONY: demo test test-all lint docs clean

demo: $(VENV)/.installed
	$(if $(filter nano,$(MODEL)),$(ONE_THREAD)) $(BIN)/memplus demo --model $(MODEL)

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m ""

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m memplus.cli.reference > docs/cli.md

.venv: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
