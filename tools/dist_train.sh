#!/usr/bin/env bash
# Train on several GPUs (on a CPU machine: several processes, gloo).
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

if [[ $# -lt 2 ]]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
launch "$2" "$TOOLS/train.py" "$1" "${@:3}"
