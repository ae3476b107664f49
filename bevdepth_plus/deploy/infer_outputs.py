"""What tools/infer.py writes: recordings and pictures, all of them whole or absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from bevdepth_plus.deploy.drawing import PageStyle
from bevdepth_plus.deploy.picture_folder import PictureFolder
from bevdepth_plus.deploy.recordings import FORMATS, FileRecorder, NuScenesRecorder
from bevdepth_plus.deploy.recordings.nuscenes_json import microseconds
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.images import Source
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.writable import require_writable

PICTURES = "pictures"
OUTPUTS = (*FORMATS, PICTURES)


class Outputs:
    """Recordings and pictures of one drive in a folder. Use it in a ``with`` block.

    An error inside the block, or Ctrl-C, keeps the moments before it; without a single one nothing
    is written.

    Args:
        folder: where they go.
        names: some of ``OUTPUTS``.
        rig: the cameras.
        classes: of the model.
        style: of the pictures; its score threshold holds for recordings, too, but not for nuScenes
            results: their evaluation needs all boxes.
        has_poses: whether ego poses are known. If not, nuScenes results are in the ego frame.

    Raises:
        DataError: the folder cannot be written, or a recording's package is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        names: Sequence[str],
        rig: Rig,
        classes: Sequence[str],
        style: PageStyle,
        has_poses: bool,
    ) -> None:
        self.folder, self.style, self._has_poses = Path(folder), style, has_poses
        self.without_pose = 0  # moments that are not in the nuScenes results
        self._tokens: dict[str, str] = {}
        self._recorders: dict[str, FileRecorder] = {}
        self._pictures: PictureFolder | None = None
        self._is_new = not self.folder.exists()
        self._written = False
        require_writable(self.folder, "--out")
        try:
            for name in dict.fromkeys(names):
                self._open(name, rig, classes)
        except BaseException:
            self._end(keep=False)
            raise

    def write(self, result: Result, images: Mapping[str, Source], token: str | None) -> None:
        """Add one moment; ``token`` is its name in a data set.

        Raises:
            DataError: it cannot be written.
        """
        confident = result.boxes[result.boxes.scores >= self.style.score_threshold]
        for name, recorder in self._recorders.items():
            if name != "nuscenes":
                recorder.write(replace(result, boxes=confident), images)
                continue
            placed = result
            if not self._has_poses:
                placed = replace(result, world_T_ego=np.eye(4))
            elif result.world_T_ego is None:
                self.without_pose += 1
                continue
            if token:
                self._tokens[microseconds(result)] = token
            recorder.write(placed, images)
        if self._pictures is not None:
            self._pictures.write(result, images, token)
        self._written = True

    @property
    def paths(self) -> list[Path]:
        """The files and folders that there are in the end."""
        paths = [self._path(name, recorder) for name, recorder in self._recorders.items()]
        return paths if self._pictures is None else [*paths, self._pictures.path]

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(keep=kind is None or self._written)

    def _open(self, name: str, rig: Rig, classes: Sequence[str]) -> None:
        if name == PICTURES:
            self._pictures = PictureFolder(self.folder / PICTURES, rig, self.style)
            return
        recorder = NuScenesRecorder(token=self._token) if name == "nuscenes" else FORMATS[name]()
        recorder.open(self._path(name, recorder), rig, classes)
        self._recorders[name] = recorder

    def _path(self, name: str, recorder: FileRecorder) -> Path:
        return self.folder / f"{name}{recorder.SUFFIX}"

    def _token(self, result: Result) -> str:
        time = microseconds(result)
        return self._tokens.get(time, time)

    def _end(self, keep: bool) -> None:
        open_ones = [*self._recorders.values(), *([self._pictures] if self._pictures else [])]
        for each in open_ones:
            if keep:
                each.close()
            else:
                each.discard()
        if not keep and self._is_new:
            with suppress(OSError):  # it is not empty
                self.folder.rmdir()


def check_outputs(names: Sequence[str]) -> None:
    """Refuses names that are none of ``OUTPUTS``.

    Raises:
        DataError: one is unknown.
    """
    for name in names:
        if name not in OUTPUTS:
            raise DataError(f"--write {name}: choose from {', '.join(OUTPUTS)}")
