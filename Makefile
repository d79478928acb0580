# Two recipes for a newcomer, each works from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
JOBS ?= 2
# `make demo MODEL=smollm2` runs another model: what `memplus models` lists, a directory, a hub id.
MODEL ?= nano
VENV := .venv
BIN := $(VENV)/bin
# Several processes at a time: more threads would only get in each other's way.
ONE_THREAD := OMP_NUM_THREADS=1
# Neighbouring tests share servers and models, so each worker takes one stretch of the list.
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q

# Where question sets and books lie, as docs/bench.md says.
DATA ?= data

.PHONY: demo test test-ci test-all lint docs comparison peers clean

demo: $(VENV)/.installed
	$(BIN)/memplus demo --model $(MODEL)

test: lint
	$(PYTEST)

test-ci: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST) -m ""

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m memplus.cli.reference > docs/cli.md

# Hours on two cores: every system on every benchmark at its small size, retention to 160,000 tokens of
# those that take hours for it and not days, then other people's programs. What was interrupted goes on
# by the same command. LongMem's row is made anew where its weights were trained; else the old one stays.
comparison: $(VENV)/.installed-dev
	$(BIN)/memplus pull smollm2
	$(ONE_THREAD) $(BIN)/memplus bench all --small --dtype float32 --data $(DATA) --out runs/comparison
	$(ONE_THREAD) $(BIN)/memplus bench retention --system mplus,memoryllm,nothing,bm25,hmt,lamemo,memlong \
		--lengths 0,1k,16k,160k --items 12 --dtype float32 --data $(DATA) --out runs/comparison/far
	$(BIN)/memplus bench page docs/comparison.md runs/comparison/*/
	$(MAKE) peers

peers: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/peers/plan.py --squad $(DATA)/squad/dev-v2.0.json.gz
	$(BIN)/python benchmarks/peers/run_mem0.py runs/peers/plan.jsonl
	$(BIN)/python benchmarks/peers/answer.py runs/peers/plan.jsonl runs/peers/mem0.jsonl --dtype float32
	$(BIN)/python benchmarks/peers/run_kvpress.py runs/peers/plan.jsonl
	$(ONE_THREAD) $(BIN)/python benchmarks/peers/run_memplus.py runs/peers/plan.jsonl --dtype float32 \
		--systems mplus,memoryllm,full_context,full_context:adapter=none,bm25,embeddings,nothing
	$(BIN)/python benchmarks/peers/report.py runs/peers/plan.jsonl runs/peers/*.jsonl --page docs/comparison.md

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
