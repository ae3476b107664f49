"""Makes the info files of an Argoverse 2 sensor data set; resumable, as ``create_infos``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevdepth_plus.datasets.argoverse2_infos import log_infos
from bevdepth_plus.datasets.argoverse2_log import TABLES, annotated_sweeps, image_times, sweep_file
from bevdepth_plus.datasets.info_writing import (
    Prepared,
    SceneJob,
    require_no_missing,
    write_info_files,
)
from bevdepth_plus.errors import DataError

VERSION = "argoverse2"
SPLITS = ("train", "val")  # the test split has no annotations
# Raise it when the entries change, so that files of an older layout are not taken as finished.
LAYOUT = 1
EVERY = 5  # sweeps from one key frame to the next: 2 Hz, as nuScenes


@dataclass(frozen=True)
class _Scan:
    """What is known of a log before it is read: its folder below the root, its key frames."""

    path: Path
    key_stamps: np.ndarray  # [K] int64, nanoseconds
    categories: set[str]

    def sweep_files(self) -> list[Path]:
        return [self.path / sweep_file(stamp) for stamp in self.key_stamps.tolist()]


def create_argoverse2_info_files(
    root: str | Path,
    out_dir: str | Path | None = None,
    progress: bool = True,
    every: int = EVERY,
    sweeps: bool = False,
) -> list[Path]:
    """Writes ``bevdepth_plus_infos_{train,val}.pkl`` for an Argoverse 2 sensor data set.

    Args:
        root: Folder with ``train`` or ``val`` or both, each with a folder a log.
        out_dir: Where to write; default: ``root``.
        progress: Show a progress bar on the standard error stream.
        every: Annotated sweeps from one key frame of a log to the next, from its first sweep on.
        sweeps: Write the cameras' images between the key frames, too.

    Returns:
        The info files. Files that are complete and up to date are left as they are. Every category
        that occurs in either split is a class, in the order of the alphabet.

    Raises:
        DataError: If there are no logs, a log is in both splits, files are missing or damaged,
            pyarrow is not installed, an output file belongs to another version, or the folder may
            not be written.
    """
    if every < 1:
        raise DataError(f"a key frame needs a step of 1 sweep or more, got {every}")
    root, out_dir = Path(root), Path(out_dir or root)
    logs = _logs(root)
    _require_files(root, [log / table for log in _all(logs) for table in TABLES])
    digest = _digest(root, logs, f"{every} {sweeps}")

    def prepare(todo: Sequence[str]) -> Prepared:
        # The classes are those of both splits, also where only one is written.
        scans = {split: [_scan(root, log, every) for log in logs[split]] for split in logs}
        _require_files(root, [sweep for scan in _all(scans) for sweep in scan.sweep_files()])
        classes = sorted({name for scan in _all(scans) for name in scan.categories})
        return (
            lambda split: [_job(root, scan, classes, sweeps) for scan in scans[split]],
            classes,
            VERSION,
        )

    return write_info_files(list(logs), out_dir, VERSION, digest, prepare, progress)


def _all(by_split: Mapping[str, Sequence]) -> list:
    return [item for items in by_split.values() for item in items]


def _logs(root: Path) -> dict[str, list[Path]]:
    """Split -> its logs' folders, below the root."""
    logs = {
        split: sorted(log.relative_to(root) for log in (root / split).iterdir() if log.is_dir())
        for split in SPLITS
        if (root / split).is_dir()
    }
    if not logs:
        raise DataError(
            f"{root} has no folder train or val; ROOT must be the folder of the Argoverse 2 sensor "
            "data set that contains them"
        )
    for split, paths in logs.items():
        if not paths:
            raise DataError(f"{root / split} holds no logs; complete the download or remove it")
    both = {log.name for log in logs.get("train", ())} & {log.name for log in logs.get("val", ())}
    if both:
        raise DataError(f"log {min(both)} is in {root}/train and in {root}/val; remove one")
    return logs


def _digest(root: Path, logs: Mapping[str, Sequence[Path]], options: str) -> str:
    """Of all tables and of which images there are."""
    digest = hashlib.blake2b(f"layout {LAYOUT} {options}".encode(), digest_size=16)
    for log in _all(logs):
        for table in TABLES:
            digest.update(f"{log.as_posix()} {table}".encode())
            digest.update((root / log / table).read_bytes())
        for camera, shots in image_times(root / log).items():
            digest.update(camera.encode() + shots.tobytes())
    return digest.hexdigest()


def _scan(root: Path, log: Path, every: int) -> _Scan:
    stamps, categories = annotated_sweeps(root / log)
    return _Scan(log, stamps[::every], categories)


def _require_files(root: Path, files: Sequence[Path]) -> None:
    require_no_missing([file.as_posix() for file in files if not (root / file).is_file()], root)


def _job(root: Path, scan: _Scan, classes: Sequence[str], sweeps: bool) -> SceneJob:
    labels = {name: label for label, name in enumerate(classes)}

    def make() -> list[dict]:
        return log_infos(root, scan.path, scan.key_stamps, labels, sweeps)

    return SceneJob(scan.path.name, len(scan.key_stamps), make)
