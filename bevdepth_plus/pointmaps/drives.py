"""The key frames of a nuScenes-format root as drives: images in time order with known cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sample_record import Record, parse_sample, previous_record
from bevdepth_plus.datasets.splits import split_names
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.pinhole import in_image, pixel_centres, project, rays
from bevdepth_plus.pointmaps.pair_graphs import complete_pairs

_PROBE_STRIDE = 16  # pixels between the rays that tell how much two cameras share


@dataclass(frozen=True)
class Shot:
    """One image of one camera.

    Attributes:
        path: of the image; None where the sample lacks the camera.
        intrinsics: of the image file, ``[3, 3]``, float64.
        global_T_cam: at its own time, ``[4, 4]``, float64.
        ego_T_cam: the extrinsics, ``[4, 4]``, float64.
    """

    path: Path | None
    intrinsics: np.ndarray
    global_T_cam: np.ndarray
    ego_T_cam: np.ndarray


@dataclass(frozen=True)
class Drive:
    """Key frames that follow one another.

    Attributes:
        cameras: N names.
        shots: image ``moment * N + camera``, as in :func:`pair_graphs.rig_pairs`.
    """

    cameras: tuple[str, ...]
    shots: tuple[Shot, ...]

    @property
    def num_moments(self) -> int:
        return len(self.shots) // len(self.cameras)


def read_drives(root: Path, version: str, cameras: Sequence[str] | None = None) -> list[Drive]:
    """All key frames of a root's info files, those of one drive together.

    Args:
        cameras: names; None: all that the info files have.

    Raises:
        DataError: the root has no such version, an info file is missing or wrong, or the list of
            cameras is empty or names one that no sample has.
    """
    drives: list[Drive] = []
    for split in split_names(root, version):
        path = root / f"bevdepth_plus_infos_{split}.pkl"
        if not path.is_file():
            raise DataError(
                f"{path} does not exist; make it with tools/create_data.py {root} "
                f"--version {version}"
            )
        drives += drives_of_file(path, version, cameras)
    return drives


def drives_of_file(
    path: Path,
    version: str | None = None,
    cameras: Sequence[str] | None = None,
    images: str = "samples/{camera}",
) -> list[Drive]:
    """All key frames of one info file, those of one drive together.

    Args:
        version: that it must be of; None: any.
        cameras: names; None: all that the file has.
        images: folder of a camera's images, beside the info file.

    Raises:
        DataError: the file is of another version, missing or wrong, or the list of cameras is
            empty or names one that no sample has.
    """
    content = read_info_file(path)
    made_of = content["metainfo"].get("version", version)
    if version is not None and made_of != version:
        raise DataError(
            f"{path} is of version {made_of}, not {version}; give --version {made_of}, or make it "
            "anew with tools/create_data.py"
        )
    infos = content["data_list"]
    stand_ins = {name: entry for info in infos for name, entry in info["images"].items()}
    names = list(stand_ins) if cameras is None else list(cameras)
    if not names:
        raise DataError(f"no camera is named; {path} has {', '.join(stand_ins) or 'none'}")
    unknown = [name for name in names if name not in stand_ins]
    if unknown:
        raise DataError(f"{path} has no camera {unknown[0]} (it has {', '.join(stand_ins)})")
    folders = {name: str(path.parent / images.format(camera=name)) for name in names}
    records = [  # labels are made for images: boxes do not count
        parse_sample({**info, "instances": None}, names, {}, folders, "", stand_ins)
        for info in infos
    ]
    mounts = {info["token"]: _mounts(info, names) for info in infos}
    return [_drive(names, chain, mounts) for chain in _chains(records)]


def overlapping_cameras(
    drive: Drive, sizes: Sequence[tuple[int, int] | None], least: float = 0.1
) -> list[tuple[int, int]]:
    """Pairs of cameras of which one sees at least this share of the other's view, far away.

    Args:
        sizes: height and width of each camera's images; None: a camera without images.
    """
    first = list(zip(drive.shots[: len(drive.cameras)], sizes, strict=True))
    pairs = []
    for a, b in complete_pairs(len(first)):
        if sizes[a] is not None and sizes[b] is not None:
            shares = _share_seen(*first[a], *first[b]), _share_seen(*first[b], *first[a])
            if max(shares) >= least:
                pairs.append((a, b))
    return pairs


def _share_seen(by: Shot, by_size: tuple[int, int], of: Shot, of_size: tuple[int, int]) -> float:
    """Which share of a camera's rays end, far away, in the image of another camera."""
    pixels = pixel_centres(of_size, _PROBE_STRIDE).flatten(0, 1).double()
    rotation = torch.from_numpy(by.global_T_cam[:3, :3].T @ of.global_T_cam[:3, :3])
    directions = rays(pixels, torch.from_numpy(of.intrinsics)) @ rotation.T
    there, depth = project(directions, torch.from_numpy(by.intrinsics))
    return (in_image(there, by_size) & (depth > 0)).double().mean().item()


def _mounts(info: Mapping, names: Sequence[str]) -> list[np.ndarray | None]:
    """Each camera's extrinsics as a sample states them; None where it does not."""
    stated = (info["images"].get(name, {}).get("cam2ego") for name in names)
    return [None if matrix is None else np.array(matrix, dtype=float) for matrix in stated]


def _chains(records: Sequence[Record]) -> list[list[Record]]:
    """Samples linked by ``prev``, oldest first."""
    by_token = {record["token"]: record for record in records}
    chain_of: dict[str, list[Record]] = {}
    chains: list[list[Record]] = []
    for record in sorted(records, key=lambda record: record["timestamp"]):
        earlier = previous_record(record, by_token)
        chain = None if earlier is None else chain_of[earlier["token"]]
        if chain is None or chain[-1] is not earlier:  # a start, or a second successor
            chain = []
            chains.append(chain)
        chain.append(record)
        chain_of[record["token"]] = chain
    return chains


def _drive(
    names: Sequence[str],
    chain: Sequence[Record],
    mounts: Mapping[str, Sequence[np.ndarray | None]],
) -> Drive:
    shots = []
    for record in chain:
        for n, mount in enumerate(mounts[record["token"]]):
            path = record["img_path"][n]
            shots.append(
                Shot(
                    None if path is None else Path(path),
                    record["intrinsics"][n],
                    record["global_T_cam"][n],
                    record["ego_T_cam"][n] if mount is None else mount,
                )
            )
    return Drive(tuple(names), tuple(shots))
