"""The last transform: results dict -> tensors for the model and one Det3DDataSample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData

from bevdepth_plus.datasets.correspondence_checks import Reason

META_KEYS = (
    "token",
    "sample_idx",
    "scene_token",
    "timestamp",
    "ego2global",
    "lidar2ego",
    "lidar_path",
    "cam_names",
    "img_path",
    "img_shape",
    "num_frames",
    "intrinsics",
    "ego_T_cam",
    "image_aug",
    "bev_aug",
    "frame_mask",
    "camera_mask",
    "time_offset",
    "box_type_3d",
)

# Input, what it is loaded as, and the moments that it is of.
_DEPTHS = (
    ("depth", "depth_maps", 0),
    ("teacher_depth", "teacher_depth", 0),
    ("past_depth", "past_depth_maps", slice(1, None)),
)


@TRANSFORMS.register_module()
class PackBEVInputs(BaseTransform):
    """Packs what the model and the evaluation need.

    ``inputs``: ``img`` uint8 [S * N, 3, H, W], frame-major, BGR; ``depth`` float32 [N, H, W] if
    there are depth maps, and ``past_depth`` float32 [S - 1, N, H, W] if there are those of past
    frames, both 0 for cameras that are out; ``teacher_depth`` as ``depth`` if a teacher's was
    loaded; ``correspondence`` float32 [S - 1, N, 2, h, w] and ``correspondence_valid`` bool
    [S - 1, N, h, w] if there is optical flow (see
    ``LoadOpticalFlow``), False for cameras that are out; ``moving`` bool [N, H, W] if moving
    objects are marked. ``data_samples``: a ``Det3DDataSample``
    with ``gt_instances_3d`` (``bboxes_3d`` in the augmented ego frame, ``labels_3d``), ``gt_map``
    uint8 [L, Y, X] if there are map layers, and the meta keys; its ``img_path`` names the key
    frame's N images, its ``img_shape`` is the height and width of the packed images.

    Args:
        meta_keys: What goes into the sample's metainfo.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        sizes = {image.shape for image in results["img"]}
        if len(sizes) > 1:
            raise ValueError(
                f"images must have one size to be packed, got {sorted(sizes)}; put "
                "ImageAugmentation before PackBEVInputs"
            )
        images = np.ascontiguousarray(np.stack(results["img"]).transpose(0, 3, 1, 2))
        inputs = {"img": torch.from_numpy(images)}
        works = results["camera_mask"][..., None, None]  # [S, N, 1, 1]
        for name, loaded, moments in _DEPTHS:
            if loaded in results:
                inputs[name] = torch.from_numpy(results[loaded] * works[moments])
        if "correspondence" in results:
            inputs["correspondence"] = torch.from_numpy(results["correspondence"])
            inputs["correspondence_valid"] = torch.from_numpy(_kept(results))
        if "moving_pixels" in results:
            inputs["moving"] = torch.from_numpy(results["moving_pixels"])
        return {"inputs": inputs, "data_samples": self._data_sample(results)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(meta_keys={self.meta_keys})"

    def _data_sample(self, results: dict) -> Det3DDataSample:
        results = {**results, "img_shape": results["img"][0].shape[:2]}
        meta = {key: results[key] for key in self.meta_keys}
        if "img_path" in meta:
            meta["img_path"] = meta["img_path"][: len(results["cam_names"])]
        sample = Det3DDataSample(metainfo=meta)
        ann_info = results["ann_info"]
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=ann_info["gt_bboxes_3d"],
            labels_3d=torch.from_numpy(ann_info["gt_labels_3d"]),
        )
        if "map_layers" in results:
            sample.gt_map = torch.from_numpy(results["map_layers"])  # [L, Y, X]
        return sample


def _kept(results: dict) -> np.ndarray:
    """Correspondences of cameras that work at both moments, bool ``[S - 1, N, h, w]``."""
    works = results["camera_mask"][1:] & results["camera_mask"][:-1]
    return (results["correspondence_reason"] == Reason.KEPT) & works[..., None, None]
