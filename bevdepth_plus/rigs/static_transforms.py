"""ROS' static transforms: read in the forms that exist, chained through any frames, written.

A transform of parent and child holds ``parent_T_child``: where the child stands in the parent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.rigs.poses import (
    invert_pose,
    pose_matrix,
    quaternion_of,
    rotation_from_angles,
    rotation_from_quaternion,
)
from bevdepth_plus.rigs.yaml_fields import Fields, read_yaml_documents

FORMS = (
    "a list of {parent, child, translation: [x, y, z], rotation: [x, y, z, w]}, the output of "
    "`ros2 topic echo /tf_static`, or {parent: {child: {x, y, z, roll, pitch, yaw}}}"
)


@dataclass(frozen=True, eq=False)
class StaticTransform:
    """Where a frame stands in another.

    Attributes:
        parent, child: names of the frames.
        parent_T_child: ``[4, 4]`` float64, metres.
    """

    parent: str
    child: str
    parent_T_child: np.ndarray


def read_static_transforms(path: str | Path) -> list[StaticTransform]:
    """Reads a YAML file of static transforms.

    Three forms are read: a list of ``{parent, child, translation, rotation}`` with the rotation as
    quaternion x, y, z, w (numbers in a list, or ``{x: ..., y: ...}``); TFMessage as ``ros2 topic
    echo /tf_static`` prints it; and Autoware's ``{parent: {child: {x, y, z, roll, pitch, yaw}}}``
    in metres and radians.

    Raises:
        DataError: the file cannot be read, has another form, or a child has two parents.
    """
    path = Path(path)
    transforms: list[StaticTransform] = []
    for document in read_yaml_documents(path, "file of static transforms"):
        transforms += _transforms(path, document)
    if not transforms:
        raise DataError(f"{path}: holds no transform; expected {FORMS}")
    parents: dict[str, str] = {}
    for each in transforms:
        if parents.setdefault(each.child, each.parent) != each.parent:
            raise DataError(
                f"{path}: frame {each.child} has two parents, {parents[each.child]} and "
                f"{each.parent}; keep one"
            )
    return transforms


def chain(transforms: Sequence[StaticTransform], base: str, frame: str) -> np.ndarray:
    """``base_T_frame [4, 4]``, through as many frames as lie between, in either direction.

    Raises:
        DataError: a frame is not known, or no chain leads from one to the other.
    """
    steps: dict[str, list[tuple[str, np.ndarray]]] = {}
    for each in transforms:
        steps.setdefault(each.parent, []).append((each.child, each.parent_T_child))
        steps.setdefault(each.child, []).append((each.parent, invert_pose(each.parent_T_child)))
    for name in (base, frame):
        if name not in steps:
            raise DataError(
                f"static transforms: there is no frame {name!r}; there are "
                f"{', '.join(sorted(steps))}"
            )
    poses = {base: np.eye(4)}
    waiting = deque([base])
    while waiting and frame not in poses:
        here = waiting.popleft()
        for name, step in steps[here]:
            if name not in poses:
                poses[name] = poses[here] @ step
                waiting.append(name)
    if frame not in poses:
        raise DataError(
            f"static transforms: no chain leads from {base} to {frame}; {base} reaches "
            f"{', '.join(sorted(set(poses) - {base}))}; add the missing transform"
        )
    return poses[frame]


def save_static_transforms(transforms: Sequence[StaticTransform], path: str | Path) -> None:
    """Writes the first form that :func:`read_static_transforms` reads."""
    entries = []
    for each in transforms:
        w, x, y, z = quaternion_of(each.parent_T_child[:3, :3])
        entries.append(
            {
                "parent": each.parent,
                "child": each.child,
                "translation": each.parent_T_child[:3, 3].tolist(),
                "rotation": [x, y, z, w],
            }
        )
    with atomic_write(path, "w") as file:
        yaml.safe_dump(entries, file, sort_keys=False, default_flow_style=None, width=120)


def _transforms(path: Path, document: Any) -> Iterator[StaticTransform]:
    if isinstance(document, dict) and isinstance(document.get("transforms"), list):
        document = document["transforms"]
    if isinstance(document, list):
        for index, entry in enumerate(document):
            fields = Fields(path, f"transforms[{index}]", entry)
            yield _stamped(fields) if "child_frame_id" in entry else _plain(fields)
    elif isinstance(document, dict):
        for parent, children in document.items():
            for child, entry in Fields(path, str(parent), children).entry.items():
                yield _autoware(str(parent), str(child), Fields(path, f"{parent}.{child}", entry))
    elif document is not None:
        raise DataError(f"{path}: expected {FORMS}, got {type(document).__name__}")


def _plain(fields: Fields) -> StaticTransform:
    fields.known({"parent", "child", "translation", "rotation"})
    pose = _pose(fields)
    return StaticTransform(_frame(fields, "parent"), _frame(fields, "child"), pose)


def _stamped(fields: Fields) -> StaticTransform:
    """geometry_msgs/TransformStamped."""
    header = Fields(fields.path, f"{fields.where}.header", fields.entry.get("header"))
    pose = Fields(fields.path, f"{fields.where}.transform", fields.entry.get("transform"))
    return StaticTransform(
        _frame(header, "frame_id"), _frame(fields, "child_frame_id"), _pose(pose)
    )


def _autoware(parent: str, child: str, fields: Fields) -> StaticTransform:
    fields.known({"x", "y", "z", "roll", "pitch", "yaw"})
    position = [fields.number(key) for key in ("x", "y", "z")]
    angles = [fields.number(key, 0.0) for key in ("yaw", "pitch", "roll")]
    if max(map(abs, angles)) > 2 * np.pi + 1e-3:
        raise fields.fail("yaw", f"roll, pitch and yaw are radians here, got {angles}: degrees?")
    rotation = rotation_from_angles(*np.degrees(angles))
    return StaticTransform(parent, child, pose_matrix(rotation, position))


def _pose(fields: Fields) -> np.ndarray:
    fields = Fields(fields.path, fields.where, dict(fields.entry))
    for key, names in (("translation", "xyz"), ("rotation", "xyzw")):
        value = fields.entry.get(key)
        if isinstance(value, dict):
            fields.entry[key] = [value.get(name) for name in names]
    x, y, z, w = fields.quaternion("rotation")
    return pose_matrix(rotation_from_quaternion(w, x, y, z), fields.numbers("translation", 3))


def _frame(fields: Fields, key: str) -> str:
    return fields.text(key).lstrip("/")
