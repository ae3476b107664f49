"""How the objects of an info file are read, once for training, scoring and pictures.

No mm* import here: these are plain functions of the file's dicts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral

import numpy as np

from bevdepth_plus.errors import DataError

IGNORED = -1  # the label of objects that are neither trained on nor scored
UNKNOWN_POINTS = -1


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
            f"{where} must be a dict {{class name: label}}, got {_short(categories)}; write one "
            "entry for each class"
        )
    names: dict[int, str] = {}
    for name, label in categories.items():
        if not isinstance(name, str) or not isinstance(label, Integral) or isinstance(label, bool):
            raise DataError(
                f"{where}: expected a class name with a whole number as label, got {_short(name)}: "
                f"{_short(label)}; correct this entry"
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


def num_points(instance: Mapping) -> int:
    """LiDAR and radar points in one object, or ``UNKNOWN_POINTS`` (-1).

    A count that is absent or negative says nothing. An object is unknown where its LiDAR count
    says nothing and no radar point is known either. Training and scoring keep unknown objects.
    """
    lidar, radar = (instance.get(key, UNKNOWN_POINTS) for key in ("num_lidar_pts", "num_radar_pts"))
    if lidar < 0 and radar <= 0:
        return UNKNOWN_POINTS
    return int(max(lidar, 0) + max(radar, 0))


def is_hit(points: int | np.ndarray, minimum: int = 1) -> bool | np.ndarray:
    """Whether an object has enough points, or an unknown number of them; see ``num_points``."""
    return (points < 0) | (points >= minimum)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
