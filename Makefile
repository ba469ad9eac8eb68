PYTHON ?= python3
BIN := .venv/bin
# One thread a test process: two processes with two threads each only get in each other's way.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

.DEFAULT_GOAL := help
.PHONY: help demo test test-deep lint format docs bench clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | expand -t 12

# Installed again when the dependencies change.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "growc needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/installed ## Grow an example network, check it, export it, run the ONNX file
	$(BIN)/growc check examples/r2r_figure9.arch
	$(BIN)/growc compile examples/r2r_figure9.arch -o out/teacher --force
	$(BIN)/growc compile out/teacher.arch --pass r2wider -o out/wider --force
	$(BIN)/growc verify out/teacher.arch out/wider.arch
	$(BIN)/growc verify out/teacher.arch out/wider.onnx

test: .venv/installed ## Run the tests (some minutes)
	$(TEST)

test-deep: .venv/installed ## Run the tests with many more random cases (up to an hour)
	GROWC_HYPOTHESIS=deep $(TEST)

lint: .venv/installed ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks experiments
	$(BIN)/growc fmt --check examples/*.arch examples/blocks/*.arch

format: .venv/installed ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/growc fmt examples/*.arch examples/blocks/*.arch

docs: .venv/installed ## Renew the generated pages and build the documentation into out/site
	GROWC_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/test_docs.py
	$(BIN)/python docs/picture.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --quiet --strict --site-dir out/site

bench: .venv/installed ## Measure speed; writes benchmarks/results
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.training_loop
	$(BIN)/python -m benchmarks.parsing
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.widening
	$(BIN)/python -m benchmarks.proving
	$(BIN)/python -m benchmarks.growing
	$(BIN)/python -m benchmarks.expanding
	$(BIN)/python -m benchmarks.population
	$(BIN)/python -m benchmarks.reading

clean: ## Remove what was made, the environment included
	rm -rf .venv out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
