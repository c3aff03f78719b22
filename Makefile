# Holdfast's own commands. `make help` lists them; CONTRIBUTING.md says when to use which.
#
# Everything is installed into .venv from the hash-pinned files under locks/. PYTHON chooses the interpreter (3.11 or
# newer), JOBS how many tests run at once.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
FAST := $(wildcard tests/unit tests/contract tests/architecture)

.DEFAULT_GOAL := help
.PHONY: .venv help demo test test-fast check format bench docs lock changelog clean

help: ## this list
	@sed -n 's/^\([a-z.][a-z.-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
	  printf '  make %-10s %s\n' "$$name" "$$text"; done

.venv: .venv/.installed-runtime ## the virtual environment with .venv/bin/holdfast, nothing else

.venv/.installed-runtime: locks/build.txt locks/runtime.txt pyproject.toml
	tools/make_venv.sh "$(PYTHON)" .venv
	$(PIP_INSTALL) --require-hashes -r locks/build.txt
	$(PIP_INSTALL) --require-hashes -r locks/runtime.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-test: .venv/.installed-runtime locks/test.txt
	$(PIP_INSTALL) --require-hashes -r locks/test.txt
	@touch $@

.venv/.installed-bench: .venv/.installed-test locks/bench.txt
	$(PIP_INSTALL) --require-hashes -r locks/bench.txt
	@touch $@

demo: .venv ## two local pools, a few real files, an address and a login
	$(BIN)/holdfast serve --demo

test: .venv/.installed-test ## everything: the checks, then all tests (installs the servers that they need)
	tools/setup_test_servers.sh
	$(MAKE) check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-fast: .venv/.installed-test ## unit, contract and architecture tests; needs no server, under a minute
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=0 --durations-min=2 $(FAST)

check: .venv/.installed-test ## ruff, mypy, the import contracts, the changelog fragments
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/check_imports.py
	$(BIN)/python tools/changelog.py --check

format: .venv/.installed-test ## sorts imports and formats: make format FILES="a.py b.py"
	$(BIN)/ruff check --quiet --select I --fix $(or $(FILES),$(error say which: make format FILES="a.py b.py"))
	$(BIN)/ruff format $(FILES)

bench: .venv/.installed-bench ## ours against the peer in one run: a table, and bench/latest.json
	$(BIN)/python -m bench.run

docs: .venv/.installed-test ## writes the generated pages of docs/reference/ again
	$(BIN)/python docs/generate.py

lock: .venv/.installed-test ## writes locks/*.txt for pyproject.toml (UPGRADE=1: the newest of everything)
	tools/lock.sh

changelog: .venv ## moves the fragments of changes/ into CHANGELOG.md: make changelog VERSION=1.2.0
	$(BIN)/python tools/changelog.py --release "$(VERSION)"

clean: ## removes what the tools leave behind; keeps .venv and every holdfast-state
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src tests tools bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
