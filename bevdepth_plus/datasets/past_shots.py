"""Past images at any interval: key frames and the sweeps between them, camera by camera.

A camera's shots do not wait for each other, so each camera has its own nearest one. Plain numpy, as
``sample_record``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import path as osp

import numpy as np

from bevdepth_plus.datasets.fields import intrinsic_matrices, mapping, number, rigid_matrices, text
from bevdepth_plus.datasets.sample_record import ONLY_UNLINKED, Record, previous_record


@dataclass(frozen=True)
class Shots:
    """One camera's shots from a sample's key frame back to the sample before, newest first.

    Attributes:
        times: seconds, ``[K]``.
        paths: image files, K of them; None for a camera that is out.
        global_T_cam: ``[K, 4, 4]``.
        intrinsics: ``[K, 3, 3]``.
    """

    times: np.ndarray
    paths: tuple[str | None, ...]
    global_T_cam: np.ndarray
    intrinsics: np.ndarray


def parse_shots(info: Mapping, record: Record, data_root: str) -> list[Shots]:
    """The shots of each camera of a sample: its key image, then its ``sweeps``.

    Args:
        info: The sample in the info file. ``images.CAM.sweeps`` is a list of ``img_path`` (below
            the data root), ``timestamp`` and ``ego2global``; ``cam2ego`` and ``cam2img`` where they
            differ from the key image's.
        record: The sample's record.
        data_root: Root of the data set.

    Raises:
        DataError: A sweep lacks a field or has a wrong one.
    """
    return [
        _camera_shots(info, record, camera, data_root) for camera in range(len(record["cam_names"]))
    ]


def link_shots(
    record: Record,
    by_token: Mapping[str, Record],
    shots: Mapping[str, Sequence[Shots]],
    num_frames: int,
    interval: float,
) -> Record:
    """Adds past frames to a record: frame t is the shot nearest to t intervals before the key's.

    A camera whose nearest shot is more than half an interval off counts as out at that moment; if
    all are, the frame does not exist and is the key frame again.

    Args:
        record: From ``parse_sample``.
        by_token: All records by token, for the chain of ``prev``.
        shots: Token -> ``parse_shots`` of the sample.
        num_frames: S, with time 0 the key frame.
        interval: Seconds from one frame to the next.

    Returns:
        A new record with the keys of ``link_frames``; ``time_offset`` is the cameras' mean. A past
        frame has no sweep of its own time: its ``frame_lidar_path`` is None and its
        ``key_T_lidar`` the key frame's.

    Raises:
        DataError: A past sample is of another scene or time, see ``previous_record``.
    """
    chains = _chains(record, by_token, shots, (num_frames - 0.5) * interval)
    key = _Moment(
        record["img_path"], record["intrinsics"], record["ego_T_cam"], record["cameras_present"]
    )
    past = (_past_moment(key, record, chains, t * interval, interval) for t in range(1, num_frames))
    moments = [key, *past]
    return {
        **{name: value for name, value in record.items() if name not in ONLY_UNLINKED},
        "img_path": [path for moment in moments for path in moment.paths],
        "intrinsics": np.stack([moment.intrinsics for moment in moments]),
        "ego_T_cam": np.stack([moment.ego_T_cam for moment in moments]),
        "frame_lidar_path": [record["lidar_path"], *[None] * (num_frames - 1)],
        "key_T_lidar": np.tile(record["lidar2ego"], (num_frames, 1, 1)),
        "camera_mask": np.stack([moment.present for moment in moments]),
        "frame_mask": np.array([moment.exists for moment in moments]),
        "time_offset": np.array([moment.offset for moment in moments]),
    }


@dataclass(frozen=True)
class _Moment:
    """One frame of all cameras, in the key frame's ego frame."""

    paths: Sequence[str | None]
    intrinsics: np.ndarray  # [N, 3, 3]
    ego_T_cam: np.ndarray  # [N, 4, 4]
    present: np.ndarray  # [N] bool
    exists: bool = True
    offset: float = 0.0  # seconds to the key frame


