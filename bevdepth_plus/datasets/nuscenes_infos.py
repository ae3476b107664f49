"""One sample of the nuScenes tables -> one entry of an info file (mmdet3d v1.1 and more).

Beyond v1.1 an entry has what temporal models and scoring need: the previous key frame, each
camera's own ego pose, and each box in the global frame with its attribute, so that neither
training nor evaluation loads the tables again.
"""

from __future__ import annotations

from os import path as osp

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from bevdepth_plus.datasets.classes import CATEGORY_TO_CLASS, CLASSES
from bevdepth_plus.datasets.map_layers import map_layer_files
from bevdepth_plus.errors import DataError

# mmdet3d's order; cameras of other rigs follow by name.
NUSCENES_CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR = "LIDAR_TOP"
BIKE_RACK = "static_object.bicycle_rack"


def sample_channels(nusc: NuScenes, sample: dict) -> list[str]:
    """The sample's cameras, in the order of the info file.

    Raises:
        DataError: If the sample has no LiDAR sweep or no camera.
    """
    cameras = [
        channel
        for channel, token in sample["data"].items()
        if nusc.get("sample_data", token)["sensor_modality"] == "camera"
    ]
    if LIDAR not in sample["data"] or not cameras:
        lacks = "camera" if LIDAR in sample["data"] else LIDAR
        raise DataError(
            f"sample {sample['token']} has no {lacks} key frame (sample_data table); remove the "
            "sample or complete the tables"
        )
    known = [name for name in NUSCENES_CAMERAS if name in cameras]
    return known + sorted(set(cameras) - set(known))


def sample_info(nusc: NuScenes, sample: dict) -> dict:
    """The info entry of one sample, without its ``sample_idx``.

    Returns:
        Nested dicts and lists of Python numbers. Matrices are 4x4 (intrinsics 3x3) in float64,
        times in seconds, boxes in the LiDAR frame with their gravity centre.
    """
    lidar = nusc.get("sample_data", sample["data"][LIDAR])
    lidar2ego, ego2global = _mount_and_pose(nusc, lidar)
    scene = nusc.get("scene", sample["scene_token"])
    return {
        "token": sample["token"],
        "scene_token": sample["scene_token"],
        "scene_name": scene["name"],
        "prev": sample["prev"] or None,
        "timestamp": sample["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
        "lidar_points": {
            "num_pts_feats": 5,
            "lidar_path": osp.basename(lidar["filename"]),
            "lidar2ego": lidar2ego.tolist(),
            "sample_data_token": lidar["token"],
        },
        "images": {
            channel: _camera_info(nusc, sample["data"][channel], ego2global @ lidar2ego)
            for channel in sample_channels(nusc, sample)
        },
        "map_layers": map_layer_files(nusc, scene["log_token"]),
        **_objects(nusc, sample, np.linalg.inv(ego2global @ lidar2ego)),
    }


def _mount_and_pose(nusc: NuScenes, sample_data: dict) -> tuple[np.ndarray, np.ndarray]:
    """``ego_T_sensor`` and ``global_T_ego`` at the sensor's time, each [4, 4] float64."""
    mount = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    pose = nusc.get("ego_pose", sample_data["ego_pose_token"])
    return _matrix(mount), _matrix(pose)


def _matrix(record: dict) -> np.ndarray:
    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def _camera_info(nusc: NuScenes, token: str, global_T_lidar: np.ndarray) -> dict:
    data = nusc.get("sample_data", token)
    mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    cam2ego, ego2global = _mount_and_pose(nusc, data)
    # Through the global frame, for the vehicle moves between the two shots (up to 0.33 m at
    # road speed in nuScenes).
    lidar2cam = np.linalg.inv(ego2global @ cam2ego) @ global_T_lidar
    return {
        "img_path": osp.basename(data["filename"]),
        "cam2img": np.asarray(mount["camera_intrinsic"], dtype=np.float64).tolist(),
        "cam2ego": cam2ego.tolist(),
        "lidar2cam": lidar2cam.tolist(),
        "ego2global": ego2global.tolist(),
        "sample_data_token": token,
        "timestamp": data["timestamp"] / 1e6,
        "width": data["width"],
        "height": data["height"],
    }


def _objects(nusc: NuScenes, sample: dict, lidar_T_global: np.ndarray) -> dict:
    instances, bike_racks = [], []
    for token in sample["anns"]:
        annotation = nusc.get("sample_annotation", token)
        instances.append(_instance(nusc, annotation, lidar_T_global))
        if annotation["category_name"] == BIKE_RACK:
            bike_racks.append({key: annotation[key] for key in ("translation", "size", "rotation")})
    return {"instances": instances, "bike_racks": bike_racks}


def _instance(nusc: NuScenes, annotation: dict, lidar_T_global: np.ndarray) -> dict:
    name = CATEGORY_TO_CLASS.get(annotation["category_name"])
    label = CLASSES.index(name) if name else -1
    rotation = lidar_T_global[:3, :3]
    centre = rotation @ annotation["translation"] + lidar_T_global[:3, 3]
    # The heading as the devkit scores it: the box's x axis seen from above. (mmdet3d's converter
    # takes an Euler angle, which differs by the square of the LiDAR's tilt, below 1e-3 rad.)
    heading = rotation @ Quaternion(annotation["rotation"]).rotation_matrix[:, 0]
    width, length, height = annotation["size"]
    velocity = nusc.box_velocity(annotation["token"])[:2]
    return {
        "bbox_3d": [
            *centre.tolist(),
            length,
            width,
            height,
            float(np.arctan2(heading[1], heading[0])),
        ],
        "bbox_label": label,
        "bbox_label_3d": label,
        "bbox_3d_isvalid": annotation["num_lidar_pts"] + annotation["num_radar_pts"] > 0,
        # As mmdet3d: the ground velocity, turned into the LiDAR frame. NaN where the object has
        # one key frame only.
        "velocity": (rotation @ [*velocity, 0.0])[:2].tolist(),
        "num_lidar_pts": annotation["num_lidar_pts"],
        "num_radar_pts": annotation["num_radar_pts"],
        "instance_token": annotation["instance_token"],
        "attribute": _attribute(nusc, annotation),
        "global_box": {
            "translation": annotation["translation"],
            "size": annotation["size"],
            "rotation": annotation["rotation"],
            "velocity": velocity.tolist(),
        },
    }


def _attribute(nusc: NuScenes, annotation: dict) -> str:
    tokens = annotation["attribute_tokens"]
    if len(tokens) > 1:
        raise DataError(
            f"annotation {annotation['token']} has {len(tokens)} attributes, expected at most one; "
            "repair the sample_annotation table"
        )
    return nusc.get("attribute", tokens[0])["name"] if tokens else ""
