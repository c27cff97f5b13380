# The words of the README. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
PACKAGES := bench docs emulator entitlements grpc_service sidecar_project tests
SEEDS := 1-5
SECONDS := 8
REPORT := build/chaos
FUZZ_SCALE := 10
FUZZ_SEED := 1

.PHONY: help demo test coverage covered check format proto docs bench chaos fuzz soak lock clean

help: ## list these words
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1  \t/'

demo: $(VENV)/demo ## set up, then run the emulator and the sidecar together: no account, no Redis
	@$(BIN)/python manage.py runsidecar --demo

test: $(VENV)/dev ## set up, then run the tests
	@$(BIN)/python -X dev -m pytest

coverage: $(VENV)/dev ## run the tests and report the lines and branches that none of them reached
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

COVERING := tests/domain tests/service tests/upstream/test_feed_protocol.py \
	tests/grpc_service/test_errors.py tests/grpc_service/test_requests.py tests/grpc_service/test_responses.py
COVERED_WHOLLY := 'entitlements/domain/*,entitlements/upstream/feed_protocol.py'
COVERED_NEARLY := 'entitlements/service/*,grpc_service/errors.py,grpc_service/translation/*'
covered: $(VENV)/dev ## hold the coverage of what decides: a wrong branch there is a wrong answer
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --quiet $(COVERING)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=100 --include=$(COVERED_WHOLLY)
	@$(BIN)/coverage report --fail-under=95 --include=$(COVERED_NEARLY)

check: $(VENV)/dev ## everything that CI looks at, but the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES) manage.py
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python manage.py makemigrations --check --dry-run
	SERVER_API_KEY=made-up $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/python grpc_service/proto/generate.py --check
	$(BIN)/python -m docs.configuration --check

format: $(VENV)/dev ## format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/dev ## write grpc_service/generated anew from sidecar.proto
	$(BIN)/python grpc_service/proto/generate.py

docs: $(VENV)/dev ## write docs/configuration.md anew from the variables
	$(BIN)/python -m docs.configuration

chaos: $(VENV)/dev ## break things on purpose while it serves: SEEDS=1-5 SECONDS=8 REPORT=build/chaos
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS) --seconds $(SECONDS) --report $(REPORT)

fuzz: $(VENV)/dev ## feed it what is broken, hostile or random: FUZZ_SCALE=10 FUZZ_SEED=1, some minutes
	@FUZZ_SCALE=$(FUZZ_SCALE) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest -p no:randomly \
		tests/chaos/test_targets.py tests/chaos/test_fuzz_*.py tests/chaos/test_model.py

soak: $(VENV)/dev ## a quarter of an hour of load, to see whether anything grows
	@$(BIN)/python -m tests.chaos.soak

bench: $(VENV)/dev ## measure against bare gRPC servers; BENCH="--all" for all (bench/README.md)
	@$(BIN)/python -m bench $(BENCH)

lock: $(VENV)/dev ## write the lock files anew from pyproject.toml
	$(COMPILE) --all-extras --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --constraint requirements-dev.lock --extra emulator --output-file requirements-demo.lock pyproject.toml
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

clean: ## remove what the demo and the tools left behind
	rm -rf .demo .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: requirements-demo.lock | $(VENV)/bin/python
	@echo "Setting up $(VENV) ..."
	@$(PIP) -r requirements-demo.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock | $(VENV)/bin/python
	@echo "Setting up $(VENV) for development ..."
	@$(PIP) -r requirements-dev.lock
	@touch $@ $(VENV)/demo
