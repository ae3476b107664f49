"""Ego poses in a file, CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.deploy.ego_motion import checked_pose
from bevdepth_plus.deploy.streaming import PoseMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import pose_matrix, rotation_from_quaternion
from bevdepth_plus.rigs.yaml_fields import Fields

QUATERNION_COLUMNS = ("stamp", "x", "y", "z", "qw", "qx", "qy", "qz")
_FORMS = (
    f"a first line with the columns {','.join(QUATERNION_COLUMNS)}, or lines of a stamp and the 12 "
    "or 16 numbers of world_T_ego, row by row"
)


def read_poses(path: str | Path) -> tuple[PoseMessage, ...]:
    """Poses ``world_T_ego`` in the order of their time.

    CSV: columns stamp, x, y, z, qw, qx, qy, qz in any order, named in the first line; or without a
    first line a stamp and the 12 or 16 numbers of the matrix, row by row. JSON: a list of
    ``{"stamp": seconds, "world_T_ego": rows of 4x4}``, or of ``{"stamp", "translation": [x, y, z],
    "rotation": [w, x, y, z]}``; nuScenes' ``ego_pose.json``, with ``timestamp`` in microseconds in
    place of ``stamp``, is such a list. Metres and seconds.

    Raises:
        DataError: the file cannot be read, has another form, or a pose is none; names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the poses ({error})") from None
    poses = _from_json(path, text) if path.suffix == ".json" else _from_csv(path, text)
    if not poses:
        raise DataError(f"{path}: no pose in it; expected {_FORMS}")
    return tuple(sorted(poses, key=lambda pose: pose.stamp))


def _from_json(path: Path, text: str) -> list[PoseMessage]:
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of poses, got {type(entries).__name__}")
    return [_entry(Fields(path, f"[{index}]", entry)) for index, entry in enumerate(entries)]


def _entry(fields: Fields) -> PoseMessage:
    microseconds = "stamp" not in fields.entry and "timestamp" in fields.entry
    stamp = fields.number("timestamp") / 1e6 if microseconds else fields.number("stamp")
    if "world_T_ego" in fields.entry:
        matrix = fields.matrix("world_T_ego", ((4, 4), (3, 4)))
        pose = np.vstack([matrix, [0, 0, 0, 1.0]])[:4]
    else:
        rotation = rotation_from_quaternion(*fields.quaternion("rotation"))
        pose = pose_matrix(rotation, fields.numbers("translation", 3))
    return PoseMessage(stamp, checked_pose(pose, f"{fields.path}: {fields.where}"))


def _from_csv(path: Path, text: str) -> list[PoseMessage]:
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(text.splitlines()), start=1)
        if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
    ]
    if not rows:
        return []
    names: list[str] | None = None
    if not _is_number(rows[0][1][0]):
        names = rows.pop(0)[1]
        missing = [column for column in QUATERNION_COLUMNS if column not in names]
        if missing and len(names) not in (13, 17):
            raise DataError(f"{path}: the first line lacks {missing[0]}; expected {_FORMS}")
        names = None if missing else names
    return [_row(path, number, row, names) for number, row in rows]


def _row(path: Path, number: int, row: Sequence[str], names: Sequence[str] | None) -> PoseMessage:
    where = f"{path}: line {number}"
    wanted = (len(names),) if names else (13, 17)
    if len(row) not in wanted:
        raise DataError(
            f"{where}: {len(row)} columns, not {' or '.join(map(str, wanted))}; expected {_FORMS}"
        )
    bad = next((cell for cell in row if not _is_number(cell)), None)
    if bad is not None:
        raise DataError(f"{where}: {bad!r} is no finite number")
    numbers = [float(cell) for cell in row]
    if names is None:
        pose: Any = np.vstack([np.reshape(numbers[1:], (-1, 4)), [0, 0, 0, 1.0]])[:4]
        return PoseMessage(numbers[0], checked_pose(pose, where))
    entry = dict(zip(names, numbers, strict=True))
    rotation = [entry[key] for key in ("qw", "qx", "qy", "qz")]
    norm = float(np.linalg.norm(rotation))
    if abs(norm - 1) > 1e-2:
        raise DataError(f"{where}: the quaternion qw, qx, qy, qz has the length {norm:.3f}, not 1")
    pose = pose_matrix(rotation_from_quaternion(*rotation), [entry["x"], entry["y"], entry["z"]])
    return PoseMessage(entry["stamp"], checked_pose(pose, where))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
