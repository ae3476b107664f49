"""A folder of pictures, one page a moment, that appears whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from bevdepth_plus.deploy.drawing import PageStyle, draw_depth, draw_page
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_folder
from bevdepth_plus.rigs.images import Source, read_image
from bevdepth_plus.rigs.rig import Rig

JPEG_QUALITY = 88
_OURS = re.compile(r"\d{5}(_[\w-]+)?\.jpg")


class PictureFolder:
    """Pages of a drive: ``00000.jpg``, and ``00000_depth.jpg`` where results have depth.

    The folder takes its name when it is closed; an earlier one is replaced.

    Args:
        path: the folder.
        rig: the cameras.
        style: what a page shows.

    Raises:
        DataError: there is a folder of that name that holds other files.
    """

    def __init__(self, path: str | Path, rig: Rig, style: PageStyle) -> None:
        self.path, self.rig, self.style = Path(path), rig, style
        if self.path.exists() and not self._is_ours():
            raise DataError(
                f"{self.path} exists and holds other files than this tool's pictures; choose "
                "another --out"
            )
        self.count = 0
        self._stack: ExitStack = ExitStack()
        self._folder = self._stack.enter_context(atomic_folder(self.path))

    def write(self, result: Result, images: Mapping[str, Source], token: str | None = None) -> None:
        """Add one moment.

        Args:
            result: of the detector.
            images: camera -> path, bytes or RGB array; of cameras that were used.
            token: goes into the file's name.
        """
        pixels = {
            name: read_image(source, name)
            for name, source in images.items()
            if name in result.cameras
        }
        name = f"{self.count:05d}" + (f"_{token}" if token else "")
        _save(draw_page(result, pixels, self.rig, self.style), self._folder / f"{name}.jpg")
        if result.depth:
            _save(draw_depth(result, self.rig), self._folder / f"{name}_depth.jpg")
        self.count += 1

    def close(self) -> None:
        """The folder takes its name."""
        self._stack.close()

    def discard(self) -> None:
        """Nothing is left of it; an earlier folder stays."""
        try:
            with self._stack:
                raise _DiscardedError
        except _DiscardedError:
            pass

    def _is_ours(self) -> bool:
        return self.path.is_dir() and all(_OURS.fullmatch(p.name) for p in self.path.iterdir())


class _DiscardedError(Exception):
    """Ends the folder without its name."""


def _save(picture: np.ndarray, path: Path) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    good, data = cv2.imencode(".jpg", picture[..., ::-1], options)
    if not good:
        raise DataError(f"{path.name}: a page of {picture.shape[:2]} pixels cannot be encoded")
    path.write_bytes(data.tobytes())
