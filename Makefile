# Everything a newcomer needs: `make demo` and `make test`.

PYTHON := .venv/bin/python
# Extra words for pytest: make test ARGS="tests/test_layers.py -x"
ARGS :=
# Tests wait more than they compute. Those of a file stay in one process, for what is costly to make; tests/conftest.py says which begin.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing and leave a working casfs at .venv/bin/casfs
	@scripts/setup

.PHONY: setup-demo
setup-demo: ## The same, and what the demo needs
	@scripts/setup demo

.PHONY: setup-test
setup-test: ## The same, and what tests and linters need
	@scripts/setup test

.PHONY: demo
demo: setup-demo ## Real wheels from the package index: add, mount, import, compute, clean up
	@scripts/demo

.PHONY: test
test: setup-test ## All tests but the long ones, in under 15 minutes
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-long
test-long: setup-test ## The long tests alone
	$(PYTHON) -m pytest -m long $(ARGS)

# Where the last full run of the benchmark is kept.
RUN := build/bench.json

.PHONY: bench
bench: setup ## casfs against pip, uv and plain files, in ten to fifteen minutes: a table, and values in RUN
	@mkdir -p build
	@$(PYTHON) -m scripts.bench --json $(RUN) $(ARGS)

.PHONY: bench-quick
bench-quick: setup ## The same with less work, in one to two minutes
	@$(PYTHON) -m scripts.bench --quick $(ARGS)

.PHONY: bench-report
bench-report: setup ## Put the last full run of the benchmark into README, with plots
	@$(PYTHON) -m scripts.bench.report $(RUN)

.PHONY: lint
lint: setup-test ## Style, format and types
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

.PHONY: format
format: setup-test ## Bring the code into shape
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

.PHONY: clean
clean: ## Remove .venv, caches and build results
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find casfs scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
