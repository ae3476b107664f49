"""Which scenes of a nuScenes root go into which info file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from bevdepth_plus.datasets.fields import short
from bevdepth_plus.errors import DataError

# Version -> {name of our info file: name of the devkit's split}.
OFFICIAL_SPLITS = {
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-test": {"test": "test"},
}
EXAMPLE = '{"train": ["scene name", ...], "val": [...]}'


def split_names(root: Path, version: str) -> list[str]:
    """The info files that a version has, by the names of their splits.

    ``ROOT/VERSION/splits.json``, which the devkit reads as well, goes before the official splits.

    Raises:
        DataError: The version is none of nuScenes' and has no such file, or the file is unusable.
    """
    own = _own_splits(root, version)
    if own is not None:
        return list(own)
    if version not in OFFICIAL_SPLITS:
        raise DataError(
            f"version {version!r} is unknown; expected one of {', '.join(OFFICIAL_SPLITS)}, or a "
            f"file {root / version / 'splits.json'} with {EXAMPLE}"
        )
    return list(OFFICIAL_SPLITS[version])


def scenes_of(nusc: NuScenes, split: str) -> list[dict]:
    """The scenes of a split, rows of the scene table in its order.

    Of an official split only what is in the root is taken, for downloads come in parts. Of an own
    one, every scene must be there.

    Raises:
        DataError: The split has no scene in the root, or an own split names one that it lacks.
    """
    own = _own_splits(Path(nusc.dataroot), nusc.version)
    official = OFFICIAL_SPLITS.get(nusc.version, {}).get(split)
    names = set(create_splits_scenes()[official] if own is None else own[split])
    scenes = [scene for scene in nusc.scene if scene["name"] in names]
    unknown = sorted(names - {scene["name"] for scene in scenes})
    if own is not None and unknown:
        known = ", ".join(scene["name"] for scene in nusc.scene[:3])
        raise DataError(
            f"splits.json: {len(unknown)} scenes of split {split!r} are not in the scene table, "
            f"first {unknown[0]!r} (it has {known}, ...); correct the names"
        )
    if not scenes:
        raise DataError(
            f"{nusc.dataroot} has no scene of split {official or split} (an empty split); download "
            f"its scenes, use another --version, or write "
            f"{Path(nusc.dataroot) / nusc.version / 'splits.json'} with {EXAMPLE}"
        )
    return scenes


def _own_splits(root: Path, version: str) -> dict[str, list[str]] | None:
    path = root / version / "splits.json"
    try:
        splits = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected {EXAMPLE}") from None
    if not isinstance(splits, dict) or not splits:
        raise DataError(f"{path}: expected {EXAMPLE}, got {short(splits)}")
    for name, scenes in splits.items():
        if not re.fullmatch(r"[\w-]+", name):
            raise DataError(
                f"{path}: a split's name goes into a file's name, so it may hold letters, digits, "
                f"_ and - alone, got {short(name)}"
            )
        if not isinstance(scenes, list) or not all(isinstance(scene, str) for scene in scenes):
            raise DataError(f"{path}: split {name!r} must be a list of scene names; {EXAMPLE}")
    both = sorted(set(splits.get("train", ())) & set(splits.get("val", ())))
    if both:
        raise DataError(
            f"{path}: scene {both[0]!r} is in train and in val ({len(both)} are); a model must be "
            "scored on scenes it has not seen"
        )
    return splits
