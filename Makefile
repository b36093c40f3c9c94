# Everything runs in .venv, which the first target makes. `make demo` and `make test` are all that a newcomer needs.
#   make test-fast   the everyday suite, below 5 minutes on two cores
#   make test        lint, types, the core suite and the built wheel, below 10 minutes
#   make test-all    what `make test` leaves out: tests marked `extensive`, and each framework in its own environment
#   make fuzz        broken and hostile files for MINUTES, an hour when left out; tests/fuzz/__init__.py explains it
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 60
STAMP := $(VENV)/.installed

# Each framework has an environment of its own, .venv-<framework>, and a marker of pytest of its name.
FRAMEWORKS := torch tensorflow jax sklearn
CORE := not torch and not tensorflow and not jax and not sklearn
PACKAGES_torch := torch==2.13.0 onnxscript
# What trains with it, and where callbacks log to; installed behind it, so that it stays what it is.
THEN_torch := lightning pytorch-lightning transformers accelerate pillow \
  tensorboard mlflow-skinny sqlalchemy alembic wandb
PACKAGES_tensorflow := tensorflow-cpu==2.21.* keras==3.15.* tf2onnx==1.17.*
PACKAGES_jax := jax==0.10.2 flax==0.12.* equinox==0.13.* onnx-ir einops
PACKAGES_sklearn := scikit-learn==1.9.* skl2onnx==1.20.*
# jax2onnx requires the CPU runtime, whose files lie where those of onnxruntime-gpu do.
ALONE_jax := jax2onnx==0.17.1

.PHONY: demo test test-all test-fast lint extensive-test wheel-test framework-test $(FRAMEWORKS:%=framework-test-%)
.PHONY: benchmark fuzz clean

demo: $(STAMP)
	$(BIN)/onnxrich demo --output onnxrich-demo --force
	@echo "Open onnxrich-demo/report.html in a browser to see the curves of both models."

test: lint $(STAMP)
	$(BIN)/pytest -n auto -m "not extensive and $(CORE)"
	$(MAKE) wheel-test

test-all: extensive-test framework-test

test-fast: $(STAMP)
	$(BIN)/pytest -n auto -m "not slow and not extensive and $(CORE)"

extensive-test: $(STAMP)
	$(BIN)/pytest -n auto -m "extensive and $(CORE)"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The built wheel, in an environment of its own, with the checkout out of sight.
wheel-test: $(STAMP)
	rm -rf dist build/wheel && $(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel && build/wheel/bin/pip install --quiet dist/*.whl
	cd build && wheel/bin/onnxrich doctor && wheel/bin/onnxrich demo --json > demo.json && wheel/bin/python -m json.tool demo.json > /dev/null

# What needs a framework: its adapter against the framework itself, the examples that train and export.
framework-test: $(FRAMEWORKS:%=framework-test-%)

$(FRAMEWORKS:%=framework-test-%): framework-test-%: .venv-%/.installed
	.venv-$*/bin/pytest -m $*

benchmark: $(STAMP)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/overhead.py --sweep
	$(BIN)/python benchmarks/today.py
	$(BIN)/python benchmarks/growth.py

fuzz: $(STAMP)
	cd tests && ../$(BIN)/python -m fuzz --minutes $(MINUTES)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(FRAMEWORKS:%=.venv-%/.installed): .venv-%/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet $(PACKAGES_$*)
	.venv-$*/bin/pip install --quiet --editable ".[dev]"
	$(if $(THEN_$*),.venv-$*/bin/pip install --quiet $(THEN_$*))
	$(if $(ALONE_$*),.venv-$*/bin/pip install --quiet --no-deps $(ALONE_$*))
	touch $@

clean:
	rm -rf $(VENV) $(FRAMEWORKS:%=.venv-%) build dist .pytest_cache .mypy_cache .ruff_cache
