# Every target first installs missing packages into .venv, once. PYTHON=... selects the interpreter.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick lint typecheck format bench runtime clean distclean

VENV_PYTHON := .venv/bin/python
ARGS ?=
# Number of test processes, more than two cores, since tests wait for processes of their own. If one dies (a crash, a
# hang in C), the run ends, because xdist would wait for its tests.
JOBS ?= 3
PARALLEL = $(if $(filter 1,$(JOBS)),,-n $(JOBS) --dist loadfile --max-worker-restart 0)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Set up .venv: Relay TVM, this package with its C++ runtime, an OpenCL device
	@scripts/setup.sh

demo: setup ## Compile ResNet-50 for CPU and GPU at once, check and time it (ARGS="--model squeezenet")
	@$(VENV_PYTHON) scripts/demo.py $(ARGS)

# Tests start hundreds of processes, each of which would compile the package again where the environment forbids to keep
# byte code.
test test-quick: export PYTHONDONTWRITEBYTECODE =
# Large pages for what is allocated in small pieces: an eighth less time, where glibc is 2.35 or newer.
test test-quick: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

test: setup ## Run all tests (ARGS="tests/planner -k dp")
	@$(VENV_PYTHON) -m scripts.setup_env.arm64
	@$(VENV_PYTHON) -m pytest $(PARALLEL) $(ARGS)

test-quick: setup ## Run the tests that take no GPU, no PyTorch and little time
	@$(VENV_PYTHON) -m pytest $(PARALLEL) -m "not slow and not opencl and not vulkan and not remote and not predictors" $(ARGS)

lint: setup ## Check style
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .

typecheck: setup ## Check types
	@$(VENV_PYTHON) scripts/typecheck.py $(ARGS)

format: setup ## Format the code
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

bench: setup ## Run the benchmarks with few cases (NAME=chain for one, ARGS="--json out.json")
	@$(VENV_PYTHON) scripts/bench.py $(NAME) $(if $(ARGS),$(ARGS),--quick)

runtime: setup ## Rebuild the C++ runtime, if its sources changed; TARGET=aarch64-linux-gnu or aarch64-android: for a board
	@$(if $(TARGET),$(VENV_PYTHON) scripts/build_runtime.py $(TARGET))

clean: ## Remove build results, but not .venv
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .pkl_memoize_py3 python/*.egg-info python/tvm_coexec/lib
	find python relay_passes cost_models scripts tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## Also remove .venv
	rm -rf .venv
