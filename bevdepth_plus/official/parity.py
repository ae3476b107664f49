"""Run our model on the public code's recorded inputs and compare every intermediate result.

A folder holds ``config.json``, ``official_state_dict.pth``, ``inputs.pth`` and ``expected.pth``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

import bevdepth_plus.models  # noqa: F401
from bevdepth_plus.comparison import Comparison, compare
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.mmdet3d_boxes import to_mmdet3d
from bevdepth_plus.models.depth.depth_net import camera_parameters
from bevdepth_plus.official.config import model_config
from bevdepth_plus.official.weights import load_official

FILES = ("config.json", "official_state_dict.pth", "inputs.pth", "expected.pth")
# Every 4th depth plane, 2nd row and 2nd column of the frustum is recorded.
_FRUSTUM_STEPS = (4, 2, 2)
# What exists for each frame and camera: ours is [B, S, N, ...], a record may hold less.
_PER_FRAME = ("img_feats", "depthnet_out", "frustum_ego_xyz")


def compare_folder(folder: Path) -> dict[str, Comparison]:
    """Compare each recorded tensor with ours.

    A box of unknown velocity is recorded as NaN and makes the public code's detection loss NaN;
    ours leaves such a velocity out. NaN entries of the record are therefore not compared.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: weights and config do not fit, or a recorded tensor has another shape.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing; a parity folder holds {FILES}")
    config = json.loads((folder / "config.json").read_text())
    weights, inputs, expected = (
        torch.load(folder / name, map_location="cpu", weights_only=True) for name in FILES[1:]
    )
    model = MODELS.build(model_config(config, max_objs=_max_objs(expected)))
    load_official(model, weights)
    model.eval()
    with torch.no_grad():
        actual = dict(run(model, inputs))
    missing = sorted(set(expected) - set(actual))
    if missing:
        raise ValueError(f"{folder}: recorded tensors our run does not produce: {missing}")
    for name in _PER_FRAME:
        if name in expected:
            actual[name] = _like_record(actual[name], expected[name].shape)
    return {name: compare(name, actual[name], expected[name]) for name in expected}


def run(model, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield our version of every recorded tensor, by its recorded name.

    What exists for each frame and camera comes as ``[B, S, N, ...]``, key frame first.
    """
    rig = official_rig(inputs)
    images = inputs["img"]
    samples = list(_samples(inputs))
    frames = range(rig.num_moments)

    features = [model.image_encoder(images[:, t]) for t in frames]
    key_parameters = camera_parameters(rig.moment(0))  # for every frame, as in the public code
    depth_net = model.depth.depth_net
    depth_net_out = [torch.cat(depth_net(f, key_parameters), dim=2) for f in features]
    bev, moments = model.forward_bev(images, rig)
    yield "img_feats", torch.stack(features, dim=1)
    yield "depthnet_out", torch.stack(depth_net_out, dim=1)
    yield "frustum_ego_xyz", torch.stack([_frustum(model, rig, t) for t in frames], dim=1)
    yield "bev_feat", torch.cat([model.splat(moment) for moment in moments], dim=1)

    head = model.heads["boxes"]
    outputs = head.outputs(bev)
    for task, (output,) in enumerate(outputs):
        yield from ((f"head.{task}.{name}", value) for name, value in output.items())

    instances = [sample.gt_instances_3d for sample in samples]
    targets = head.get_targets(instances)
    for name, per_task in zip(("heatmap", "anno_box", "ind", "mask"), targets, strict=True):
        yield from ((f"target.{task}.{name}", value) for task, value in enumerate(per_task))
    yield "loss.detection", sum(head.losses(outputs, samples).values())

    bins = model.depth.bins
    lidar = inputs["depth_label"]
    lidar = lidar[:, 0] if lidar.ndim == 5 else lidar  # only the key frame is supervised
    label = nearest_depth(lidar, model.depth.stride)
    index = bins.index(label).flatten()
    one_hot = functional.one_hot(index.clamp(min=0), bins.num_bins) * (index >= 0)[:, None]
    yield "depth_label_onehot", one_hot
    yield "loss.depth", model.depth.bin_loss(moments[0].bins, label, bins)


def official_rig(inputs: Mapping[str, Tensor]) -> CameraRig:
    """Our rig from the public code's 4x4 matrices ``[B, S, N, 4, 4]``."""
    ida = inputs["ida_mats"]
    image_aug = ida[..., :3, :3].clone()
    image_aug[..., :2, 2] = ida[..., :2, 3]  # there, the shift stands in the fourth column
    return CameraRig(
        intrinsics=inputs["intrin_mats"][..., :3, :3],
        ego_T_cam=inputs["sensor2ego_mats"],
        image_aug=image_aug,
        bev_aug=inputs["bda_mat"],
    )


def _samples(inputs: Mapping[str, Tensor]) -> Iterator[Det3DDataSample]:
    for index in range(len(inputs["img"])):
        boxes = to_mmdet3d(inputs[f"gt_boxes.{index}"])
        sample = Det3DDataSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=boxes, labels_3d=inputs[f"gt_labels.{index}"]
        )
        yield sample


def _frustum(model, rig: CameraRig, moment: int) -> Tensor:
    points = model.view_transform.frustum.points(rig.moment(moment))
    depth, row, column = _FRUSTUM_STEPS
    return points[:, :, ::depth, ::row, ::column]


def _max_objs(expected: Mapping[str, Tensor]) -> int:
    return expected["target.0.mask"].shape[1]


def _like_record(frames: Tensor, shape: Sequence[int]) -> Tensor:
    """Ours of all frames ``[B, S, N, ...]`` in the record's form: key frame or all, flat or not.

    Where nothing fits it is the key frame's, whose shape the error then names.
    """
    key = frames[:, 0]
    forms = (key, key.flatten(0, 1), frames, frames.flatten(0, 2))
    return next((form for form in forms if form.shape == shape), key)
