from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth
from bevdepth_plus.evaluation.nuscenes_format import boxes_from_results

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_two_ranks_score_as_one_process_and_both_know_the_scores(tiny_dataset, tmp_path):
    infos = tiny_dataset.infos[:7]  # odd: the ranks' shares are made equal by a repeated sample
    predictions = predictions_from_ground_truth(infos)
    samples = []
    for index, info in enumerate(infos):
        results = predictions[info["token"]][index:]  # some objects are missed
        predictions[info["token"]] = results
        boxes = boxes_from_results(results, ego2global=info["ego2global"])
        samples.append((info["token"], *boxes))
    metainfo = {"info_version": "1.1", "categories": {name: i for i, name in enumerate(CLASSES)}}
    content = {"metainfo": metainfo, "data_list": tiny_dataset.infos}
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(content))
    (tmp_path / "samples.pkl").write_bytes(pickle.dumps(samples))

    ranks = [
        subprocess.Popen(
            [sys.executable, str(HERE / "metric_on_two_ranks.py"), str(rank), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors

    first, second = (json.loads((tmp_path / f"scores_{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    expected = evaluate_detections(predictions, infos)
    assert first["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
    assert first["mATE"] == pytest.approx(expected["tp_errors"]["trans_err"], abs=1e-4)
    assert json.loads((tmp_path / "work" / "metrics.json").read_text())["num_samples"] == 7
