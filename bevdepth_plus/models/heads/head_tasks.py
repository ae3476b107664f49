"""CenterHead's tasks from a list of class names: which classes share one, and how near two may be.

Classes of one task share a branch of the head and circle NMS: of two boxes whose centres are nearer
than the task's radius the weaker one is dropped. So classes of one radius share a task, which gives
the public BEVDepth's six tasks for the ten classes of nuScenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from bevdepth_plus.errors import DataError

# Squared metres, of the public BEVDepth.
SQUARED_RADII = {
    "car": 4.0,
    "truck": 12.0,
    "construction_vehicle": 12.0,
    "bus": 10.0,
    "trailer": 10.0,
    "barrier": 1.0,
    "motorcycle": 0.85,
    "bicycle": 0.85,
    "pedestrian": 0.175,
    "traffic_cone": 0.175,
}
# Class names of KITTI, Waymo, Lyft and Argoverse 2, in lower case -> a class of about that size.
SIMILAR = {
    **dict.fromkeys(("van", "vehicle", "regular_vehicle", "misc", "other_vehicle"), "car"),
    **dict.fromkeys(("tram", "train", "articulated_bus", "railed_vehicle"), "truck"),
    **dict.fromkeys(("emergency_vehicle", "large_vehicle", "box_truck", "truck_cab"), "truck"),
    **dict.fromkeys(("school_bus", "vehicular_trailer", "message_board_trailer"), "bus"),
    **dict.fromkeys(("cyclist", "bicyclist", "motorcyclist", "wheeled_rider"), "bicycle"),
    **dict.fromkeys(("wheeled_device", "wheelchair", "animal", "dog"), "bicycle"),
    **dict.fromkeys(("person", "person_sitting", "person_sit", "stroller"), "pedestrian"),
    **dict.fromkeys(("sign", "stop_sign", "bollard", "cone"), "traffic_cone"),
    **dict.fromkeys(("construction_cone", "construction_barrel"), "traffic_cone"),
    "mobile_pedestrian_crossing_sign": "traffic_cone",
}


def head_tasks(
    classes: Sequence[str], nms_radius: Mapping[str, float] | None = None
) -> tuple[list[dict], list[float]]:
    """Tasks for any class names.

    Args:
        classes: names of the classes, in the order of the data set's labels.
        nms_radius: metres by class name: how near the centres of two objects may be. About half
            the usual length; needed for names that ``SQUARED_RADII`` and ``SIMILAR`` lack.

    Returns:
        ``tasks`` and ``test_cfg.min_radius`` (squared metres, one a task) of CenterHead.

    Raises:
        DataError: a class has no radius, or ``nms_radius`` names none of the classes.
    """
    own = dict(nms_radius or {})
    for name, metres in own.items():
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(classes)}"
            raise DataError(f"nms_radius names {name!r}, which the data set does not have; {hint}")
        if not metres > 0:
            raise DataError(f"nms_radius of {name!r} must be above 0 m, got {metres}")
    by_radius: dict[float, list[str]] = {}
    for name in classes:
        radius = own[name] ** 2 if name in own else _squared_radius(name)
        by_radius.setdefault(radius, []).append(name)
    return [dict(class_names=names) for names in by_radius.values()], list(by_radius)


def check_tasks(tasks: Sequence[Mapping], classes: Sequence[str]) -> None:
    """Refuse tasks that do not name every class of the data set exactly once.

    Raises:
        DataError: a class is in no task or in two, or a task names one the data set lacks.
    """
    named = [name for task in tasks for name in task["class_names"]]
    remedy = "set model.heads.boxes.tasks=None to have them made from the classes"
    unknown = [name for name in named if name not in classes]
    if unknown:
        raise DataError(
            f"model.heads.boxes.tasks name class {unknown[0]!r}, which the data set does not have "
            f"({', '.join(classes)}); {remedy}"
        )
    absent = [name for name in classes if name not in named]
    if absent:
        raise DataError(
            f"class {absent[0]!r} is in none of model.heads.boxes.tasks and would never be found; "
            f"{remedy}"
        )
    doubled = [name for name in classes if named.count(name) > 1]
    if doubled:
        raise DataError(f"class {doubled[0]!r} is in two of model.heads.boxes.tasks; {remedy}")


def _squared_radius(name: str) -> float:
    known = name.lower().replace(" ", "_").replace("-", "_")
    known = SIMILAR.get(known, known)
    if known not in SQUARED_RADII:
        raise DataError(
            f"no NMS radius is known for class {name!r}; give model.heads.boxes.nms_radius="
            f"dict({name}=2.0): how near the centres of two such objects may be, metres, half "
            "their length"
        )
    return SQUARED_RADII[known]
