"""Results as a Rerun recording (.rrd).

Entities, on the timeline ``time``:

    world/ego                  pose of the ego frame, where the results have one
    world/ego/boxes            Boxes3D with class, score and colour
    world/ego/velocities       Arrows3D, one second long
    world/ego/points           Points3D of the LiDAR
    world/ego/CAMERA           pose of the camera and its Pinhole (without lens distortion)
    world/ego/CAMERA/image     EncodedImage, as it came
    world/ego/CAMERA/boxes     LineStrips2D: the boxes in this image, with lens distortion
    depth/CAMERA               DepthImage, metres on the network's feature cells
    status                     TextLog: missing cameras, and why the past was forgotten

A viewer reads files of its own and of the previous minor version only.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.deploy.recordings.frames import RecordedFrame, status_lines
from bevdepth_plus.deploy.recordings.outlines import class_colours, outlines_in_image
from bevdepth_plus.deploy.recordings.pictures import Picture
from bevdepth_plus.deploy.recordings.recorder import FileRecorder
from bevdepth_plus.rigs.rig import RigCamera

EXTRA = "rerun"
EGO = "world/ego"


class RerunRecorder(FileRecorder):
    """Writes a Rerun recording.

    Args:
        application: its name in the viewer.
    """

    SUFFIX = ".rrd"

    def __init__(self, application: str = "bevdepth_plus") -> None:
        super().__init__()
        self._application = application

    def _begin(self, file: IO[bytes]) -> None:
        self._rerun = require_package("rerun", EXTRA, least="EncodedImage")
        self._stream = self._rerun.RecordingStream(self._application)
        self._stream.save(file.name)  # it opens the file itself; ours stays empty
        self._log("world", self._rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def _write(self, frame: RecordedFrame) -> None:
        rr, result = self._rerun, frame.result
        entities = [*self._scene(frame)]
        for camera, picture in zip(frame.cameras, frame.pictures, strict=True):
            entities += self._camera(frame, camera, picture)
        for name, depth in result.depth.items():
            metres = np.ascontiguousarray(depth, dtype=np.float32)
            entities.append((f"depth/{name}", rr.DepthImage(metres, meter=1.0)))
        entities += [("status", rr.TextLog(text, level="WARN")) for text in status_lines(frame)]
        self._stream.set_time("time", timestamp=np.datetime64(frame.nanoseconds, "ns"))
        for path, content in entities:
            self._log(path, content)

    def _end(self) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def _log(self, path: str, content: Any, static: bool = False) -> None:
        self._stream.log(path, content, static=static)

    def _scene(self, frame: RecordedFrame) -> list[tuple[str, Any]]:
        rr, boxes = self._rerun, frame.result.boxes
        halves = boxes.yaws / 2
        quaternions = np.zeros((len(boxes), 4))  # x, y, z, w
        quaternions[:, 2], quaternions[:, 3] = np.sin(halves), np.cos(halves)
        colours = class_colours(boxes.labels)
        entities = [
            (
                f"{EGO}/boxes",
                rr.Boxes3D(
                    centers=boxes.centres,
                    half_sizes=boxes.sizes / 2,
                    quaternions=quaternions,
                    colors=colours,
                    labels=[f"{box.name} {box.score:.2f}" for box in boxes],
                    class_ids=boxes.labels,
                ),
            )
        ]
        known = np.isfinite(boxes.velocities).all(axis=1)
        vectors = np.pad(boxes.velocities[known], ((0, 0), (0, 1)))
        arrows = rr.Arrows3D(origins=boxes.centres[known], vectors=vectors, colors=colours[known])
        entities.append((f"{EGO}/velocities", arrows))
        if frame.result.world_T_ego is not None:
            entities.insert(0, (EGO, self._transform(frame.result.world_T_ego)))
        if frame.points is not None:
            entities.append((f"{EGO}/points", rr.Points3D(frame.points[:, :3], radii=0.04)))
        return entities

    def _camera(
        self, frame: RecordedFrame, camera: RigCamera, picture: Picture
    ) -> list[tuple[str, Any]]:
        rr, boxes = self._rerun, frame.result.boxes
        path = f"{EGO}/{camera.name}"
        outlines = outlines_in_image(boxes, camera)
        counts = [len(lines) for lines in outlines]
        strips = np.concatenate([*outlines, np.zeros((0, 2, 2))])
        pinhole = rr.Pinhole(
            image_from_camera=camera.intrinsics,
            resolution=[camera.width, camera.height],
            camera_xyz=rr.ViewCoordinates.RDF,
        )
        image = rr.EncodedImage(contents=picture.data, media_type=f"image/{picture.format}")
        lines = rr.LineStrips2D(strips, colors=np.repeat(class_colours(boxes.labels), counts, 0))
        return [
            (path, self._transform(camera.ego_T_cam)),
            (path, pinhole),
            (f"{path}/image", image),
            (f"{path}/boxes", lines),
        ]

    def _transform(self, pose: np.ndarray) -> Any:
        return self._rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])
