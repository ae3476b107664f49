"""What all recorders share: frames go into a file that appears whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from bevdepth_plus.deploy.recordings.frames import RecordedFrame, checked_frame
from bevdepth_plus.deploy.recordings.pictures import ImageSource
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.rigs.rig import Rig

if TYPE_CHECKING:
    from typing_extensions import Self


class Recorder(Protocol):
    """Writes results to a file."""

    def open(self, path: str | Path, rig: Rig, classes: Sequence[str]) -> Any:
        """Begin a recording."""
        ...

    def write(
        self,
        result: Result,
        images: Mapping[str, ImageSource],
        points: np.ndarray | None = None,
    ) -> None:
        """Add one moment."""
        ...

    def close(self) -> None:
        """End the recording; the file takes its name."""
        ...


class FileRecorder(ABC):
    """A recorder whose file takes its name when it is closed.

        with FoxgloveRecorder().open("drive.mcap", rig, classes) as recorder:
            for result in stream.feed(messages):
                recorder.write(result, images)

    An error inside the block, or Ctrl-C, closes the recording: the file holds the frames before it.
    Without a single frame, or where the disk is full, no file is written and an earlier one stays.
    """

    SUFFIX = ""  # of its files
    NEEDS_PICTURES = True

    def __init__(self) -> None:
        self._stack: ExitStack | None = None  # holds the file while the recording is open
        self._frames = 0

    def open(self, path: str | Path, rig: Rig, classes: Sequence[str]) -> Self:
        """Begin a recording.

        Args:
            path: the file; one that exists is replaced when the recording is closed.
            rig: the cameras.
            classes: names, as the results have them.

        Raises:
            DataError: the file's name has another ending, or a package is missing.
        """
        if self._stack is not None:
            raise RuntimeError("the recorder is open; close it first")
        if Path(path).suffix != self.SUFFIX:
            raise DataError(
                f"{path}: files of {type(self).__name__} end in {self.SUFFIX}; rename it"
            )
        self.rig, self.classes = rig, tuple(classes)
        self._frames = 0
        with ExitStack() as stack:
            self._begin(stack.enter_context(atomic_write(path)))
            self._stack = stack.pop_all()
        return self

    def set_rig(self, rig: Rig) -> None:
        """Another calibration, from the next frame on."""
        self.rig = rig

    def write(
        self,
        result: Result,
        images: Mapping[str, ImageSource],
        points: np.ndarray | None = None,
    ) -> None:
        """Add one moment.

        Args:
            result: with its time, see ``dataclasses.replace(result, stamp=...)``.
            images: camera -> path, bytes of an image file, or RGB array. Encoded images are stored
                as they are. Those of cameras that the detector did not use are left out.
            points: ``[P, 3]`` of a LiDAR in the ego frame, metres; a fourth column is intensity.

        Raises:
            DataError: the frame cannot be written; nothing of it is, and the recording goes on.
        """
        if self._stack is None:
            raise RuntimeError("the recorder is not open; call open(path, rig, classes) first")
        self._write(
            checked_frame(result, images, points, self.rig, self.classes, self.NEEDS_PICTURES)
        )
        self._frames += 1

    def close(self) -> None:
        """End the recording; the file takes its name. A closed recorder stays closed."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        with stack:  # an error in here removes what was written
            self._end()

    def discard(self) -> None:
        """End the recording without a file."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        try:
            with stack:
                self._end()
                raise _DiscardedError
        except _DiscardedError:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._frames:
            self.discard()
        else:
            self.close()

    @abstractmethod
    def _begin(self, file: IO[bytes]) -> None:
        """Start to write to an empty file."""

    @abstractmethod
    def _write(self, frame: RecordedFrame) -> None:
        """Write a checked frame."""

    @abstractmethod
    def _end(self) -> None:
        """Write what must stand at the end of the file."""


class _DiscardedError(Exception):
    """Ends a recording without its file."""
