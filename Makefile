# Everything runs in .venv, which the first target makes. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := .venv-torch
# Where callbacks log to.
TRACKERS := tensorboard mlflow-skinny sqlalchemy alembic wandb
TORCH_STAMP := $(TORCH)/.installed

.PHONY: demo test test-fast lint wheel-test framework-test benchmark clean

demo: $(STAMP)
	$(BIN)/onnxrich demo --output onnxrich-demo --force
	@echo "Open onnxrich-demo/report.html in a browser to see the curves of both models."

test: lint $(STAMP)
	$(BIN)/pytest -n auto -m "not torch"
	$(MAKE) wheel-test
	$(MAKE) framework-test

test-fast: $(STAMP)
	$(BIN)/pytest -n auto -m "not slow and not torch"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The built wheel, in an environment of its own, with the checkout out of sight.
wheel-test: $(STAMP)
	rm -rf dist build/wheel && $(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel && build/wheel/bin/pip install --quiet dist/*.whl
	cd build && wheel/bin/onnxrich doctor && wheel/bin/onnxrich demo --json > demo.json && wheel/bin/python -m json.tool demo.json > /dev/null

# What needs PyTorch runs in an environment of its own: the examples that train and export.
framework-test: $(TORCH_STAMP)
	$(TORCH)/bin/pytest -m torch

benchmark: $(STAMP)
	$(BIN)/python benchmarks/overhead.py

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(TORCH_STAMP): pyproject.toml
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/pip install --quiet torch==2.13.0 onnxscript
	$(TORCH)/bin/pip install --quiet lightning pytorch-lightning transformers accelerate pillow $(TRACKERS)
	$(TORCH)/bin/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(TORCH) build dist .pytest_cache .mypy_cache .ruff_cache
