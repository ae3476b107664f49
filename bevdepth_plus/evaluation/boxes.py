"""Boxes as the devkit's scoring functions take them: ground truth of infos, and predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nuscenes.eval.common.data_classes import EvalBoxes

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.ground_truth import is_hit, num_points, velocity_of
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.nuscenes_format import global_quaternions, rotation_of_quaternion
from bevdepth_plus.evaluation.rules import ScoringRules

_LENGTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}


@dataclass(frozen=True)
class ScoredBox:
    """What the devkit reads of its ``DetectionBox``, whose class names it would limit to ten.

    Attributes:
        translation: gravity centre, global frame, metres.
        size: width, length, height, metres.
        rotation: quaternion (w, x, y, z).
        velocity: on the ground plane, global frame, m/s; NaN where the truth is unknown.
        ego_translation: the centre relative to the ego vehicle, global axes, metres.
        num_pts: LiDAR and radar points of ground truth; -1 is unknown, only 0 drops a box.
    """

    sample_token: str
    translation: tuple[float, ...]
    size: tuple[float, ...]
    rotation: tuple[float, ...]
    velocity: tuple[float, ...]
    ego_translation: tuple[float, ...]
    detection_name: str
    attribute_name: str
    num_pts: int = -1
    detection_score: float = -1.0

    @property
    def ego_dist(self) -> float:
        """Ground distance from the ego vehicle, metres."""
        return math.hypot(*self.ego_translation[:2])


def load_ground_truth(
    infos: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    label_names: Mapping[int, str] | None = None,
    min_lidar_points: int | None = None,
) -> EvalBoxes:
    """Ground truth boxes of infos in the global frame, every sample listed, nothing filtered yet.

    Plain v1.1 infos, without ``global_box`` and ``attribute``, get the box from the LiDAR frame
    and no attribute.

    Args:
        infos: entries of an info file's ``data_list``.
        classes: names of the classes to score; objects of others are left out.
        label_names: label in the infos -> class name (default: the position in ``classes``);
            labels below 0 are of ignored objects.
        min_lidar_points: drops boxes with fewer LiDAR points; an unknown number is enough.

    Raises:
        DataError: two samples have one token, one has no ``instances``, a label has no name, or a
            box cannot be scored.
    """
    _require_own_tokens(infos)
    names = dict(enumerate(classes)) if label_names is None else label_names
    truth = EvalBoxes()
    for info in infos:
        boxes = []
        for index, instance in enumerate(_instances(info)):
            where = f"sample {info['token']}: instances[{index}]"
            name = _class_name(instance["bbox_label_3d"], names, where)
            lidar_alone = num_points({**instance, "num_radar_pts": None}, where)
            hit = min_lidar_points is None or is_hit(lidar_alone, min_lidar_points)
            if name in classes and hit:
                boxes.append(_ground_truth_box(info, instance, name, where))
        truth.add_boxes(info["token"], boxes)
    return truth


def load_predictions(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    infos: Sequence[Mapping[str, Any]],
    rules: ScoringRules,
) -> EvalBoxes:
    """Result dicts as boxes, in their own order of samples: it decides between equal scores.

    Raises:
        DataError: a sample has too many boxes, or a result dict is not valid.
    """
    info_of = {info["token"]: info for info in infos}
    found = EvalBoxes()
    for token, results in predictions.items():
        if len(results) > rules.max_boxes_per_sample:
            raise DataError(
                f"sample {token}: {len(results)} boxes predicted, "
                f"at most {rules.max_boxes_per_sample} are allowed"
            )
        boxes = [_prediction_box(info_of[token], result, rules) for result in results]
        found.add_boxes(token, boxes)
    return found


def filter_boxes(
    boxes: EvalBoxes, infos: Sequence[Mapping[str, Any]], rules: ScoringRules
) -> EvalBoxes:
    """Drop what the devkit does not score.

    These are boxes beyond their class's range, ground truth without any point, and cycles
    standing in a bicycle rack (which nobody annotated one by one).
    """
    racks_of = {i["token"]: [_Rack(rack) for rack in i.get("bike_racks", ())] for i in infos}
    kept = EvalBoxes()
    for token, sample_boxes in boxes.boxes.items():
        racks = racks_of[token]
        kept.add_boxes(
            token,
            [
                box
                for box in sample_boxes
                if box.ego_dist < rules.class_range[box.detection_name]
                and box.num_pts != 0
                and not _stands_in_rack(box, racks)
            ],
        )
    return kept


def _class_name(label: int, names: Mapping[int, str], where: str) -> str | None:
    """The class of a label; None for ignored objects."""
    if label < 0:
        return None
    if label not in names:
        raise DataError(
            f"{where}.bbox_label_3d is {label}, which metainfo.categories does not name; add it "
            "there, or set the label to -1 to ignore the object"
        )
    return names[label]


def _ground_truth_box(
    info: Mapping[str, Any], instance: Mapping[str, Any], name: str, where: str
) -> ScoredBox:
    box = instance.get("global_box")
    numbers = _global_box(info, instance, where) if box is None else _with_velocity(box, where)
    numbers = {field: _numbers(numbers.get(field), field, where) for field in _LENGTHS}
    for field in ("translation", "size", "rotation"):
        if not np.isfinite(numbers[field]).all():
            raise DataError(f"{where}: {field} {numbers[field]} is not finite; repair it")
    if min(numbers["size"]) <= 0:
        raise DataError(
            f"{where} ({name}): size must be above 0 m, got {numbers['size']} (width, length, "
            "height); repair the box, or set its label to -1 to ignore it"
        )
    return ScoredBox(
        sample_token=info["token"],
        **numbers,
        ego_translation=_from_ego(info, numbers["translation"]),
        num_pts=num_points(instance, where),
        detection_name=name,
        attribute_name=instance.get("attribute") or "",
    )


def _with_velocity(box: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {**box, "velocity": velocity_of({"bbox_3d": (), **box}, f"{where}.global_box")}


def _global_box(info: Mapping[str, Any], instance: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The global box of an instance from its LiDAR-frame box (gravity centre) and the poses."""
    global_T_ego = np.asarray(info["ego2global"], dtype=np.float64)
    global_T_lidar = global_T_ego @ np.asarray(info["lidar_points"]["lidar2ego"], dtype=np.float64)
    x, y, z, length, width, height, yaw = instance["bbox_3d"][:7]
    rotation = global_T_lidar[:3, :3]
    return {
        "translation": rotation @ (x, y, z) + global_T_lidar[:3, 3],
        "size": (width, length, height),
        "rotation": global_quaternions(np.array([yaw]), rotation)[0],
        "velocity": rotation[:2, :2] @ velocity_of(instance, where),
    }


