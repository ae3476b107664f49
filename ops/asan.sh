#!/usr/bin/env bash
# Builds the op with AddressSanitizer in a temporary place and runs its tests there, hostile cells
# included.
set -euo pipefail
ops="$(cd "$(dirname "$0")" && pwd)"
PYTHON="${PYTHON:-python}"
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
BEVDEPTH_PLUS_OPS_ASAN=1 BEVDEPTH_PLUS_OPS_CUDA=0 BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE=1 \
  "$PYTHON" "$ops/setup.py" -q build --build-base "$out/build" --build-lib "$out/lib"
cd "$out"
export PYTHONPATH="$out/lib"
# Leaks are left out: Python and PyTorch keep memory until the process ends.
export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
export LD_PRELOAD
"$PYTHON" -c 'from bevdepth_plus_ops.native import MISSING_REASON as why
assert why is None, why'
"$PYTHON" -m pytest -q --import-mode=importlib -p no:cacheprovider -c /dev/null -m "not gpu" \
  "$ops"/tests/test_{bev_pool,plan,frustum,random}.py "$@"
