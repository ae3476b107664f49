"""The inferencer beside the detector in its own test pipeline, on a real key frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.deploy.rig import Rig, RigCamera
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.visualization.from_config import build_dataset

CONFIG = "configs/keyframe.py"


@pytest.fixture(scope="module")
def cfg(shared_dir):
    if not (shared_dir / "nuscenes_keyframe").is_dir():
        pytest.skip(f"no nuscenes_keyframe in {shared_dir}")
    return load_config(CONFIG, None, None)


@pytest.fixture(scope="module")
def checkpoint(cfg, tmp_path_factory):
    torch.manual_seed(0)
    init_default_scope("mmdet3d")  # a fixture of a module comes before the test's own scope
    model = MODELS.build(cfg.model)
    model.init_weights()
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def inferencer(checkpoint):
    return Inferencer(CONFIG, checkpoint, device="cpu")


@pytest.fixture(scope="module")
def sample(cfg):
    """The key frame: what the data set gives, its images and its rig."""
    dataset = build_dataset(cfg, "val")
    record = dataset.get_data_info(0)
    images = dict(zip(record["cam_names"], record["img_path"], strict=True))
    cameras = zip(record["cam_names"], record["intrinsics"][0], record["ego_T_cam"][0], strict=True)
    rig = Rig(tuple(RigCamera(name, 1600, 900, K, pose) for name, K, pose in cameras))
    return dataset[0], images, rig


def test_boxes_are_those_of_the_test_pipeline(inferencer, sample):
    item, images, rig = sample
    (expected,) = inferencer.backend.detector.test_step(pseudo_collate([item]))
    result = inferencer(images, rig, depth=True)
    predicted = expected.pred_instances_3d
    assert len(result.boxes) == len(predicted.scores_3d) > 20
    np.testing.assert_allclose(result.boxes.scores, predicted.scores_3d, atol=2e-7)
    boxes = predicted.bboxes_3d
    np.testing.assert_allclose(result.boxes.centres, boxes.gravity_center, atol=1e-5)
    np.testing.assert_allclose(result.boxes.as_array()[:, 3:], boxes.tensor[:, 3:], atol=1e-5)
    assert result.boxes.labels.tolist() == predicted.labels_3d.tolist()
    depth = expected.pred_depths["bin"].numpy()
    for index, name in enumerate(rig.names):
        np.testing.assert_array_equal(result.depth[name], depth[index])
