# Everything a developer types. `make setup` needs python3 (with venv), make and the package registry; the rest needs `make setup`.
BIN := .venv/bin
STAGE ?= captions
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench chaos clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make or update .venv (nothing to do when it is up to date)
	@.ci/setup

demo: setup  ## run the laptop preset from end to end in runs/demo
	$(BIN)/python -m synthclip_hpc.submit stage=all preset=laptop cluster=local wait=true run=runs/demo

test: setup  ## run all tests (PYTEST_ARGS="-m 'not slurm'" narrows it)
ifeq ($(PYTEST_ARGS),)
	$(BIN)/python -m pytest -m "not slurm" --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest -m slurm --numprocesses 2 --dist loadfile
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: setup  ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## measure what the records in the README say
	$(BIN)/python -m tests.benchmarks

chaos: setup  ## kill a stage again and again and compare: make chaos STAGE=captions [ENGINE=template]
	$(BIN)/python -m tests.chaos --stage $(STAGE) $(if $(ENGINE),--engine $(ENGINE))

clean:  ## remove caches and builds (runs/ and .venv stay)
	rm -rf build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
