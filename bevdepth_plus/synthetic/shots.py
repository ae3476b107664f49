"""One shot of a sensor: its picture, its exact depth, and its rows in the tables."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from bevdepth_plus.rigs.rig import RigCamera
from bevdepth_plus.synthetic.render import CameraView, exact_depth, find_visible
from bevdepth_plus.synthetic.shade import colour_image, pack_light
from bevdepth_plus.synthetic.studio import GROUND_TEXEL, Studio, ego_matrix, token

DEPTH_UNIT = 0.01  # metres a step of the 16-bit depth pictures; 0 is no depth (sky)
RENDERED_RANGE = 130.0  # metres from the ego vehicle
JPEG_QUALITY = 90


def shoot_camera(
    studio: Studio,
    camera: RigCamera,
    index: int | None,
    t: float,
    out: Path,
    depth: bool,
    records: dict,
) -> tuple[np.ndarray, np.ndarray]:
    """Renders one camera, writes its files below ``out`` and adds its rows to ``records``.

    Args:
        studio: the scene.
        camera: shoots its own delay after ``t``.
        index: of the key frame; None for a sweep.
        t: scene time, s.
        out: root of the data set.
        depth: whether the exact depth picture is written too.
        records: see ``record_data``.

    Returns:
        For each object of the scene the samples that it would cover if nothing hid it, and those
        where it is nearest; int64 [objects] each.
    """
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
    size = (camera.width, camera.height)
    name = record_data(studio, camera.name, index, moment, pose, "jpg", records, size)
    _save(out / name, ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if depth:
        steps = np.round(exact_depth(mesh, view) / DEPTH_UNIT)
        steps = np.where(steps < 65536, steps, 0).astype(np.uint16)
        stem = Path(name).with_suffix(".png").name
        _save(out / "depth" / camera.name / stem, ".png", steps, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return visibility.unoccluded, visibility.visible


def record_data(
    studio: Studio,
    channel: str,
    index: int | None,
    moment: float,
    pose: np.ndarray,
    ending: str,
    records: dict,
    size: tuple[int, int],
) -> str:
    """Adds one sample_data and ego_pose row.

    Args:
        studio: the scene.
        channel: the sensor's name.
        index: of the key frame; None for a sweep.
        moment: scene time of the shot, s.
        pose: global_T_ego at that time, [4, 4].
        ending: of the file, jpg or pcd.bin.
        records: ``sample``, ``sample_data`` and ``ego_pose`` of the key frame; a sweep belongs to
            the key frame that follows it, as in nuScenes.
        size: width and height, pixels.

    Returns:
        The file's name below the root.
    """
    name = studio.scene.name
    stamp = studio.timestamp(moment)
    folder = "sweeps" if index is None else "samples"
    filename = f"{folder}/{channel}/{studio.log_name}__{channel}__{stamp}.{ending}"
    shot = ("sweep", stamp) if index is None else (index,)
    data_token = token(studio.seed, name, "data", channel, *shot)
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
            "is_key_frame": index is not None,
            "height": size[1],
            "width": size[0],
            "filename": filename,
        }
    )
    return filename


def _save(path: Path, kind: str, picture: np.ndarray, options: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(kind, np.ascontiguousarray(picture), options)
    path.write_bytes(data.tobytes())
