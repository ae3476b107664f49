#!/usr/bin/env bash
# Compiles the CUDA kernels for every architecture we support, and checks the code around them
# against PyTorch's headers. Needs nvcc and PyTorch, no GPU.
set -euo pipefail
cd "$(dirname "$0")"
NVCC="${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}"
PYTHON="${PYTHON:-python}"
if ! "$NVCC" --version >/dev/null 2>&1; then
  echo "check_cuda: no nvcc found (set NVCC=/path/to/nvcc); nothing was checked" >&2
  exit 1
fi
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
for arch in ${ARCHITECTURES:-80 90 120}; do
  echo "check_cuda: kernels for sm_$arch"
  for source in csrc/cuda/*.cu; do
    log="$out/$(basename "$source").$arch.log"
    "$NVCC" -std=c++17 -O3 -arch="sm_$arch" --resource-usage -Werror all-warnings \
      -c "$source" -o "$out/$arch.o" 2>"$log" || { cat "$log"; exit 1; }
    if grep -Eq '[1-9][0-9]* bytes spill' "$log"; then
      echo "check_cuda: registers spill in $source on sm_$arch:" >&2
      cat "$log" >&2
      exit 1
    fi
  done
done
echo "check_cuda: the code around the kernels"
# A CPU build of PyTorch ships the CUDA headers without the one that its CUDA build generates.
mkdir -p "$out/c10/cuda/impl"
touch "$out/c10/cuda/impl/cuda_cmake_macros.h"
read -r -a includes <<<"$("$PYTHON" -c 'from torch.utils.cpp_extension import include_paths
print(*[f"-isystem {path}" for path in include_paths()])')"
"${CXX:-g++}" -std=c++20 -fsyntax-only -Wall -Wno-unused-function "${includes[@]}" -I"$out" \
  -isystem "$(dirname "$("$NVCC" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')/x")/include" \
  csrc/cuda/bev_pool_cuda.cpp
echo "check_cuda: fine"
