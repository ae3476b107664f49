"""One rank of the distributed metric test; see test_metric_on_two_ranks.py."""

from __future__ import annotations

import json
import pickle
import sys
from datetime import timedelta
from pathlib import Path

import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from torch import distributed

from bevdepth_plus.evaluation.metric import NuScenesBEVMetric


def main(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    samples = pickle.loads((folder / "samples.pkl").read_bytes())
    metric = NuScenesBEVMetric(
        folder / "infos.pkl", out_dir=folder / "work", collect_dir=str(folder / "collect")
    )
    # As a distributed sampler shares them out: in turn, the first one twice to make shares equal.
    for token, boxes, scores, labels in [*samples, samples[0]][rank::2]:
        found = {
            "bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "scores_3d": torch.from_numpy(scores),
            "labels_3d": torch.from_numpy(labels),
        }
        metric.process(None, [{"token": token, "pred_instances_3d": found}])
    scores = metric.evaluate(len(samples) + 1)
    (folder / f"scores_{rank}.json").write_text(json.dumps(scores))
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), Path(sys.argv[2]))
