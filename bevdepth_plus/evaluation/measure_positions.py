"""Position errors by class and range, measured with ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.evaluation.boxes import filter_boxes, load_ground_truth, load_predictions
from bevdepth_plus.evaluation.nuscenes_format import rotation_of_quaternion
from bevdepth_plus.evaluation.position_errors import ALL_CLASSES, CovarianceTable, PositionErrors
from bevdepth_plus.evaluation.rules import ScoringRules

RANGES = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 40.0), (40.0, 55.0))  # metres
MATCH_DISTANCE = 2.0  # metres on the ground; that of nuScenes' true-positive errors
# Whose front and back look alike: their yaw is measured up to half a turn.
SYMMETRIC = ("traffic_cone", "barrier")


def measure_positions(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    infos: Sequence[Mapping[str, Any]],
    rules: ScoringRules,
    *,
    classes: Sequence[str] = CLASSES,
    label_names: Mapping[int, str] | None = None,
    min_score: float = 0.0,
    min_count: int = 30,
    ranges: Sequence[tuple[float, float]] = RANGES,
) -> CovarianceTable:
    """Errors of the predictions that match an object of their class within 2 m.

    They are matched as nuScenes does: by score, each with the nearest object that is still free.
    A range of a class with fewer than ``min_count`` matches is left out of the class's table; the
    entry ``*`` is that of all classes together.

    Args:
        predictions: nuScenes result dicts by sample token.
        infos: entries of an info file's ``data_list``.
        rules: which boxes count, see ``evaluation.rules.scoring_rules``.
        classes: names.
        label_names: label in the infos -> class name.
        min_score: predictions below it are left out: take the threshold that the vehicle uses.
        min_count: matches that a range needs.
        ranges: near and far ground distance of the *predicted* centre, metres.

    Raises:
        DataError: a box is not valid.
    """
    truth = filter_boxes(
        load_ground_truth(infos, classes=classes, label_names=label_names), infos, rules
    )
    found = filter_boxes(load_predictions(predictions, infos, rules), infos, rules)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    for info in infos:
        token = info["token"]
        for name in classes:
            mine = [b for b in found.boxes.get(token, ()) if b.detection_name == name]
            theirs = [b for b in truth.boxes.get(token, ()) if b.detection_name == name]
            confident = [b for b in mine if b.detection_score >= min_score]
            global_T_ego = np.asarray(info["ego2global"], dtype=np.float64)
            errors[name] += [
                _error(box, match, global_T_ego, name in SYMMETRIC)
                for box, match in _matches(confident, theirs)
            ]
    table = {name: _rows(rows, ranges, min_count) for name, rows in errors.items()}
    together = [row for rows in errors.values() for row in rows]
    table = {name: rows for name, rows in table.items() if rows}
    return CovarianceTable({**table, ALL_CLASSES: _rows(together, ranges, min_count)})


def _matches(found: Sequence[Any], truth: Sequence[Any]) -> list[tuple[Any, Any]]:
    free = list(truth)
    pairs = []
    for box in sorted(found, key=lambda box: -box.detection_score):
        if not free:
            break
        away = np.linalg.norm(
            np.array([other.translation[:2] for other in free]) - box.translation[:2], axis=1
        )
        nearest = int(away.argmin())
        if away[nearest] < MATCH_DISTANCE:
            pairs.append((box, free.pop(nearest)))
    return pairs


def _error(box: Any, truth: Any, global_T_ego: np.ndarray, symmetric: bool) -> np.ndarray:
    """Distance, and the errors along, across, in height, in yaw: ``[5]``."""
    ego_R_global = global_T_ego[:3, :3].T
    centre = ego_R_global @ (np.array(box.translation) - global_T_ego[:3, 3])
    off = ego_R_global @ (np.array(box.translation) - np.array(truth.translation))
    distance = float(np.hypot(centre[0], centre[1]))
    ahead = centre[:2] / distance if distance else np.array([1.0, 0.0])
    yaws = [_yaw(ego_R_global @ rotation_of_quaternion(b.rotation)) for b in (box, truth)]
    period = np.pi if symmetric else 2 * np.pi
    turn = (yaws[0] - yaws[1] + period / 2) % period - period / 2
    return np.array(
        [distance, off[:2] @ ahead, off[1] * ahead[0] - off[0] * ahead[1], off[2], turn]
    )


def _yaw(rotation: np.ndarray) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def _rows(
    errors: Sequence[np.ndarray], ranges: Sequence[tuple[float, float]], min_count: int
) -> list[PositionErrors]:
    table = np.array(errors).reshape(-1, 5)
    rows = []
    for near, far in ranges:
        inside = table[(near <= table[:, 0]) & (table[:, 0] < far), 1:]
        if len(inside) >= max(1, min_count):
            along, across, height, yaw = np.sqrt((inside**2).mean(axis=0)).tolist()
            rows.append(PositionErrors(near, far, len(inside), along, across, height, yaw))
    return rows
