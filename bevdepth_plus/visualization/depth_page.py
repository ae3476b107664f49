"""Depth over the images: what the LiDAR measured, and what the network thinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.camera_view import show_image, write_corner
from bevdepth_plus.visualization.layout import Page, camera_rows, row_panels
from bevdepth_plus.visualization.projection import project_points
from bevdepth_plus.visualization.scene import Camera, Scene

DEPTH_RANGE = (
    2.0,
    60.0,
)  # metres, ends of the colour scale; logarithmic, as error grows with depth
TICKS = (2, 3, 5, 10, 20, 30, 40, 60)  # metres
BAR_HEIGHT = 70  # pixels


def draw_depth(
    scene: Scene,
    pred_depths: Mapping[str, np.ndarray] | None = None,  # name -> [N, Hf, Wf], metres, of cells
    image_aug: np.ndarray | None = None,  # [N, 3, 3], pixels as loaded -> network pixels
    network_size: tuple[int, int] | None = None,  # height, width of the network's images
) -> Page:
    """Draw depth overlays, for each row of cameras first the LiDAR's, then each prediction.

    Without a sweep the LiDAR's rows are left out, unless there is nothing else to draw.

    Predictions need ``image_aug`` and ``network_size`` to find their place in the image as
    loaded; outside the network's crop the image stays bare.
    """
    pred_depths = pred_depths or {}
    if pred_depths and (image_aug is None or network_size is None):
        raise ValueError("pred_depths need image_aug and network_size to be placed in the images")
    rows = camera_rows(scene.cameras)
    kinds = tuple(pred_depths)
    if len(scene.points) or not kinds:
        kinds = ("LiDAR", *kinds)
    stacked = [row for row in rows for _ in kinds]
    panels, top = row_panels(stacked, style.PAGE_WIDTH, top=style.GAP)
    page = Page(style.PAGE_WIDTH, round(top + BAR_HEIGHT))
    scale = depth_scale()
    for index, (row, row_of_panels) in enumerate(zip(stacked, panels, strict=True)):
        kind = kinds[index % len(kinds)]
        for camera, panel in zip(row, row_of_panels, strict=True):
            axes = page.panel(*panel, name=f"{camera.name} {kind}")
            show_image(axes, camera)
            if kind == "LiDAR":
                draw_points(axes, scene, camera, scale)
            else:
                n = scene.cameras.index(camera)
                _draw_map(axes, camera, pred_depths[kind][n], image_aug[n], network_size, scale)
            write_corner(axes, f"{camera.name}, {kind} depth")
    draw_bar(page, top, scale)
    return page


def depth_scale() -> ScalarMappable:
    """The colours of depth, one scale for all pictures."""
    return ScalarMappable(LogNorm(*DEPTH_RANGE), matplotlib.colormaps[style.DEPTH_COLOURS])


def place_in_image(
    cells: np.ndarray,  # [Hf, Wf], of feature cells
    image_aug: np.ndarray,  # [3, 3], pixels as loaded -> network pixels
    network_size: tuple[int, int],  # height, width
    image_size: tuple[int, int],  # height, width of the image as loaded
    shrink: float = 1.0,
) -> np.ndarray:
    """Values of the cells at each pixel of the image, NaN where no cell reaches.

    Returns:
        ``[round(H / shrink), round(W / shrink)]``; each pixel takes the cell it lies in.
    """
    height, width = (max(1, round(side / shrink)) for side in image_size)
    columns = (np.arange(width) + 0.5) * image_size[1] / width
    rows = (np.arange(height) + 0.5) * image_size[0] / height
    u, v = np.meshgrid(columns, rows)
    network = np.stack([u, v, np.ones_like(u)], axis=-1) @ image_aug.T
    network = network[..., :2] / network[..., 2:]
    cell_size = np.array([network_size[1] / cells.shape[1], network_size[0] / cells.shape[0]])
    index = np.floor(network / cell_size).astype(np.int64)
    inside = ((index >= 0) & (index < (cells.shape[1], cells.shape[0]))).all(axis=-1)
    index = np.where(inside[..., None], index, 0)
    return np.where(inside, cells[index[..., 1], index[..., 0]], np.nan)


def draw_points(axes: Axes, scene: Scene, camera: Camera, scale: ScalarMappable) -> None:
    """LiDAR points over a camera's image, coloured by their depth."""
    pixels, depth = project_points(scene.points, camera)
    order = np.argsort(-depth, kind="stable")  # near points over far ones
    axes.scatter(
        *pixels[order].T,
        c=depth[order],
        cmap=scale.cmap,
        norm=scale.norm,
        s=5,
        linewidths=0,
        marker="o",
    )


def draw_depth_map(
    axes: Axes,
    depth: np.ndarray,  # [H, W], metres, 0 or less = none, left bare
    scale: ScalarMappable,
    title: str,
) -> None:
    """A depth map alone, without the image below it."""
    colours = scale.to_rgba(np.clip(depth, *DEPTH_RANGE))
    colours[..., 3] = depth > 0
    height, width = depth.shape
    axes.imshow(colours, extent=(0, width, height, 0), aspect="equal", interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))
    write_corner(axes, title)


def _draw_map(
    axes: Axes,
    camera: Camera,
    cells: np.ndarray,
    image_aug: np.ndarray,
    network_size: Sequence[int],
    scale: ScalarMappable,
) -> None:
    height, width = camera.size
    shrink = max(1.0, width / axes.get_window_extent().width)
    depth = place_in_image(cells, image_aug, tuple(network_size), camera.size, shrink)
    colours = scale.to_rgba(np.nan_to_num(depth, nan=DEPTH_RANGE[1]))
    # The image's light and dark stay visible in the colours.
    grey = cv2.cvtColor(camera.image, cv2.COLOR_RGB2GRAY) / 255.0
    grey = cv2.resize(grey, colours.shape[1::-1], interpolation=cv2.INTER_AREA)
    colours[..., :3] *= 0.45 + 0.55 * grey[..., None]
    colours[..., 3] = 0.85 * np.isfinite(depth)
    axes.imshow(colours, extent=(0, width, height, 0), aspect="equal", interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))


def draw_bar(page: Page, top: float, scale: ScalarMappable) -> None:
    """The legend of the colours, below ``top``."""
    side = page.width * 0.25
    axes = page.panel(side, top + 8, page.width - 2 * side, 16, name="scale")
    bar = page.figure.colorbar(scale, cax=axes, orientation="horizontal")
    bar.set_ticks(TICKS, labels=[f"{tick} m" for tick in TICKS])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    axes.tick_params(colors=style.TEXT, labelsize=style.TEXT_SIZE, length=3)
