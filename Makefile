# Every command makes .venv first if it is not there: Python 3.11 or later, git and make are all that is needed.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run check test kernels lint report bench bench-scale clean requirements

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

run: .venv/ready ## the whole experiment on synthetic data, ending with the comparison and report.html
	snakemake --cores all
	@snakemake --report report.html
	@echo "report.html has every figure and table in one file"

check: .venv/ready lint ## style, types, contracts and the unit tests: a minute and a half
	python -m pytest -m unit -n 2 --dist loadfile

test: .venv/ready lint ## every check and test: many wait for real timeouts, so more run at once than there are cores
	python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=20

kernels: .venv/ready ## the unit tests that compute, with other kernels of the processor
	python tests/helpers/kernels.py

lint: .venv/ready ## style, types, who imports whom, and the schemas of GitHub's files
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint
	lint-imports
	pyrefly check
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

report: .venv/ready ## report.html of the results that are there
	snakemake --report report.html

bench: .venv/ready ## measure each stage against alternatives: benchmarks/results, and the table of docs/performance.md
	python -m benchmarks

bench-scale: .venv/ready ## measure how time and memory grow: the figures of docs/performance.md
	python -m benchmarks --scale

requirements: .venv/ready ## pin the requirements again, for every platform
	$(PYTHON) -m pip install --quiet uv
	$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --no-annotate --all-extras \
		--custom-compile-command "make requirements" --upgrade --output-file requirements.txt pyproject.toml
	$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --no-annotate --constraint requirements.txt \
		--custom-compile-command "make requirements" --output-file requirements-site.txt pyproject.toml

clean: ## remove the environments; results stay
	rm -rf .venv .venv-bench