def _prediction_box(
    info: Mapping[str, Any], result: Mapping[str, Any], rules: ScoringRules
) -> ScoredBox:
    where = f"sample {info['token']}: a result dict"
    missing = {*_LENGTHS, "detection_name", "detection_score", "attribute_name"} - set(result)
    if missing:
        raise DataError(f"{where} lacks {', '.join(sorted(missing))}")
    numbers = {field: _numbers(result[field], field, where) for field in _LENGTHS}
    everything = [*sum(numbers.values(), ()), result["detection_score"]]
    if not np.isfinite(everything).all():
        raise DataError(f"{where} has a number that is not finite: {dict(result)!r}")
    if min(numbers["size"]) <= 0:
        raise DataError(f"{where} has a size of 0 m or less: {numbers['size']}")
    if result["detection_name"] not in rules.class_range:
        raise DataError(
            f"{where} names the class {result['detection_name']!r}; scored are "
            f"{', '.join(rules.class_range)}"
        )
    return ScoredBox(
        sample_token=info["token"],
        **numbers,
        ego_translation=_from_ego(info, numbers["translation"]),
        detection_name=result["detection_name"],
        detection_score=float(result["detection_score"]),
        attribute_name=result["attribute_name"],
    )


def _numbers(value: Any, field: str, where: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != _LENGTHS[field]:
        raise DataError(f"{where}: {field} must be {_LENGTHS[field]} numbers, got {value!r}")
    return numbers


def _from_ego(info: Mapping[str, Any], translation: Sequence[float]) -> tuple[float, ...]:
    ego = np.asarray(info["ego2global"], dtype=np.float64)[:3, 3]
    return tuple(float(number) for number in np.asarray(translation) - ego)


def _instances(info: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if info.get("instances") is None:
        raise DataError(
            f"sample {info['token']} has no `instances`; an empty list says that it has no "
            "objects, samples that nobody annotated must be taken out"
        )
    return info["instances"]


def _require_own_tokens(infos: Sequence[Mapping[str, Any]]) -> None:
    scene_of: dict[str, Any] = {}
    for info in infos:
        token, scene = info["token"], info.get("scene_token")
        if token in scene_of:
            raise DataError(
                f"two samples have the token {token!r} (scenes {scene_of[token]} and {scene}); "
                "tokens must be unique in a file: put the scene's name before them"
            )
        scene_of[token] = scene


class _Rack:
    """An annotated bicycle rack, an oriented box in the global frame."""

    def __init__(self, rack: Mapping[str, Any]) -> None:
        width, length, height = rack["size"]
        self.half_size = np.array([length, width, height]) / 2
        self.centre = np.asarray(rack["translation"], dtype=np.float64)
        self.rotation = rotation_of_quaternion(rack["rotation"])

    def contains(self, point: Sequence[float]) -> bool:
        local = self.rotation.T @ (np.asarray(point) - self.centre)
        return bool((np.abs(local) <= self.half_size).all())


def _stands_in_rack(box: ScoredBox, racks: Sequence[_Rack]) -> bool:
    if box.detection_name not in ("bicycle", "motorcycle"):
        return False
    return any(rack.contains(box.translation) for rack in racks)
