# `make sweep` and `make test` need Python 3.11 to 3.13, make and access to a package index; no GPU.
#
# PYTHON  interpreter with which .venv is created (default: python3)
# TORCH   `cpu` installs PyTorch's small builds without CUDA (Linux; macOS has only these)

PYTHON ?= python3
TORCH ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := -c requirements.lock
PACKAGES := orchestrator trainables search_spaces reports

COVERAGE := $(PACKAGES:%=--cov=%)
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# Slow tests wait for processes half of the time; each starts a Ray of its own. The longest files come
# first (tests/conftest.py), not those with the most tests.
PARALLEL_SLOW := -n 2 --dist loadfile --no-loadscope-reorder

# Targets run one after the other even with -j: all share .venv and the terminal.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help sweep test test-fast slurm lint types format lock clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter; TORCH=cpu installs PyTorch without CUDA."

sweep: $(VENV)/installed ## install, then carry out the study 'digits' to its table
	$(BIN)/python -m orchestrator sweep digits

test: $(VENV)/installed-dev slurm ## run the whole test suite, with coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(COVERAGE) --cov-report=
	$(BIN)/python -m pytest -m slow $(PARALLEL_SLOW) $(COVERAGE) --cov-append --cov-report=term:skip-covered

test-fast: $(VENV)/installed-dev ## run all tests except the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PARALLEL)

# The tests of clusters start a Slurm of their own; without it they are skipped, but not in CI.
APT := apt-get
ifneq ($(shell id -u),0)
  APT := sudo -n apt-get
endif

slurm: ## install Slurm for the tests (Debian, Ubuntu), if it is missing
	@PATH=$$PATH:/usr/sbin; command -v slurmctld > /dev/null || { \
	  { $(APT) update -qq && $(APT) install -y -qq --no-install-recommends slurm-wlm; } > /dev/null 2>&1 \
	    || echo "Slurm cannot be installed here: its tests need slurmctld, slurmd and munged" \
	      "(Debian: apt-get install slurm-wlm)" >&2; }

lint: $(VENV)/installed-dev ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## check types
	$(BIN)/mypy

format: $(VENV)/installed-dev ## format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: $(VENV)/installed-dev ## raise every package in .venv to its newest version, write requirements.lock
	$(PIP) install --quiet --upgrade --upgrade-strategy eager -e '.[dev]'
	@{ sed '/^[^#]/,$$d' requirements.lock; \
	   $(PIP) freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | sed 's/+[a-z0-9.]*$$//'; \
	 } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	@touch $(VENV)/installed $(VENV)/installed-dev

clean: ## remove .venv, caches and build folders; runs stay
	rm -rf $(VENV) build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>&- || { \
	  found=$$($(PYTHON) -V 2>&1) || found=missing; \
	  echo "Python 3.11 to 3.13 is needed, and $(PYTHON) is $$found:" \
	    "name another, such as PYTHON=python3.12" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamp is written last, so that an interrupted installation is repeated.
$(VENV)/installed: $(VENV)/bin/python pyproject.toml requirements.lock
ifeq ($(TORCH),cpu)
	@echo "Installing into $(VENV): about 2 GB on disk, PyTorch without CUDA."
	$(PIP) install $(LOCKED) --no-deps --index-url $(TORCH_CPU_INDEX) torch torchvision
else
	@ls -d $(VENV)/lib/python*/site-packages/torch > /dev/null 2>&1 || { \
	  echo "Installing into $(VENV): about 6.4 GB on disk with PyTorch's CUDA libraries, some 4 minutes."; \
	  echo "For 2 GB without CUDA (Linux): Ctrl-C, and add TORCH=cpu to the command."; }
endif
	$(PIP) install $(LOCKED) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --quiet $(LOCKED) -e '.[dev]'
	@touch $@
