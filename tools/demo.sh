#!/usr/bin/env bash
# From nothing to boxes on scenes the model was not trained on: what `make demo` runs.
# Interrupted, run it again: it goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=configs/synthetic_small.py
data=data/synthetic
version=v1.0-trainval
out=work_dirs/demo

step() { printf '\n== %s\n' "$*"; }

step "1/5  synthetic scenes in nuScenes format -> $data"
python tools/make_synthetic_nuscenes.py "$data" --version "$version" \
  --train-scenes 60 --val-scenes 10 --keyframes 8 --image-size 512 288
step "2/5  info files"
python tools/create_data.py "$data" --version "$version"
step "3/5  training -> $out"
python tools/train.py "$config" --work-dir "$out" --resume
step "4/5  evaluation on the scenes kept apart"
python tools/test.py "$config" "$(cat "$out/last_checkpoint")" --work-dir "$out"
step "5/5  pictures"
python tools/visualize.py "$config" "$(cat "$out/last_checkpoint")" \
  --out "$out/pictures" --samples 4 --depth

printf '\nscores:   %s\npictures: %s\n' "$out/metrics.json" "$out/pictures"
