"""What the node does with messages, without ROS: calibration, images and poses in, objects out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus_ros.conversions import (
    camera_of,
    encoded_image_of,
    odometry_pose,
    pixels_of,
    same_camera,
    seconds,
)

KEPT_STAMPS = 1000  # of images, to give a result the exact time of its newest one


class StreamLike(Protocol):
    """What is used of :class:`bevdepth_plus.deploy.streaming.Stream`."""

    states: dict[str, Any]

    def set_rig(self, rig: Rig) -> None: ...
    def push_image(self, camera: str, stamp: float, image: Any) -> list[Result]: ...
    def push_pose(self, stamp: float, world_T_ego: np.ndarray) -> list[Result]: ...
    def flush(self) -> list[Result]: ...


class Pipeline:
    """Feeds a stream with messages.

    The stream is made when the first camera's calibration is complete, and gets a new rig whenever
    a calibration changes. A camera without ``camera_info`` or tf does not stop the others: it is
    not in the rig, and its images are left out.

    Args:
        make_stream: from a rig.
        cameras: names, in the order of the rig.
        frame: of the boxes, the child frame that odometry must have.
        axes: of the cameras' frames, see ``conversions.camera_of``.
    """

    def __init__(
        self,
        make_stream: Callable[[Rig], StreamLike],
        cameras: Sequence[str],
        frame: str = "base_link",
        axes: str = "optical",
    ) -> None:
        self._make_stream, self.cameras = make_stream, tuple(cameras)
        self._frame, self._axes = frame, axes
        self._mounted: dict[str, RigCamera] = {}
        self._stamps: OrderedDict[float, Any] = OrderedDict()
        self.stream: StreamLike | None = None
        self.problems: dict[str, str] = {}  # camera, or "pose" -> what is wrong with its input

    @property
    def rig(self) -> Rig:
        """The cameras whose calibration is known."""
        return Rig(tuple(self._mounted[name] for name in self.cameras if name in self._mounted))

    def on_camera_info(self, camera: str, info: Any, ego_T_frame: np.ndarray | None) -> bool:
        """A sensor_msgs/CameraInfo, and the pose of its frame (None: tf does not know it yet).

        Returns:
            Whether the rig has changed.
        """
        if ego_T_frame is None:
            if camera not in self._mounted:
                self.problems[camera] = f"no tf from {info.header.frame_id} to {self._frame}"
            return False
        try:
            mounted = camera_of(camera, info, ego_T_frame, self._axes)
        except DataError as error:
            self.problems[camera] = str(error)
            return False
        self.problems.pop(camera, None)
        if camera in self._mounted and same_camera(self._mounted[camera], mounted):
            return False
        self._mounted[camera] = mounted
        if self.stream is None:
            self.stream = self._make_stream(self.rig)
        else:
            self.stream.set_rig(self.rig)
        return True

    def on_image(self, camera: str, message: Any) -> list[Result]:
        """A sensor_msgs/Image or CompressedImage."""
        if self.stream is None or camera not in self._mounted:
            self.problems.setdefault(camera, "images come, but no camera_info")
            return []
        stamp = seconds(message.header.stamp)
        self._stamps[stamp] = message.header.stamp
        if len(self._stamps) > KEPT_STAMPS:
            self._stamps.popitem(last=False)
        try:
            encoded = hasattr(message, "format")
            image = encoded_image_of(message) if encoded else pixels_of(message, camera)
            results = self.stream.push_image(camera, stamp, image)
        except DataError as error:
            self.problems[camera] = str(error)
            return []
        self.problems.pop(camera, None)
        return results

    def on_odometry(self, message: Any) -> list[Result]:
        """A nav_msgs/Odometry whose child frame is the boxes' frame."""
        if message.child_frame_id != self._frame:
            self.problems["pose"] = (
                f"odometry is that of {message.child_frame_id!r}, not of {self._frame!r}"
            )
            return []
        try:
            pose = odometry_pose(message)
        except DataError as error:
            self.problems["pose"] = str(error)
            return []
        return self.on_pose(seconds(message.header.stamp), pose)

    def on_pose(self, stamp: float, world_T_ego: np.ndarray) -> list[Result]:
        """A pose of the ego frame, for example from tf; seconds, ``[4, 4]``."""
        if self.stream is None:
            return []
        try:
            results = self.stream.push_pose(stamp, world_T_ego)
        except DataError as error:
            self.problems["pose"] = str(error)
            return []
        self.problems.pop("pose", None)
        return results

    def nanoseconds_of(self, result: Result) -> int:
        """The exact time of the result's newest image."""
        if result.stamp is None:
            raise ValueError("results of a stream have a time")
        exact = self._stamps.get(result.stamp)
        if exact is None:
            return round(result.stamp * 1e9)
        return exact.sec * 10**9 + exact.nanosec
