"""Between ROS messages and bevdepth_plus, by the names of their fields: no ROS is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import pose_matrix, rotation_from_quaternion
from bevdepth_plus.rigs.rig import RigCamera
from bevdepth_plus.rigs.ros_calibration import camera_info_of, mounted_camera

# encoding of sensor_msgs/Image -> channels, and which of them are red, green, blue
ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),  # OpenCV's order
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
AXES = ("optical", "body")


def seconds(time: Any) -> float:
    """Seconds of a builtin_interfaces/Time."""
    return time.sec + time.nanosec * 1e-9


def pixels_of(message: Any, camera: str) -> np.ndarray:
    """RGB, uint8 ``[H, W, 3]``, of a sensor_msgs/Image.

    Raises:
        DataError: the encoding is not known, or the data are shorter than the size says.
    """
    if message.encoding not in ENCODINGS:
        raise DataError(
            f"camera {camera}: images come as {message.encoding!r}, which is not read; send one "
            f"of {', '.join(ENCODINGS)}, or the compressed topic"
        )
    channels, order = ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if step < width * channels or len(data) < step * height:
        raise DataError(
            f"camera {camera}: an image of {width} x {height} {message.encoding} has "
            f"{len(data)} bytes and a step of {step}; its driver sends half an image"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    return np.ascontiguousarray(rows.reshape(height, width, channels)[:, :, list(order)])


def encoded_image_of(message: Any) -> bytes:
    """The image file in a sensor_msgs/CompressedImage."""
    return bytes(message.data)


def pose_of(transform: Any) -> np.ndarray:
    """``[4, 4]`` of a geometry_msgs/Transform: parent_T_child."""
    return _pose(transform.translation, transform.rotation)


def odometry_pose(message: Any) -> np.ndarray:
    """``[4, 4]`` of a nav_msgs/Odometry: header.frame_id -> child_frame_id."""
    return _pose(message.pose.pose.position, message.pose.pose.orientation)


def camera_of(
    name: str,
    info: Any,
    ego_T_frame: np.ndarray,  # [4, 4], of the frame in the message's header
    axes: str = "optical",
) -> RigCamera:
    """A camera of a sensor_msgs/CameraInfo and the pose of its frame.

    Args:
        name: of the camera.
        info: the message.
        ego_T_frame: from tf.
        axes: of that frame. ``optical``: x right, y down, z forward (REP 103). ``body``: x
            forward, y left, z up.

    Raises:
        DataError: a field is wrong; the message names the camera and the field.
    """
    if axes not in AXES:
        raise DataError(f"camera axes must be one of {', '.join(AXES)}, got {axes!r}")
    entry = {
        "width": int(info.width),
        "height": int(info.height),
        "distortion_model": str(info.distortion_model),
        "header": {"frame_id": str(info.header.frame_id)},
        **{key: [float(v) for v in getattr(info, key)] for key in ("k", "d", "r", "p")},
    }
    content = camera_info_of(entry, f"camera {name}")
    return mounted_camera(content, name, ego_T_frame, axes == "body", content.frame_id)


def same_camera(first: RigCamera, second: RigCamera) -> bool:
    """Whether two calibrations are the same, to the last bit."""
    return (
        (first.width, first.height, first.distortion, first.frame_id)
        == (second.width, second.height, second.distortion, second.frame_id)
        and _same(first.intrinsics, second.intrinsics)
        and _same(first.ego_T_cam, second.ego_T_cam)
        and _same(first.rectified_intrinsics, second.rectified_intrinsics)
        and _same(first.rectification, second.rectification)
    )


def fill(message: Any, content: Mapping[str, Any], types: Mapping[str, Callable[[], Any]]) -> Any:
    """Sets a message's fields from nested dicts and lists, and hands it back.

    Args:
        message: with all fields, as ROS makes it.
        content: field -> number, text, dict, or list of them.
        types: name of a field that is a list of messages -> what makes one of them.
    """
    for name, value in content.items():
        if isinstance(value, Mapping):
            fill(getattr(message, name), value, types)
        elif name in types:
            setattr(message, name, [fill(types[name](), item, types) for item in value])
        else:
            setattr(message, name, value)
    return message


def _pose(position: Any, orientation: Any) -> np.ndarray:
    quaternion = (orientation.w, orientation.x, orientation.y, orientation.z)
    if not any(quaternion):
        raise DataError("a pose has the quaternion 0 0 0 0: nobody has filled it in")
    rotation = rotation_from_quaternion(*quaternion)
    return pose_matrix(rotation, (position.x, position.y, position.z))


def _same(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return bool(np.array_equal(first, second))
