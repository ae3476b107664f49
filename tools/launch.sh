#!/usr/bin/env bash
# Sourced by dist_train.sh and dist_test.sh: torchrun, told by the variables mmdet3d users know.
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# launch GPUS SCRIPT [arguments]
launch() {
    local gpus=$1 script=$2
    if ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
        echo "GPUS must be a positive number, got '$gpus'" >&2
        exit 2
    fi
    local rendezvous=(--standalone) # one machine: torchrun picks a free port
    if [[ ${NNODES:-1} -gt 1 || -n ${PORT:-} ]]; then
        rendezvous=(
            --nnodes "${NNODES:-1}"
            --node-rank "${NODE_RANK:-0}"
            --master-addr "${MASTER_ADDR:-127.0.0.1}"
            --master-port "${PORT:-29500}"
        )
    fi
    exec python -m torch.distributed.run "${rendezvous[@]}" --nproc-per-node "$gpus" \
        "$script" "${@:3}" --launcher pytorch
}
