"""One pair of frames: which correspondences are kept, which are left out, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from bevdepth_plus.datasets.correspondence_checks import Reason
from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.camera_view import show_image, write_corner
from bevdepth_plus.visualization.layout import Page
from bevdepth_plus.visualization.scene import Camera

# Reason -> colour (Okabe and Ito, 2008) and words of the legend.
LEGEND = {
    Reason.KEPT: ("#3DDC97", "kept"),
    Reason.NO_PAST: ("#98A3B3", "no past frame"),
    Reason.OUTSIDE: ("#98A3B3", "leaves the image"),
    Reason.BORDER: ("#5B6675", "at the border"),
    Reason.TEXTURELESS: ("#56B4E9", "without texture"),
    Reason.BLURRED: ("#CC79A7", "blurred"),
    Reason.INCONSISTENT: ("#E69F00", "way back differs"),
    Reason.MOVING: ("#F0442C", "moves by itself"),
    Reason.FAR: ("#F0E442", "far"),
}
TINT = 0.55  # opacity of what is left out
SPACING = 24  # page pixels between the lines of kept correspondences, at least
LEGEND_HEIGHT = 44  # pixels


@dataclass(frozen=True)
class MatchedFrames:
    """Two frames of one camera as the network gets them.

    Attributes:
        past, key: RGB uint8 ``[H, W, 3]``.
        key_pixels: for each cell of the past image the pixel of the key image, ``[2, h, w]``.
        reasons: a :class:`Reason` for each, ``[h, w]``.
    """

    name: str
    past: np.ndarray
    key: np.ndarray
    key_pixels: np.ndarray
    reasons: np.ndarray


def matched_frames(results: Mapping) -> list[MatchedFrames]:
    """The pair of the key frame and the one before it of each camera, of ``LoadOpticalFlow``."""
    names = results["cam_names"]
    return [
        MatchedFrames(
            name,
            past=results["img"][len(names) + index][..., ::-1],
            key=results["img"][index][..., ::-1],
            key_pixels=results["correspondence"][0, index],
            reasons=results["correspondence_reason"][0, index],
        )
        for index, name in enumerate(names)
    ]


def draw_correspondences(cameras: Sequence[MatchedFrames]) -> Page:
    """A row for each camera: what is left out in the past frame, and where the rest is seen again.

    Left the past frame with every cell that is left out in the colour of its reason. Right the key
    frame with a line for some of the kept ones, from the pixel of the past frame to a dot where it
    is seen again.
    """
    width = (style.PAGE_WIDTH - 3 * style.GAP) / 2
    heights = [round(width * camera.past.shape[0] / camera.past.shape[1]) for camera in cameras]
    page = Page(style.PAGE_WIDTH, sum(heights) + (len(cameras) + 1) * style.GAP + LEGEND_HEIGHT)
    top = style.GAP
    for camera, height in zip(cameras, heights, strict=True):
        left = page.panel(style.GAP, top, width, height, name=f"{camera.name} past")
        right = page.panel(2 * style.GAP + width, top, width, height, name=f"{camera.name} key")
        _draw_left_out(left, camera)
        _draw_kept(right, camera)
        top += height + style.GAP
    _draw_legend(page, top, np.concatenate([camera.reasons.ravel() for camera in cameras]))
    return page


def _draw_left_out(axes: Axes, camera: MatchedFrames) -> None:
    _show(axes, camera.past)
    colours = np.zeros((*camera.reasons.shape, 4))
    for reason, (colour, _) in LEGEND.items():
        if reason != Reason.KEPT:
            colours[camera.reasons == reason] = to_rgba(colour, TINT)
    height, width = camera.past.shape[:2]
    axes.imshow(colours, extent=(0, width, height, 0), aspect="equal", interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))
    kept = (camera.reasons == Reason.KEPT).mean()
    write_corner(axes, f"{camera.name}, past frame: {kept:.0%} kept")


def _draw_kept(axes: Axes, camera: MatchedFrames) -> None:
    _show(axes, camera.key)
    rows, columns = camera.reasons.shape
    cell = camera.past.shape[1] / columns
    scale = axes.get_window_extent().width / camera.past.shape[1]
    step = max(1, round(SPACING / (cell * scale)))
    chosen = np.zeros((rows, columns), dtype=bool)
    chosen[step // 2 :: step, step // 2 :: step] = True
    row, column = np.nonzero(chosen & (camera.reasons == Reason.KEPT))
    start = np.stack([column + 0.5, row + 0.5], axis=1) * cell
    end = camera.key_pixels[:, row, column].T
    colour = LEGEND[Reason.KEPT][0]
    segments = np.stack([start, end], axis=1)
    axes.add_collection(LineCollection(segments, colors=style.OUTLINE, linewidths=2.4, alpha=0.5))
    axes.add_collection(LineCollection(segments, colors=colour, linewidths=1.1))
    axes.scatter(*end.T, s=9, color=colour, edgecolors=style.OUTLINE, linewidths=0.5, zorder=3)
    write_corner(axes, f"{camera.name}, key frame: where they are seen again")


def _draw_legend(page: Page, top: float, reasons: np.ndarray) -> None:
    """The colours that occur, each with the share of all cells."""
    axes = page.panel(style.GAP, top, page.width - 2 * style.GAP, LEGEND_HEIGHT, name="legend")
    axes.set_facecolor(style.PAGE)
    present = [reason for reason in LEGEND if (reasons == reason).any()]
    axes.set(xlim=(0, max(len(present), 1)), ylim=(0, 1))
    for index, reason in enumerate(present):
        colour, words = LEGEND[reason]
        axes.add_patch(Rectangle((index + 0.02, 0.3), 0.09, 0.4, facecolor=colour))
        share = (reasons == reason).mean()
        axes.text(
            index + 0.15,
            0.5,
            f"{words} {share:.0%}",
            va="center",
            color=style.TEXT,
            fontsize=style.TEXT_SIZE,
            family=style.FONT,
        )


def _show(axes: Axes, image: np.ndarray) -> None:
    show_image(axes, Camera("", np.ascontiguousarray(image), np.eye(3), np.eye(4)))
