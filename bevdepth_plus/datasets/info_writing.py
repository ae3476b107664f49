"""Writing info files, whatever they are made from: checked first, resumable, never half-written."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bevdepth_plus.datasets.info_file import INFO_VERSION
from bevdepth_plus.datasets.plain_pickle import read_pickle
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write

NAMED_FILES = 3


@dataclass(frozen=True)
class SceneJob:
    """One scene to make entries of.

    Attributes:
        name: Names its file among the finished scenes; unique in the data set.
        num_samples: For the progress bar.
        make: Makes the scene's entries.
    """

    name: str
    num_samples: int
    make: Callable[[], list[dict]]


Prepared = tuple[Callable[[str], Sequence[SceneJob]], Sequence[str], str]


def write_info_files(
    splits: Sequence[str],
    out_dir: Path,
    version: str,
    digest: str,
    prepare: Callable[[Sequence[str]], Prepared],
    progress: bool,
) -> list[Path]:
    """Writes ``bevdepth_plus_infos_SPLIT.pkl`` of each split that is not up to date.

    Args:
        splits: of the data set.
        out_dir: where to write.
        version: of the data set.
        digest: of what the infos are made from.
        prepare: called with the splits to write, if there are any; returns the jobs of a split, the
            classes and the data set's name.
        progress: Show a progress bar on the standard error stream.

    Returns:
        The files of all splits.

    Raises:
        DataError: A file holds the infos of another version, or the folder cannot be written.
    """
    targets = {split: out_dir / f"bevdepth_plus_infos_{split}.pkl" for split in splits}
    todo = [split for split in targets if not is_finished(targets[split], version, digest)]
    if todo:
        require_writable_folder(out_dir)
        cache = out_dir / f".bevdepth_plus_infos_{version}"
        jobs, classes, dataset = prepare(todo)
        for split in todo:
            entries = collect(jobs(split), cache / digest, progress and split)
            write_pickle(targets[split], info_file(entries, classes, dataset, version, digest))
        shutil.rmtree(cache, ignore_errors=True)
    return list(targets.values())


def require_writable_folder(folder: Path) -> None:
    """Says so before anything is read, which takes minutes."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise _not_writable(folder, "no permission, or a read-only disk")


def require_no_missing(missing: Sequence[str], root: str | Path) -> None:
    """Counts the missing files below ``root`` and names the first few.

    Raises:
        DataError: There is one.
    """
    if missing:
        named = ", ".join(missing[:NAMED_FILES])
        more = f" and {len(missing) - NAMED_FILES} more" if len(missing) > NAMED_FILES else ""
        raise DataError(
            f"{len(missing)} files are missing below {root}: {named}{more}; "
            "complete the download and run again"
        )


def is_finished(path: Path, version: str, digest: str) -> bool:
    """Whether ``path`` is complete and made from the same tables.

    Raises:
        DataError: It holds the infos of another version.
    """
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


def collect(scenes: Sequence[SceneJob], cache: Path, label: str | bool) -> list[dict]:
    """Entries of all scenes; each finished scene is kept in ``cache`` for the next run.

    Args:
        scenes: In the order of the info file.
        cache: Folder of the finished scenes.
        label: Of the progress bar; empty or False shows none.
    """
    entries: list[dict] = []
    total = sum(scene.num_samples for scene in scenes)
    with tqdm(total=total, desc=label or None, unit="sample", disable=not label) as bar:
        for scene in scenes:
            path = cache / f"{scene.name}.pkl"
            if not path.exists():
                write_pickle(path, scene.make())
            # Read back even if just written: a pickle's bytes depend on which strings are one
            # object, and an interrupted run must end in the same bytes as a straight one.
            entries += read_pickle(path, "file of a finished scene", "remove it and run again")
            bar.update(len(entries) - bar.n)
    return entries


def info_file(
    entries: list[dict], classes: Sequence[str], dataset: str, version: str, digest: str
) -> dict:
    """An info file's content; a class's label is its position in ``classes``."""
    return {
        "metainfo": {
            "categories": {name: label for label, name in enumerate(classes)},
            "dataset": dataset,
            "version": version,
            "info_version": INFO_VERSION,
            "tables_digest": digest,
        },
        "data_list": [{"sample_idx": index, **entry} for index, entry in enumerate(entries)],
    }


def write_pickle(path: Path, content: object) -> None:
    """Writes it whole or not at all.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        with atomic_write(path) as file:
            pickle.dump(content, file, protocol=4)
    except OSError as error:
        raise _not_writable(path.parent, error.strerror) from None


def _not_writable(folder: Path, reason: str | None) -> DataError:
    return DataError(f"{folder} cannot be written ({reason}); choose another folder with --out-dir")
