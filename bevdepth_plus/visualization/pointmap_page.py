"""What a two-view network says of one pair, in one picture: depth of view 1 beside the true one."""

from __future__ import annotations

import numpy as np

from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.camera_view import show_image, write_corner
from bevdepth_plus.visualization.depth_page import (
    BAR_HEIGHT,
    depth_scale,
    draw_bar,
    draw_depth_map,
)
from bevdepth_plus.visualization.layout import Page
from bevdepth_plus.visualization.scene import Camera


def draw_pointmap(
    images: np.ndarray,  # RGB uint8 [2, H, W, 3], view 1 first
    pred: np.ndarray,  # [H, W], depth of view 1, metres, as the network gives it
    target: np.ndarray,  # [H, W], metres, 0 = unknown
) -> Page:
    """Above: view 1 and its predicted depth. Below: view 2 and the true depth of view 1.

    Both depths in one scale; bare is what is unknown or predicted behind the camera.

    Raises:
        ValueError: the sizes differ.
    """
    size = images.shape[1:3]
    if not pred.shape == target.shape == size:
        raise ValueError(f"depth must be {size}, got {pred.shape} and {target.shape}")
    width = (style.PAGE_WIDTH - 3 * style.GAP) / 2
    height = round(width * size[0] / size[1])
    bottom = 2 * (height + style.GAP) + style.GAP
    page = Page(style.PAGE_WIDTH, bottom + BAR_HEIGHT)
    scale = depth_scale()
    for row, (image, depth, kind) in enumerate(
        zip(images, (pred, target), ("predicted", "true"), strict=True)
    ):
        top = style.GAP + row * (height + style.GAP)
        axes = page.panel(style.GAP, top, width, height, name=f"view {row + 1}")
        show_image(axes, Camera("", np.ascontiguousarray(image), np.eye(3), np.eye(4)))
        write_corner(axes, f"view {row + 1}")
        axes = page.panel(2 * style.GAP + width, top, width, height, name=f"{kind} depth")
        draw_depth_map(axes, depth, scale, f"{kind} depth of view 1")
    draw_bar(page, bottom, scale)
    return page
