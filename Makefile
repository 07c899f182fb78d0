# The main entry point. `make demo` and `make test` install everything they need.

PYTHON ?= python3
PORT ?= 8000
SCALE ?= 1
VENV := .venv
BIN := $(VENV)/bin
# The engine and the S3 emulation need cores, too.
WORKERS ?= 2
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
  --fork-strategy fewest --custom-compile-command "make lock" $(if $(RENEW),--upgrade)
PYTEST = $(BIN)/python -m pytest -q --dist loadfile --no-loadscope-reorder -n $(WORKERS)

.PHONY: help demo manage test test-fast test-thorough faults kills attack lint format bench lock clean

help:
	@echo "make demo [PORT=8000]  set everything up, load the sample lake, run until Ctrl-C"
	@echo "make manage RUN=doctor run a manage.py command on the running demo"
	@echo "make test              all tests;  make test-fast: without the warehouse"
	@echo "make faults            kill each part twenty times; writes docs/reliability.md"
	@echo "make kills             kill the warehouse before each statement of loads; writes it, too"
	@echo "make attack            slow clients and greedy users; writes docs/reliability.md"
	@echo "make lint              ruff, mypy, import-linter;  make format: fix what can be fixed"
	@echo "make bench             run the benchmarks; writes docs/performance.md"
	@echo "make lock [RENEW=1]    update the locks from requirements*.txt;  RENEW=1: newest versions"
	@echo "make clean             remove the demo's data (var/) and the virtual environment"

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "AVESA needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python cannot create virtual environments here. On Debian: apt install python3-venv"; \
	  exit 1; }
	@touch $@

$(VENV)/ready: requirements-demo.lock $(VENV)/created
	@echo "Installing what the demo needs (about a minute the first time)"
	@$(INSTALL) --require-hashes -r requirements-demo.lock
	@touch $@

$(VENV)/ready-dev: requirements-dev.lock $(VENV)/created
	@echo "Installing what the tests need (about a minute the first time)"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/ready

$(BIN)/uv: $(VENV)/created
	@echo "Installing uv, which makes the locks"
	@$(INSTALL) 'uv>=0.9,<1'
	@touch $@

demo: $(VENV)/ready
	@exec $(BIN)/python -m avesa_site.demo --port $(PORT) --scale $(SCALE)

manage: $(VENV)/ready
	@test -f var/demo.env || { echo "The demo is not running. Start it: make demo"; exit 1; }
	@AVESA_ENV_FILE=var/demo.env $(BIN)/python manage.py $(RUN)

# A fault that lint finds does not keep the tests from running, but fails it all the same.
test: $(VENV)/ready-dev
	@status=0; $(MAKE) --no-print-directory lint || status=1; $(PYTEST) || status=1; exit $$status

test-thorough: $(VENV)/ready-dev
	@AVESA_THOROUGH=1 $(PYTEST) --timeout 600

faults: $(VENV)/ready-dev
	@AVESA_KILLS=20 AVESA_FAULT_REPORT=docs/reliability.md $(PYTEST) -n 0 loaders/tests/pipelines/test_faults.py

kills: $(VENV)/ready-dev
	@AVESA_THOROUGH=1 AVESA_KILL_REPORT=docs/reliability.md $(PYTEST) -n 0 loaders/tests/jobs/test_kills.py

attack: $(VENV)/ready-dev
	@AVESA_ATTACK_SECONDS=10 AVESA_ATTACK_REPORT=docs/reliability.md $(PYTEST) -n 0 avesa_site/tests/test_attack.py

test-fast: $(VENV)/ready-dev
	@$(PYTEST) -m "not slow and not engine"

lint: $(VENV)/ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy avesa_site tenants analytics loaders common
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

format: $(VENV)/ready-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/ready-dev
	@$(BIN)/python -m benchmarks

# Production first: packages of the demo and the tests must not affect its versions.
lock: $(BIN)/uv
	@echo "Locking requirements.txt, requirements-demo.txt and requirements-dev.txt"
	@$(LOCK) requirements.txt -o requirements.lock
	@$(LOCK) -c requirements.lock requirements-demo.txt -o requirements-demo.lock
	@$(LOCK) -c requirements-demo.lock requirements-dev.txt -o requirements-dev.lock

clean:
	@rm -rf var $(VENV)
