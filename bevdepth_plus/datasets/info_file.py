"""Reading info files: mmdet3d's v1.1 layout, with or without this project's extra keys.

``read_info_file`` is the one door: training, scoring, pictures and checks all get the same standard
layout from it. No mm* import here, so that scoring and drawing can read an info file without the
training stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.datasets.fields import short
from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.datasets.mmdet3d_formats import adapt
from bevdepth_plus.datasets.plain_pickle import collector_paused, read_pickle
from bevdepth_plus.datasets.standard_layout import standard_sample
from bevdepth_plus.errors import DataError

INFO_VERSION = "1.1"
REMAKE = "make it with tools/create_data.py"


def read_info_file(path: str | Path) -> dict:
    """Reads an info file, checks it and brings it to the standard layout.

    The standard layout is mmdet3d's v1.1 with these made sure of: ``token`` is a text and unique in
    the file; times are in seconds; ``cam2img`` is 3x3 and the baseline of a larger one is in
    ``lidar2cam`` and ``cam2ego``; boxes are in the LiDAR frame with their gravity centre;
    ``lidar_points.lidar2ego`` exists. Info files of KITTI, Waymo and Lyft made by mmdet3d are
    brought to it as well, see ``mmdet3d_formats``. Fields that need no change are returned as they
    are.

    Args:
        path: Pickle ``{metainfo, data_list}``.

    Returns:
        ``{metainfo, data_list}`` with at least one sample, each with ``token``, ``timestamp``,
        ``ego2global``, ``lidar_points`` and ``images``.

    Raises:
        DataError: The file is missing, is no pickle or names code, is of another version, its
            categories do not name each label once, it holds no sample, or a sample lacks a key or
            shares its token with another.
    """
    content = read_pickle(path, "info file", REMAKE)
    if not isinstance(content, dict) or not {"metainfo", "data_list"} <= set(content):
        raise DataError(
            f"{path} is not an info file of version {INFO_VERSION}: expected a dict with metainfo "
            f"and data_list, got {_describe(content)} (mmdet3d before 1.1?); {REMAKE}"
        )
    metainfo, samples = content["metainfo"], content["data_list"]
    if not isinstance(metainfo, Mapping):
        raise DataError(f"{path}: metainfo must be a dict, got {short(metainfo)}; {REMAKE}")
    if not isinstance(samples, list):
        raise DataError(f"{path}: data_list must be a list, got {short(samples)}; {REMAKE}")
    with collector_paused():
        metainfo, samples = adapt(metainfo, samples, str(path))
        version = metainfo.get("info_version")
        if version != INFO_VERSION:
            raise DataError(
                f"{path}: metainfo.info_version is {version!r}, expected {INFO_VERSION!r}; {REMAKE}"
            )
        names_by_label(metainfo.get("categories"), f"{path}: metainfo.categories")
        if not samples:
            raise DataError(
                f"{path} holds no samples (an empty split); {REMAKE} or use another split"
            )
        samples = [
            standard_sample(info, f"{path}: data_list[{index}]")
            for index, info in enumerate(samples)
        ]
    _require_unique_tokens(samples, path)
    return {**content, "metainfo": metainfo, "data_list": samples}


def _require_unique_tokens(samples: list[dict], path: str | Path) -> None:
    first: dict[str, int] = {}
    for index, info in enumerate(samples):
        earlier = first.setdefault(info["token"], index)
        if earlier != index:
            raise DataError(
                f"{path}: data_list[{earlier}] and data_list[{index}] have the same token "
                f"{info['token']!r}; a token must name one sample of the whole file: put the "
                "scene's name in front of it, in `prev` too"
            )


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"
