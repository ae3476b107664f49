"""A tiny data set in nuScenes tables, with every case the scoring treats specially.

It is built without the project's own writer and reader, so that the comparison with the devkit
checks the scoring alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.classes import CATEGORY_TO_CLASS, CLASSES

CATEGORIES = [*CATEGORY_TO_CLASS, "static_object.bicycle_rack", "animal"]
ATTRIBUTES = {
    "vehicle": ("vehicle.moving", "vehicle.parked", "vehicle.stopped"),
    "cycle": ("cycle.with_rider", "cycle.without_rider"),
    "human": ("pedestrian.moving", "pedestrian.standing", "pedestrian.sitting_lying_down"),
}
SCENES = ("scene-0103", "scene-0916")  # the devkit's mini_val
SAMPLES_PER_SCENE = 4
OBJECTS_PER_SAMPLE = 60


@dataclass
class TinyDataset:
    root: Path
    infos: list[dict]


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> TinyDataset:
    root = tmp_path_factory.mktemp("tiny_nuscenes")
    tables = build_tables(np.random.default_rng(1))
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return TinyDataset(root, infos_of(root))


def quaternion(rotation: Rotation) -> list[float]:
    return np.roll(rotation.as_quat(), 1).tolist()


def build_tables(rng: np.random.Generator) -> dict[str, list[dict]]:
    attribute_names = [name for names in ATTRIBUTES.values() for name in names]
    tables: dict[str, list[dict]] = {
        "category": [{"token": f"cat-{c}", "name": c, "description": ""} for c in CATEGORIES],
        "attribute": [{"token": f"att-{a}", "name": a, "description": ""} for a in attribute_names],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {
                "token": "calibrated-lidar",
                "sensor_token": "lidar",
                "translation": [0.94, 0.0, 1.84],
                "rotation": quaternion(Rotation.from_euler("zyx", [-1.57, 0.01, 0.02])),
                "camera_intrinsic": [],
            }
        ],
        **{n: [] for n in ("instance", "ego_pose", "log", "scene", "sample")},
        # The devkit wants one map whose file exists and never reads it here.
        "map": [{"token": "map", "log_tokens": [], "category": "", "filename": ""}],
        "sample_data": [],
        "sample_annotation": [],
    }
    for scene in SCENES:
        add_scene(tables, scene, rng)
    return tables


def add_scene(tables: dict[str, list[dict]], scene: str, rng: np.random.Generator) -> None:
    tokens = [f"{scene}-{index}" for index in range(SAMPLES_PER_SCENE)]
    tables["scene"].append(
        {
            "token": scene,
            "name": scene,
            "log_token": "",
            "description": "",
            "nbr_samples": len(tokens),
            "first_sample_token": tokens[0],
            "last_sample_token": tokens[-1],
        }
    )
    categories = [CATEGORIES[i % len(CATEGORIES)] for i in range(OBJECTS_PER_SAMPLE)]
    starts = rng.uniform(-42, 42, (len(categories), 2))
    starts[: len(CATEGORIES)] *= 0.4  # one of each class within every class's range
    speeds = rng.normal(0, 2, (len(categories), 2))
    for index, category in enumerate(categories):
        if category == "static_object.bicycle_rack":
            speeds[index] = 0
    # One of the bicycles stands in a rack.
    rack, bicycle = map(categories.index, ("static_object.bicycle_rack", "vehicle.bicycle"))
    starts[bicycle], speeds[bicycle] = starts[rack], 0
    for index, token in enumerate(tokens):
        neighbours = {
            "prev": tokens[index - 1] if index else "",
            "next": tokens[index + 1] if index + 1 < len(tokens) else "",
        }
        timestamp = 1_500_000_000_000_000 + 500_000 * index
        tables["sample"].append(
            {"token": token, "scene_token": scene, "timestamp": timestamp, **neighbours}
        )
        tilt = Rotation.from_euler("zyx", [rng.uniform(-3, 3), 0.02, -0.01])
        ego = np.array([400.0 + 3 * index, 1100.0, 0.0])
        tables["ego_pose"].append(
            {
                "token": f"pose-{token}",
                "timestamp": timestamp,
                "translation": ego.tolist(),
                "rotation": quaternion(tilt),
            }
        )
        tables["sample_data"].append(
            {
                "token": f"lidar-{token}",
                "sample_token": token,
                "ego_pose_token": f"pose-{token}",
                "calibrated_sensor_token": "calibrated-lidar",
                "timestamp": timestamp,
                "fileformat": "pcd",
                "is_key_frame": True,
                "height": 0,
                "width": 0,
                "filename": f"samples/LIDAR_TOP/{token}.pcd.bin",
                "prev": "",
                "next": "",
            }
        )
        for number, category in enumerate(categories):
            centre = [*(ego[:2] + starts[number] + 0.5 * index * speeds[number]), 1.0]
            add_annotation(tables, token, neighbours, number, category, centre, rng)


def add_annotation(
    tables: dict[str, list[dict]],
    token: str,
    neighbours: dict[str, str],
    number: int,
    category: str,
    centre: list[float],
    rng: np.random.Generator,
) -> None:
    family = "cycle" if "cycle" in category else category.split(".")[0]
    choices = ATTRIBUTES.get(family, ())
    # Every fifth object is seen in one sample only, so its velocity is unknown.
    lone = number % 5 == 0
    instance = f"object-{token.rsplit('-', 1)[0]}-{number}"
    if not neighbours["prev"]:
        tables["instance"].append({"token": instance, "category_token": f"cat-{category}"})
    size = [4.0, 4.0, 3.0] if "rack" in category else rng.uniform(0.4, 4, 3).tolist()
    annotation = {
        "token": f"ann-{token}-{number}",
        "sample_token": token,
        "instance_token": instance,
        "visibility_token": "4",
        "attribute_tokens": [f"att-{rng.choice(choices)}"] if choices and number % 7 else [],
        "translation": centre,
        "size": size,
        "rotation": quaternion(Rotation.from_euler("z", rng.uniform(-3.1, 3.1))),
        "num_lidar_pts": int(rng.integers(0, 4)),
        "num_radar_pts": int(rng.integers(0, 2)),
    }
    for direction, other in neighbours.items():
        annotation[direction] = f"ann-{other}-{number}" if other and not lone else ""
    tables["sample_annotation"].append(annotation)


def infos_of(root: Path) -> list[dict]:
    """Info dicts as the project's info files hold them, by the devkit."""
    from nuscenes import NuScenes

    nusc = NuScenes("v1.0-mini", str(root), verbose=False)
    names = {attribute["token"]: attribute["name"] for attribute in nusc.attribute}
    infos = []
    for sample in nusc.sample:
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        pose = nusc.get("ego_pose", lidar["ego_pose_token"])
        calibration = nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        annotations = [nusc.get("sample_annotation", token) for token in sample["anns"]]
        ego2global = matrix_of(pose)
        lidar2ego = matrix_of(calibration)
        infos.append(
            {
                "token": sample["token"],
                "scene_token": sample["scene_token"],
                "timestamp": sample["timestamp"] / 1e6,
                "ego2global": ego2global.tolist(),
                "images": {},
                "lidar_points": {"lidar2ego": lidar2ego.tolist()},
                "instances": [
                    instance_of(nusc, annotation, names, np.linalg.inv(ego2global @ lidar2ego))
                    for annotation in annotations
                    if annotation["category_name"] in CATEGORY_TO_CLASS
                ],
                "bike_racks": [
                    {key: annotation[key] for key in ("translation", "size", "rotation")}
                    for annotation in annotations
                    if annotation["category_name"] == "static_object.bicycle_rack"
                ],
            }
        )
    return infos


