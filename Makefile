PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export NO_ALBUMENTATIONS_UPDATE = 1
# Waiting threads sleep instead of spinning: beside any other busy process on the same cores a
# training step of the quickstart took 13 s with the default and 0.7 s with this.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: install quickstart test lint docs slow golden wheel clean

install: $(VENV)/installed

$(VENV)/installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[all]'
	touch $@

quickstart: install
	rm -rf runs/quickstart
	$(BIN)/python tools/train_net.py --config projects/quickstart.yaml --output runs/quickstart

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# Every warning is an error, such as a link to a page that is not there; nothing is downloaded.
docs: install
	$(BIN)/python docs/draw_imports.py
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build

# A process for each core, up to four; one thread each.
test: install lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0

slow: install
	$(BIN)/python -m pytest -m slow

# Are all losses, metrics and predictions those of the commit BASE, to the last bit?
BASE ?= HEAD
golden: install
	$(BIN)/python benchmarks/golden.py $(BASE)

# Built from nothing: what an earlier build left would travel along.
wheel: install
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build

clean:
	rm -rf build dist runs datasets/sample docs/_build .mypy_cache .ruff_cache .pytest_cache
