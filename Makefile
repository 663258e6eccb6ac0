# Relabel. `make demo` shows it, `make test` proves it; `make` alone prints this help.
SHELL := /bin/sh
VENV ?= .venv
PORT ?=
# Where to take torch from, e.g. https://download.pytorch.org/whl/cpu for CPU-only Linux.
TORCH_INDEX ?=

# Tests of one file stay together: they share a server or a model.
TOGETHER ?= -n 2 --dist loadfile

BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test

.DEFAULT_GOAL := help
.PHONY: help demo test check format install screenshots clean

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  CPU-only Linux: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu"

demo: $(READY) ## Build the demo workspace and open it in the browser
	$(BIN)/relabel demo $(if $(PORT),--port $(PORT))

install: $(READY) ## Make the virtual environment and install Relabel

test: $(READY_TEST) ## Run the whole test suite, two files at a time
	$(PY) -m pytest $(TOGETHER)

check: $(READY_TEST) ## Format, lint, types, import arrows, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PY) -m pytest $(TOGETHER)

format: $(READY_TEST) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(READY_TEST) ## Make docs/images anew from a demo workspace
	$(PY) tools/screenshots.py

clean: ## Remove the virtual environment
	rm -rf $(VENV)

$(PY):
	@python=$$(sh tools/find_python.sh) && \
	echo "Making $(VENV) with $$python" && \
	"$$python" -m venv $(VENV)

# The touch comes last, so an install that was cut off is done again.
$(READY): $(PY) pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(PY) -m pip install -c constraints.txt torch --index-url $(TORCH_INDEX))
	$(PY) -m pip install -c constraints.txt -e .
	@touch $@

$(READY_TEST): $(READY)
	$(PY) -m pip install -c constraints.txt -e ".[test]"
	@touch $@
