# Needs Python 3.11 or newer with pip and venv, git and make; every target installs what it uses.

PYTHON ?= python3
# pytest processes
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest

export FLWR_TELEMETRY_ENABLED ?= 0
export FLWR_DISABLE_UPDATE_CHECK ?= 1

# Where it is set, each of some sixty processes compiles torch anew, which takes two seconds.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: setup demo test check slow docs pins clean

setup: $(READY)

demo: $(READY)
	$(BIN)/fedunlearn compare experiment=demo

# The processes share the cores: threads of torch's own would wait for each other, and spin.
test slow: export OMP_NUM_THREADS ?= 1

test: $(READY)
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist worksteal

slow: $(READY)
	$(PYTEST) -m slow -n $(WORKERS) --dist loadscope

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# A link that leads nowhere is an error, as is whatever else Sphinx warns of.
docs: .venv/docs-ready
	$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs . site -d .venv/docs-read
	@echo "Open site/index.html"

# The newest versions that agree, for every supported Python at once.
pins: $(BIN)/uv
	echo "# Regenerate with: make pins" > .venv/pins
	echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--no-header --no-annotate --all-extras pyproject.toml - >> .venv/pins
	mv .venv/pins constraints.txt

# Results in outputs/ stay.
clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site docs/api

$(READY): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing fedunlearn and its dependencies into .venv"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt \
		--build-constraints constraints.txt --editable '.[dev]'
	@touch $@

.venv/docs-ready: $(READY)
	@echo "Installing Sphinx into .venv"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt \
		--build-constraints constraints.txt --editable '.[docs]'
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('fedunlearn needs \
	Python 3.11 or newer, and $(PYTHON) is Python %d.%d. Name another one: \
	make PYTHON=python3.12' % sys.version_info[:2])"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt uv
