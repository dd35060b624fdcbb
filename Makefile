# The front door. `make help` lists the verbs; each calls setup first, and setup does nothing when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
ANSIBLE := .venv-ansible
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-ansible demo up test chaos mutants check fix bench lock

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything (nothing to do when nothing changed)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup-ansible: $(ANSIBLE)/.setup-done ## make .venv-ansible for the tests with Ansible (300 MB)

# Not compiled: a playbook of a test reads a few dozen of twenty thousand files.
$(ANSIBLE)/.setup-done: requirements-ansible.lock
	$(PYTHON) -m venv $(ANSIBLE)
	$(ANSIBLE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
	  -r requirements-ansible.lock
	@touch $@

demo: $(STAMP) ## watch a real sharded cluster come up, work, grow, shrink, lose a primary and go away (about a minute)
	$(BIN)/cachewright demo $(ARGS)

up: $(STAMP) ## run the service in the foreground
	$(BIN)/cachewright up $(ARGS)

# Most tests wait most of the time: more workers than cores. Hundreds of processes are started, and
# none is to compile what the one before it has compiled, whatever the shell says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP) ## run every test against real engines (ARGS="-k name" for some)
	$(BIN)/python -m pytest -n 6 --dist worksteal $(ARGS)

chaos: $(STAMP) ## break a real service at random for an hour (ARGS="--minutes 5 --seed 7")
	$(BIN)/python -m tests.fault.scenarios $(ARGS)

mutants: $(STAMP) ## plant mistakes in a copy of the sources: each must be caught (ARGS="--match fence")
	$(BIN)/python -m tests.mutants $(ARGS)

check: $(STAMP) ## lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP) ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure, each figure beside its baseline, into docs/benchmarks.md
	$(BIN)/python -m bench $(ARGS)

lock: ## pin every dependency with hashes, without addresses of an index
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile pyproject.toml --extra testing --group dev --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --output-file requirements.lock $(ARGS)
	.venv-lock/bin/uv pip compile --group ansible --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --output-file requirements-ansible.lock $(ARGS)
	rm -rf .venv-lock
