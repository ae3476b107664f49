"""A depth label in one picture: image, label, confidence and, where known, the true depth."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

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

_LEFT_OUT = 0.25  # brightness of what a mask leaves out


def draw_label(
    image: np.ndarray,  # RGB uint8 [H, W, 3]
    label: np.ndarray,  # [H, W], metres, 0 = unknown
    confidence: np.ndarray,  # [H, W], 0 = unknown
    target: np.ndarray | None = None,  # [H, W], metres, 0 = unknown
    mask: np.ndarray | None = None,  # bool [H, W], True is valid
) -> Page:
    """Above: image and label. Below: true depth, where there is any, and confidence.

    What the mask leaves out is dark in the image; bare is what is unknown.

    Raises:
        ValueError: the sizes differ.
    """
    size = image.shape[:2]
    for name, values in (
        ("label", label),
        ("confidence", confidence),
        ("true depth", target),
        ("mask", mask),
    ):
        if values is not None and values.shape != size:
            raise ValueError(f"{name} must have the image's size {size}, got {values.shape}")
    if mask is not None:
        image = np.where(mask[..., None], image, (image * _LEFT_OUT).astype(np.uint8))
    width = (style.PAGE_WIDTH - 3 * style.GAP) / 2
    height = round(width * size[0] / size[1])
    bottom = 2 * (height + style.GAP) + style.GAP
    page = Page(style.PAGE_WIDTH, bottom + BAR_HEIGHT)
    scale = depth_scale()

    def panel(row: int, column: int, name: str):
        left = style.GAP + column * (width + style.GAP)
        return page.panel(left, style.GAP + row * (height + style.GAP), width, height, name=name)

    axes = panel(0, 0, "image")
    show_image(axes, Camera("", np.ascontiguousarray(image), np.eye(3), np.eye(4)))
    write_corner(axes, "image")
    draw_depth_map(panel(0, 1, "label"), label, scale, f"label, {(label > 0).mean():.0%} known")
    if target is not None:
        draw_depth_map(panel(1, 0, "true depth"), target, scale, "true depth")
    _draw_confidence(panel(1, 1, "confidence"), confidence)
    draw_bar(page, bottom, scale)
    return page


def _draw_confidence(axes, confidence: np.ndarray) -> None:
    """From the lowest to the highest of the picture."""
    known = confidence[confidence > 0]
    low, high = (known.min(), np.quantile(known, 0.98)) if known.size else (0.0, 1.0)
    scale = ScalarMappable(Normalize(low, max(high, low + 1e-6)), matplotlib.colormaps["cividis"])
    colours = scale.to_rgba(confidence)
    colours[..., 3] = confidence > 0
    height, width = confidence.shape
    axes.imshow(colours, extent=(0, width, height, 0), aspect="equal", interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))
    write_corner(axes, f"confidence, {low:.2f} (dark) to {high:.2f}")
