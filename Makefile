# The words of the README. `make help` lists them.
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-markers --no-header pyproject.toml
PACKAGES := bench docs emulator entitlements grpc_service http_service sidecar_project tests
SEEDS := 1-5
SECONDS := 8
REPORT := build/chaos
FUZZ_SCALE := 10
FUZZ_SEED := 1
IMAGE := stigg-sidecar:0.1.0

.PHONY: help demo demo-fleet test test-fast test-storms test-all coverage covered check audit format proto docs bench chaos fuzz attacks soak lock image sbom clean demo-venv dev-venv

help: ## list these words
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1  \t/'

demo: demo-venv ## set up, then run the emulator and the sidecar together: no account, no Redis
	@$(BIN)/python manage.py runsidecar --demo

demo-fleet: demo-venv ## the same with three sidecars and a Redis Cluster of three primaries: needs redis-server
	@$(BIN)/python manage.py runsidecar --demo-fleet

# What is compiled of the tests is kept, also where the environment says otherwise: it is a quarter of a start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --durations 20
# One more than there are processors, since a third of the time is waiting.
AT_A_TIME := $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
SIDE_BY_SIDE := --numprocesses $(AT_A_TIME) --dist worksteal
PURE := tests/domain tests/service tests/config tests/composition tests/doors tests/wire tests/upstream tests/emulator tests/outbox
STORMS := tests/chaos tests/bench tests/documentation/test_commands.py tests/deploy/test_image.py
UNMEASURED := tests/documentation/test_commands.py tests/deploy/test_image.py \
	$(wildcard $(patsubst %,tests/chaos/test_%.py,finds forecast fuzz_admin fuzz_redis judge model targets))

test: dev-venv ## set up, then run the tests, but for the storms
	@$(PYTEST) $(SIDE_BY_SIDE) $(STORMS:%=--ignore %)

test-fast: dev-venv ## the tests of what needs no other process
	@$(PYTEST) $(SIDE_BY_SIDE) $(PURE)

# By file, since the image is built once for its file; then, one at a time, those that measure what others notice.
test-storms: dev-venv ## chaos and fuzz in their short form, the documented commands, the image's own, the benchmark's
	@$(PYTEST) $(SIDE_BY_SIDE) --dist loadfile $(UNMEASURED)
	@$(PYTEST) $(filter-out $(UNMEASURED),$(STORMS)) $(UNMEASURED:%=--ignore %)

test-all: test test-storms ## all tests

coverage: dev-venv ## run the tests and report the lines and branches that none of them reached
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

COVERING := tests/domain tests/service tests/upstream/test_feed_protocol.py \
	tests/grpc_service/test_errors.py tests/grpc_service/test_requests.py tests/grpc_service/test_responses.py \
	tests/grpc_service/test_record.py tests/http_service/test_watch.py tests/composition/test_rotation.py
COVERED_WHOLLY := 'entitlements/domain/*,entitlements/upstream/feed_protocol.py'
COVERED_NEARLY := 'entitlements/service/*,grpc_service/errors.py,grpc_service/translation/*'
# In Python's development mode, which watches the loop, but for the checks of malloc: all tests in it take a quarter longer.
covered: dev-venv ## hold the coverage of what decides: a wrong branch there is a wrong answer
	@$(BIN)/coverage erase
	@PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc $(BIN)/coverage run -m pytest --quiet --numprocesses auto --dist worksteal $(COVERING)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=100 --include=$(COVERED_WHOLLY)
	@$(BIN)/coverage report --fail-under=95 --include=$(COVERED_NEARLY)

check: dev-venv ## everything that CI looks at, but the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES) manage.py
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python manage.py makemigrations --check --dry-run
	SERVER_API_KEY=made-up $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/python grpc_service/proto/generate.py --check
	$(BIN)/python -m docs.configuration --check
	$(BIN)/python -m docs.openapi --check

audit: dev-venv ## fail on a known advisory about what the locks pin, or say that nobody can be asked
	@$(BIN)/python .ci/audit.py

format: dev-venv ## format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: dev-venv ## write grpc_service/generated anew from sidecar.proto
	$(BIN)/python grpc_service/proto/generate.py

docs: dev-venv ## write docs/configuration.md and docs/openapi.json anew
	$(BIN)/python -m docs.configuration
	$(BIN)/python -m docs.openapi

chaos: dev-venv ## break things on purpose while it serves: SEEDS=1-5 WORLD=cluster SECONDS=8 REPORT=build/chaos
	@$(BIN)/python -m tests.chaos $(if $(WORLD),--world "$(WORLD)") --seeds $(SEEDS) --seconds $(SECONDS) --report $(REPORT)

fuzz: dev-venv ## feed it what is broken, hostile or random: FUZZ_SCALE=10 FUZZ_SEED=1, some minutes
	@FUZZ_SCALE=$(FUZZ_SCALE) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest -p no:randomly \
		tests/chaos/test_targets.py tests/chaos/test_fuzz_*.py tests/chaos/test_model.py \
		tests/project/test_live_feed.py::test_better_read_after_a_report_never_shows_older_usage

attacks: dev-venv ## what hits, misses and /livez notice of each attack, as a table: ATTACKS="watchers idle", TREE=another commit's beside it
	@$(BIN)/python -m tests.chaos.attacks $(if $(TREE),--tree $(TREE)) $(ATTACKS)
	$(if $(ATTACKS),,@$(BIN)/python -m tests.chaos.h2spec)

soak: dev-venv ## a quarter of an hour of load, to see whether anything grows
	@$(BIN)/python -m tests.chaos.soak

bench: dev-venv ## measure against bare gRPC servers; BENCH="--all" for all (bench/README.md)
	@$(BIN)/python -m bench $(BENCH)

lock: dev-venv ## write the lock files anew from pyproject.toml, for every Python that it allows
	$(COMPILE) --all-extras --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --extra emulator --output-file requirements-demo.lock
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock

image: dev-venv ## build the image by buildah and try it: BASE_IMAGE=debootstrap where no registry of images is reached
	deploy/image $(IMAGE)
	BUILT_IMAGE=localhost/$(IMAGE) $(BIN)/python -m pytest tests/deploy/test_built_image.py

sbom: dev-venv ## list what the image holds of Python's packages, as CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	$(BIN)/uv tool run --quiet --from 'cyclonedx-bom>=7,<8' cyclonedx-py requirements --output-reproducible \
		--pyproject pyproject.toml --output-file build/sbom.cdx.json requirements.lock

clean: ## remove what the demo and the tools left behind
	rm -rf .demo .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build

demo-venv:
	@sh .ci/venv requirements-demo.lock

dev-venv:
	@sh .ci/venv requirements-dev.lock
