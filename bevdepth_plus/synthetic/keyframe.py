"""One key frame: renders every sensor, writes the files, and notes what was seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.synthetic.backdrop import (
    SHADOW_REACH,
    cast_shadows,
    cloud_tile,
    ground_levels,
)
from bevdepth_plus.synthetic.jit import compiled
from bevdepth_plus.synthetic.lidar import scan
from bevdepth_plus.synthetic.mesh import Mesh
from bevdepth_plus.synthetic.render import CameraView, exact_depth, find_visible
from bevdepth_plus.synthetic.scene import KEYFRAME_PERIOD, Scene, build_scene, seed_for
from bevdepth_plus.synthetic.scenery import ground_picture
from bevdepth_plus.synthetic.shade import colour_image, pack_light
from bevdepth_plus.synthetic.taxonomy import CLASS_CATEGORY, VISIBILITY

DEPTH_UNIT = 0.01  # metres a step of the 16-bit depth pictures; 0 is no depth (sky)
ANNOTATED_RANGE = 80.0  # metres from the ego vehicle
RENDERED_RANGE = 130.0
GROUND_TEXEL = 0.1  # metres; also the resolution nuScenes map masks have
JPEG_QUALITY = 90
FIRST_TIMESTAMP = 1_530_000_000_000_000  # microseconds
SCENE_SPACING = 100_000_000  # microseconds between scenes of neighbouring numbers


def token(*parts: object) -> str:
    """32 hexadecimal characters made from any values."""
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True)
class Studio:
    """One scene made ready for rendering."""

    scene: Scene
    rig: Rig
    seed: int

    @cached_property
    def ground(self) -> tuple[np.ndarray, ...]:
        """The painted ground and its smaller copies."""
        return ground_levels(ground_picture(self.scene.road, self.scene.seed, GROUND_TEXEL))

    @cached_property
    def still_shade(self) -> np.ndarray:
        """Shadows of the scenery on the whole map, uint8 [rows, columns]."""
        shaded = np.zeros(self.ground[0].shape[:2], np.uint8)
        cast_shadows(self.scene.scenery, self.scene.light.sun, shaded, np.zeros(2), GROUND_TEXEL)
        return shaded

    @cached_property
    def clouds(self) -> np.ndarray:
        """The scene's clouds."""
        return cloud_tile(self.scene.seed)

    def shade_around(self, centre: np.ndarray, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        """Shadows near a point, with those of a mesh: the map and the (x, y) of its corner."""
        first = np.maximum(np.floor((centre[:2] - SHADOW_REACH) / GROUND_TEXEL), 0).astype(int)
        last = np.ceil((centre[:2] + SHADOW_REACH) / GROUND_TEXEL).astype(int)
        shaded = self.still_shade[first[1] : last[1], first[0] : last[0]].copy()
        corner = first * GROUND_TEXEL
        cast_shadows(mesh, self.scene.light.sun, shaded, corner, GROUND_TEXEL)
        return shaded, corner

    @classmethod
    def open(cls, name: str, seed: int, keyframes: int, rig: Rig) -> Studio:
        """Builds the scene of this name."""
        return cls(build_scene(name, seed, keyframes), rig, seed)

    @property
    def log_name(self) -> str:
        """Stem of all file names of the scene."""
        return f"synthetic-{self.seed}-{self.scene.name}"

    def timestamp(self, t: float) -> int:
        """Microseconds of scene time t (s)."""
        number = int(self.scene.name.rsplit("-", 1)[1])
        return FIRST_TIMESTAMP + number * SCENE_SPACING + round(t * 1e6)


def ego_matrix(scene: Scene, t: float) -> np.ndarray:
    """global_T_ego [4, 4] at time t."""
    position, angles = scene.ego_pose(t)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", angles).as_matrix()
    pose[:3, 3] = position
    return pose


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
        counts = _camera(studio, camera, index, t, out, depth, records)
        unoccluded += counts[0]
        visible += counts[1]
    _annotate(studio, index, t, cloud, unoccluded, visible, records)
    return records


def _camera(
    studio: Studio, camera: RigCamera, index: int, t: float, out: Path, depth: bool, records: dict
) -> tuple[np.ndarray, np.ndarray]:
    scene = studio.scene
    moment = t + camera.delay
    pose = ego_matrix(scene, moment)
    mesh = scene.mesh_at(moment, pose[:3, 3], RENDERED_RANGE)
    view = CameraView(camera.intrinsics, camera.width, camera.height, pose @ camera.ego_T_cam)
    visibility = find_visible(mesh, view, len(scene.objects))
    lamp = scene.light
    light = pack_light(lamp.sun, lamp.sun_colour, lamp.ambient, lamp.zenith, lamp.horizon)
    shadow = studio.shade_around(pose[:3, 3], mesh.of_objects())
    picture = colour_image(
        mesh, visibility, view, studio.ground, GROUND_TEXEL, shadow, studio.clouds, light
    )
    name = _record_data(
        studio, camera.name, index, moment, pose, "jpg", records, (camera.width, camera.height)
    )
    _save(out / name, ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if depth:
        steps = np.round(exact_depth(mesh, view) / DEPTH_UNIT)
        steps = np.where(steps < 65536, steps, 0).astype(np.uint16)
        stem = Path(name).with_suffix(".png").name
        _save(out / "depth" / camera.name / stem, ".png", steps, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return visibility.unoccluded, visibility.visible


def _lidar(
    studio: Studio, index: int, t: float, mesh: Mesh, out: Path, records: dict
) -> np.ndarray:
    """Writes the scan; returns its points in the world, [P, 3]."""
    pose = ego_matrix(studio.scene, t)
    world_T_lidar = pose @ studio.rig.ego_T_lidar
    rng = np.random.default_rng(seed_for(studio.scene.seed, "lidar", index))
    cloud = scan(mesh, world_T_lidar, rng)
    name = _record_data(studio, "LIDAR_TOP", index, t, pose, "pcd.bin", records, (0, 0))
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.tofile(path)
    return cloud[:, :3].astype(float) @ world_T_lidar[:3, :3].T + world_T_lidar[:3, 3]


def _save(path: Path, kind: str, picture: np.ndarray, options: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(kind, np.ascontiguousarray(picture), options)
    path.write_bytes(data.tobytes())


def _record_data(
    studio: Studio,
    channel: str,
    index: int,
    moment: float,
    pose: np.ndarray,
    ending: str,
    records: dict,
    size: tuple[int, int],
) -> str:
    """Adds one sample_data and ego_pose record; returns the file's name below the root."""
    name = studio.scene.name
    stamp = studio.timestamp(moment)
    filename = f"samples/{channel}/{studio.log_name}__{channel}__{stamp}.{ending}"
    data_token = token(studio.seed, name, "data", channel, index)
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    records["ego_pose"].append(
        {
            "token": data_token,
            "timestamp": stamp,
            "rotation": [float(v) for v in (w, x, y, z)],
            "translation": [float(v) for v in pose[:3, 3]],
        }
    )
    records["sample_data"].append(
        {
            "token": data_token,
            "sample_token": records["sample"]["token"],
            "ego_pose_token": data_token,
            "calibrated_sensor_token": token(studio.seed, name, "calibrated", channel),
            "timestamp": stamp,
            "fileformat": "jpg" if ending == "jpg" else "pcd",
            "is_key_frame": True,
            "height": size[1],
            "width": size[0],
            "filename": filename,
        }
    )
    return filename


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
