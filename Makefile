# `make demo` and `make test` set up all that they need in .venv; Python 3.10 or newer is the only requirement.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo docs test test-slow test-all lint package tables clean

demo: $(VENV)/.installed
	$(BIN)/keras-mlp demo --output=demo

test: $(VENV)/.installed
	$(PYTEST)

# What takes long, except what is marked as huge: the same again on all cases and variants.
test-slow: $(VENV)/.installed
	$(PYTEST) -m "slow and not huge"

# Everything, which takes hours. A run goes on where the last one at this commit stopped; `PART="tests/export"` is one
# part of it. docs/verified.md says what passed.
test-all: $(VENV)/.installed
	PYTHONPATH=tests $(PYTEST) -p verified -m "slow or not slow" $(PART)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A wheel and an sdist in dist/, and whether an index would take them.
package: $(VENV)/.installed
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/packaged.py dist
	$(BIN)/python -m mypy

# The documentation site, strict, in build/site/html.
docs: $(VENV)/.installed
	$(BIN)/python -m docs.site

tables: $(VENV)/.installed
	$(BIN)/python -m weights.tables

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
