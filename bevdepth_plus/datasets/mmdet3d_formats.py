"""Info files that mmdet3d makes of KITTI, Waymo and Lyft, in nuScenes' terms.

mmdet3d describes each data set in its own frames; its data set classes know them. Here they are
brought to one: boxes (x, y, z, l, w, h, yaw) in the LiDAR frame with their gravity centre, a token,
a time and an ego frame for every sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bevdepth_plus.datasets.fields import mapping, numbers, rigid_matrices, short
from bevdepth_plus.errors import DataError

# mmdet3d's own class orders: KittiDataset.METAINFO, WaymoDataset.METAINFO, LyftDataset.METAINFO.
CLASSES_OF = {
    "kitti": ("Pedestrian", "Cyclist", "Car", "Van", "Truck", "Person_sitting", "Tram", "Misc"),
    "waymo": ("Car", "Pedestrian", "Cyclist"),
    "lyft": ("car", "truck", "bus", "emergency_vehicle", "other_vehicle", "motorcycle", "bicycle",
             "pedestrian", "animal"),
}  # fmt: skip
# The KITTI LiDAR's height over the road, metres (Geiger et al., IJRR 2013, figure 3).
KITTI_LIDAR_HEIGHT = 1.73
# mmdet3d writes 4 for Lyft, whose sweeps have five numbers a point (its configs: load_dim=5).
LYFT_POINT_NUMBERS = 5
REMEDY = "make the info file anew with mmdet3d"


def adapt(metainfo: Mapping, samples: list, where: str) -> tuple[Mapping, list]:
    """Brings an info file to the layout of nuScenes' if it is of KITTI, Waymo or Lyft.

    Args:
        metainfo: The file's ``metainfo``. ``DATASET`` and ``CLASSES`` of older files are read, too.
        samples: The file's ``data_list``.
        where: The file, as errors name it.

    Returns:
        New ``metainfo`` and samples, or what was handed in for every other data set.

    Raises:
        DataError: A sample lacks what its data set's files have.
    """
    name = data_set_of(metainfo)
    if name is None:
        return metainfo, samples
    adapt_sample = {"kitti": _kitti_sample, "waymo": _waymo_sample, "lyft": _lyft_sample}[name]
    classes = metainfo.get("CLASSES", CLASSES_OF[name])
    categories = metainfo.get("categories") or {n: label for label, n in enumerate(classes)}
    described = {**metainfo, "dataset": name, "info_version": "1.1", "categories": categories}
    places = (f"{where}: data_list[{index}]" for index in range(len(samples)))
    return described, [
        adapt_sample(mapping(sample, place, ("images", "lidar_points")), place)
        for sample, place in zip(samples, places, strict=True)
    ]


def data_set_of(metainfo: Mapping) -> str | None:
    """``kitti``, ``waymo`` or ``lyft``; None for any other data set."""
    name = str(metainfo.get("dataset", metainfo.get("DATASET", ""))).lower()
    # mmdet3d's early files of Lyft call themselves nuScenes; the version tells.
    if name == "nuscenes" and str(metainfo.get("version", "")).startswith("v1.01"):
        return "lyft"
    return name if name in CLASSES_OF else None


def _kitti_sample(info: Mapping, where: str) -> dict:
    """KITTI: one colour camera, boxes in the rectified reference camera's frame, no time, no pose.

    Ego is taken to be the LiDAR's frame, moved down to the road.
    """
    index = info.get("sample_idx", info.get("sample_id"))
    if not isinstance(index, int | np.integer) or isinstance(index, bool):
        raise DataError(f"{where}.sample_idx must be a number, got {short(index)}; {REMEDY}")
    token = f"{index:06d}"
    place = f"sample {token}"
    images = {n: camera for n, camera in info["images"].items() if "img_path" in camera}
    lidar2ego = np.eye(4)
    lidar2ego[2, 3] = KITTI_LIDAR_HEIGHT
    adapted = {
        **info,
        "token": token,
        "timestamp": 0.0,
        "ego2global": np.eye(4).tolist(),
        "images": images,
        "lidar_points": {**info["lidar_points"], "lidar2ego": lidar2ego.tolist()},
    }
    if info.get("instances"):
        if "lidar2cam" not in images.get("CAM2", {}):
            raise DataError(f"{place}: images.CAM2 lacks lidar2cam, which its boxes need; {REMEDY}")
        matrix = images["CAM2"]["lidar2cam"]
        lidar2cam = rigid_matrices([matrix], [f"{place}: images.CAM2.lidar2cam"])[0]
        adapted["instances"] = [
            _with_box(
                item, lambda box: _box_from_camera(box, lidar2cam), f"{place}: instances[{n}]"
            )
            for n, item in enumerate(info["instances"])
        ]
    return adapted


def _waymo_sample(info: Mapping, where: str) -> dict:
    """Waymo: points in the vehicle's frame, boxes with their bottom centre.

    Boxes are taken at the cameras' time (``cam_sync_instances``) where the file has them.
    """
    if not isinstance(info.get("sample_idx"), int | np.integer | str):
        raise DataError(f"{where}.sample_idx is missing; {REMEDY}")
    token = str(info["sample_idx"])
    adapted = {
        **info,
        "token": token,
        "lidar_points": {**info["lidar_points"], "lidar2ego": np.eye(4).tolist()},
    }
    if "context_name" in info:
        adapted["scene_token"] = info["context_name"]
    objects = info.get("cam_sync_instances", info.get("instances"))
    if objects is not None:
        adapted["instances"] = [
            _with_box(item, _box_from_bottom, f"sample {token}: instances[{n}]")
            for n, item in enumerate(objects)
        ]
    return adapted


def _lyft_sample(info: Mapping, where: str) -> dict:
    return {
        **info,
        "lidar_points": {**info["lidar_points"], "num_pts_feats": LYFT_POINT_NUMBERS},
    }


def _with_box(instance: Any, convert: Any, where: str) -> dict:
    mapping(instance, where, ("bbox_3d",))
    box = numbers(instance["bbox_3d"], f"{where}.bbox_3d", (7,), REMEDY)
    return {**instance, "bbox_3d": convert(box).tolist()}


def _box_from_bottom(box: np.ndarray) -> np.ndarray:
    raised = box.copy()
    raised[2] += box[5] / 2
    return raised


def _box_from_camera(
    box: np.ndarray,  # [7]: bottom centre, l, h, w, rotation about the camera's y axis
    lidar2cam: np.ndarray,  # [4, 4]
) -> np.ndarray:
    """The box in the LiDAR's frame, ``[7]``: gravity centre, l, w, h, yaw."""
    length, height, width, turn = box[3:]
    rotation, translation = lidar2cam[:3, :3], lidar2cam[:3, 3]
    centre = rotation.T @ (box[:3] - [0, height / 2, 0] - translation)
    heading = rotation.T @ [np.cos(turn), 0.0, -np.sin(turn)]
    return np.array([*centre, length, width, height, np.arctan2(heading[1], heading[0])])
