"""Where panels go: cameras in the order they look, on a page measured in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bevdepth_plus.files import atomic_write
from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.scene import Camera

MIN_COLUMNS = 2  # one camera alone does not fill the page


def camera_rows(cameras: Sequence[Camera]) -> list[list[Camera]]:
    """Cameras that look ahead in one row, those that look back in the next, each left to right.

    Left to right is as one sits in the vehicle: the rear row reads rear left, rear, rear right.
    """
    azimuths = [np.arctan2(camera.ego_T_cam[1, 2], camera.ego_T_cam[0, 2]) for camera in cameras]
    # A camera square to the side belongs ahead, whatever its rounding.
    ahead = [abs(azimuth) <= np.pi / 2 + 1e-3 for azimuth in azimuths]
    order = np.argsort([-a for a in azimuths], kind="stable")
    front = [cameras[i] for i in order if ahead[i]]
    order = np.argsort([a % (2 * np.pi) for a in azimuths], kind="stable")
    rear = [cameras[i] for i in order if not ahead[i]]
    return [row for row in (front, rear) if row]


class Page:
    """A figure on which panels are placed in pixels from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(
            figsize=(width / style.DPI, height / style.DPI), dpi=style.DPI, facecolor=style.PAGE
        )
        FigureCanvasAgg(self.figure)

    def panel(self, left: float, top: float, width: float, height: float, name: str) -> Axes:
        """An empty panel without ticks; ``name`` becomes its label."""
        bottom = self.height - top - height
        rectangle = (
            left / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(rectangle, facecolor=style.PANEL, label=name)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def save(self, path: str | Path) -> Path:
        """Write the page as PNG, exactly ``width`` by ``height`` pixels."""
        # Without the date and version two runs write the same bytes.
        with atomic_write(path) as file:
            self.figure.savefig(file, format="png", dpi=style.DPI, metadata={"Software": None})
        return Path(path)


def row_panels(
    rows: Sequence[Sequence[Camera]], width: int, top: int
) -> tuple[list[list[tuple[float, float, float, float]]], float]:
    """Panels (left, top, width, height) of rows of cameras, and where the last row ends.

    All panels are equally wide; short rows stand in the middle.
    """
    columns = max(MIN_COLUMNS, *(len(row) for row in rows))
    panel_width = (width - (columns + 1) * style.GAP) / columns
    panels = []
    for row in rows:
        height = round(panel_width * max(camera.size[0] / camera.size[1] for camera in row))
        used = len(row) * panel_width + (len(row) - 1) * style.GAP
        left = (width - used) / 2
        panels.append(
            [
                (left + i * (panel_width + style.GAP), top, panel_width, height)
                for i in range(len(row))
            ]
        )
        top += height + style.GAP
    return panels, top
