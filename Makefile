PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CASE ?= 11
N ?= 1000

.PHONY: demo test bench lint types clean

# A stamp, so that the second call installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/interpbench sweep $(CASE) --n $(N)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# BENCH="--quick" for a few minutes; see `python -m benchmarks.speed --help`.
bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.speed $(BENCH)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright

clean:
	rm -rf $(VENV)
