# make demo: environment, install, and the main job on the embedded model
# make test: the developers' tools besides, and all tests      make check: format, lint, types
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test check format pictures setup clean

demo: .venv/.installed
	@$(BIN)/ovseg demo --out ovseg-out

test: .venv/.developer
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/.developer
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: .venv/.developer
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format -q .

pictures: .venv/.installed
	@$(BIN)/ovseg demo --out docs/images

setup: .venv/.developer

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 10) else f"expected Python 3.10 or later, got {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing ovseg into .venv: some minutes and 6 GB, most of it torch's CUDA build"
	@$(PIP) -q --upgrade "pip>=25.1"
	@$(PIP) -e . --group demo
	@touch $@

.venv/.developer: .venv/.installed
	@echo "installing the developers' tools into .venv"
	@$(PIP) -q -e . --group dev
	@$(PIP) -q --no-deps grad-cam ttach
	@touch $@

clean:
	rm -rf .venv ovseg-out
