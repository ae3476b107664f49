"""Reading info files: mmdet3d's v1.1 layout, with or without this project's extra keys.

No mm* import here, so that scoring and drawing can read an info file without the training stack.
"""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.errors import DataError

INFO_VERSION = "1.1"
REMAKE = "make it with tools/create_data.py"
# What every sample must have; the rest (prev, scene_token, per-camera ego poses, ...) is optional.
REQUIRED_KEYS = ("token", "timestamp", "ego2global", "lidar_points", "images")


def read_info_file(path: str | Path) -> dict:
    """Reads an info file and checks that it is one this project understands.

    Args:
        path: Pickle ``{metainfo, data_list}`` in mmdet3d's v1.1 layout.

    Returns:
        The pickle's dict. ``data_list`` holds at least one sample, each with ``REQUIRED_KEYS``.

    Raises:
        DataError: If the file is missing, is no pickle, is of another version, its categories do
            not name each label once, it holds no sample or a sample lacks a key.
    """
    content = _unpickle(Path(path))
    if not isinstance(content, dict) or not {"metainfo", "data_list"} <= set(content):
        raise DataError(
            f"{path} is not an info file of version {INFO_VERSION}: expected a dict with metainfo "
            f"and data_list, got {_describe(content)} (mmdet3d before 1.1?); {REMAKE}"
        )
    version = content["metainfo"].get("info_version")
    if version != INFO_VERSION:
        raise DataError(
            f"{path}: metainfo.info_version is {version!r}, expected {INFO_VERSION!r}; {REMAKE}"
        )
    names_by_label(content["metainfo"].get("categories"), f"{path}: metainfo.categories")
    if not content["data_list"]:
        raise DataError(f"{path} holds no samples (an empty split); {REMAKE} or use another split")
    for index, info in enumerate(content["data_list"]):
        missing = [key for key in REQUIRED_KEYS if key not in info]
        if missing:
            raise DataError(f"{path}: data_list[{index}] lacks {', '.join(missing)}; {REMAKE}")
    return content


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switches Python's garbage collector off for a while.

    An info file is millions of objects without cycles, and each new one makes the collector scan
    the earlier ones again: 14,000 samples take 6 to 9 s to read with it and 1 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _unpickle(path: Path) -> object:
    try:
        with path.open("rb") as file, collector_paused():
            return pickle.load(file)
    except FileNotFoundError:
        raise DataError(f"info file {path} does not exist; {REMAKE}") from None
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"info file {path} cannot be unpickled ({reason}); {REMAKE}") from None


def _describe(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"
