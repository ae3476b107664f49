"""Any nuScenes-format root: each camera over time, from the project's info files.

Frames are the key frames, and the sweeps between them where the info file has them
(``tools/create_data.py --sweeps``). Depth is a dense picture ``ROOT/depth/CAMERA/NAME.png`` where
one lies there, else the LiDAR sweep of the key frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.past_shots import Shots, parse_shots
from bevdepth_plus.datasets.sample_record import Record, parse_sample, previous_record
from bevdepth_plus.datasets.sequences.frames import (
    DepthPicture,
    Frame,
    FrameSequence,
    LidarSweep,
    is_lost,
)
from bevdepth_plus.datasets.transforms.dense_depth import depth_picture_path
from bevdepth_plus.errors import DataError

_STAND_IN = np.eye(4).tolist()
_POSES = ("ego2global", "lidar2cam")  # of a key image; the second is computed from the first


def read_nuscenes(
    root: Path,
    ann_file: str,
    cameras: Sequence[str] | None = None,
    data_prefix: Mapping[str, str] | None = None,
    depth_folder: str = "depth",
    depth_unit: float = 0.01,
) -> list[FrameSequence]:
    """Reads each camera of each scene of an info file.

    Args:
        root: of the data set.
        ann_file: the info file; relative to ``root``.
        cameras: to take; default: all that the file names.
        data_prefix: folders below ``root``: a camera's name for its key images, ``img`` for cameras
            not named, ``pts`` for LiDAR. Default: ``samples/CHANNEL``.
        depth_folder: of the dense depth pictures, below ``root``.
        depth_unit: metres a step of these pictures.

    Returns:
        In the order of the file, a scene's cameras one after the other. A sequence is named
        ``TOKEN OF ITS FIRST SAMPLE/CAMERA``.

    Raises:
        DataError: the info file cannot be used, or has none of the cameras.
    """
    infos = read_info_file(root / ann_file)["data_list"]
    named = list(dict.fromkeys(name for info in infos for name in info["images"]))
    cameras = list(cameras or named)
    unknown = [name for name in cameras if name not in named]
    if unknown or not cameras:
        raise DataError(
            f"{root / ann_file} has no camera {', '.join(unknown)}; it has "
            f"{', '.join(named) or 'none at all'}"
        )
    source = _Root(root, cameras, data_prefix or {}, depth_folder, depth_unit, infos)
    return [
        source.sequence(scene, index, camera)
        for scene in _scenes(source.records)
        for index, camera in enumerate(cameras)
    ]


class _Root:
    """The samples of an info file, and which of their shots have lost their pose."""

    def __init__(
        self,
        root: Path,
        cameras: Sequence[str],
        prefix: Mapping[str, str],
        depth_folder: str,
        unit: float,
        infos: Sequence[Mapping],
    ) -> None:
        self.depth_folder, self.unit = depth_folder, unit
        self.pictures = set((root / depth_folder).glob("*/*.png"))
        # (sample, camera) -> shots with a lost pose, as `Shots` counts them: 0 is the key image.
        self.lost: dict[tuple[str, str], set[int]] = {}
        infos = [self._with_stand_in_poses(info, cameras) for info in infos]
        stand_ins: dict[str, Mapping] = {}  # camera -> its entry in the first sample that has it
        for info in infos:
            stand_ins = {**info["images"], **stand_ins}
        folders = {name: str(root / _folder(prefix, name)) for name in cameras}
        lidar = str(root / _folder(prefix, "pts"))
        self.records = [
            parse_sample(info, cameras, {}, folders, lidar, stand_ins) for info in infos
        ]
        self.shots = {
            record["token"]: parse_shots(info, record, str(root))
            for info, record in zip(infos, self.records, strict=True)
        }

    def sequence(self, scene: Sequence[Record], camera: int, name: str) -> FrameSequence:
        """One camera's shots in a scene, oldest first. A lost one keeps its number."""
        title = f"{scene[0]['token']}/{name}"
        shots = [
            (self.shots[record["token"]][camera], number, record)
            for record in scene
            for number in range(len(self.shots[record["token"]][camera].paths))
        ]
        there = [shot for shot in shots if shot[0].paths[shot[1]] is not None]
        frames, lost = [], []
        for index, (of_camera, number, record) in enumerate(sorted(there, key=_time)):
            path = of_camera.paths[number]
            token = f"{title}/{Path(path).stem}"
            if number in self.lost[record["token"], name]:
                lost.append(token)
                continue
            intrinsics, pose = of_camera.intrinsics[number], of_camera.global_T_cam[number]
            depth = self._depth(path, record, intrinsics, number == 0)
            time = float(of_camera.times[number])
            frames.append(Frame(token, index, path, depth, intrinsics, pose, time))
        return FrameSequence(title, tuple(frames), tuple(lost))

    def _depth(
        self, image: str, record: Record, intrinsics: np.ndarray, is_key: bool
    ) -> DepthPicture | LidarSweep | None:
        picture = Path(depth_picture_path(image, self.depth_folder))
        if picture in self.pictures:
            return DepthPicture(str(picture), self.unit, intrinsics)
        if not is_key or record["lidar_path"] is None:
            return None
        world_T_lidar = record["ego2global"] @ record["lidar2ego"]
        return LidarSweep(record["lidar_path"], record["num_pts_feats"], world_T_lidar)

    def _with_stand_in_poses(self, info: Mapping, cameras: Sequence[str]) -> dict:
        """A sample whose lost poses are noted, and replaced by ones that its checks take."""
        images: dict[str, Any] = {}
        sample_lost = _lost(info["ego2global"])
        for name in cameras:
            camera = info["images"].get(name)
            if camera is None:
                continue
            sweeps = camera.get("sweeps", ())
            lost = {n for n, sweep in enumerate(sweeps, 1) if _lost(sweep.get("ego2global"))}
            good = [
                {**sweep, "ego2global": _STAND_IN} if n in lost else sweep
                for n, sweep in enumerate(sweeps, 1)
            ]
            images[name] = {**camera, "sweeps": good}
            if sample_lost or ("ego2global" in camera and _lost(camera["ego2global"])):
                lost.add(0)
                images[name] |= {key: _STAND_IN for key in _POSES if key in camera}
            self.lost[info["token"], name] = lost
        if sample_lost:
            info = {**info, "ego2global": _STAND_IN}
        return {**info, "images": images, "instances": None, "map_layers": {}}


