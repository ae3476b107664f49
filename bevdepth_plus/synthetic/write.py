"""nuScenes tables out of rendered key frames."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from bevdepth_plus.files import atomic_folder
from bevdepth_plus.synthetic.lane_marks import lane_marks
from bevdepth_plus.synthetic.road import Road
from bevdepth_plus.synthetic.studio import GROUND_TEXEL, Studio, token
from bevdepth_plus.synthetic.taxonomy import ATTRIBUTES, CATEGORIES, VISIBILITY


def scene_tables(studio: Studio, keyframes: list[dict], out: Path) -> dict[str, list[dict]]:
    """Links the key frames of one scene and writes its map mask.

    Args:
        studio: the scene.
        keyframes: what ``shoot_keyframe`` returned, in order, with what ``shoot_sweeps`` added.
        out: root of the data set.

    Returns:
        The scene's rows of every table that grows with the scenes.
    """
    seed, name = studio.seed, studio.scene.name
    samples = _chained([k["sample"] for k in keyframes])
    by_sensor: dict[str, list[dict]] = {}
    for row in (row for k in keyframes for row in k["sample_data"]):
        by_sensor.setdefault(row["calibrated_sensor_token"], []).append(row)
    data = []
    for rows in by_sensor.values():  # key frames and the sweeps between them, in order of time
        data += _chained(sorted(rows, key=lambda row: row["timestamp"]))
    annotations, instances = _instances([a for k in keyframes for a in k["annotations"]])
    log_token, map_token = token(seed, name, "log"), token(seed, name, "map")
    masks = _write_masks(studio.scene.road, out, map_token)
    scene = {
        "token": token(seed, name, "scene"),
        "log_token": log_token,
        "name": name,
        "nbr_samples": len(samples),
        "first_sample_token": samples[0]["token"],
        "last_sample_token": samples[-1]["token"],
        "description": "synthetic street",
    }
    return {
        "scene": [scene],
        "sample": samples,
        "sample_data": data,
        "ego_pose": [p for k in keyframes for p in k["ego_pose"]],
        "sample_annotation": annotations,
        "instance": instances,
        "calibrated_sensor": _calibrations(studio),
        "log": [
            {
                "token": log_token,
                "logfile": studio.log_name,
                "vehicle": "synthetic",
                "date_captured": "2018-06-26",
                "location": "synthetic",
            }
        ],
        # The devkit takes a log's last row for its map: the drivable area.
        "map": [
            {
                "token": token(seed, name, category) if category != "semantic_prior" else map_token,
                "log_tokens": [log_token],
                "category": category,
                "filename": mask,
            }
            for category, mask in masks.items()
        ],
    }


def write_tables(
    out: Path, version: str, scenes: list[dict[str, list[dict]]], channels: list[str]
) -> None:
    """Writes ``out/version`` in one step, so that it is either whole or not there.

    Args:
        out: root of the data set.
        version: for example v1.0-mini.
        scenes: what ``scene_tables`` returned.
        channels: sensor names, cameras and LIDAR_TOP.
    """
    tables = {key: [row for scene in scenes for row in scene[key]] for key in scenes[0]}
    tables["category"] = [
        {"token": token("category", c), "name": c, "description": ""} for c in CATEGORIES
    ]
    tables["attribute"] = [
        {"token": token("attribute", a), "name": a, "description": ""} for a in ATTRIBUTES
    ]
    tables["visibility"] = [
        {"token": t, "level": level, "description": ""} for t, level, _ in VISIBILITY
    ]
    tables["sensor"] = [
        {
            "token": token("sensor", c),
            "channel": c,
            "modality": "lidar" if c == "LIDAR_TOP" else "camera",
        }
        for c in channels
    ]
    with atomic_folder(out / version) as fresh:
        for key, rows in tables.items():
            (fresh / f"{key}.json").write_text(json.dumps(rows, indent=0))


def _chained(rows: list[dict]) -> list[dict]:
    """Copies of the rows with prev and next tokens; '' at the ends."""
    tokens = ["", *(row["token"] for row in rows), ""]
    return [{**row, "prev": tokens[i], "next": tokens[i + 2]} for i, row in enumerate(rows)]


def _instances(annotations: list[dict]) -> tuple[list[dict], list[dict]]:
    """Annotations chained per object, and the objects' own rows."""
    tracks: dict[str, list[dict]] = {}
    for row in annotations:
        tracks.setdefault(row["instance_token"], []).append(row)
    chained, instances = [], []
    for key, rows in tracks.items():
        instances.append(
            {
                "token": key,
                "category_token": token("category", rows[0]["category"]),
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            }
        )
        chained += _chained([{k: v for k, v in row.items() if k != "category"} for row in rows])
    return chained, instances


def _calibrations(studio: Studio) -> list[dict]:
    poses = [(c.name, c.ego_T_cam, c.intrinsics.tolist()) for c in studio.rig.cameras]
    poses.append(("LIDAR_TOP", studio.rig.ego_T_lidar, []))
    rows = []
    for channel, pose, intrinsics in poses:
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        rows.append(
            {
                "token": token(studio.seed, studio.scene.name, "calibrated", channel),
                "sensor_token": token("sensor", channel),
                "translation": [float(v) for v in pose[:3, 3]],
                "rotation": [float(v) for v in (w, x, y, z)],
                "camera_intrinsic": intrinsics,
            }
        )
    return rows


def _write_masks(road: Road, out: Path, name: str) -> dict[str, str]:
    """Map masks as nuScenes stores them, 0.1 m a pixel, y upwards; their paths by category."""
    width, height = (int(np.ceil(v / GROUND_TEXEL)) for v in road.size)
    outlines = {
        "lane_marks": [outline for outline, _ in lane_marks(road)],
        "semantic_prior": [road.strip(-road.kerb, road.kerb)],  # the drivable area
    }
    files = {"lane_marks": f"maps/{name}_lane_marks.png", "semantic_prior": f"maps/{name}.png"}
    (out / "maps").mkdir(parents=True, exist_ok=True)
    for category, shapes in outlines.items():
        mask = np.zeros((height, width), np.uint8)
        for shape in shapes:
            pixels = np.round(shape / GROUND_TEXEL - 0.5).astype(np.int32)
            cv2.fillPoly(mask, [pixels], 255)
        _, data = cv2.imencode(".png", mask[::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
        (out / files[category]).write_bytes(data.tobytes())
    return files
