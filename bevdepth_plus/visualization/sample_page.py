"""One sample on one page: all cameras, the caption, and the scene from above at two scales."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.bev_view import draw_bev
from bevdepth_plus.visualization.camera_view import draw_camera, write_corner
from bevdepth_plus.visualization.layout import Page, camera_rows, row_panels
from bevdepth_plus.visualization.scene import Boxes, MapLayers, Scene, hit_by_points

FAR, NEAR = 54.0, 25.0  # metres shown to each side by the two views from above
RING_STEPS = ((30, 10), (120, 20), (np.inf, 50))  # up to a reach, rings so far apart, metres
ROW = 0.047  # height of a line of the caption, if they all fit


def draw_sample(
    scene: Scene,
    ground_truth: Boxes | None = None,
    predictions: Boxes | None = None,
    *,
    score_threshold: float = 0.3,
    classes: Sequence[str] = CLASSES,
    hide_unseen: bool = True,
    far: float = FAR,
    layers: MapLayers | None = None,
) -> Page:
    """Draw a sample.

    Args:
        scene: images and points.
        ground_truth: ground truth, or None.
        predictions: with scores, or None; those below ``score_threshold`` are left out.
        classes: order of the counts in the caption.
        hide_unseen: leave out ground truth without a LiDAR point, which the scores ignore, too.
        far: metres shown to each side by the wider view from above.
        layers: of the map, drawn under the views from above.
    """
    if ground_truth is not None and hide_unseen and len(scene.points):
        ground_truth = ground_truth.select(hit_by_points(ground_truth, scene.points))
    if predictions is not None:
        predictions = predictions.select(predictions.scores >= score_threshold)
    rows = camera_rows(scene.cameras)
    panels, top = row_panels(rows, style.PAGE_WIDTH, top=style.GAP)
    side = (style.PAGE_WIDTH - 4 * style.GAP) / 3
    page = Page(style.PAGE_WIDTH, round(top + side + style.GAP))
    for row, row_of_panels in zip(rows, panels, strict=True):
        for camera, panel in zip(row, row_of_panels, strict=True):
            draw_camera(page.panel(*panel, name=camera.name), camera, ground_truth, predictions)

    lefts = [style.GAP + i * (side + style.GAP) for i in range(3)]
    caption = page.panel(lefts[0], top, side, side, name="caption")
    _write_caption(caption, scene, ground_truth, predictions, score_threshold, classes, layers)
    for left, reach, name in ((lefts[1], far, "bev"), (lefts[2], NEAR, "bev near")):
        axes = page.panel(left, top, side, side, name=name)
        draw_bev(
            axes,
            scene.points,
            ground_truth,
            predictions,
            reach=reach,
            ring_step=next(step for top, step in RING_STEPS if reach <= top),
            show_scores=reach <= 30,
            layers=layers,
        )
        write_corner(axes, f"from above, {reach:g} m to each side")
    return page


def _write_caption(
    axes: Axes,
    scene: Scene,
    ground_truth: Boxes | None,
    predictions: Boxes | None,
    score_threshold: float,
    classes: Sequence[str],
    layers: MapLayers | None = None,
) -> None:
    axes.set(xlim=(0, 1), ylim=(1, 0))
    y = 0.07
    for index, fact in enumerate(scene.facts):
        _write(axes, 0.06, y, fact, style.MUTED_TEXT if index else style.TEXT, bold=not index)
        y += 0.05
    y += 0.03
    columns = []
    if ground_truth is not None:
        _swatch(axes, y, style.GROUND_TRUTH_COLOUR, "ground truth", filled=False)
        columns.append((0.62, style.GROUND_TRUTH_COLOUR, ground_truth))
        y += 0.055
    if predictions is not None:
        text = f"predictions, score {score_threshold:g} and above"
        _swatch(axes, y, style.PREDICTION_COLOUR, text, filled=True)
        columns.append((0.76, style.PREDICTION_COLOUR, predictions))
        y += 0.055
    for name, colour in zip(layers.names if layers else (), cycle(style.MAP_COLOURS), strict=False):
        _swatch(axes, y, colour, f"map: {name.replace('_', ' ')}", filled=True)
        y += 0.055
    _write(
        axes, 0.06, y, "the filled face, and the line from above, is the front", style.MUTED_TEXT
    )
    y += 0.08
    present = {name for _, _, boxes in columns for name in boxes.names}
    ordered = [name for name in classes if name in present] + sorted(present - set(classes))
    row = min(ROW, (0.97 - y) / max(len(ordered), 1))
    for name in ordered:
        _write(axes, 0.06, y, name.replace("_", " "), style.TEXT)
        for x, colour, boxes in columns:
            _write(axes, x, y, str(boxes.names.count(name)), colour, align="right")
        y += row


def _swatch(axes: Axes, y: float, colour: str, text: str, filled: bool) -> None:
    face = (*_rgb(colour), 0.35) if filled else "none"
    axes.add_patch(
        Rectangle((0.06, y - 0.014), 0.055, 0.028, facecolor=face, edgecolor=colour, lw=1.6)
    )
    _write(axes, 0.14, y, text, style.TEXT)


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    colour: str,
    bold: bool = False,
    align: str = "left",
) -> None:
    axes.text(
        x,
        y,
        text,
        color=colour,
        fontsize=style.TITLE_SIZE if bold else style.TEXT_SIZE,
        fontweight="bold" if bold else "normal",
        family=style.FONT,
        ha=align,
        va="center",
    )


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255)
