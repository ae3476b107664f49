#!/usr/bin/env bash
# Builds the op with AddressSanitizer in a temporary place and runs its tests, hostile cells included.
set -euo pipefail
cd "$(dirname "$0")"
PYTHON="${PYTHON:-python}"
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
BEVDEPTH_PLUS_OPS_ASAN=1 BEVDEPTH_PLUS_OPS_CUDA=0 BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE=1 \
  "$PYTHON" setup.py -q build --build-base "$out/build" --build-lib "$out/lib"
# Leaks are left out: Python and PyTorch keep memory until the process ends.
export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0
PYTHONPATH="$out/lib" LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
  "$PYTHON" -m pytest -q --import-mode=importlib -p no:cacheprovider -c /dev/null -m "not gpu" \
  tests/test_bev_pool.py tests/test_plan.py tests/test_frustum.py tests/test_random.py "$@"
