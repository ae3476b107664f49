"""The layouts of folders by name: what each must hold, and who reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bevdepth_plus.datasets.sequences import scannet, sun3d, tum
from bevdepth_plus.datasets.sequences.frames import FrameSequence
from bevdepth_plus.datasets.sequences.nuscenes import read_nuscenes
from bevdepth_plus.errors import DataError


@dataclass(frozen=True)
class Layout:
    """A layout of one folder a sequence.

    Attributes:
        needed: files and folders that each sequence has.
        read: folder, name and the layout's own options -> sequence.
    """

    needed: tuple[str, ...]
    read: Callable[..., FrameSequence]


LAYOUTS = {
    "scannet": Layout(scannet.NEEDED, scannet.read_scannet),
    "sun3d": Layout(sun3d.NEEDED, sun3d.read_sun3d),
    "prepared": Layout(sun3d.NEEDED_PREPARED, sun3d.read_prepared),
    "tum": Layout(tum.NEEDED, tum.read_tum),
}
NUSCENES = "nuscenes"


def read_source(source: Mapping[str, Any]) -> list[FrameSequence]:
    """Reads the sequences of one source of a config.

    Args:
        source: ``layout``, ``root`` and the reader's own options. ``root`` is the folder of one
            sequence or of several; ``sequences`` names some of these (paths below it). For
            ``layout="nuscenes"``: the options of ``read_nuscenes``.

    Returns:
        Sequences by name, those of nuScenes in the order of the info file.

    Raises:
        DataError: the layout is not known, an option is not the layout's, the folder is missing or
            of another layout, or a file in it cannot be used.
    """
    options = dict(source)
    layout, root = options.pop("layout", None), options.pop("root", None)
    if layout not in (*LAYOUTS, NUSCENES) or root is None:
        raise DataError(
            f"a source needs layout (one of {', '.join((*LAYOUTS, NUSCENES))}) and root, got "
            f"layout={layout!r}, root={root!r}"
        )
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{layout} folder {root} does not exist; correct the source's root")
    if layout == NUSCENES:
        _require_options(read_nuscenes, (root,), options, f"{layout} {root}")
        return read_nuscenes(root, **options)
    return _read_folders(root, layout, options.pop("sequences", None), options)


def _read_folders(
    root: Path, layout: str, names: Sequence[str] | None, options: Mapping[str, Any]
) -> list[FrameSequence]:
    if names is not None:
        folders = {name: root / name for name in names}
    elif _holds(root, layout):
        folders = {root.name: root}
    else:
        # One that holds a part is incomplete or of another layout: named, not left out.
        needed = LAYOUTS[layout].needed
        inside = (path for path in sorted(root.iterdir()) if path.is_dir())
        folders = {p.name: p for p in inside if any((p / name).exists() for name in needed)}
    for folder in folders.values() if folders else [root]:
        _require(folder, layout)
    reader = LAYOUTS[layout].read
    _require_options(reader, (root, ""), options, f"{layout} {root}")
    bar = tqdm(folders.items(), desc=f"{layout} {root}", unit="sequence", disable=len(folders) < 2)
    return [reader(folder, name, **options) for name, folder in bar]


def _require_options(
    reader: Callable, given: tuple, options: Mapping[str, Any], where: str
) -> None:
    try:
        inspect.signature(reader).bind(*given, **options)
    except TypeError as error:
        takes = ", ".join(list(inspect.signature(reader).parameters)[len(given) :])
        raise DataError(f"source {where}: {error}; its options are {takes}") from None


def _holds(folder: Path, layout: str) -> bool:
    return all((folder / name).exists() for name in LAYOUTS[layout].needed)


def _require(folder: Path, layout: str) -> None:
    if _holds(folder, layout):
        return
    looked_for = ", ".join(LAYOUTS[layout].needed)
    lacking = ", ".join(n for n in LAYOUTS[layout].needed if not (folder / n).exists())
    like = [f"{name} ({', '.join(known.needed)})" for name, known in LAYOUTS.items()]
    fits = [name for name in LAYOUTS if _holds(folder, name)]
    hint = f"it looks like {' or '.join(fits)}" if fits else "is root the folder of the sequences?"
    raise DataError(
        f"{folder} is no {layout} sequence: looked for {looked_for}, "
        f"lacking {lacking}; {hint}. Known layouts: {'; '.join(like)}; {NUSCENES} (an info file)"
    )
