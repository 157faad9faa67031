# `make` alone tells what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= hms-data

.DEFAULT_GOAL := help
.PHONY: help venv demo up test fuzz thorough bench-sidecar lint lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

venv: $(VENV)/.installed ## Make the virtual environment, from the hashed lock

$(VENV)/.installed: requirements/all.txt pyproject.toml
	@echo "installing into $(VENV) (a minute the first time)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . --config-settings editable_mode=compat
	@touch $@

demo: venv ## Play the walk-through on real parts: 50 -> 200 req/s, 3 -> 6 instances, and back
	@$(BIN)/python -m hms_mgt.demo.walkthrough

up: venv ## Keep the demo system running and print how to use it
	@$(BIN)/python -m hms_mgt.demo.stay --data $(DATA)

test: venv ## Run everything: lint, types, import order, schema check, tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: venv ## Ask the whole API more than 20,000 times, as each role: some ten minutes
	@HMS_FUZZ_EXAMPLES=60 $(BIN)/python -m pytest -p no:xdist -s tests/mgt/test_schemathesis.py

thorough: venv ## Test the sidecar at full scale: every kill point, a million mutations, a day of traffic
	@HMS_THOROUGH=1 $(BIN)/python -m pytest -p no:xdist -o timeout=5400 tests/svc tests/svc_io \
	  tests/system/test_rotation.py tests/system/test_redis_kinds.py

bench-sidecar: venv ## Measure what the sidecar costs, beside its floors
	@$(BIN)/python benchmarks/sidecar.py

lint: venv ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: venv ## Write the hashed locks anew from pyproject.toml
	@for one in "svc" "mgt --extra mgt --extra gov --extra cli" "all --extra all requirements/build.in"; do \
	  set -- $$one; name=$$1; shift; \
	  $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url "$$@" pyproject.toml -o requirements/$$name.txt; \
	done

clean: ## Remove the virtual environment and the demo's data
	rm -rf $(VENV) $(DATA)
