"""One sample of the nuScenes tables -> one entry of an info file (mmdet3d v1.1 and more).

Beyond v1.1 an entry has what temporal models and scoring need: the previous key frame, each
camera's own ego pose, and each box in the global frame with its attribute, so that neither
training nor evaluation loads the tables again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import path as osp

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from bevdepth_plus.classes import CATEGORY_TO_CLASS, CLASSES
from bevdepth_plus.datasets.ground_truth import UNKNOWN_POINTS, is_hit, num_points
from bevdepth_plus.datasets.map_layers import map_layer_files
from bevdepth_plus.datasets.sample_record import NUSCENES_POINT_NUMBERS
from bevdepth_plus.datasets.splits import OFFICIAL_SPLITS
from bevdepth_plus.datasets.sweeps import point_width
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


@dataclass(frozen=True)
class Reader:
    """Tables and how they are read.

    Attributes:
        nusc: The tables.
        lidar: Channel of the LiDAR; None for a vehicle without one, whose boxes are then in the
            ego frame at the sample's time.
        classes: Class names, in the order of the info file's labels.
        class_of: Category -> class; categories that are not in it have the label -1.
        point_numbers: float32 numbers a LiDAR point.
        sweeps: Take the cameras' images between the key frames, too.
    """

    nusc: NuScenes
    lidar: str | None
    classes: tuple[str, ...]
    class_of: Mapping[str, str]
    point_numbers: int
    sweeps: bool = False


def make_reader(nusc: NuScenes, lidar_channel: str = LIDAR, sweeps: bool = False) -> Reader:
    """How to read these tables.

    Tables with nuScenes' categories have its ten detection classes. In tables that share no
    category with it, every category is a class of its own.

    Raises:
        DataError: The tables have LiDARs, but not this one.
    """
    lidars = [sensor["channel"] for sensor in nusc.sensor if sensor["modality"] == "lidar"]
    if lidars and lidar_channel not in lidars:
        raise DataError(
            f"the sensor table has no LiDAR {lidar_channel} (it has {', '.join(lidars)}); name one "
            "of them with --lidar-channel"
        )
    lidar = lidar_channel if lidars else None
    categories = [category["name"] for category in nusc.category]
    if categories and not set(categories) & set(CATEGORY_TO_CLASS):
        classes, class_of = tuple(categories), {name: name for name in categories}
    else:
        classes, class_of = CLASSES, CATEGORY_TO_CLASS
    return Reader(nusc, lidar, classes, class_of, _point_numbers(nusc, lidar), sweeps)


def _point_numbers(nusc: NuScenes, lidar: str | None) -> int:
    """nuScenes' five, or what the first sweep of other tables looks like."""
    if lidar is None or nusc.version in OFFICIAL_SPLITS or not nusc.sample:
        return NUSCENES_POINT_NUMBERS
    token = nusc.sample[0]["data"].get(lidar)
    if token is None:  # named with the sample when that is read
        return NUSCENES_POINT_NUMBERS
    path = osp.join(nusc.dataroot, nusc.get("sample_data", token)["filename"])
    has_points = osp.isfile(path) and osp.getsize(path) > 0  # if not, its reader will say so
    return point_width(path) if has_points else NUSCENES_POINT_NUMBERS


def sample_channels(reader: Reader, sample: dict) -> list[str]:
    """The sample's cameras, in the order of the info file.

    Raises:
        DataError: If the sample has no LiDAR sweep or no camera.
    """
    cameras = [
        channel
        for channel, token in sample["data"].items()
        if reader.nusc.get("sample_data", token)["sensor_modality"] == "camera"
    ]
    lacks_lidar = reader.lidar is not None and reader.lidar not in sample["data"]
    if lacks_lidar or not cameras:
        lacks = reader.lidar if lacks_lidar else "camera"
        raise DataError(
            f"sample {sample['token']} has no {lacks} key frame (sample_data table); remove the "
            "sample or complete the tables"
        )
    known = [name for name in NUSCENES_CAMERAS if name in cameras]
    return known + sorted(set(cameras) - set(known))


def sample_info(reader: Reader, sample: dict) -> dict:
    """The info entry of one sample, without its ``sample_idx``.

    Returns:
        Nested dicts and lists of Python numbers. Matrices are 4x4 (intrinsics 3x3) in float64,
        times in seconds, boxes in the LiDAR frame with their gravity centre.

    Raises:
        DataError: The tables name a row that they do not have, or the sample lacks a sensor.
    """
    try:
        return _sample_info(reader, sample)
    except KeyError as missing:
        raise DataError(
            f"sample {sample['token']}: the tables have no {missing}, which it needs; complete them"
        ) from None


