"""Makes the info files of a nuScenes root, real or synthetic, through the unmodified devkit.

An interrupted run goes on where it stopped: finished scenes lie in a hidden folder beside the
output until the split files are written. A digest of the tables says whether they still hold.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from nuscenes import NuScenes

from bevdepth_plus.datasets.info_writing import (
    Prepared,
    SceneJob,
    require_no_missing,
    write_info_files,
)
from bevdepth_plus.datasets.nuscenes_infos import (
    LIDAR,
    Reader,
    make_reader,
    sample_channels,
    sample_info,
    sweeps_before,
)
from bevdepth_plus.datasets.splits import scenes_of, split_names
from bevdepth_plus.errors import DataError

# Raise it when the entries change, so that files of an older layout are not taken as finished.
LAYOUT = 2


def create_info_files(
    root: str | Path,
    version: str,
    out_dir: str | Path | None = None,
    progress: bool = True,
    lidar_channel: str = LIDAR,
    sweeps: bool = False,
) -> list[Path]:
    """Writes ``bevdepth_plus_infos_{train,val}.pkl`` (or ``test``) for a nuScenes root.

    Args:
        root: Folder with ``samples``, ``maps`` and the tables in a folder named by the version.
        version: One of nuScenes' own, or any other with a ``splits.json`` beside its tables.
        out_dir: Where to write; default: ``root``.
        progress: Show a progress bar on the standard error stream.
        lidar_channel: The LiDAR whose sweeps and frame are taken.
        sweeps: Write the cameras' images between the key frames, too.

    Returns:
        The info files. Files that are complete and up to date are left as they are.

    Raises:
        DataError: If the tables cannot be read, a split has no scene, files are missing, an
            output file belongs to another version, or the folder may not be written.
    """
    root, out_dir = Path(root), Path(out_dir or root)
    splits = split_names(root, version)
    digest = _tables_digest(root, version, f"{lidar_channel} {sweeps}")

    def prepare(todo: Sequence[str]) -> Prepared:
        reader = make_reader(_load_tables(root, version), lidar_channel, sweeps)
        scenes = {split: scenes_of(reader.nusc, split) for split in todo}
        _require_files(reader, [scene for split in todo for scene in scenes[split]])
        return (
            lambda split: [_job(reader, scene) for scene in scenes[split]],
            reader.classes,
            "nuscenes",
        )

    return write_info_files(splits, out_dir, version, digest, prepare, progress)


def _tables_digest(root: Path, version: str, options: str) -> str:
    tables = sorted((root / version).glob("*.json"))
    if not tables:
        raise DataError(
            f"{root / version} holds no tables (*.json); ROOT must be the folder that contains "
            f"{version}, maps and samples"
        )
    digest = hashlib.blake2b(f"layout {LAYOUT} {options}".encode(), digest_size=16)
    for table in tables:
        digest.update(table.name.encode())
        with table.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _load_tables(root: Path, version: str) -> NuScenes:
    try:
        return NuScenes(version=version, dataroot=str(root), verbose=False)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"the devkit cannot load {version} from {root}: {reason}; complete the download "
            "(tables and map expansion images)"
        ) from error


def _samples(nusc: NuScenes, scene: dict) -> list[dict]:
    samples, token = [], scene["first_sample_token"]
    while token:
        try:
            samples.append(nusc.get("sample", token))
        except KeyError:
            raise DataError(
                f"scene {scene['name']}: its sample {token} is not in the sample table; complete "
                "the tables"
            ) from None
        token = samples[-1]["next"]
    return samples


def _require_files(reader: Reader, scenes: list[dict]) -> None:
    nusc, missing = reader.nusc, []
    for scene in scenes:
        for sample in _samples(nusc, scene):
            channels = sample_channels(reader, sample)
            for channel in channels if reader.lidar is None else [reader.lidar, *channels]:
                data = nusc.get("sample_data", sample["data"][channel])
                sweeps = sweeps_before(nusc, data) if reader.sweeps and channel in channels else []
                missing += [
                    row["filename"]
                    for row in (data, *sweeps)
                    if not os.path.isfile(os.path.join(nusc.dataroot, row["filename"]))
                ]
    require_no_missing(missing, nusc.dataroot)


def _job(reader: Reader, scene: dict) -> SceneJob:
    def make() -> list[dict]:
        return [sample_info(reader, sample) for sample in _samples(reader.nusc, scene)]

    return SceneJob(scene["token"], scene["nbr_samples"], make)
