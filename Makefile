# make test    set up .venv and run every check          make demo    animate two portraits into demo-out/
# make lint    the static checks alone                   make bench   time and memory, into benchmarks/RESULTS.md
PYTHON ?= python3
# For our own environment alone. Users keep the torch that ComfyUI brought.
TORCH ?= torch==2.13.0
# Files of tests at a time
JOBS ?= 2
# Options of the benchmark, such as BENCH="--liveportrait PATH"
BENCH ?=
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: test demo lint bench clean
.DELETE_ON_ERROR:

$(VENV)/.base: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit('Python 3.10 or newer is needed, this is ' + sys.version.split()[0] if sys.version_info < (3, 10) else 0)"
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) "$(TORCH)" hatchling editables
	$(INSTALL) --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) --no-build-isolation --editable ".[dev]"
	touch $@

$(VENV)/.demo: $(VENV)/.base
	$(INSTALL) --no-build-isolation --editable ".[demo]"
	touch $@

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

test: lint
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile

demo: $(VENV)/.demo
	$(PY) recipes/demo.py demo-out

bench: $(VENV)/.base
	$(PY) benchmarks/bench.py $(BENCH)

clean:
	rm -rf $(VENV) demo-out .pytest_cache .ruff_cache build dist
