# `make demo` and `make test` work on a fresh machine with python3.11: they make .venv, install into it, then run.
PYTHON ?= python3.11
CONSTRAINTS := $(shell nvidia-smi -L >/dev/null 2>&1 && echo constraints-gpu.txt || echo constraints-cpu.txt)
BIN := .venv/bin

.PHONY: demo test setup clean

demo: setup
	$(BIN)/dubwright demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

setup: .venv/.installed

.venv/.installed: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[world]' >/dev/null 2>&1 \
		|| echo "WORLD could not be installed (it needs a C++ compiler): the fast F0 stands in"
	touch $@

clean:
	rm -rf .venv dubwright-demo