def instance_of(nusc, annotation: dict, names: dict, lidar_T_global: np.ndarray) -> dict:
    rotation = lidar_T_global[:3, :3]
    velocity = nusc.box_velocity(annotation["token"])
    turn = Rotation.from_quat(np.roll(annotation["rotation"], -1)).as_matrix()
    heading = rotation @ turn[:, 0]
    width, length, height = annotation["size"]
    centre = rotation @ annotation["translation"] + lidar_T_global[:3, 3]
    return {
        "bbox_3d": [*centre, length, width, height, np.arctan2(heading[1], heading[0])],
        "bbox_label_3d": CLASSES.index(CATEGORY_TO_CLASS[annotation["category_name"]]),
        "velocity": (rotation @ velocity)[:2].tolist(),
        "num_lidar_pts": annotation["num_lidar_pts"],
        "num_radar_pts": annotation["num_radar_pts"],
        "attribute": next((names[t] for t in annotation["attribute_tokens"]), ""),
        "global_box": {
            "translation": annotation["translation"],
            "size": annotation["size"],
            "rotation": annotation["rotation"],
            "velocity": velocity[:2].tolist(),
        },
    }


def matrix_of(record: dict) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(np.roll(record["rotation"], -1)).as_matrix()
    matrix[:3, 3] = record["translation"]
    return matrix
