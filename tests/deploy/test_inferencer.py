"""The inferencer beside the detector in its own test pipeline, on a real key frame."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.deploy.network_images import NetworkImages
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera
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


def test_images_may_be_paths_bytes_or_arrays_and_of_some_cameras_alone(inferencer, sample):
    _, images, rig = sample
    name = rig.names[1]
    content = Path(images[name]).read_bytes()
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), 1), cv2.COLOR_BGR2RGB)
    results = [
        inferencer({name: image}, rig, depth=True) for image in (images[name], content, pixels)
    ]
    for result in results:
        assert result.cameras == (name,) and len(result.missing) == 5
        np.testing.assert_array_equal(result.depth[name], results[0].depth[name])
        np.testing.assert_array_equal(result.boxes.scores, results[0].boxes.scores)
    assert set(results[0].milliseconds) == {"pixels", "image part", "pooling", "BEV part", "boxes"}


def test_images_of_another_size_are_the_same_view(inferencer, sample):
    _, images, rig = sample
    name = rig.names[1]
    full = cv2.cvtColor(cv2.imread(images[name]), cv2.COLOR_BGR2RGB)
    half = cv2.resize(full, (800, 450), interpolation=cv2.INTER_AREA)
    a, b = (inferencer.prepare(image, rig[name]) for image in (full, half))
    # The same pixel of the network's image looks in the same direction.
    for image in (a, b):
        assert image.pixels.shape == (3, *inferencer.description.image_size)
    np.testing.assert_allclose(a.image_aug @ a.intrinsics, b.image_aug @ b.intrinsics, rtol=1e-9)
    assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 4


def test_a_rig_that_changes_all_the_time_leaves_nothing_behind(inferencer, sample):
    _, images, rig = sample
    image = cv2.cvtColor(cv2.imread(images[rig.names[0]]), cv2.COLOR_BGR2RGB)
    views = NetworkImages(inferencer.description)
    gone = []
    for _ in range(3):
        camera = replace(rig[rig.names[0]])
        views(image, camera)
        gone.append(weakref.ref(camera))
    del camera
    gc.collect()
    assert [reference() is None for reference in gone] == [True, True, False]


def test_low_precision_stays_near_in_depth_and_scores(checkpoint, inferencer, sample):
    _, images, rig = sample
    low = Inferencer(CONFIG, checkpoint, device="cpu", precision="bf16")
    one = {rig.names[1]: images[rig.names[1]]}
    expected, got = inferencer(one, rig, depth=True), low(one, rig, depth=True)
    difference = got.depth[rig.names[1]] - expected.depth[rig.names[1]]
    assert 0 < np.abs(difference).max() < 1.0
    assert abs(len(got.boxes) - len(expected.boxes)) <= 0.05 * len(expected.boxes) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: {}, "no images; the rig has the cameras"),
        (lambda images: {"TOP": b""}, "the rig has no camera 'TOP'"),
        (lambda images: {"CAM_FRONT": b"not a picture"}, "camera CAM_FRONT: image"),
        (lambda images: {"CAM_FRONT": "nowhere.jpg"}, "camera CAM_FRONT: image nowhere.jpg"),
        (
            lambda images: {"CAM_FRONT": np.zeros((900, 1200, 3), np.uint8)},
            "camera CAM_FRONT: image has 1200 x 900 pixels, the rig file says 1600 x 900",
        ),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(inferencer, sample, change, message):
    _, images, rig = sample
    with pytest.raises(DataError, match=message) as error:
        inferencer(change(images), rig)
    assert "\n" not in str(error.value)


def test_a_model_that_no_backend_runs_is_named(tmp_path, checkpoint):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "empty",), "model.json does not exist"),
        ((tmp_path / "empty", checkpoint), "have no checkpoint"),
        ((CONFIG,), "a config needs a checkpoint"),
        ((CONFIG, checkpoint, "onnx"), "onnx runs exported files"),
        ((CONFIG, checkpoint, "tensorrt"), "backend must be auto or one of"),
        (("configs/synthetic_small.py", checkpoint), "the checkpoint is of another model"),
    ):
        with pytest.raises(DataError, match=message):
            Inferencer(*arguments)
    for options, message in (
        (dict(precision="int4"), "precision must be one of fp32, bf16, fp16"),
        (dict(precision="fp16"), "needs a GPU"),
        (dict(device="cuda"), "sees no CUDA device"),
    ):
        if options.get("device") == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(DataError, match=message):
            Inferencer(CONFIG, checkpoint, **{"device": "cpu", **options})
