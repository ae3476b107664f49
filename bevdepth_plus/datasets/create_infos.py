"""Makes the info files of a nuScenes root, real or synthetic, through the unmodified devkit.

An interrupted run goes on where it stopped: finished scenes lie in a hidden folder beside the
output until the split files are written. A digest of the tables says whether they still hold.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path

from nuscenes import NuScenes
from tqdm import tqdm

from bevdepth_plus.datasets.info_file import INFO_VERSION
from bevdepth_plus.datasets.nuscenes_infos import (
    LIDAR,
    Reader,
    make_reader,
    sample_channels,
    sample_info,
    sweeps_before,
)
from bevdepth_plus.datasets.plain_pickle import read_pickle
from bevdepth_plus.datasets.splits import scenes_of, split_names
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write

# Raise it when the entries change, so that files of an older layout are not taken as finished.
LAYOUT = 2
NAMED_FILES = 3


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
    targets = {split: out_dir / f"bevdepth_plus_infos_{split}.pkl" for split in splits}
    todo = [split for split in targets if not _is_finished(targets[split], version, digest)]
    if todo:
        cache = out_dir / f".bevdepth_plus_infos_{version}"
        _require_writable(out_dir)
        reader = make_reader(_load_tables(root, version), lidar_channel, sweeps)
        scenes = {split: scenes_of(reader.nusc, split) for split in todo}
        _require_files(reader, [scene for split in todo for scene in scenes[split]])
        for split in todo:
            entries = _collect(reader, scenes[split], cache / digest, progress and split)
            _write(targets[split], _info_file(entries, reader, digest))
        shutil.rmtree(cache, ignore_errors=True)
    return list(targets.values())


def _require_writable(folder: Path) -> None:
    """Says so before the tables are read, which takes minutes."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise _not_writable(folder, "no permission, or a read-only disk")


def _not_writable(folder: Path, reason: str | None) -> DataError:
    return DataError(f"{folder} cannot be written ({reason}); choose another folder with --out-dir")


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


def _is_finished(path: Path, version: str, digest: str) -> bool:
    try:
        metainfo = read_pickle(path)["metainfo"]
    except (DataError, KeyError, TypeError):  # absent or damaged: it is ours to write
        return False
    if metainfo.get("version") != version:
        raise DataError(
            f"{path} holds the infos of {metainfo.get('version')}; remove it or choose another "
            f"folder with --out-dir for those of {version}"
        )
    return metainfo.get("tables_digest") == digest


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
    if missing:
        named = ", ".join(missing[:NAMED_FILES])
        more = f" and {len(missing) - NAMED_FILES} more" if len(missing) > NAMED_FILES else ""
        raise DataError(
            f"{len(missing)} files are missing below {nusc.dataroot}: {named}{more}; "
            "complete the download and run again"
        )


def _collect(reader: Reader, scenes: list[dict], cache: Path, label: str | bool) -> list[dict]:
    """Entries of all scenes; each finished scene is kept in ``cache`` for the next run."""
    entries: list[dict] = []
    total = sum(scene["nbr_samples"] for scene in scenes)
    with tqdm(total=total, desc=label or None, unit="sample", disable=not label) as bar:
        for scene in scenes:
            path = cache / f"{scene['token']}.pkl"
            if not path.exists():
                _write(path, [sample_info(reader, s) for s in _samples(reader.nusc, scene)])
            # Read back even if just written: a pickle's bytes depend on which strings are one
            # object, and an interrupted run must end in the same bytes as a straight one.
            entries += read_pickle(path, "file of a finished scene", "remove it and run again")
            bar.update(len(entries) - bar.n)
    return entries


def _info_file(entries: list[dict], reader: Reader, digest: str) -> dict:
    return {
        "metainfo": {
            "categories": {name: label for label, name in enumerate(reader.classes)},
            "dataset": "nuscenes",
            "version": reader.nusc.version,
            "info_version": INFO_VERSION,
            "tables_digest": digest,
        },
        "data_list": [{"sample_idx": index, **entry} for index, entry in enumerate(entries)],
    }


def _write(path: Path, content: object) -> None:
    try:
        with atomic_write(path) as file:
            pickle.dump(content, file, protocol=4)
    except OSError as error:
        raise _not_writable(path.parent, error.strerror) from None
