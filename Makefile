# make test   everything that must hold: lint, types, every test (the long ones too)
# make demo   the whole line on simulated bats, in some minutes
# make quick  the same as test, without the tests that take more than some seconds
PYTHON ?= python3
BIN := .venv/bin
AT_ONCE := --numprocesses 2 --dist loadfile

.PHONY: demo test quick lint clean

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest $(AT_ONCE)

quick: lint
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow"

demo: .venv/ready
	$(BIN)/batcache run pipelines/demo.yaml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
