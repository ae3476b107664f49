"""An info file damaged at random gives the same sample as before, or one line that names it.

What no reader can know is left out: a number moved within what a vehicle may have.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from bevdepth_plus.datasets.ground_truth import label_map
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sample_record import link_frames, parse_sample
from bevdepth_plus.errors import DataError

NAMES = ("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle",
         "pedestrian", "traffic_cone", "barrier")  # fmt: skip
SEEDS = 500
WRONG_TYPES = (
    None, "text", b"\x00", [], {}, [[1.0], [2.0, 3.0]], {"a": 1}, np.array([1.0, 2.0]), 1j, -7, 3.5,
    True,
)  # fmt: skip


def records(content: dict) -> dict:
    """All samples of a file as the dataset keeps them, two frames each."""
    path = records.path
    path.write_bytes(pickle.dumps(content))
    read = read_info_file(path)
    labels = label_map(read["metainfo"]["categories"], NAMES)
    cameras = ["CAM_FRONT", "CAM_BACK"]
    parsed = {
        info["token"]: parse_sample(info, cameras, labels, dict.fromkeys(cameras, ""), "")
        for info in read["data_list"]
    }
    return {token: link_frames(record, parsed, 2) for token, record in parsed.items()}


def places(node: object, path: tuple = ()) -> list[tuple]:
    """Paths to everything inside the samples of a file."""
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else ()
    if isinstance(node, list):
        items = enumerate(node)
    for key, child in items:
        found += places(child, (*path, key))
    return found


def parent_of(content: dict, path: tuple) -> object:
    for key in path[:-1]:
        content = content[key]
    return content


def damage(content: dict, rng: np.random.Generator) -> tuple[str, tuple, object]:
    """Damages one place; returns how, where, and what is there now."""
    every = places(content["data_list"])
    path = ("data_list", *every[rng.integers(len(every))])
    parent, key = parent_of(content, path), path[-1]
    value = parent[key]
    kind = str(rng.choice(["drop", "type", "nan", "scale", "permute"]))
    if kind == "drop":
        del parent[key]
        return "drop entry" if isinstance(parent, list) else "drop", path, None
    if kind == "scale" and isinstance(value, int | float):
        parent[key] = value * 1e4
    elif kind == "permute" and isinstance(value, list) and len(value) > 1:
        parent[key] = value[::-1]
    elif kind == "nan":
        parent[key] = float("nan")
    else:
        kind, parent[key] = "type", copy.deepcopy(WRONG_TYPES[rng.integers(len(WRONG_TYPES))])
    return kind, path, parent[key]


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return left.shape == right.shape and np.allclose(left, right, equal_nan=True)
    return left == right


def changed_fields(before: dict, after: dict) -> set[str]:
    if before.keys() != after.keys():
        return {"samples"}
    return {
        key
        for token, record in before.items()
        for key in record
        if not same(record[key], after[token][key])
    }


# What a file may leave out; without it the sample is another one, as the dataset's notes say.
OPTIONAL = {"prev", "scene_token", "velocity", "num_lidar_pts", "num_radar_pts", "instances",
            "lidar_points", "lidar_path", "cam2ego", "ego2global"}  # fmt: skip
NUMBERS = {"timestamp", "num_lidar_pts", "num_radar_pts", "bbox_label_3d", "token", "prev",
           "scene_token"}  # fmt: skip
TEXTS = {"token", "prev", "scene_token", "img_path", "lidar_path"}


def may_change(kind: str, path: tuple, value: object) -> bool:
    """Whether the damaged place holds what a sound file could hold there."""
    key = path[-1]
    if kind in ("scale", "permute", "drop entry"):
        return True  # another number or order, or one object less: nobody can know
    if kind == "drop" or value is None:
        return key in OPTIONAL
    if isinstance(value, str):
        return key in TEXTS
    if isinstance(value, float) and value != value:  # NaN
        return "velocity" in path
    if isinstance(value, int | float):
        return key in NUMBERS or isinstance(key, int)  # alone, or one of a list
    if isinstance(value, np.ndarray):
        return key == "velocity"
    return key == "instances" and value == []


@pytest.fixture
def content(infos, metainfo, tmp_path) -> dict:
    records.path = tmp_path / "infos.pkl"
    return {"metainfo": metainfo, "data_list": infos}


def test_damage_is_the_same_sample_or_one_line_with_sample_and_field(content):
    whole = records(content)
    refused = 0
    for seed in range(SEEDS):
        broken = copy.deepcopy(content)
        kind, path, value = damage(broken, np.random.default_rng(seed))
        what = f"seed {seed}: {kind} at {path}, now {value!r}"
        try:
            after = records(broken)
        except DataError as error:
            refused += 1
            message = str(error)
            assert "\n" not in message and len(message) < 400, (what, message)
            assert "sample" in message or "data_list" in message, (what, message)
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        else:
            changed = changed_fields(whole, after)
            assert not changed or may_change(kind, path, value), (what, changed)
    assert refused > SEEDS / 4


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("timestamp",), "noon", "sample a: timestamp must be numbers"),
        (("ego2global",), [[1, 2], [3]], "sample a: ego2global must be a regular array"),
        (
            ("images", "CAM_BACK", "img_path"),
            7,
            "sample a: images.CAM_BACK.img_path must be a text",
        ),
        (("images", "CAM_BACK"), None, "sample a: images.CAM_BACK must be a dict"),
        (("images",), ["CAM_BACK"], "sample a: images must be a dict"),
        (("lidar_points", "lidar_path"), 5, "sample a: lidar_points.lidar_path must be a text"),
        (("instances",), {"a": 1}, "sample a: instances must be a list"),
        (("instances", 0), 1, r"sample a: instances\[0\] must be a dict"),
        (
            ("instances", 0, "bbox_3d"),
            [1.0] * 8,
            r"instances\[0\].bbox_3d must be 7 numbers .* or 9",
        ),
        (("instances", 0, "bbox_3d", 3), 0.0, r"instances\[0\] has a box without size"),
        (("instances", 0, "bbox_3d", 3), 4500.0, r"instances\[0\] has a box longer than"),
        (("instances", 0, "bbox_3d", 0), 5e5, r"instances\[0\] has a box more than"),
        (("instances", 0, "bbox_3d", 6), 90.0, r"instances\[0\] has a yaw beyond two turns"),
        (("instances", 0, "bbox_label_3d"), 0.5, r"instances\[0\].bbox_label_3d must be a whole"),
        (
            ("instances", 0, "num_lidar_pts"),
            "many",
            r"instances\[0\].num_lidar_pts must be a whole",
        ),
        (("instances", 0, "velocity"), 3.0, r"instances\[0\].velocity must be two or three"),
        (("instances", 0, "velocity"), [float("inf"), 0], r"instances\[0\].velocity must be two"),
        (("images", "CAM_FRONT", "cam2img", 2), [0, 0, 2.0], "CAM_FRONT.cam2img is no pinhole"),
        (("token",), None, r"data_list\[0\].token must be a text"),
        (("token",), ["a"], r"data_list\[0\].token must be a text"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(content, path, value, complaint):
    parent_of(content["data_list"][0], path)[path[-1]] = value
    with pytest.raises(DataError, match=complaint) as error:
        records(content)
    assert "\n" not in str(error.value)
