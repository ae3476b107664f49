"""How the objects of an info file are read, once for training, scoring and pictures.

No mm* import here: these are plain functions of the file's dicts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real

import numpy as np

from bevdepth_plus.datasets.fields import mapping, numbers, short
from bevdepth_plus.errors import DataError

IGNORED = -1  # the label of objects that are neither trained on nor scored
UNKNOWN_POINTS = -1
# Beyond these, a box is an error of units or of the frame.
MAX_SIZE = 200.0  # metres
MAX_DISTANCE = 1000.0  # metres from the LiDAR
MAX_YAW = 4 * np.pi  # radians


def names_by_label(
    categories: Mapping[str, int], where: str = "metainfo.categories"
) -> dict[int, str]:
    """Label in the info file -> class name. The only way from a file's label to a name.

    Labels may have gaps and start anywhere; those below zero name ignored categories and are left
    out. A label is never a position in a list of names.

    Args:
        categories: ``metainfo.categories`` of the file, class name -> label.
        where: what to call them in an error.

    Raises:
        DataError: a name is no string, a label is no whole number, or two classes share one.
    """
    if not isinstance(categories, Mapping) or not categories:
        raise DataError(
            f"{where} must be a dict {{class name: label}}, got {short(categories)}; write one "
            "entry for each class"
        )
    names: dict[int, str] = {}
    for name, label in categories.items():
        if not isinstance(name, str) or not isinstance(label, Integral) or isinstance(label, bool):
            raise DataError(
                f"{where}: expected a class name with a whole number as label, got {short(name)}: "
                f"{short(label)}; correct this entry"
            )
        if label < 0:
            continue
        if label in names:
            raise DataError(
                f"{where}: {names[label]!r} and {name!r} have the same label {label}; give each "
                "class its own, or -1 to ignore it"
            )
        names[int(label)] = name
    return names


def label_map(
    categories: Mapping[str, int],
    classes: Sequence[str],
    ignored: Collection[str] = (),
    where: str = "metainfo.categories",
) -> dict[int, int]:
    """Label in the info file -> label in the config (the position in ``classes``).

    Args:
        categories: ``metainfo.categories`` of the file, class name -> label.
        classes: The config's class names, in the order of the model's labels.
        ignored: Classes of the file that the config leaves out on purpose.
        where: what to call the file in an error.

    Returns:
        One entry for each label of the file and for -1; -1 stands for "ignored" on both sides.

    Raises:
        DataError: The config names a class twice or one that the file lacks, or the file has a
            class that the config neither knows nor ignores.
    """
    names = names_by_label(categories, where)
    known = set(names.values())
    doubled = sorted({name for name in classes if list(classes).count(name) > 1})
    if doubled:
        raise DataError(f"metainfo.classes of the config names {doubled[0]!r} twice; remove one")
    both = sorted(set(classes) & set(ignored))
    if both:
        raise DataError(
            f"class {both[0]!r} of the config is in metainfo.classes and in "
            "metainfo.ignored_classes; remove it from one"
        )
    for name in [*classes, *ignored]:
        if name not in known and not (name in ignored and name in categories):
            raise DataError(
                f"class {name!r} of the config (metainfo.classes or metainfo.ignored_classes) is "
                f"not in {where}, which has {', '.join(names.values()) or 'none'}; correct the "
                "name or make the info file anew"
            )
    for name in names.values():
        if name not in classes and name not in ignored:
            raise DataError(
                f"{where} has class {name!r}, which the config does not know; add it to "
                "metainfo.classes, or to metainfo.ignored_classes to leave its objects out"
            )
    positions = {name: label for label, name in enumerate(classes)}
    return {IGNORED: IGNORED} | {
        label: positions.get(name, IGNORED) for label, name in names.items()
    }


def num_points(instance: Mapping, where: str = "an object") -> int:
    """LiDAR and radar points in one object, or ``UNKNOWN_POINTS`` (-1).

    A count that is absent, None or negative says nothing. An object is unknown where its LiDAR
    count says nothing and no radar point is known either. Training and scoring keep unknown
    objects.

    Raises:
        DataError: A count is no whole number.
    """
    lidar = _count(instance, "num_lidar_pts", where)
    radar = _count(instance, "num_radar_pts", where)
    if lidar < 0 and radar <= 0:
        return UNKNOWN_POINTS
    return max(lidar, 0) + max(radar, 0)


def is_hit(points: int | np.ndarray, minimum: int = 1) -> bool | np.ndarray:
    """Whether an object has enough points, or an unknown number of them; see ``num_points``."""
    return (points < 0) | (points >= minimum)


def velocity_of(instance: Mapping, where: str = "an object") -> np.ndarray:
    """Velocity (vx, vy) in the file's box frame, m/s, ``[2]`` float64; NaN where it is unknown.

    It is ``velocity`` (two numbers, or three of which the last is vertical), or else the last two
    of nine numbers in ``bbox_3d``. Absent, None and NaN mean unknown.

    Raises:
        DataError: It has another number of numbers, or is infinite.
    """
    value = instance.get("velocity")
    if value is None:
        box = instance["bbox_3d"]
        value = box[7:9] if len(box) == 9 else (np.nan, np.nan)
    try:
        velocity = np.array([np.nan if part is None else part for part in value], dtype=np.float64)
    except (TypeError, ValueError):
        velocity = np.array([])
    if velocity.shape not in ((2,), (3,)) or np.isinf(velocity).any():
        raise DataError(
            f"{where}.velocity must be two or three numbers (m/s), NaN or None where unknown, got "
            f"{short(value)}; correct it and make the info file anew"
        )
    known = np.isfinite(velocity[:2]).all()
    return velocity[:2] if known else np.full(2, np.nan)


def read_objects(
    instances: Sequence[Mapping], labels_of_file: Mapping[int, int], where: str
) -> dict[str, np.ndarray]:
    """The objects of one sample as arrays.

    Args:
        instances: ``instances`` of the info file.
        labels_of_file: From ``label_map``.
        where: The sample, as an error names it.

    Returns:
        ``boxes`` [M, 9] float64: gravity centre x, y, z, length, width, height, yaw, vx, vy, where
        an unknown velocity is NaN; ``labels`` [M] of the config, -1 ignored; ``num_points`` [M].

    Raises:
        DataError: A box is not finite, has no size or lies absurdly far away, a label is not in
            the file's categories, or a field has a wrong type.
    """
    places = [f"{where}: instances[{index}]" for index in range(len(instances))]
    for instance, place in zip(instances, places, strict=True):
        mapping(instance, place, ("bbox_3d", "bbox_label_3d"))
    boxes = _boxes([instance["bbox_3d"] for instance in instances], places)
    labels = [
        _label(instance["bbox_label_3d"], labels_of_file, place)
        for instance, place in zip(instances, places, strict=True)
    ]
    _require_plausible(boxes, np.array(labels, dtype=np.int64), places)
    velocities = [velocity_of(i, place) for i, place in zip(instances, places, strict=True)]
    points = [num_points(i, place) for i, place in zip(instances, places, strict=True)]
    return {
        "boxes": np.concatenate([boxes, np.reshape(velocities, (-1, 2))], axis=1),
        "labels": np.array(labels, dtype=np.int64),
        "num_points": np.array(points, dtype=np.int64),
    }


def _count(instance: Mapping, key: str, where: str) -> int:
    value = instance.get(key)
    if value is None:
        return UNKNOWN_POINTS
    if not isinstance(value, Real) or isinstance(value, bool) or value != value // 1:
        raise DataError(
            f"{where}.{key} must be a whole number, -1 where unknown, got {short(value)}; correct "
            "it and make the info file anew"
        )
    return max(int(value), UNKNOWN_POINTS)


def _label(value: object, labels_of_file: Mapping[int, int], where: str) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise DataError(
            f"{where}.bbox_label_3d must be a whole number, got {short(value)}; make the info file "
            "anew"
        )
    if value < 0:
        return IGNORED
    if value not in labels_of_file:
        raise DataError(
            f"{where}: bbox_label_3d {value} is not in metainfo.categories; add its class there, "
            "or give the object the label -1 to ignore it"
        )
    return labels_of_file[value]


def _boxes(boxes: list, places: Sequence[str]) -> np.ndarray:
    """The first seven numbers of each box, [M, 7]."""
    if not boxes:
        return np.zeros((0, 7))
    try:
        array = np.array(boxes)
        regular = array.ndim == 2 and array.shape[1] in (7, 9) and array.dtype.kind in "iuf"
    except ValueError:  # not all of one length
        regular = False
    if not regular:
        array = np.array([_box(box, where) for box, where in zip(boxes, places, strict=True)])
    return array[:, :7].astype(np.float64)


def _box(box: object, where: str) -> np.ndarray:
    remedy = "correct it and make the info file anew"
    if not isinstance(box, Sequence | np.ndarray) or len(box) not in (7, 9):
        raise DataError(
            f"{where}.bbox_3d must be 7 numbers (x, y, z, l, w, h, yaw) or 9 (with vx, vy), got "
            f"{short(box)}; {remedy}"
        )
    return numbers(box[:7], f"{where}.bbox_3d", (7,), remedy)


def _require_plausible(boxes: np.ndarray, labels: np.ndarray, places: Sequence[str]) -> None:
    """Refuses boxes that no vehicle's sensors can have; of ignored objects, only non-numbers."""
    used = labels >= 0
    checks = (
        (np.isfinite(boxes).all(axis=1), "has a box that is not finite"),
        (~used | (boxes[:, 3:6] > 0).all(axis=1), "has a box without size (l, w, h must be > 0)"),
        (~used | (boxes[:, 3:6] <= MAX_SIZE).all(axis=1), f"has a box longer than {MAX_SIZE} m"),
        (
            ~used | (np.abs(boxes[:, :3]) <= MAX_DISTANCE).all(axis=1),
            f"has a box more than {MAX_DISTANCE} m away (bbox_3d belongs in the LiDAR's frame)",
        ),
        (~used | (np.abs(boxes[:, 6]) <= MAX_YAW), "has a yaw beyond two turns (not degrees)"),
    )
    for fine, complaint in checks:
        for index in np.flatnonzero(~fine):
            raise DataError(
                f"{places[index]} {complaint}: {np.round(boxes[index], 3).tolist()}; correct it, "
                "or give the object the label -1 to ignore it"
            )
