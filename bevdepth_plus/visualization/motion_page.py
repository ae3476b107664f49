"""Depth from motion in one picture: points, segments, matches, sparse and dense depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from bevdepth_plus.geometry.epipolar import epipolar_segments
from bevdepth_plus.triangulation.epipolar_matching import widened
from bevdepth_plus.triangulation.network import MotionDepth, TriangulationNetwork
from bevdepth_plus.triangulation.points import HALF_TRUSTED, Views
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

SEGMENTS = 28  # drawn in each source, of points that are found there
# Red says do not trust, blue says trust; told apart by every common colour vision.
CONFIDENCE = ScalarMappable(Normalize(0, 1), matplotlib.colormaps["RdYlBu"])


@dataclass(frozen=True)
class MotionPicture:
    """What is drawn of one sample; P points, V sources.

    Attributes:
        images: RGB uint8 ``[1 + V, H, W, 3]``, the anchor first.
        pixels: of the points, ``[P, 2]``; ``detected``: by the detector, not at random, ``[P]``.
        depth: of the points, metres, 0 = none, ``[P]``; ``confidence``: 0 to 1, ``[P]``.
        segments: far and near end of each search, ``[V, P, 2, 2]``.
        matches: where it was found, ``[V, P, 2]``; ``match_confidence``: 0 = not, ``[V, P]``.
        dense: predicted depth, metres, ``[H, W]``; ``target``: true depth, 0 = unknown.
    """

    images: np.ndarray
    pixels: np.ndarray
    detected: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    segments: np.ndarray
    matches: np.ndarray
    match_confidence: np.ndarray
    dense: np.ndarray
    target: np.ndarray


def motion_picture(
    sample: Mapping,  # of SequenceDataset
    views: Views,  # of this sample alone
    found: MotionDepth,  # what the network said of them
    network: TriangulationNetwork,
) -> MotionPicture:
    """Gather what is drawn of a sample."""
    points = found.points
    segments = epipolar_segments(
        points.keypoints.pixels,
        views.intrinsics[:, 0],
        views.intrinsics[:, 1:],
        views.source_T_anchor,
        tuple(views.images.shape[-2:]),
        widened(network.depth_range, network.matcher.beyond),
    )
    ends = torch.stack([segments.start, segments.end], dim=-2)  # [1, V, P, 2, 2]
    return MotionPicture(
        images=sample["images"].numpy()[:, ::-1].transpose(0, 2, 3, 1),
        pixels=_numpy(points.keypoints.pixels),
        detected=_numpy(points.keypoints.detected).astype(bool),
        depth=_numpy(points.depth),
        confidence=_numpy(_confidence(found)),
        segments=_numpy(ends),
        matches=_numpy(points.matches.pixels),
        match_confidence=_numpy(points.matches.confidence),
        dense=_numpy(found.depths[0])[0],
        target=sample["depth"].numpy(),
    )


def _confidence(found: MotionDepth) -> torch.Tensor:
    """Of the points: as learnt, where points correct the depth, else as they were found."""
    if found.sigma is None:
        return found.points.confidence
    trusted = 1 / (1 + (found.sigma / HALF_TRUSTED).square())
    return torch.where(found.points.depth > 0, trusted, 0.0)


def draw_motion(picture: MotionPicture) -> Page:
    """Left the anchor with its points and the sources with searches and matches; right depths.

    Points of the detector are discs, random ones rings; their colour is their confidence. In the
    sources a line is where a point was looked for, and the dot where it was found. Right: depth of
    the points, of all pixels, and the true one, in one scale.
    """
    num_rows = max(len(picture.images), 3)
    width = (style.PAGE_WIDTH - 3 * style.GAP) / 2
    height = round(width * picture.images.shape[1] / picture.images.shape[2])
    rows = num_rows * (height + style.GAP)
    page = Page(style.PAGE_WIDTH, rows + style.GAP + BAR_HEIGHT)
    scale = depth_scale()

    def panel(row: int, column: int, name: str) -> Axes:
        left = style.GAP + column * (width + style.GAP)
        return page.panel(left, style.GAP + row * (height + style.GAP), width, height, name)

    _draw_points(panel(0, 0, "anchor"), picture)
    chosen = _chosen(picture)
    for source in range(len(picture.images) - 1):
        _draw_search(panel(source + 1, 0, f"source {source + 1}"), picture, source, chosen)
    _draw_sparse(panel(0, 1, "depth of points"), picture, scale)
    draw_depth_map(panel(1, 1, "dense depth"), picture.dense, scale, "predicted depth")
    draw_depth_map(panel(2, 1, "true depth"), picture.target, scale, "true depth")
    draw_bar(page, rows + style.GAP, scale)
    return page


def _chosen(picture: MotionPicture) -> np.ndarray:
    """Indices of points whose search is drawn: found in every source where any is, spread."""
    found = (picture.match_confidence > 0).sum(axis=0)
    told = np.flatnonzero(found == found.max()) if found.max() else np.zeros(0, dtype=int)
    if len(told) <= SEGMENTS:
        return told
    # By their column, so that all of the image is shown.
    by_column = told[np.argsort(picture.pixels[told, 0], kind="stable")]
    return by_column[np.linspace(0, len(told) - 1, SEGMENTS).astype(int)]


def _draw_points(axes: Axes, picture: MotionPicture) -> None:
    _show(axes, picture.images[0])
    colours = CONFIDENCE.to_rgba(picture.confidence)
    u, v = picture.pixels.T
    detected = picture.detected
    axes.scatter(
        u[detected],
        v[detected],
        s=26,
        c=colours[detected],
        edgecolors=style.OUTLINE,
        linewidths=0.5,
    )
    axes.scatter(
        u[~detected], v[~detected], s=20, facecolors="none", edgecolors=colours[~detected],
        linewidths=1.3,
    )  # fmt: skip
    share = (picture.depth > 0).mean()
    write_corner(
        axes, f"anchor: {len(u)} points, {share:.0%} with depth; red: no confidence, blue: full"
    )


def _draw_search(axes: Axes, picture: MotionPicture, source: int, chosen: np.ndarray) -> None:
    _show(axes, picture.images[source + 1])
    confidence = picture.match_confidence[source, chosen]
    colours = CONFIDENCE.to_rgba(confidence)
    segments = picture.segments[source, chosen]
    axes.add_collection(LineCollection(segments, colors=style.OUTLINE, linewidths=2.2, alpha=0.5))
    axes.add_collection(LineCollection(segments, colors=style.TEXT, linewidths=0.9, alpha=0.8))
    axes.scatter(
        *picture.matches[source, chosen].T,
        s=34,
        c=colours,
        edgecolors=style.OUTLINE,
        linewidths=0.6,
        zorder=3,
    )
    looked = (picture.match_confidence[source] > 0).mean()
    write_corner(axes, f"source {source + 1}: {looked:.0%} of the points are looked for here")


def _draw_sparse(axes: Axes, picture: MotionPicture, scale: ScalarMappable) -> None:
    _show(axes, picture.images[0] // 3)
    known = picture.depth > 0
    axes.scatter(
        *picture.pixels[known].T,
        s=8 + 34 * picture.confidence[known],
        c=scale.to_rgba(picture.depth[known]),
        linewidths=0,
    )
    write_corner(axes, "depth of the points; larger: more confident")


def _show(axes: Axes, image: np.ndarray) -> None:
    show_image(axes, Camera("", np.ascontiguousarray(image), np.eye(3), np.eye(4)))


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values[0].detach().float().cpu().numpy()
