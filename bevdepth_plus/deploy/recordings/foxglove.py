"""Results as Foxglove MCAP, which Foxglove and Lichtblick open.

Topics (schemas of package ``foxglove``, protobuf), with one time for all of a frame:

    /CAMERA/image         CompressedImage, as it came
    /CAMERA/calibration   CameraCalibration
    /CAMERA/annotations   ImageAnnotations: the boxes in this image
    /CAMERA/depth         RawImage 32FC1, metres on the network's feature cells
    /boxes                SceneUpdate: boxes, headings, velocities and labels
    /points               PointCloud of the LiDAR
    /tf                   FrameTransforms: world -> ego -> cameras
    /status               Log: missing cameras, and why the past was forgotten
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.deploy.recordings.frames import RecordedFrame, status_lines
from bevdepth_plus.deploy.recordings.outlines import class_colours, outlines_in_image
from bevdepth_plus.deploy.recordings.recorder import FileRecorder
from bevdepth_plus.deploy.results import Box
from bevdepth_plus.rigs.poses import quaternion_of
from bevdepth_plus.rigs.rig import RigCamera

EXTRA = "foxglove"
_MODELS = {
    "plumb_bob": "plumb_bob",
    "rational": "rational_polynomial",
    "fisheye": "kannala_brandt",
}
_FILL = 0.35  # opacity of boxes
_ARROW_SECONDS = 1.0  # an arrow ends where the object will be after this time
_SLOWEST_ARROW = 0.2  # m/s


class FoxgloveRecorder(FileRecorder):
    """Writes Foxglove MCAP.

    Args:
        ego_frame: name of the ego frame.
        world_frame: name of the frame of the ego poses. Results without a pose have no world.
    """

    SUFFIX = ".mcap"

    def __init__(self, ego_frame: str = "base_link", world_frame: str = "map") -> None:
        super().__init__()
        self._ego, self._world = ego_frame, world_frame

    def _begin(self, file: IO[bytes]) -> None:
        self._foxglove = require_package("foxglove", EXTRA, least="Context")
        self._messages = require_package("foxglove.messages", EXTRA)
        self._channel_types = require_package("foxglove.channels", EXTRA)
        self._file = _Checked(file)
        self._context = self._foxglove.Context()  # its own: other recordings get nothing of this
        self._channels: dict[str, Any] = {}
        with self._file.errors():
            self._writer = self._foxglove.open_mcap(self._file, context=self._context)
            self._writer.write_metadata("bevdepth_plus", {"classes": ",".join(self.classes)})

    def _write(self, frame: RecordedFrame) -> None:
        messages = list(self._all_messages(frame))  # all are made before one is written
        with self._file.errors():
            for topic, message in messages:
                self._channel(topic, message).log(message, log_time=frame.nanoseconds)

    def _end(self) -> None:
        with self._file.errors():
            self._writer.close()
            for channel in self._channels.values():
                channel.close()

    def _channel(self, topic: str, message: Any) -> Any:
        if topic not in self._channels:
            kind = getattr(self._channel_types, f"{type(message).__name__}Channel")
            self._channels[topic] = kind(topic, context=self._context)
        return self._channels[topic]

    def _all_messages(self, frame: RecordedFrame) -> Iterator[tuple[str, Any]]:
        make, result = self._messages, frame.result
        time = make.Timestamp(*divmod(frame.nanoseconds, 10**9))
        yield "/tf", make.FrameTransforms(transforms=self._transforms(frame, time))
        for camera, picture in zip(frame.cameras, frame.pictures, strict=True):
            yield (
                f"/{camera.name}/image",
                make.CompressedImage(
                    timestamp=time,
                    frame_id=_frame_of(camera),
                    data=picture.data,
                    format=picture.format,
                ),
            )
            yield f"/{camera.name}/calibration", self._calibration(camera, time)
            yield f"/{camera.name}/annotations", self._annotations(frame, camera, time)
        for name, depth in result.depth.items():
            yield f"/{name}/depth", self._depth(_frame_of(self.rig[name]), depth, time)
        yield "/boxes", self._boxes(frame, time)
        if frame.points is not None:
            yield "/points", self._points(frame.points, time)
        for text in status_lines(frame):
            yield (
                "/status",
                make.Log(
                    timestamp=time, level=make.LogLevel.Warning, name="bevdepth_plus", message=text
                ),
            )

    def _transforms(self, frame: RecordedFrame, time: Any) -> list[Any]:
        poses = [(self._ego, _frame_of(camera), camera.ego_T_cam) for camera in self.rig.cameras]
        if frame.result.world_T_ego is not None:
            poses.insert(0, (self._world, self._ego, frame.result.world_T_ego))
        return [
            self._messages.FrameTransform(
                timestamp=time,
                parent_frame_id=parent,
                child_frame_id=child,
                translation=self._vector(pose[:3, 3]),
                rotation=self._quaternion(pose[:3, :3]),
            )
            for parent, child, pose in poses
        ]

    def _calibration(self, camera: RigCamera, time: Any) -> Any:
        lens, pinhole = camera.distortion, camera.rectified_intrinsics
        projection = np.hstack(
            [camera.intrinsics if pinhole is None else pinhole, np.zeros((3, 1))]
        )
        turned = np.eye(3) if camera.rectification is None else camera.rectification
        return self._messages.CameraCalibration(
            timestamp=time,
            frame_id=_frame_of(camera),
            width=camera.width,
            height=camera.height,
            distortion_model=_MODELS[lens.model] if lens else "",
            D=list(lens.coefficients) if lens else [],
            K=camera.intrinsics.ravel().tolist(),
            R=turned.ravel().tolist(),
            P=projection.ravel().tolist(),
        )

    def _annotations(self, frame: RecordedFrame, camera: RigCamera, time: Any) -> Any:
        make, boxes = self._messages, frame.result.boxes
        points, texts = [], []
        outlines = outlines_in_image(boxes, camera)
        for box, lines, colour in zip(boxes, outlines, self._colours(boxes.labels), strict=True):
            if not len(lines):
                continue
            ends = lines.reshape(-1, 2)
            points.append(
                make.PointsAnnotation(
                    timestamp=time,
                    type=make.PointsAnnotationType.LineList,
                    points=[make.Point2(x=u, y=v) for u, v in ends.tolist()],
                    outline_color=colour(1.0),
                    thickness=max(1.0, camera.width / 800),
                )
            )
            texts.append(
                make.TextAnnotation(
                    timestamp=time,
                    position=make.Point2(x=float(ends[:, 0].min()), y=float(ends[:, 1].min())),
                    text=f"{box.name} {box.score:.2f}",
                    font_size=camera.width / 80,
                    text_color=colour(1.0),
                    background_color=make.Color(r=0.0, g=0.0, b=0.0, a=0.5),
                )
            )
        return make.ImageAnnotations(timestamp=time, points=points, texts=texts)

    def _boxes(self, frame: RecordedFrame, time: Any) -> Any:
        make, boxes = self._messages, frame.result.boxes
        forget = make.SceneEntityDeletion(timestamp=time, type=make.SceneEntityDeletionType.All)
        entities = [
            make.SceneEntity(
                timestamp=time,
                frame_id=self._ego,
                id=str(index),
                metadata=[
                    make.KeyValuePair(key=key, value=value) for key, value in _described(box)
                ],
                cubes=[
                    make.CubePrimitive(
                        pose=self._pose(box.centre, box.yaw),
                        size=self._vector(box.size),
                        color=colour(_FILL),
                    )
                ],
                lines=[self._heading(box, colour(1.0))],
                arrows=self._velocity(box, colour(1.0)),
                texts=[self._label(box, colour(1.0))],
            )
            for index, (box, colour) in enumerate(
                zip(boxes, self._colours(boxes.labels), strict=True)
            )
        ]
        return make.SceneUpdate(deletions=[forget], entities=entities)

    def _heading(self, box: Box, colour: Any) -> Any:
        """From the centre to the middle of the front, at half height."""
        make = self._messages
        front = make.Point3(x=box.size[0] / 2, y=0.0, z=0.0)
        return make.LinePrimitive(
            type=make.LinePrimitiveLineType.LineStrip,
            pose=self._pose(box.centre, box.yaw),
            thickness=3.0,
            scale_invariant=True,
            points=[make.Point3(x=0.0, y=0.0, z=0.0), front],
            color=colour,
        )

    def _velocity(self, box: Box, colour: Any) -> list[Any]:
        speed = math.hypot(*box.velocity)
        if not speed > _SLOWEST_ARROW:  # also where there is no velocity
            return []
        arrow = self._messages.ArrowPrimitive(
            pose=self._pose(box.centre, math.atan2(box.velocity[1], box.velocity[0])),
            shaft_length=0.85 * speed * _ARROW_SECONDS,
            shaft_diameter=0.12,
            head_length=0.15 * speed * _ARROW_SECONDS,
            head_diameter=0.35,
            color=colour,
        )
        return [arrow]

    def _label(self, box: Box, colour: Any) -> Any:
        x, y, z = box.centre
        return self._messages.TextPrimitive(
            pose=self._pose((x, y, z + box.size[2] / 2 + 0.3), 0.0),
            billboard=True,
            font_size=12.0,
            scale_invariant=True,
            color=colour,
            text=f"{box.name} {box.score:.2f}",
        )

    def _points(self, points: np.ndarray, time: Any) -> Any:
        make = self._messages
        names = ("x", "y", "z", "intensity")[: points.shape[1]]
        number = make.PackedElementFieldNumericType.Float32
        return make.PointCloud(
            timestamp=time,
            frame_id=self._ego,
            pose=self._pose((0.0, 0.0, 0.0), 0.0),
            point_stride=4 * len(names),
            fields=[
                make.PackedElementField(name=name, offset=4 * index, type=number)
                for index, name in enumerate(names)
            ],
            data=points.astype("<f4").tobytes(),
        )

    def _depth(self, frame_id: str, depth: np.ndarray, time: Any) -> Any:
        height, width = depth.shape
        return self._messages.RawImage(
            timestamp=time,
            frame_id=frame_id,
            width=width,
            height=height,
            encoding="32FC1",
            step=4 * width,
            data=np.ascontiguousarray(depth, dtype="<f4").tobytes(),
        )

    def _colours(self, labels: np.ndarray) -> list[Any]:
        """A function of the opacity for each label."""

        def colour_of(red: float, green: float, blue: float) -> Any:
            return lambda opacity: self._messages.Color(r=red, g=green, b=blue, a=opacity)

        return [colour_of(*row) for row in (class_colours(labels) / 255).tolist()]

    def _pose(self, position: Any, yaw: float) -> Any:
        half = yaw / 2
        turned = self._messages.Quaternion(x=0.0, y=0.0, z=math.sin(half), w=math.cos(half))
        return self._messages.Pose(position=self._vector(position), orientation=turned)

    def _vector(self, values: Any) -> Any:
        x, y, z = (float(value) for value in values)
        return self._messages.Vector3(x=x, y=y, z=z)

    def _quaternion(self, rotation: np.ndarray) -> Any:
        w, x, y, z = quaternion_of(rotation)
        return self._messages.Quaternion(x=x, y=y, z=z, w=w)


def _described(box: Box) -> list[tuple[str, str]]:
    described = [("class", box.name), ("score", f"{box.score:.3f}")]
    if not any(map(math.isnan, box.velocity)):
        described.append(("speed", f"{math.hypot(*box.velocity):.2f} m/s"))
    return described


def _frame_of(camera: RigCamera) -> str:
    return camera.frame_id or camera.name


class _Checked:
    """A file that keeps the first error of writing: the SDK only logs it, or hides its cause."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._error: OSError | None = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises what went wrong with the file, now or earlier."""
        try:
            yield
        except RuntimeError:
            if self._error is None:
                raise
        if self._error is not None:
            raise self._error

    def write(self, data: bytes) -> int:
        return self._call(self._file.write, data)

    def flush(self) -> None:
        self._call(self._file.flush)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self._file.seek, offset, whence)

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OSError as error:
            self._error = self._error or error
            raise
