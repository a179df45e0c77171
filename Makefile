# make test                                     every check, then the tests again on the installed wheel
# make test PYTHON=python3.9 NUMPY=1.23.5       the same on another Python and numpy, in environments of their own
# make demo                                     runs examples/text.py
# make bench                                    trains the same nets with other frameworks, compares and times: 35 minutes
# make bench ARGS="--workload tiny --rounds 3"  a part of it
#
# Environments lie under .venv/, one folder a combination of Python and numpy. They are made once, and again only when
# pyproject.toml changes.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help test coverage demo bench docs lint layers types test-source test-wheel wheel release-check notebooks format clean dev
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Version managers leave commands on the path that fail when they are run, so each candidate is run.
ifeq ($(PYTHON),)
PYTHON := $(shell for python in python3.11 python3.12 python3.10 python3.9 python3; do \
	"$$python" -c 'import sys, venv; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo "$$python" && break; done)
endif
NUMPY ?=
PYTHONS ?= python3.9 python3.10 python3.11 python3.12

VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
HOME_DIR := .venv/py$(VERSION)$(if $(NUMPY),-numpy$(NUMPY))
PIN := $(if $(NUMPY),numpy==$(NUMPY))
ENVIRONMENT := .ci/environment "$(PYTHON)" $(HOME_DIR)
DEV := $(HOME_DIR)/dev/bin/python
WHEEL := $(HOME_DIR)/wheel/bin/python
SPREAD := --numprocesses=logical --dist=worksteal
# as many processes with as many threads each would wait for each other
test-source coverage test-wheel: export OMP_NUM_THREADS = 1

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
	@echo "Also: make docs, coverage, lint, layers, types, test-source, test-wheel, wheel, release-check, notebooks, format, clean"

# numpy's own types differ from version to version, and the other checks do not depend on it: with NUMPY, tests only.
test: $(if $(NUMPY),,lint layers types) test-source test-wheel

dev:
	@$(ENVIRONMENT)/dev -e '.[dev]' $(PIN)

lint: dev
	@echo "== lint"
	@$(DEV) -m ruff check --quiet
	@$(DEV) -m ruff format --check --quiet --diff

layers: dev
	@echo "== layers"
	@found=$$($(HOME_DIR)/dev/bin/lint-imports 2>&1) || { echo "$$found"; exit 1; }

types: dev
	@echo "== types"
	@$(DEV) -m mypy

test-source: dev
	@echo "== tests and docstring examples, on the source"
	@$(DEV) -m pytest --quiet $(SPREAD)

# not a part of `test`: counting adds 40% to the time
coverage: dev
	@echo "== tests and docstring examples, on the source, with branches counted"
	@$(DEV) -m pytest --quiet $(SPREAD) --cov --cov-report=term

wheel: dev
	@echo "== wheel"
	@rm -rf $(HOME_DIR)/dist
	@built=$$($(DEV) -m build --no-isolation --outdir $(HOME_DIR)/dist . 2>&1) || { echo "$$built"; exit 1; }

test-wheel: wheel
	@wheel=$$(echo $(HOME_DIR)/dist/*.whl) \
	&& $(ENVIRONMENT)/wheel "$$wheel[test]" $(PIN) \
	&& $(WHEEL) -m pip --disable-pip-version-check install --quiet --no-index --no-deps --force-reinstall "$$wheel"
	@echo "== tests on the installed wheel, without those marked slow or source"
	@.ci/wheel-tests $(WHEEL) --quiet $(SPREAD) -m "not slow and not source"

# the sdist and the wheel, into dist/, and each of them in empty environments; pyright fetches a node if there is none
release-check:
	@$(ENVIRONMENT)/release "build>=1.2,<2" "setuptools>=77.0.3" "twine>=6" "mypy>=1.15,<1.20" pyright
	@.ci/release-check $(HOME_DIR)/release/bin/python $(PYTHONS)

demo:
	@$(ENVIRONMENT)/demo -e '.[demo]' $(PIN)
	@$(HOME_DIR)/demo/bin/python examples/text.py

notebooks: dev
	@$(DEV) examples/notebooks/make.py

bench:
	@$(ENVIRONMENT)/bench -e '.[bench]' $(PIN)
	@$(HOME_DIR)/bench/bin/python benchmarks/bench.py $(ARGS)

docs:
	@$(ENVIRONMENT)/docs -e '.[docs]' $(PIN)
	@NO_MKDOCS_2_WARNING=1 $(HOME_DIR)/docs/bin/python -m mkdocs build --strict --quiet --site-dir site
	@echo "site/index.html"

format: dev
	@$(DEV) -m ruff check --quiet --fix --exit-zero
	@$(DEV) -m ruff format

clean:
	rm -rf .venv build dist site *.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
