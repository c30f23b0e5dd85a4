# Every target sets up what it needs. Written for GNU make 3.81 (macOS) and later.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test dev check format lint types imports bench crash services wasm fix clean

ROUNDS ?= 1000
STORE  ?= sqlite
ARGS   ?=
BIN    := .venv/bin

# pip where there is a pip, so that its configuration (index, proxy, certificates) holds; uv where uv made the venv.
install = if [ -x $(BIN)/pip ]; \
	then $(BIN)/python -m pip install -qq --disable-pip-version-check --editable '$(1)'; \
	else uv pip install --quiet --python $(BIN)/python --editable '$(1)'; fi

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: .venv/.loom ## Audit the licences of the packages in .venv, on a host of its own: a real run in under a minute
	@mkdir -p build
	@$(BIN)/loom run licence-audit --scratch --output build/licence-audit.json $(ARGS)

test: check ## Run every check and every test (ARGS="-k name" picks tests)
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

dev: .venv/.loom ## Serve the app on http://127.0.0.1:7071 and reload it when the code changes
	@exec $(BIN)/loom dev $(ARGS)

check: format lint types imports ## Check format, lint, types and the directions of imports

format: .venv/.dev
	@$(BIN)/ruff format --quiet --diff

lint: .venv/.dev
	@$(BIN)/ruff check --quiet

types: .venv/.dev
	@mkdir -p build
	@$(BIN)/pyright --pythonpath $(BIN)/python > build/pyright.log || { cat build/pyright.log; exit 1; }

imports: .venv/.dev
	@mkdir -p build
	@$(BIN)/lint-imports --no-logo > build/imports.log || { cat build/imports.log; exit 1; }

fix: .venv/.dev ## Format, and mend what the linter can mend
	@$(BIN)/ruff check --quiet --fix && $(BIN)/ruff format --quiet

bench: .venv/.dev ## Measure, beside floors taken in the same run, and write benchmarks/results.md
	@$(BIN)/python -m benchmarks $(ARGS)

crash: .venv/.dev ## Kill the host at random moments: make crash ROUNDS=1000; with the services of Azure: STORE=azure
	@$(BIN)/python -m tests.crash.rounds --rounds $(ROUNDS) --store $(STORE) $(ARGS)

services: .venv/.dev ## Run test servers for Cosmos DB, Service Bus and Blob Storage, to try an app on them (docs/storage.md)
	@exec $(BIN)/python -m tests.emulators $(ARGS)

wasm: .venv/.dev ## Build the WASM activities from their sources
	@$(BIN)/python -m wasm.build $(ARGS)

clean: ## Remove what make and the tools made (never .loom, where runs are kept)
	@rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.python:
	@for python in $(PYTHON) python3.13 python3 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
			"$$python" -m venv --clear .venv && touch $@ && exit 0; \
			echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3.13-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	if command -v uv >/dev/null; then uv venv --quiet --clear --python 3.13 .venv && touch $@ && exit 0; exit 1; fi; \
	echo "Loom needs Python 3.13, and none was found (tried $(PYTHON) python3.13 python3 python uv)." >&2; \
	echo "Install it with your system's packages, or 'uv python install 3.13', or 'pyenv install 3.13'," >&2; \
	echo "or say where it is: make PYTHON=/path/to/python3.13" >&2; \
	exit 1

.venv/.loom: pyproject.toml .venv/.python
	@echo "Installing Loom into .venv (once, about half a minute)" >&2
	@$(call install,.[local])
	@touch $@

.venv/.dev: pyproject.toml .venv/.loom
	@echo "Installing the development tools into .venv (once)" >&2
	@$(call install,.[dev])
	@touch $@
