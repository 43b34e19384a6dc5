# `make demo` and `make test` need a Debian 12 machine with Python 3.11, and nothing else: they install what they use.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help set-up demo cluster test lint docs words bench clean

help: ## say what there is
	@echo "make demo    the server on this machine with a demo flow and simulated agents; Ctrl-C ends it"
	@echo "make cluster two nodes that are one service, with PostgreSQL, Redis and a front, on this machine; Ctrl-C ends it"
	@echo "make test    lint, types, import contracts and every test"
	@echo "make lint    ruff, mypy and the import contracts alone"
	@echo "make docs    write anew what the docs take from the code: diagrams, table of settings"
	@echo "make words   bring the console's translations up to date; says what is still to be translated"
	@echo "make bench   benchmarks: they print figures and never fail on time"
	@echo "make clean   remove the virtualenv and caches; var/, where the journal is, stays"

set-up:
	@scripts/set-up

demo: set-up
	@exec .venv/bin/python scripts/foreground.py .venv/bin/sidetone demo

cluster:
	@scripts/set-up cluster
	@exec .venv/bin/python scripts/foreground.py .venv/bin/python -m scripts.cluster

test:
	@scripts/set-up debian
	@$(MAKE) --no-print-directory lint
	@scripts/test

lint: set-up
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

docs: set-up
	@.venv/bin/python -m bridge.diagram
	@.venv/bin/python scripts/settings_table.py
	@.venv/bin/python -m scripts.crm_schemas
	@.venv/bin/python scripts/figures_table.py

words: set-up
	@.venv/bin/python scripts/words.py

bench: set-up
	@for bench in tests/perf/bench_*.py; do echo "== $$bench"; .venv/bin/python "$$bench"; done

clean:
	@rm -rf .venv .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
