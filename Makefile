PYTHON ?= python3
VENV ?= .venv
CASE ?= 11
N ?= 1000
# Extra arguments for pytest, such as TEST="tests/sweeps -k edges".
TEST ?=

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
PYTEST = $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal
FAST = $(PYTEST) -m "not slow" --no-typecheck
VERSIONS = $(PYTEST) -m "not slow or versions" --no-typecheck

.PHONY: demo test test-fast test-lowest test-newest bench accelerators docs lint types clean

# Stamp files, so that a second call installs nothing.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.venv
	@echo "Installing interpbench-jax and its dependencies into $(VENV): about 600 MB, a minute or so"
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.venv
	@echo "Installing interpbench-jax and its development tools into $(VENV): about 1.2 GB, two minutes or so"
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/.venv
	@echo "Installing interpbench-jax and what its documentation is built with into $(VENV): about 800 MB"
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/interpbench sweep $(CASE) --n $(N)

# Every test, with array shapes and types checked at every call.
test: $(VENV)/.installed-dev
	$(PYTEST) $(TEST)

# The quick tests alone, without those checks: for the development loop.
test-fast: $(VENV)/.installed-dev
	$(FAST) $(TEST)

# The quick tests, and a few slow ones, with the oldest versions that pyproject.toml allows; uv can
# resolve to them, pip cannot.
test-lowest: VENV = .venv-lowest
test-lowest: .venv-lowest/.resolved-lowest-direct
	$(VERSIONS) $(TEST)

# The same with the newest versions that it allows.
test-newest: VENV = .venv-newest
test-newest: .venv-newest/.resolved-highest
	$(VERSIONS) $(TEST)

.venv-lowest/.resolved-% .venv-newest/.resolved-%: pyproject.toml
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(@D)/bin/uv pip install --python $(@D)/bin/python --resolution $* --editable '.[test]'
	@touch $@

# BENCH="--quick" for a few minutes; see `python -m benchmarks.speed --help`.
bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.speed $(BENCH)

# Compiles this library's programs for GPUs and TPUs that are not here, with the compilers for them:
# about 6 GB. ACCELERATORS="--targets h100 --workloads sweeps" for some of them.
accelerators: .venv-accelerators/.installed
	.venv-accelerators/bin/python -m benchmarks.accelerators $(ACCELERATORS)

.venv-accelerators/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable . libtpu==0.0.42.1 'jax-cuda12-plugin[with-cuda]==0.10.2'
	@touch $@

# The documentation, in site/. Its examples run, and a warning is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest site