def _sample_info(reader: Reader, sample: dict) -> dict:
    nusc, channels = reader.nusc, sample_channels(reader, sample)
    lidar_points, global_T_lidar, ego2global = _lidar_info(reader, sample, channels)
    scene = nusc.get("scene", sample["scene_token"])
    return {
        "token": sample["token"],
        "scene_token": sample["scene_token"],
        "scene_name": scene["name"],
        "prev": sample["prev"] or None,
        "timestamp": sample["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
        "lidar_points": lidar_points,
        "images": {
            channel: _camera_info(reader, sample["data"][channel], global_T_lidar)
            for channel in channels
        },
        "map_layers": map_layer_files(nusc, scene["log_token"]),
        **_objects(reader, sample, np.linalg.inv(global_T_lidar)),
    }


def _lidar_info(
    reader: Reader, sample: dict, cameras: list[str]
) -> tuple[dict, np.ndarray, np.ndarray]:
    """``lidar_points``, ``global_T_lidar`` and ``ego2global`` at the sample's moment."""
    nusc = reader.nusc
    if reader.lidar is None:
        shots = [nusc.get("sample_data", sample["data"][name]) for name in cameras]
        nearest = min(shots, key=lambda shot: abs(shot["timestamp"] - sample["timestamp"]))
        _, ego2global = _mount_and_pose(nusc, nearest)
        return {"lidar_path": None, "lidar2ego": np.eye(4).tolist()}, ego2global, ego2global
    lidar = nusc.get("sample_data", sample["data"][reader.lidar])
    lidar2ego, ego2global = _mount_and_pose(nusc, lidar)
    lidar_points = {
        "num_pts_feats": reader.point_numbers,
        "lidar_path": osp.basename(lidar["filename"]),
        "lidar2ego": lidar2ego.tolist(),
        "sample_data_token": lidar["token"],
    }
    return lidar_points, ego2global @ lidar2ego, ego2global


def _mount_and_pose(nusc: NuScenes, sample_data: dict) -> tuple[np.ndarray, np.ndarray]:
    """``ego_T_sensor`` and ``global_T_ego`` at the sensor's time, each [4, 4] float64."""
    mount = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    pose = nusc.get("ego_pose", sample_data["ego_pose_token"])
    return _matrix(mount), _matrix(pose)


def _matrix(record: dict) -> np.ndarray:
    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def sweeps_before(nusc: NuScenes, data: dict) -> list[dict]:
    """A camera's rows of ``sample_data`` since the key frame before this one, newest first."""
    rows, token = [], data["prev"]
    while token:
        row = nusc.get("sample_data", token)
        if row["is_key_frame"]:
            break
        rows.append(row)
        token = row["prev"]
    return rows


def _sweep_info(nusc: NuScenes, data: dict, key: dict) -> dict:
    """One image between key frames; its mount where it is another than the key image's."""
    mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    cam2ego, ego2global = _mount_and_pose(nusc, data)
    info = {
        "img_path": data["filename"],  # below the root: sweeps lie in another folder
        "timestamp": data["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
    }
    if data["calibrated_sensor_token"] != key["calibrated_sensor_token"]:
        intrinsics = np.asarray(mount["camera_intrinsic"], dtype=np.float64)
        info |= {"cam2ego": cam2ego.tolist(), "cam2img": intrinsics.tolist()}
    return info


def _camera_info(reader: Reader, token: str, global_T_lidar: np.ndarray) -> dict:
    nusc = reader.nusc
    data = nusc.get("sample_data", token)
    mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    cam2ego, ego2global = _mount_and_pose(nusc, data)
    # Through the global frame, for the vehicle moves between the two shots (up to 0.33 m at
    # road speed in nuScenes).
    lidar2cam = np.linalg.inv(ego2global @ cam2ego) @ global_T_lidar
    sweeps = sweeps_before(nusc, data) if reader.sweeps else []
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
        **({"sweeps": [_sweep_info(nusc, row, data) for row in sweeps]} if sweeps else {}),
    }


def _objects(reader: Reader, sample: dict, lidar_T_global: np.ndarray) -> dict:
    instances, bike_racks = [], []
    for token in sample["anns"]:
        annotation = reader.nusc.get("sample_annotation", token)
        instances.append(_instance(reader, annotation, lidar_T_global))
        if annotation["category_name"] == BIKE_RACK:
            bike_racks.append({key: annotation[key] for key in ("translation", "size", "rotation")})
    return {"instances": instances, "bike_racks": bike_racks}


def _instance(reader: Reader, annotation: dict, lidar_T_global: np.ndarray) -> dict:
    name = reader.class_of.get(annotation["category_name"])
    label = reader.classes.index(name) if name else -1
    rotation = lidar_T_global[:3, :3]
    centre = rotation @ annotation["translation"] + lidar_T_global[:3, 3]
    # The heading as the devkit scores it: the box's x axis seen from above. (mmdet3d's converter
    # takes an Euler angle, which differs by the square of the LiDAR's tilt, below 1e-3 rad.)
    heading = rotation @ Quaternion(annotation["rotation"]).rotation_matrix[:, 0]
    width, length, height = annotation["size"]
    velocity = reader.nusc.box_velocity(annotation["token"])[:2]
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
        "bbox_3d_isvalid": is_hit(num_points(annotation)),
        # As mmdet3d: the ground velocity, turned into the LiDAR frame. NaN where the object has
        # one key frame only.
        "velocity": (rotation @ [*velocity, 0.0])[:2].tolist(),
        "num_lidar_pts": annotation.get("num_lidar_pts", UNKNOWN_POINTS),
        "num_radar_pts": annotation.get("num_radar_pts", UNKNOWN_POINTS),
        "instance_token": annotation["instance_token"],
        "attribute": _attribute(reader.nusc, annotation),
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
