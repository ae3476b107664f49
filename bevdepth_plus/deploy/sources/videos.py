"""One video a camera, of different frame rates if need be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bevdepth_plus.deploy.sources.drives import Drive, Moment, only_cameras
from bevdepth_plus.deploy.streaming import ImageMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig


def drive_from_videos(rig: Rig, paths: Mapping[str, str | Path], fps: float | None = None) -> Drive:
    """Videos that begin at one time, which is 0 s. Cameras of the rig without one are left out.

    A moment takes from each video the frame that is nearest to it. The drive ends with the video
    that ends first.

    Args:
        rig: the cameras.
        paths: camera -> file.
        fps: moments a second; None: those of the slowest video.

    Raises:
        DataError: a video is missing or cannot be read, or the rig lacks its camera.
    """
    rig = only_cameras(rig, list(paths))
    rates: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for camera in rig.cameras:
        video = _Video(camera.name, paths[camera.name])
        rates[camera.name] = video.fps
        seconds[camera.name] = video.count / video.fps
        video.close()
    slowest = min(rates.values())
    rate = min(fps or slowest, slowest)
    shortest = min(seconds, key=lambda name: seconds[name])
    notes = []
    if fps and fps > slowest:
        notes.append(f"--fps {fps:g}: the slowest video has {slowest:g} frames a second, taken")
    if max(seconds.values()) - seconds[shortest] > 1 / rate:
        each = ", ".join(f"{name} {length:.1f} s" for name, length in seconds.items())
        notes.append(f"the videos have different lengths ({each}); {shortest} ends first")
    count = max(1, int(np.floor((seconds[shortest] - 0.5 / slowest) * rate)) + 1)
    moments = _VideoMoments(rig, dict(paths), rate, count)
    return Drive(rig, moments, count, 1 / rate, notes=tuple(notes))


@dataclass(frozen=True, eq=False)
class _VideoMoments:
    """Frames of all videos; each loop over them opens the files anew."""

    rig: Rig
    paths: Mapping[str, str | Path]
    rate: float  # moments a second
    count: int

    def __iter__(self) -> Iterator[Moment]:
        videos = [_Video(camera.name, self.paths[camera.name]) for camera in self.rig.cameras]
        try:
            for index in range(self.count):
                images = []
                for video in videos:
                    image = video.nearest(index / self.rate)
                    if image is None:
                        return  # it ends earlier than its header says
                    images.append(image)
                yield Moment(tuple(sorted(images, key=lambda image: image.stamp)))
        finally:
            for video in videos:
                video.close()


class _Video:
    """Frames of a video by time; only those that are asked for are decoded to pixels."""

    def __init__(self, camera: str, path: str | Path) -> None:
        self.camera, self.path = camera, Path(path)
        if not self.path.is_file():
            raise DataError(f"camera {camera}: the video {path} does not exist")
        self._capture = cv2.VideoCapture(str(path))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not self._capture.isOpened() or not 0 < self.fps < 1e4 or not self._capture.grab():
            raise DataError(
                f"camera {camera}: {path} cannot be read as a video; try "
                "`ffmpeg -i VIDEO -c:v libx264 new.mp4`"
            )
        if self.count <= 0:
            self.count = 1
        self._index = 0  # of the frame that was grabbed
        self._stamp = 0.0
        self._start = self._time()
        self._ended = False

    def nearest(self, stamp: float) -> ImageMessage | None:
        """The frame nearest to a time, which does not go back; None: the video ended before it.

        Raises:
            DataError: the frame cannot be decoded.
        """
        while self._stamp + 0.5 / self.fps < stamp and not self._ended:
            self._advance()
        if self._ended:
            return None
        good, pixels = self._capture.retrieve()
        if not good:
            raise DataError(f"camera {self.camera}: {self.path}: frame {self._index} is damaged")
        return ImageMessage(self.camera, self._stamp, np.ascontiguousarray(pixels[..., ::-1]))

    def close(self) -> None:
        self._capture.release()

    def _advance(self) -> None:
        self._ended = not self._capture.grab()
        self._index += 1
        # Phones record at changing rates: the file says when. Where it does not, the rate does.
        written = self._time() - self._start
        self._stamp = written if written > self._stamp else self._index / self.fps

    def _time(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
