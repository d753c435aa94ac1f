# Each target makes .venv when it is missing, and installs again when what is installed has changed.

PYTHON ?= python3
VENV := .venv
PINS := constraints.txt
BUILT_FROM := setup.py $(wildcard compressors/kernels/*.[ch])

# With TORCH=VERSION that torch stands in an environment of its own; sympy follows it, for some allow one version alone.
ifneq ($(TORCH),)
VENV := .venv-torch-$(TORCH)
PINS := $(VENV)/constraints.txt
endif

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: system test check demo bench clean

# Debian packages that tests use; without them those tests are skipped. Needs root if one is missing.
system:
	tools/install-system-packages

# Tests that start several processes run alone: two of them at once would share the cores.
test: $(STAMP)
ifneq ($(TORCH),)
	$(BIN)/python -m pytest -m torch
else
	$(BIN)/python -m pytest -n 2 -m "not dist"
	$(BIN)/python -m pytest -m dist
endif

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_layout.py tests/test_classes.py

demo: $(STAMP)
	$(BIN)/python -m examples.resnet --out runs/demo

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-torch-* compressors/kernels/*.so build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# torch goes first and by its exact version, so that pip takes a build that is already there.
$(STAMP): pyproject.toml constraints.txt $(BUILT_FROM)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifneq ($(TORCH),)
	sed -e '/^sympy==/d' -e 's/^torch==.*/torch==$(TORCH)/' constraints.txt > $(PINS)
endif
	$(BIN)/python -m pip install "$$(grep '^torch==' $(PINS))" -c $(PINS)
	$(BIN)/python -m pip install -e '.[dev]' -c $(PINS)
	touch $@
