# make demo: environment, install, and the main job on the embedded model
# make test: environment, install, all tests            make check: format, lint, types
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check format pictures setup clean

demo: $(READY)
	@$(BIN)/ovseg demo --out ovseg-out

test: $(READY)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY)
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format -q .

pictures: $(READY)
	@$(BIN)/ovseg demo --out docs/images

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"wanted Python 3.10 to 3.13, got {v[0]}.{v[1]}: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: some minutes, 5.5 GB with torch's CUDA build"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e . --group dev
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps grad-cam ttach
	@touch $@

clean:
	rm -rf .venv ovseg-out
