# make demo, make test, make lab: each sets up what it needs in $(VENV) first.
PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
BIN := $(VENV)/bin

.PHONY: demo test lab check bench clean

demo: $(VENV)/ready
	$(BIN)/python tools/demo.py notebooks/01_quickstart.ipynb

test: $(VENV)/ready
	$(BIN)/python -m pytest $(TESTS) $(PYTEST_ARGS)

lab: $(VENV)/lab-ready
	$(BIN)/jupyter lab --notebook-dir=notebooks

check: $(VENV)/lint-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_display_lint.py

bench: $(VENV)/ready
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist

# uv resolves the test tools in seconds on every Python; pip needs many minutes for it on 3.8.
$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/ready: pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test,browser]'
	touch $@

$(VENV)/lab-ready: $(VENV)/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[notebook,keys]'
	touch $@

$(VENV)/lint-ready: $(VENV)/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[lint]'
	touch $@