def _past_moment(
    key: _Moment, record: Record, chains: Sequence[Shots], back: float, interval: float
) -> _Moment:
    wanted = [chain.times[0] - back for chain in chains]
    nearest = [
        int(np.abs(chain.times - time).argmin()) for chain, time in zip(chains, wanted, strict=True)
    ]
    there = np.array(
        [
            chain.paths[index] is not None and abs(chain.times[index] - time) <= interval / 2
            for chain, index, time in zip(chains, nearest, wanted, strict=True)
        ]
    )
    if not there.any():
        return replace(key, exists=False)
    picked = list(zip(chains, nearest, there, strict=True))
    global_T_cam = np.stack([chain.global_T_cam[index] for chain, index, _ in picked])
    offsets = [chain.times[index] - chain.times[0] for chain, index, is_there in picked if is_there]
    return _Moment(
        paths=[chain.paths[index] if is_there else None for chain, index, is_there in picked],
        intrinsics=np.stack([chain.intrinsics[index] for chain, index, _ in picked]),
        ego_T_cam=np.linalg.inv(record["ego2global"]) @ global_T_cam,
        present=there,
        offset=float(np.mean(offsets)),
    )


def _chains(
    record: Record,
    by_token: Mapping[str, Record],
    shots: Mapping[str, Sequence[Shots]],
    back: float,
) -> list[Shots]:
    """Each camera's shots from the key image ``back`` seconds into the past, newest first."""
    samples = [record]
    while samples[-1]["timestamp"] > record["timestamp"] - back:
        earlier = previous_record(samples[-1], by_token)
        if earlier is None:
            break
        samples.append(earlier)
    by_camera = zip(*(shots[sample["token"]] for sample in samples), strict=True)
    return [_joined(parts) for parts in by_camera]


def _joined(parts: Sequence[Shots]) -> Shots:
    return Shots(
        np.concatenate([part.times for part in parts]),
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.global_T_cam for part in parts]),
        np.concatenate([part.intrinsics for part in parts]),
    )


def _camera_shots(info: Mapping, record: Record, camera: int, data_root: str) -> Shots:
    name = record["cam_names"][camera]
    place = f"sample {info['token']}: images.{name}"
    entry = info["images"].get(name, {})
    key_time = number(entry.get("timestamp", info["timestamp"]), f"{place}.timestamp")
    listed = entry.get("sweeps", ())
    where = [f"{place}.sweeps[{index}]" for index in range(len(listed))]
    sweeps = [_sweep(entry, each, at) for each, at in zip(listed, where, strict=True)]
    poses = rigid_matrices([s["ego2global"] for s in sweeps], [f"{at}.ego2global" for at in where])
    mounts = rigid_matrices([s["cam2ego"] for s in sweeps], [f"{at}.cam2ego" for at in where])
    intrinsics = intrinsic_matrices(
        [s["cam2img"] for s in sweeps], [f"{at}.cam2img" for at in where]
    )
    return Shots(
        np.array([key_time, *(sweep["timestamp"] for sweep in sweeps)]),
        (record["img_path"][camera], *(osp.join(data_root, s["img_path"]) for s in sweeps)),
        np.concatenate([record["global_T_cam"][camera, None], poses @ mounts]),
        np.concatenate([record["intrinsics"][camera, None], intrinsics]),
    )


def _sweep(entry: Mapping, sweep: Mapping, where: str) -> dict:
    """A sweep with what it shares with the key image."""
    mapping(sweep, where, ("img_path", "timestamp", "ego2global"))
    whole = {**entry, **sweep}
    mapping(whole, where, ("cam2ego", "cam2img"))
    text(sweep["img_path"], f"{where}.img_path")
    return {**whole, "timestamp": number(sweep["timestamp"], f"{where}.timestamp")}
