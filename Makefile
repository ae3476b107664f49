# Each target works on a fresh machine: it sets up first what it needs.
#   PYTHON  the Python (3.10 to 3.12) a new environment is made from
#   VENV    the environment; one that exists is used as it is (see docs/install.md)
#   NEWEST  set to 1: the newest versions that requirements/ accepts, not the lock's
PYTHON ?= python3
VENV ?= .venv
ENV_PATH := $(abspath $(VENV))/bin
IN_ENV := PATH="$(ENV_PATH):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup doctor demo keyframe test lint bench check-cuda asan

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## create the environment and build what must be built; the second run takes seconds
	@$(PYTHON) tools/setup_env.py --venv "$(VENV)" $(if $(filter 1,$(NEWEST)),--newest)

doctor: ## print versions, op backends, and what to do about each problem
	@"$(ENV_PATH)/python" tools/doctor.py

demo: setup ## synthetic data, a small training, evaluation and pictures
	@$(IN_ENV) tools/demo.sh

keyframe: setup ## train on one real nuScenes key frame and find its objects again
	@$(IN_ENV) tools/keyframe.sh

test: setup ## run the tests; TESTS="tests/test_x.py -k name" runs some of them
	@$(IN_ENV) python -m pytest $(TESTS)

lint: setup ## ruff: rules and format
	@$(IN_ENV) ruff check .
	@$(IN_ENV) ruff format --check .

bench: setup ## the pooling op beside its peers; results in benchmarks/results/
	@$(IN_ENV) python benchmarks/bev_pool.py

check-cuda: setup ## compile the CUDA kernels for every supported GPU; needs nvcc, no GPU
	@$(IN_ENV) ops/check_cuda.sh

asan: setup ## the op's tests under AddressSanitizer
	@$(IN_ENV) ops/asan.sh
