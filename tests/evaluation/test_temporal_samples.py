"""Depth over time through the loader and the metric, with predictors whose scores are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.structures import InstanceData

import bevdepth_plus.datasets.transforms  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.depth import DEFAULT_RANGES
from bevdepth_plus.evaluation.metric import NuScenesBEVMetric
from bevdepth_plus.evaluation.temporal_samples import temporal_sums
from bevdepth_plus.geometry.z_buffer import nearest_depth

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "nuscenes.py"
STRIDE = 4


@pytest.fixture(scope="module")
def ann_file(synthetic_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("infos")
    return create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)[-1]


@pytest.fixture(scope="module")
def packed(ann_file, synthetic_root) -> list[dict]:
    """A scene's three key frames, each with two before it, by the configs' pipeline."""
    pipeline = Config.fromfile(CONFIG).test_pipeline
    pipeline.augment_images.final_dim = (64, 160)
    pipeline.past_depth = dict(type="PastLidarDepthMaps")
    dataset = NuScenesBEVDataset(
        str(ann_file), str(synthetic_root), pipeline=pipeline, test_mode=True, num_frames=3
    )
    return [dataset[index] for index in range(len(dataset))]


def labels_of(item: dict, moments: int = 3) -> torch.Tensor:
    depth = torch.cat([item["inputs"]["depth"][None], item["inputs"]["past_depth"]])
    return nearest_depth(depth[:moments], STRIDE)


def perfect(truth: torch.Tensor) -> torch.Tensor:
    return torch.where(truth > 0, truth, torch.nan)  # what is not known is not predicted, either


def predicted(packed: list[dict], predict=perfect, moments: int = 3) -> list[dict]:
    """What a detector without boxes hands over."""
    samples = []
    for item in packed:
        sample, truth = item["data_samples"].clone(), labels_of(item, moments)
        sample.gt_depth, sample.gt_depth_over_time = truth[0], truth
        depths = predict(truth)
        sample.set_field({"bin": depths[0]}, "pred_depths")
        sample.set_field({"bin": depths}, "pred_depths_over_time")
        sample.pred_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9),
            scores_3d=torch.zeros(0),
            labels_3d=torch.zeros(0, dtype=torch.long),
        )
        samples.append(sample.to_dict())
    return samples


def evaluate(ann_file: Path, samples: list[dict], out_dir: Path) -> tuple[dict, dict]:
    metric = NuScenesBEVMetric(ann_file, out_dir=out_dir)
    metric.process(None, samples)
    scores = metric.evaluate(len(samples))
    return scores, json.loads((out_dir / "metrics.json").read_text())["depth_over_time"]


def test_true_depth_keeps_its_order_and_is_steady(ann_file, packed, tmp_path):
    scores, report = evaluate(ann_file, predicted(packed), tmp_path)
    overall = report["bin"]["overall"]
    assert overall["points"] > 1000 and overall["pairs"] > 5000
    assert overall["order_agreement"] > 0.99
    assert overall["flicker_rel"] < 0.02 and overall["flicker"] < 0.2
    assert overall["warped_rel"] < 0.03
    assert scores["depth_over_time/bin/order_agreement"] == overall["order_agreement"]
    assert {name.rpartition("/")[2] for name in scores if name.startswith("depth_over_time/")} == {
        "order_agreement", "warped_diff", "warped_rel", "flicker", "flicker_rel"
    }  # fmt: skip
    assert set(report["bin"]["by_camera"]) == set(packed[0]["data_samples"].cam_names)


def test_constant_depth_tells_no_order_and_seems_to_move(ann_file, packed, tmp_path):
    agreement = []
    for moments in (2, 3):
        constant = predicted(packed, lambda truth: torch.full_like(truth, 15.0), moments)
        overall = evaluate(ann_file, constant, tmp_path)[1]["bin"]["overall"]
        agreement.append(overall["order_agreement"])
        assert overall["pairs"] > 5000 and overall["warped_rel"] > 0.05
    # Two past frames of a vehicle that turns are tilted alike in the key's camera.
    assert agreement[0] < 0.01 < agreement[1] < 0.4


def test_cells_of_which_a_source_says_nothing_are_left_out(ann_file, packed, tmp_path):
    def left_half(truth):
        said = perfect(truth)
        said[..., said.shape[-1] // 2 :] = 0
        return said

    whole = evaluate(ann_file, predicted(packed), tmp_path)[1]["bin"]["overall"]
    half = evaluate(ann_file, predicted(packed, left_half), tmp_path)[1]["bin"]["overall"]
    assert 0 < half["points"] < whole["points"]
    assert half["flicker_rel"] < 0.02 and half["order_agreement"] > 0.99


def test_a_table_is_printed_for_each_map(ann_file, packed, tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(
        "bevdepth_plus.evaluation.metric.print_log", lambda text, **_: printed.append(text)
    )
    evaluate(ann_file, predicted(packed), tmp_path)
    (text,) = [text for text in printed if "bin depth over time" in text]
    assert "order_agreement" in text and "CAM_FRONT" in text


def test_frames_that_the_model_does_not_use_do_not_count(packed):
    (whole,), (cut,) = (
        temporal_sums(*arguments).values()
        for arguments in (
            (predicted(packed[-1:])[0], DEFAULT_RANGES),
            (predicted(packed[-1:], moments=2)[0], DEFAULT_RANGES),
        )
    )
    assert 0 < cut.compute()["overall"]["pixels"] < whole.compute()["overall"]["pixels"]


def test_the_first_key_frame_of_a_scene_counts_nothing(packed):
    (sums,) = temporal_sums(predicted(packed[:1])[0], DEFAULT_RANGES).values()
    assert packed[0]["data_samples"].frame_mask.tolist() == [True, False, False]
    assert sums.compute()["overall"]["points"] == 0


def test_without_depth_over_time_the_report_has_none(ann_file, packed, tmp_path):
    samples = predicted(packed)
    for sample in samples:
        del sample["gt_depth_over_time"]
    scores, report = evaluate(ann_file, samples, tmp_path)
    assert report is None and not any("depth_over_time" in name for name in scores)


def test_a_past_prediction_that_is_not_finite_is_refused(ann_file, packed):
    samples = predicted(packed[-1:])
    samples[0]["pred_depths_over_time"]["bin"][1] = np.nan
    with pytest.raises(DataError, match="predicted depth is not finite; check that training"):
        NuScenesBEVMetric(ann_file).process(None, samples)


def test_a_sample_without_its_cameras_says_where_they_come_from(packed):
    (sample,) = predicted(packed[-1:])
    del sample["img_shape"]
    with pytest.raises(DataError, match="needs img_shape in the sample; add it to PackBEVInputs"):
        temporal_sums(sample, DEFAULT_RANGES)
