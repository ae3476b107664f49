"""A stream beside the model of two frames on a batch: the same boxes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.deploy.decoding import decode
from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.deploy.parts import named_maps
from bevdepth_plus.deploy.streaming import Stream
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.models.inputs import images_and_rig
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.visualization.from_config import build_dataset

CONFIG = "configs/synthetic_small_2key.py"
PRIORS = {
    "no priors": {},
    # The past and the neighbours; and one of each image by itself, with a channel of the ground.
    "depth from motion": dict(motion=dict(type="TriangulationPrior", channels=8, samples=16)),
    "both kinds": dict(
        metric=dict(
            type="MetricDepthPrior", mid_channels=8, canonical_focal=280.0, losses={}, fuse=True
        ),
        motion=dict(type="TriangulationPrior", channels=8, samples=16),
    ),
}


@pytest.fixture(scope="module", params=PRIORS)
def inferencer(request, tmp_path_factory):
    init_default_scope("mmdet3d")  # a fixture of a module comes before the test's own scope
    folder = tmp_path_factory.mktemp("model")
    cfg = load_config(CONFIG, None, None)
    cfg.model.depth.update(priors=PRIORS[request.param], ground_cue=len(PRIORS[request.param]) > 1)
    cfg.dump(folder / "config.py")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save({"state_dict": model.state_dict()}, folder / "random.pth")
    return Inferencer(folder / "config.py", folder / "random.pth", device="cpu")


@pytest.fixture(scope="module")
def sample(synthetic_root, tmp_path_factory):
    """The last key frame of a scene with its past, as the model gets it, and where it came from."""
    folder = tmp_path_factory.mktemp("infos")
    _, infos = create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)
    cfg = load_config(CONFIG, None, None)
    cfg.val_dataloader.dataset.update(data_root=str(synthetic_root), ann_file=str(infos))
    dataset = build_dataset(cfg, "val")
    index = len(dataset) - 1
    return dataset[index], dataset.get_data_info(index), dataset.get_data_info(index - 1)


def test_boxes_of_a_stream_are_those_of_the_batch_bit_for_bit(inferencer, sample):
    item, record, before = sample
    rig = Rig(
        tuple(
            RigCamera(name, 160, 90, K, pose)
            for name, K, pose in zip(
                record["cam_names"], record["intrinsics"][0], record["ego_T_cam"][0], strict=True
            )
        )
    )
    world_T_key, world_T_past = record["ego2global"], before["ego2global"]
    # The batch: the same rig at both moments, its past where the vehicle was then.
    poses = np.stack([camera.ego_T_cam for camera in rig.cameras])
    moved = np.linalg.inv(world_T_key) @ (world_T_past @ poses)
    item["data_samples"].set_metainfo({"ego_T_cam": np.stack([poses, moved])})
    detector = inferencer.backend.detector
    data = detector.data_preprocessor(pseudo_collate([item]))
    with torch.no_grad():
        bev, moments = detector.forward_bev(
            *images_and_rig(data["inputs"], data["data_samples"], detector.image_size, 2)
        )
        maps = named_maps({n: h.outputs(bev) for n, h in detector.heads.items()}, detector)
    expected = decode({n: m[0].numpy() for n, m in maps.items()}, inferencer.description)
    maps = detector.depth.maps(moments[0])
    depths = maps.get("fused", maps["bin"])[0].numpy()
    if "motion" in detector.depth.priors:  # or the comparison shows nothing
        assert (maps["fused"] - maps["bin"]).abs().mean() > 0.1

    result = streamed(inferencer, rig, record, before, image_by_image=False)
    assert len(result.boxes) == len(expected) > 20
    np.testing.assert_array_equal(result.boxes.as_array(), expected.as_array())
    np.testing.assert_array_equal(result.boxes.scores, expected.scores)
    for name, depth in zip(rig.names, depths, strict=True):
        np.testing.assert_array_equal(result.depth[name], depth)

    # Convolutions of one image round in another order than those of six; a match magnifies it.
    tolerance = 1e-4 if "motion" in detector.depth.priors else 1e-5
    one_by_one = streamed(inferencer, rig, record, before, image_by_image=True)
    for name in rig.names:
        np.testing.assert_allclose(one_by_one.depth[name], result.depth[name], rtol=tolerance)


def streamed(inferencer, rig, record, before, image_by_image: bool):
    """The result at the key frame, from the two frames as a stream."""
    stream, results = Stream(inferencer, rig, with_depth=True, image_by_image=image_by_image), []
    paths = np.array(record["img_path"]).reshape(2, -1)
    world_T_key, world_T_past = record["ego2global"], before["ego2global"]
    assert np.abs(np.linalg.inv(world_T_key) @ world_T_past - np.eye(4)).max() > 0.5  # it drove
    for stamp, world_T_ego, images in (
        (9.5, world_T_past, paths[1]),
        (10.0, world_T_key, paths[0]),
    ):
        results += stream.push_pose(stamp, world_T_ego)
        for name, path in zip(rig.names, images, strict=True):
            results += stream.push_image(name, stamp, path)
    assert [result.past for result in results] == [0, 1]
    return results[1]
