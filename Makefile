# Two commands on a fresh machine: `make demo` and `make test`; both do their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# faiss-cpu and faiss-gpu install the same module, so the set-up picks one.
FAISS ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
STAMP := $(VENV)/.setup-$(FAISS)

.PHONY: setup demo test lint format lock clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v uv >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet uv
	@UV=$$(command -v uv || echo "$(PYTHON) -m uv"); \
	[ -x $(BIN)/python ] || $$UV venv --quiet --python '>=3.11,<3.14' $(VENV); \
	$$UV pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(FAISS),dev]'
	@rm -f $(VENV)/.setup-* && touch $@

demo: setup
	$(BIN)/morphospace demo

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins for every extra and every supported Python, without index addresses.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --upgrade --output-file constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