def _time(shot: tuple[Shots, int, Record]) -> float:
    return shot[0].times[shot[1]]


def _scenes(records: Sequence[Record]) -> list[list[Record]]:
    """Samples in rows by their ``prev``, oldest first; rows in the order of the file.

    A sample whose ``prev`` is not in the file begins a row.
    """
    by_token = {record["token"]: record for record in records}
    following: dict[str, Record] = {}
    starts = []
    for record in records:
        earlier = previous_record(record, by_token)
        if earlier is None:
            starts.append(record)
        else:
            following[earlier["token"]] = record
    rows = []
    for record in starts:
        row = [record]
        while row[-1]["token"] in following:
            row.append(following[row[-1]["token"]])
        rows.append(row)
    return rows


def _lost(pose: Any) -> bool:
    """Of an entry's pose; one that is no matrix at all is left to the checks of its layout."""
    if pose is None:
        return True
    try:
        matrix = np.asarray(pose, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return matrix.shape == (4, 4) and is_lost(matrix)


def _folder(prefix: Mapping[str, str], channel: str) -> str:
    """Below the root, as ``NuScenesBEVDataset.folder``."""
    if channel in prefix:
        return prefix[channel]
    if channel != "pts" and "img" in prefix:
        return prefix["img"]
    return f"samples/{'LIDAR_TOP' if channel == 'pts' else channel}"
