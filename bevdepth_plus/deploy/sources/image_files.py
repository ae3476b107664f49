"""Image files of a rig: which of them were taken together, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bevdepth_plus.deploy.frames import FrameAssembler
from bevdepth_plus.deploy.sources.drives import Drive, Moment
from bevdepth_plus.deploy.streaming import ImageMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
USUAL_FPS = 2.0  # of nuScenes' key frames
WINDOW = (0.08, 0.25)  # seconds: least and most that a moment may last
_UNITS = {10: 1.0, 13: 1e-3, 16: 1e-6, 19: 1e-9}  # digits of a time since 1970 -> seconds
_YEARS = (1e9, 4e9)  # seconds: 2001 to 2096


def drive_from_patterns(rig: Rig, fps: float | None = None) -> Drive:
    """The files that the cameras' ``image`` patterns name.

    Raises:
        DataError: see :func:`drive_of_files`; or a camera has no pattern or no file.
    """
    without = [camera.name for camera in rig.cameras if camera.image is None]
    if without:
        raise DataError(
            f"camera {without[0]} has no image; add image: 'folder/*.jpg' to it in the rig file, "
            "give the images with --images or --video, or choose cameras with --cameras"
        )
    return drive_of_files(rig, {camera.name: camera.image_files() for camera in rig.cameras}, fps)


def drive_from_folder(folder: str | Path, rig: Rig, fps: float | None = None) -> Drive:
    """A folder that holds, for each camera, a folder or one file of its name.

    Raises:
        DataError: see :func:`drive_of_files`; or the folder lacks a camera.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"--images {folder} is no folder")
    return drive_of_files(rig, {c.name: _files_of(folder, c) for c in rig.cameras}, fps)


def drive_of_files(
    rig: Rig, files: Mapping[str, Sequence[Path]], fps: float | None = None
) -> Drive:
    """Image files of each camera, in the order of their names.

    Where every name ends in a time since 1970 (seconds, or 13, 16 or 19 digits for ms, us or ns),
    files of one moment are those that were taken together; a camera may miss some. Else the first
    files of all cameras make a moment, then the second ones, and so on; every camera needs as many.

    Args:
        rig: the cameras, with their delays.
        files: of each camera, sorted.
        fps: moments a second, for files without a time in their names. The first image is at 0 s.

    Raises:
        DataError: cameras have different numbers of files without times.
    """
    stamps = {name: [stamp_of(path) for path in paths] for name, paths in files.items()}
    timed = {
        name: [stamp for stamp in values if stamp is not None] for name, values in stamps.items()
    }
    if fps is None and all(len(timed[name]) == len(paths) for name, paths in files.items()):
        window = _window(timed)
        moments = list(_taken_together(files, timed, window))
        return Drive(rig, moments, len(moments), window)
    counts = {name: len(paths) for name, paths in files.items()}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            f"the cameras have different numbers of images ({each}); without times in their names "
            "the first ones belong together, then the second ones: remove those that have no "
            "partner, or name files by their time (microseconds since 1970)"
        )
    notes = ()
    if fps is None and max(counts.values()) > 1:
        notes = (f"no times in the file names: taken as {USUAL_FPS:g} moments a second (--fps)",)
    moments = list(_in_order(rig, files, fps or USUAL_FPS))
    return Drive(rig, moments, len(moments), WINDOW[1], notes=notes)


def stamp_of(path: Path) -> float | None:
    """The time since 1970 at the end of a file's name, seconds; None: there is none."""
    match = re.search(r"(?<![\d.])(\d+)(\.\d+)?$", path.stem)
    if match is None or len(match[1]) not in _UNITS or (match[2] and len(match[1]) != 10):
        return None
    stamp = float(match[1] + (match[2] or "")) * _UNITS[len(match[1])]
    return stamp if _YEARS[0] <= stamp < _YEARS[1] else None


def _files_of(folder: Path, camera: RigCamera) -> list[Path]:
    own = folder / camera.name
    if own.is_dir():
        files = sorted(path for path in own.iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"camera {camera.name}: {own} holds no {', '.join(SUFFIXES)} file")
        return files
    files = sorted(
        path
        for path in folder.iterdir()
        if path.stem == camera.name and path.suffix.lower() in SUFFIXES
    )
    if not files:
        raise DataError(
            f"camera {camera.name}: {folder} has neither a folder {camera.name} nor a file "
            f"{camera.name}.jpg; add it, or choose cameras with --cameras"
        )
    if len(files) > 1:
        raise DataError(
            f"camera {camera.name}: {folder} has {' and '.join(path.name for path in files)}; keep "
            "one of them"
        )
    return files


def _window(stamps: Mapping[str, Sequence[float]]) -> float:
    """Half of the time between the images of the fastest camera, within limits."""
    steps = [np.median(np.diff(sorted(each))) for each in stamps.values() if len(each) > 1]
    least, most = WINDOW
    return float(np.clip(min(steps) / 2, least, most)) if steps else most


def _taken_together(
    files: Mapping[str, Sequence[Path]], stamps: Mapping[str, Sequence[float]], window: float
) -> Iterator[Moment]:
    images = [
        ImageMessage(name, stamp, str(path))
        for name, paths in files.items()
        for path, stamp in zip(paths, stamps[name], strict=True)
    ]
    frames: FrameAssembler[ImageMessage] = FrameAssembler(files, window)
    for image in sorted(images, key=lambda image: image.stamp):
        if frames.ends_frame(image.camera, image.stamp):
            yield Moment(tuple(frames.take().items.values()))
        frames.add(image.camera, image.stamp, image)
    yield Moment(tuple(frames.take().items.values()))


def _in_order(rig: Rig, files: Mapping[str, Sequence[Path]], fps: float) -> Iterator[Moment]:
    earliest = min(camera.delay for camera in rig.cameras)
    cameras = sorted(rig.cameras, key=lambda camera: camera.delay)
    for index in range(len(files[cameras[0].name])):
        yield Moment(
            tuple(
                ImageMessage(
                    camera.name,
                    index / fps + camera.delay - earliest,
                    str(files[camera.name][index]),
                )
                for camera in cameras
            )
        )
