"""One key frame: renders every sensor, writes the files, and notes what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bevdepth_plus.synthetic.jit import compiled
from bevdepth_plus.synthetic.lidar import scan
from bevdepth_plus.synthetic.mesh import Mesh
from bevdepth_plus.synthetic.scene import KEYFRAME_PERIOD, seed_for
from bevdepth_plus.synthetic.shots import RENDERED_RANGE, record_data, shoot_camera
from bevdepth_plus.synthetic.studio import Studio, ego_matrix, token
from bevdepth_plus.synthetic.taxonomy import CLASS_CATEGORY, VISIBILITY

ANNOTATED_RANGE = 80.0  # metres from the ego vehicle


def shoot_keyframe(studio: Studio, index: int, out: Path, depth: bool) -> dict:
    """Renders key frame ``index``, writes its files below ``out`` and returns table records.

    Returns:
        {sample, sample_data, ego_pose, annotations}: nuScenes records without their prev and
        next tokens, which only the whole scene knows.
    """
    scene = studio.scene
    t = index * KEYFRAME_PERIOD
    sample = {
        "token": token(studio.seed, scene.name, "sample", index),
        "timestamp": studio.timestamp(t),
        "scene_token": token(studio.seed, scene.name, "scene"),
    }
    records = {"sample": sample, "sample_data": [], "ego_pose": [], "annotations": []}

    here = scene.ego_pose(t)[0]
    mesh = scene.mesh_at(t, here, RENDERED_RANGE)
    cloud = _lidar(studio, index, t, mesh, out, records)
    unoccluded = np.zeros(len(scene.objects), np.int64)
    visible = np.zeros(len(scene.objects), np.int64)
    for camera in studio.rig.cameras:
        counts = shoot_camera(studio, camera, index, t, out, depth, records)
        unoccluded += counts[0]
        visible += counts[1]
    _annotate(studio, index, t, cloud, unoccluded, visible, records)
    return records


def _lidar(
    studio: Studio, index: int, t: float, mesh: Mesh, out: Path, records: dict
) -> np.ndarray:
    """Writes the scan; returns its points in the world, [P, 3]."""
    pose = ego_matrix(studio.scene, t)
    world_T_lidar = pose @ studio.rig.ego_T_lidar
    rng = np.random.default_rng(seed_for(studio.scene.seed, "lidar", index))
    cloud = scan(mesh, world_T_lidar, rng)
    name = record_data(studio, "LIDAR_TOP", index, t, pose, "pcd.bin", records, (0, 0))
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.tofile(path)
    return cloud[:, :3].astype(float) @ world_T_lidar[:3, :3].T + world_T_lidar[:3, 3]


def _annotate(
    studio: Studio,
    index: int,
    t: float,
    cloud: np.ndarray,
    unoccluded: np.ndarray,
    visible: np.ndarray,
    records: dict,
) -> None:
    """Adds a record for every near object that a sensor saw."""
    scene = studio.scene
    ego = scene.ego_pose(t)[0]
    for number, item in enumerate(scene.objects):
        x, y, yaw = item.pose(scene.road, t)
        if np.hypot(x - ego[0], y - ego[1]) > ANNOTATED_RANGE:
            continue
        length, width, height = item.size
        centre = np.round([x, y, height / 2], 3)
        inside = points_in_box(cloud, centre, item.size, yaw)
        if inside == 0 and visible[number] == 0:
            continue
        share = visible[number] / unoccluded[number] if unoccluded[number] else 0.0
        level = next(v[0] for v in VISIBILITY if share < v[2])
        attribute = item.attribute(t)
        records["annotations"].append(
            {
                "token": token(studio.seed, scene.name, "annotation", number, index),
                "sample_token": records["sample"]["token"],
                "instance_token": token(studio.seed, scene.name, "instance", number),
                "category": CLASS_CATEGORY[item.class_name],
                "visibility_token": level,
                "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                "translation": [float(v) for v in centre],
                "size": [width, length, height],
                "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
                "num_lidar_pts": inside,
                "num_radar_pts": 0,
            }
        )


def points_in_box(
    cloud: np.ndarray, centre: np.ndarray, size: tuple[float, float, float], yaw: float
) -> int:
    """How many points [P, 3] lie inside an upright box (length, width, height)."""
    return int(_points_in_box(cloud, centre, np.array(size) / 2, np.cos(yaw), np.sin(yaw)))


@compiled
def _points_in_box(cloud, centre, half, c, s):
    count = 0
    for i in range(len(cloud)):
        x, y = cloud[i, 0] - centre[0], cloud[i, 1] - centre[1]
        if (
            abs(c * x + s * y) <= half[0]
            and abs(c * y - s * x) <= half[1]
            and abs(cloud[i, 2] - centre[2]) <= half[2]
        ):
            count += 1
    return count
