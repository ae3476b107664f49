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
from nuscenes.utils.splits import create_splits_scenes
from tqdm import tqdm

from bevdepth_plus.datasets.classes import CLASSES
from bevdepth_plus.datasets.info_file import INFO_VERSION
from bevdepth_plus.datasets.nuscenes_infos import LIDAR, sample_channels, sample_info
from bevdepth_plus.errors import DataError

# Version -> {name of our info file: name of the devkit's split}.
SPLITS = {
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-test": {"test": "test"},
}
# Raise it when the entries change, so that files of an older layout are not taken as finished.
LAYOUT = 1
NAMED_FILES = 3


def create_info_files(
    root: str | Path,
    version: str,
    out_dir: str | Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Writes ``bevdepth_plus_infos_{train,val}.pkl`` (or ``test``) for a nuScenes root.

    Args:
        root: Folder with ``samples``, ``maps`` and the tables in a folder named by the version.
        version: A key of ``SPLITS``.
        out_dir: Where to write; default: ``root``.
        progress: Show a progress bar on the standard error stream.

    Returns:
        The info files. Files that are complete and up to date are left as they are.

    Raises:
        DataError: If the tables cannot be read, a split has no scene, files are missing or an
            output file belongs to another version.
    """
    root, out_dir = Path(root), Path(out_dir or root)
    if version not in SPLITS:
        raise DataError(f"version {version!r} is unknown; expected one of {', '.join(SPLITS)}")
    digest = _tables_digest(root, version)
    targets = {split: out_dir / f"bevdepth_plus_infos_{split}.pkl" for split in SPLITS[version]}
    todo = [split for split in targets if not _is_finished(targets[split], version, digest)]
    if todo:
        nusc = _load_tables(root, version)
        scenes = {split: _scenes(nusc, SPLITS[version][split]) for split in todo}
        _require_files(nusc, [scene for split in todo for scene in scenes[split]])
        cache = out_dir / f".bevdepth_plus_infos_{version}"
        out_dir.mkdir(parents=True, exist_ok=True)
        for split in todo:
            entries = _collect(nusc, scenes[split], cache / digest, progress and split)
            _write(targets[split], _info_file(entries, version, digest))
        shutil.rmtree(cache)
    return list(targets.values())


def _tables_digest(root: Path, version: str) -> str:
    tables = sorted((root / version).glob("*.json"))
    if not tables:
        raise DataError(
            f"{root / version} holds no tables (*.json); ROOT must be the folder that contains "
            f"{version}, maps and samples"
        )
    digest = hashlib.blake2b(f"layout {LAYOUT}".encode(), digest_size=16)
    for table in tables:
        digest.update(table.name.encode())
        with table.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _is_finished(path: Path, version: str, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            metainfo = pickle.load(file)["metainfo"]
    except FileNotFoundError:
        return False
    except Exception:  # whatever the damage, the file is ours to write again
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


def _scenes(nusc: NuScenes, split: str) -> list[dict]:
    names = set(create_splits_scenes()[split])
    scenes = [scene for scene in nusc.scene if scene["name"] in names]
    if not scenes:
        raise DataError(
            f"{nusc.dataroot} has no scene of split {split} (an empty split); download its scenes "
            "or use another --version"
        )
    return scenes


def _samples(nusc: NuScenes, scene: dict) -> list[dict]:
    samples, token = [], scene["first_sample_token"]
    while token:
        samples.append(nusc.get("sample", token))
        token = samples[-1]["next"]
    return samples


def _require_files(nusc: NuScenes, scenes: list[dict]) -> None:
    missing = []
    for scene in scenes:
        for sample in _samples(nusc, scene):
            for channel in [LIDAR, *sample_channels(nusc, sample)]:
                name = nusc.get("sample_data", sample["data"][channel])["filename"]
                if not os.path.isfile(os.path.join(nusc.dataroot, name)):
                    missing.append(name)
    if missing:
        named = ", ".join(missing[:NAMED_FILES])
        more = f" and {len(missing) - NAMED_FILES} more" if len(missing) > NAMED_FILES else ""
        raise DataError(
            f"{len(missing)} files are missing below {nusc.dataroot}: {named}{more}; "
            "complete the download and run again"
        )


def _collect(nusc: NuScenes, scenes: list[dict], cache: Path, label: str | bool) -> list[dict]:
    """Entries of all scenes; each finished scene is kept in ``cache`` for the next run."""
    cache.mkdir(parents=True, exist_ok=True)
    entries: list[dict] = []
    total = sum(scene["nbr_samples"] for scene in scenes)
    with tqdm(total=total, desc=label or None, unit="sample", disable=not label) as bar:
        for scene in scenes:
            path = cache / f"{scene['token']}.pkl"
            if not path.exists():
                _write(path, [sample_info(nusc, sample) for sample in _samples(nusc, scene)])
            # Read back even if just written: a pickle's bytes depend on which strings are one
            # object, and an interrupted run must end in the same bytes as a straight one.
            with path.open("rb") as file:
                entries += pickle.load(file)
            bar.update(len(entries) - bar.n)
    return entries


def _info_file(entries: list[dict], version: str, digest: str) -> dict:
    return {
        "metainfo": {
            "categories": {name: label for label, name in enumerate(CLASSES)},
            "dataset": "nuscenes",
            "version": version,
            "info_version": INFO_VERSION,
            "tables_digest": digest,
        },
        "data_list": [{"sample_idx": index, **entry} for index, entry in enumerate(entries)],
    }


def _write(path: Path, content: object) -> None:
    """Pickles to a temporary name first: a file with its final name is always whole."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        pickle.dump(content, file, protocol=4)
    os.replace(part, path)
