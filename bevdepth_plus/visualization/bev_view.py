"""The scene from above: LiDAR points, own vehicle, range rings, boxes, velocities. Ahead is up."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from bevdepth_plus.geometry.boxes import box_corners
from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.scene import Boxes, MapLayers

# A mid-size car about the ego origin, which nuScenes places under the rear axle: rear end, front
# end and half width, metres.
OWN_CAR = (-0.8, 3.3, 0.9)
SLOWEST_ARROW = 0.5  # metres a second
POINT_HEIGHTS = (-0.5, 3.0)  # metres, from the darkest to the brightest point
_HEIGHT_COLOURS = LinearSegmentedColormap.from_list("height", style.LIDAR_COLOURS)


def draw_bev(
    axes: Axes,
    points: np.ndarray,  # [P, 3], ego frame
    ground_truth: Boxes | None = None,
    predictions: Boxes | None = None,
    *,
    reach: float,
    ring_step: float,
    show_scores: bool = False,
    layers: MapLayers | None = None,
) -> None:
    """Fill a square panel that shows ``reach`` metres to each side, rings every ``ring_step``.

    Arrows of boxes that have velocities end where the box will be in a second.
    """
    if layers is not None:
        _draw_layers(axes, layers)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    _draw_rings(axes, reach, ring_step)
    _draw_points(axes, points, reach)
    _draw_own_car(axes)
    if ground_truth is not None:
        _draw_boxes(axes, ground_truth, style.GROUND_TRUTH_COLOUR, filled=False)
    if predictions is not None:
        _draw_boxes(axes, predictions, style.PREDICTION_COLOUR, filled=True)
        if show_scores:
            _write_scores(axes, predictions, reach)


def to_page(
    ego: np.ndarray,  # [..., >=2], ego frame: x forward, y left
) -> np.ndarray:
    """Panel coordinates ``[..., 2]``, metres: ahead is up, left is left."""
    return np.stack([-ego[..., 1], ego[..., 0]], axis=-1)


def _draw_layers(axes: Axes, layers: MapLayers) -> None:
    # Rows of the picture are x (ahead is up), columns y (left is left).
    extent = (-layers.y[0], -layers.y[1], *layers.x)
    for values, colour in zip(layers.values, cycle(style.MAP_COLOURS), strict=False):
        known = np.where(values <= 1, values, 0.0).T
        picture = np.empty((*known.shape, 4))
        picture[..., :3] = to_rgb(colour)
        picture[..., 3] = 0.7 * known
        axes.imshow(picture, extent=extent, origin="lower", zorder=0.5, interpolation="nearest")


def _draw_rings(axes: Axes, reach: float, step: float) -> None:
    for radius in np.arange(step, reach * 1.4, step):
        axes.add_patch(Circle((0, 0), radius, fill=False, color=style.GRID, lw=0.7, zorder=1))
        if radius < reach:
            axes.text(
                radius * np.sin(np.pi / 4),
                -radius * np.cos(np.pi / 4),
                f"{radius:g} m",
                color=style.MUTED_TEXT,
                fontsize=style.LABEL_SIZE,
                family=style.FONT,
                ha="center",
                va="center",
                bbox={"facecolor": style.PANEL, "edgecolor": "none", "pad": 1.5},
                zorder=3.5,  # above the points
                clip_on=True,
            )


def _draw_points(axes: Axes, points: np.ndarray, reach: float) -> None:
    points = points[(np.abs(points[:, :2]) < reach).all(axis=1)]
    points = points[np.argsort(points[:, 2], kind="stable")]
    low, high = POINT_HEIGHTS
    axes.scatter(
        *to_page(points).T,
        c=points[:, 2],
        cmap=_HEIGHT_COLOURS,
        vmin=low,
        vmax=high,
        s=1.2,
        marker="o",
        linewidths=0,
        zorder=3,
    )


def _draw_own_car(axes: Axes) -> None:
    rear, front, half_width = OWN_CAR
    axes.add_patch(
        FancyBboxPatch(
            (-half_width, rear),
            2 * half_width,
            front - rear,
            boxstyle="round,pad=0,rounding_size=0.5",
            facecolor=style.EGO_COLOUR,
            edgecolor="none",
            zorder=6,
        )
    )
    tip = np.array([[0, front - 0.5], [-0.55, front - 1.7], [0.55, front - 1.7]])
    axes.add_patch(Polygon(tip, facecolor=style.PAGE, edgecolor="none", zorder=7))


def _draw_boxes(axes: Axes, boxes: Boxes, colour: str, filled: bool) -> None:
    if len(boxes) == 0:
        return
    corners = to_page(box_corners(torch.from_numpy(boxes.numbers)).numpy())
    footprints = corners[:, [0, 1, 5, 4]]
    strength = np.ones(len(boxes)) if boxes.scores is None else 0.4 + 0.6 * boxes.scores.clip(0, 1)
    if filled:
        fill = PolyCollection(footprints, facecolors=colour, edgecolors="none", zorder=4)
        fill.set_alpha(0.35 * strength)
        axes.add_collection(fill)
    width = 1.2 if filled else 1.6
    rim = PolyCollection(
        footprints, facecolors="none", edgecolors=colour, linewidths=width, zorder=5
    )
    rim.set_alpha(strength)
    axes.add_collection(rim)
    # From the centre to the middle of the front face.
    headings = np.stack([corners[:, [0, 1, 4, 5]].mean(axis=1), corners[:, :2].mean(axis=1)], 1)
    lines = LineCollection(headings, colors=colour, linewidths=width, zorder=5)
    lines.set_alpha(strength)
    axes.add_collection(lines)
    _draw_velocities(axes, boxes, colour, strength)


def _draw_velocities(axes: Axes, boxes: Boxes, colour: str, strength: np.ndarray) -> None:
    velocities = boxes.numbers[:, 7:9]
    if velocities.shape[1] < 2:
        return
    drawn = np.hypot(*velocities.T) > SLOWEST_ARROW  # an unknown one is not
    if not drawn.any():
        return
    axes.quiver(
        *to_page(boxes.numbers[drawn]).T,
        *to_page(velocities[drawn]).T,
        angles="xy",
        scale_units="xy",
        scale=1,
        color=colour,
        alpha=strength[drawn],
        width=0.004,
        zorder=6,
    )


def _write_scores(axes: Axes, boxes: Boxes, reach: float) -> None:
    for numbers, score in zip(boxes.numbers, boxes.scores, strict=True):
        x, y = to_page(numbers[:2])
        if max(abs(x), abs(y)) < reach:
            axes.text(
                x + 0.5 * max(numbers[3:5]) * 0.7,
                y,
                f"{score:.2f}".lstrip("0"),
                color=style.PREDICTION_COLOUR,
                fontsize=style.LABEL_SIZE - 1,
                family=style.FONT,
                va="center",
                clip_on=True,
                zorder=8,
            )
