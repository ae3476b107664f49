"""The ROS 2 node: subscriptions, tf and publishers around :class:`Pipeline`."""

from __future__ import annotations

from functools import partial

import rclpy
import tf2_ros
from autoware_perception_msgs.msg import DetectedObject, DetectedObjects, ObjectClassification
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.deploy.recordings.autoware import LABEL_OF_CLASS, ObjectConverter
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.deploy.streaming import Stream, StreamLimits
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.position_errors import CovarianceTable
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus_ros.conversions import fill, pose_of, seconds
from bevdepth_plus_ros.diagnostics import statuses
from bevdepth_plus_ros.pipeline import Pipeline

OBJECT_TYPES = {"objects": DetectedObject, "classification": ObjectClassification}
STATUS_TYPES = {"status": DiagnosticStatus, "values": KeyValue}


class DetectorNode(Node):
    """Detects with a bevdepth_plus model; parameters and topics are in the README."""

    def __init__(self) -> None:
        super().__init__("bevdepth_plus")
        text, number = partial(self._parameter, kind=str), partial(self._parameter, kind=float)
        cameras = list(self._parameter("cameras", [""], kind=list))
        if not text("model", "") or not any(cameras):
            raise DataError("the parameters model and cameras must be set, see the README")
        inferencer = Inferencer(
            text("model", ""),
            text("checkpoint", "") or None,
            backend=text("backend", "auto"),
            pixels=text("pixels", "exact"),
        )
        limits = StreamLimits(window=number("frame_window", 0.08))
        self._frame, self._world = text("base_frame", "base_link"), text("world_frame", "")
        self._converter = ObjectConverter(
            labels={**LABEL_OF_CLASS, **self._labels()},
            covariance=self._covariance(text("position_errors", "")),
            frame=self._frame,
            min_score=number("min_score", 0.2),
        )
        self._converter.require_labels(tuple(inferencer.description.classes))

        def make_stream(rig: Rig) -> Stream:
            return Stream(inferencer, rig, limits)

        self.pipeline = Pipeline(make_stream, cameras, self._frame, text("camera_axes", "optical"))
        self._last: tuple[Result, float] | None = None
        self._tf = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._tf, self)
        self._objects = self.create_publisher(DetectedObjects, "~/output/objects", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._subscribe(cameras, compressed=bool(self._parameter("compressed", False, kind=bool)))
        self.create_timer(1.0, self._publish_diagnostics)

    def _subscribe(self, cameras: list[str], compressed: bool) -> None:
        quality = qos_profile_sensor_data
        kind, ending = (CompressedImage, "/compressed") if compressed else (Image, "")
        for index, camera in enumerate(cameras):
            topic = f"~/input/camera{index}"
            on_info, on_image = (partial(f, camera) for f in (self._on_info, self._on_image))
            self.create_subscription(CameraInfo, f"{topic}/camera_info", on_info, quality)
            self.create_subscription(kind, f"{topic}/image{ending}", on_image, quality)
        if self._world:
            return  # poses come from tf
        self.create_subscription(Odometry, "~/input/kinematic_state", self._on_odometry, quality)

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        pose = None
        try:
            found = self._tf.lookup_transform(
                self._frame, message.header.frame_id, rclpy.time.Time()
            )
            pose = pose_of(found.transform)
        except tf2_ros.TransformException as error:
            self.get_logger().debug(f"{camera}: {error}")
        if self.pipeline.on_camera_info(camera, message, pose):
            self.get_logger().info(f"{camera}: calibration taken")

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        if self._world:
            self._push_pose(message.header.stamp)
        self._publish(self.pipeline.on_image(camera, message))

    def _push_pose(self, stamp: Time) -> None:
        """The pose at an image's time; where tf does not have it yet, a later image's must do."""
        try:
            found = self._tf.lookup_transform(self._world, self._frame, stamp)
        except tf2_ros.TransformException as error:
            self.get_logger().debug(str(error))
            return
        self._publish(self.pipeline.on_pose(seconds(stamp), pose_of(found.transform)))

    def _on_odometry(self, message: Odometry) -> None:
        self._publish(self.pipeline.on_odometry(message))

    def _publish(self, results: list[Result]) -> None:
        for result in results:
            nanoseconds = self.pipeline.nanoseconds_of(result)
            content = self._converter.message(result.boxes, nanoseconds)
            self._objects.publish(fill(DetectedObjects(), content, OBJECT_TYPES))
            self._last = (result, self._now())

    def _publish_diagnostics(self) -> None:
        result, came = self._last or (None, 0.0)
        age = None if result is None else self._now() - came
        content = {
            "status": [s.content() for s in statuses(self.pipeline, result, age)],
        }
        message = fill(DiagnosticArray(), content, STATUS_TYPES)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _now(self) -> float:
        return seconds(self.get_clock().now().to_msg())

    def _parameter(self, name: str, default: object, kind: type) -> object:
        return kind(self.declare_parameter(name, default).value)

    def _labels(self) -> dict[str, str]:
        """``class:LABEL`` of own classes, or of those that shall have another label."""
        pairs = [text for text in self._parameter("labels", [""], kind=list) if text]
        return dict(pair.split(":", 1) for pair in pairs)

    def _covariance(self, path: str) -> CovarianceTable | None:
        return CovarianceTable.load(path) if path else None


def main() -> None:
    """Entry point of ``ros2 run bevdepth_plus_ros detector``."""
    rclpy.init()
    try:
        node = DetectorNode()
    except DataError as error:
        rclpy.logging.get_logger("bevdepth_plus").fatal(str(error))
        raise SystemExit(2) from None
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
