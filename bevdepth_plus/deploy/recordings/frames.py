"""One moment that is recorded, checked before any of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bevdepth_plus.deploy.ego_motion import checked_pose
from bevdepth_plus.deploy.recordings.pictures import ImageSource, Picture, picture_of
from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera

LATEST = 2**31  # seconds; ROS times end there


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """What a recorder writes.

    Attributes:
        result: of the detector.
        nanoseconds: its time.
        cameras: those whose image is recorded, with the image's size.
        pictures: their images.
        points: ``[P, 3 or 4]`` float32, ego frame, metres; the fourth column is the intensity.
    """

    result: Result
    nanoseconds: int
    cameras: tuple[RigCamera, ...] = ()
    pictures: tuple[Picture, ...] = ()
    points: np.ndarray | None = None


def checked_frame(
    result: Result,
    images: Mapping[str, ImageSource],
    points: np.ndarray | None,
    rig: Rig,
    classes: tuple[str, ...],
    with_pictures: bool = True,
) -> RecordedFrame:
    """A frame that can be written.

    Images of cameras that the detector did not use are left out.

    Raises:
        DataError: the result has no time, other classes, or a number that is not finite; an image
            cannot be read; a camera is not in the rig; the points have another shape.
    """
    nanoseconds = _nanoseconds(result.stamp)
    where = f"the result at {result.stamp} s"
    if tuple(result.boxes.classes) != classes:
        raise DataError(
            f"{where} has the classes {', '.join(result.boxes.classes)}; the recording was opened "
            f"for {', '.join(classes)}"
        )
    _check_boxes(result.boxes, where)
    if result.world_T_ego is not None:
        checked_pose(result.world_T_ego, f"{where}: world_T_ego")
    cameras, pictures = [], []
    for name in result.cameras if with_pictures else ():
        camera = rig[name]
        if name in images:
            picture = picture_of(images[name], name)
            cameras.append(camera.resized(picture.width, picture.height))
            pictures.append(picture)
    return RecordedFrame(
        result, nanoseconds, tuple(cameras), tuple(pictures), _checked_points(points)
    )


def status_lines(frame: RecordedFrame) -> list[str]:
    """What a viewer of the recording should know: missing cameras, a forgotten past."""
    result = frame.result
    lines = [f"{camera}: {why}" for camera, why in sorted(result.missing.items())]
    return [*lines, f"the past was forgotten: {result.reset}"] if result.reset else lines


def _nanoseconds(stamp: float | None) -> int:
    if stamp is None:
        raise DataError(
            "the result has no time; recordings need one: dataclasses.replace(result, "
            "stamp=seconds)"
        )
    if not 0 <= stamp < LATEST:  # also not a number
        raise DataError(f"the result's time is {stamp}; it must be seconds from 0 to {LATEST}")
    return round(stamp * 1e9)


def _check_boxes(boxes: Boxes, where: str) -> None:
    for name in ("centres", "sizes", "yaws", "scores"):
        values = getattr(boxes, name)
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(boxes), -1).all(axis=1))[0])
            raise DataError(f"{where}: box {bad}: {name} is not finite: {values[bad]}")
    if (boxes.sizes <= 0).any():
        bad = int(np.flatnonzero((boxes.sizes <= 0).any(axis=1))[0])
        raise DataError(f"{where}: box {bad} has a size of 0 m or less: {boxes.sizes[bad]}")


def _checked_points(points: np.ndarray | None) -> np.ndarray | None:
    """Points of finite numbers, contiguous float32."""
    if points is None:
        return None
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise DataError(f"points must be [P, 3 or more] in the ego frame, got {points.shape}")
    points = np.ascontiguousarray(points[:, :4], dtype=np.float32)
    return points[np.isfinite(points).all(axis=1)]
