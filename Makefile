# Each target makes .venv when it is missing, and installs again when what is installed has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUILT_FROM := setup.py $(wildcard compressors/kernels/*.[ch])

.PHONY: system test check demo bench clean

# Debian packages that tests use; without them those tests are skipped. Needs root if one is missing.
system:
	tools/install-system-packages

# Tests that start several processes run alone: two of them at once would share the cores.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not dist"
	$(BIN)/python -m pytest -m dist

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
	rm -rf $(VENV) compressors/kernels/*.so build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# torch goes first and by its exact version, so that pip takes a build that is already there.
$(STAMP): pyproject.toml constraints.txt $(BUILT_FROM)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(BIN)/python -m pip install -e '.[dev]' -c constraints.txt
	touch $@
