# Everything runs from .venv; `make serve` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install install-dev serve test lint proto docs explore fuzz conformance bench bench-peers lock clean

install: .venv/.runtime
install-dev: .venv/.dev

# what is installed is said on stderr: stdout is the server's own
.venv/.runtime: requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tact needs Python 3.11 or newer, found " + sys.version.split()[0] + "; say which with PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once)" >&2
	@$(PIP) --require-hashes -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	@echo "installing what tests need (once)" >&2
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

serve: install
	@exec $(BIN)/python server.py

# Kernels are compiled first, once for all; some tests wait for servers, so three at a time keep two cores busy.
test: install-dev
	@$(BIN)/python -c "from engine.columns.warm import warm; warm()"
	$(BIN)/python -m pytest -n 3

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

proto: install-dev
	$(BIN)/python -m engine.cli.proto

# What is written once and stands in two places: the findings' page, the schema of rule files.
docs: install-dev
	cp docs/findings.md engine/compiler/findings.md
	$(BIN)/tact schema > docs/rules.schema.json

# Property tests with cases that nobody has seen.
explore: install-dev
	$(BIN)/python -m pytest -n 3 --hypothesis-profile=explore

# A hundred thousand damaged rule sets on all cores: about ten minutes. `--only N` shows one again.
fuzz: install-dev
	$(BIN)/python tests/faults/mutate_rules.py --count 100000

# Clients of other makes for tests/transport/test_clients.py; g++ builds its own there, where libgrpc++-dev is.
conformance: install-dev
	@if command -v npm >/dev/null; then npm install --silent --no-package-lock --prefix tests/transport/js; fi
	$(BIN)/python -m pytest -q -rs tests/transport

bench: install-dev
	$(BIN)/python -m bench

# Rule engines, bandit libraries and empty gRPC servers to measure beside, and what draws charts: no dependencies of
# Tact's. Bandit libraries bring other versions of numpy, and so have a Python of their own.
bench-peers: install-dev
	@$(PIP) zen-engine common-expression-language rule-engine matplotlib
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check vowpalwabbit mabwiser contextualbandits
	@if command -v npm >/dev/null; then npm install --silent --no-package-lock --prefix bench/peers/js; fi
	@$(BIN)/python -m bench.echo.build

# Locks again after a change of requirements/*.in: hashes, no addresses.
lock: install-dev
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements/runtime.txt requirements/runtime.in
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -c requirements/runtime.txt -o requirements/dev.txt requirements/dev.in

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis
