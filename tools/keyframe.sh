#!/usr/bin/env bash
# Learn one real nuScenes key frame and find its objects again: what `make keyframe` runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=configs/keyframe.py
out=work_dirs/keyframe
shared=${BEVDEPTH_PLUS_SHARED:-../shared}

if [[ ! -d $shared/nuscenes_keyframe ]]; then
  echo "keyframe: no key frame in $shared/nuscenes_keyframe; set BEVDEPTH_PLUS_SHARED" >&2
  exit 2
fi
python tools/train.py "$config" --work-dir "$out" --resume
python tools/test.py "$config" "$(cat "$out/last_checkpoint")" --work-dir "$out"
python tools/visualize.py "$config" "$(cat "$out/last_checkpoint")" --out "$out/pictures" --depth

printf '\nscores:   %s\npictures: %s\n' "$out/metrics.json" "$out/pictures"
