"""A camera's image with boxes projected onto it."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Polygon

from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.projection import ProjectedBox, project_boxes
from bevdepth_plus.visualization.scene import Boxes, Camera

MIN_LABEL_HEIGHT = 0.08  # of the image; smaller boxes get no text
LINE_WIDTH = 1.4  # points


def draw_camera(
    axes: Axes, camera: Camera, ground_truth: Boxes | None = None, predictions: Boxes | None = None
) -> None:
    """Fill a panel with the image, ground truth below and predictions above.

    The axes' coordinates are the image's pixels, with pixel centres at integers + 0.5.
    """
    show_image(axes, camera)
    labels = _Labels(axes, camera)
    for boxes, colour, width in (
        (ground_truth, style.GROUND_TRUTH_COLOUR, LINE_WIDTH * 1.25),
        (predictions, style.PREDICTION_COLOUR, LINE_WIDTH),
    ):
        if boxes is None:
            continue
        on_top = boxes is predictions or predictions is None
        projected = project_boxes(boxes, camera)
        for box in projected:
            _draw_box(axes, box, colour, width, fill=on_top)
        if on_top:
            for box in reversed(projected):  # the nearest first: they may crowd out the others
                labels.add(box, _caption(boxes, box.index), colour)
    write_corner(axes, camera.name)


def show_image(axes: Axes, camera: Camera) -> None:
    """Fill a panel with the image alone, whole and unstretched."""
    height, width = camera.size
    box = axes.get_window_extent()
    # Averaging down once here is sharper and faster than resampling at drawing time.
    scale = min(1.0, box.width / width, box.height / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(camera.image, size, interpolation=cv2.INTER_AREA)
    axes.imshow(small, extent=(0, width, height, 0), aspect="equal", interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0))


def write_corner(axes: Axes, text: str) -> None:
    """A caption in the upper left corner of a panel."""
    axes.text(
        0.012,
        0.975,
        text,
        transform=axes.transAxes,
        va="top",
        color=style.TEXT,
        fontsize=style.TEXT_SIZE,
        family=style.FONT,
        bbox={"facecolor": style.PAGE, "alpha": 0.65, "edgecolor": "none", "pad": 3},
        zorder=10,
    )


def _draw_box(axes: Axes, box: ProjectedBox, colour: str, width: float, fill: bool) -> None:
    axes.add_collection(
        LineCollection(box.segments, colors=style.OUTLINE, linewidths=width + 1.3, alpha=0.45)
    )
    if fill and box.front is not None:
        axes.add_patch(Polygon(box.front, facecolor=colour, edgecolor="none", alpha=0.3))
    axes.add_collection(
        LineCollection(box.segments, colors=colour, linewidths=width, capstyle="round")
    )


def _caption(boxes: Boxes, index: int) -> str:
    name = boxes.names[index].replace("_", " ")
    return name if boxes.scores is None else f"{name} {boxes.scores[index]:.2f}"


class _Labels:
    """Text above boxes, left out where it would cover other text."""

    def __init__(self, axes: Axes, camera: Camera) -> None:
        self.axes = axes
        self.height, self.width = camera.size
        # Size of one character in image pixels.
        pixel = self.width / axes.get_window_extent().width
        self.character = np.array([0.62, 1.3]) * style.LABEL_SIZE * style.DPI / 72 * pixel
        self.taken: list[np.ndarray] = []

    def add(self, box: ProjectedBox, text: str, colour: str) -> None:
        low, high = box.segments.min(axis=(0, 1)), box.segments.max(axis=(0, 1))
        if high[1] - low[1] < MIN_LABEL_HEIGHT * self.height:
            return
        extent = self.character * (len(text), 1)
        corner = np.array([low[0], max(low[1] - extent[1], 0)])
        corner[0] = np.clip(corner[0], 0, max(self.width - extent[0], 0))
        rectangle = np.stack([corner, corner + extent])
        if any(_overlap(rectangle, other) for other in self.taken):
            return
        self.taken.append(rectangle)
        self.axes.text(
            *(corner + extent * (0, 0.5)),
            text,
            color=colour,
            fontsize=style.LABEL_SIZE,
            family=style.FONT,
            va="center",
            clip_on=True,
            bbox={"facecolor": style.PAGE, "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
            zorder=9,
        )


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles ``[2, 2]`` (low and high corner) overlap."""
    return bool((first[0] < second[1]).all() and (second[0] < first[1]).all())
