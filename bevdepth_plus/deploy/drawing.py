"""A page of one moment with OpenCV alone: all cameras with boxes, and the scene from above."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bevdepth_plus.deploy.recordings.outlines import box_corners, class_colours, outlines_in_image
from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.rigs.rig import Rig, RigCamera

TILE = 480  # pixels, width of a camera's picture
PER_ROW = 4  # cameras
LEAST_HEIGHT = 540  # pixels of the page
LABELLED = 30  # boxes of a camera that get a text, the best first
RING = 10.0  # metres from one range ring to the next
NEAREST, FARTHEST = 1.0, 60.0  # metres, ends of the colours of depth
_BACKGROUND = (24, 24, 28)
_TEXT = (235, 235, 235)
_QUIET = (95, 95, 105)
_BITS = 4  # of a pixel's fraction that OpenCV draws


@dataclass(frozen=True)
class PageStyle:
    """What a page shows.

    Attributes:
        score_threshold: boxes below it are left out.
        grid: the scene from above reaches as far as it.
    """

    score_threshold: float
    grid: GridAxes


def draw_page(
    result: Result, images: Mapping[str, np.ndarray], rig: Rig, style: PageStyle
) -> np.ndarray:
    """Cameras that look ahead in the upper rows, the others below, from left to right.

    Boxes are drawn into the images as they came, with their lens distortion; the crossed face is an
    object's front.

    Args:
        result: of the detector.
        images: camera -> uint8 ``[H, W, 3]`` RGB of the size that the rig says, or resized.
        rig: the cameras.
        style: what is shown.

    Returns:
        uint8 ``[H, W, 3]``, RGB.
    """
    boxes = result.boxes[result.boxes.scores >= style.score_threshold]
    rows = [
        np.hstack(_filled([_camera(camera, images, boxes, result) for camera in row], width))
        for row, width in _rows(rig)
    ]
    cameras = np.vstack(rows)
    if len(cameras) < LEAST_HEIGHT:
        blank = np.full((LEAST_HEIGHT - len(cameras), cameras.shape[1], 3), _BACKGROUND, np.uint8)
        cameras = np.vstack([cameras, blank])
    return np.hstack([cameras, _from_above(boxes, result, rig, style.grid, len(cameras))])


def draw_depth(result: Result, rig: Rig) -> np.ndarray:
    """The depth maps of a result in the same order: red is near, blue is far.

    Returns:
        uint8 ``[H, W, 3]``, RGB.
    """
    tiles = []
    for row, width in _rows(rig):
        row_tiles = [_depth(camera.name, result.depth.get(camera.name)) for camera in row]
        tallest = max(len(tile) for tile in row_tiles)
        tiles.append(np.hstack(_filled([_padded(tile, tallest) for tile in row_tiles], width)))
    return np.vstack(tiles)


def _rows(rig: Rig) -> list[tuple[list[RigCamera], int]]:
    """Rows of cameras, and how many every row has place for."""
    yaws = {c.name: math.degrees(math.atan2(c.forward[1], c.forward[0])) for c in rig.cameras}
    ahead = sorted((c for c in rig.cameras if abs(yaws[c.name]) <= 90), key=lambda c: -yaws[c.name])
    behind = sorted(
        (c for c in rig.cameras if abs(yaws[c.name]) > 90), key=lambda c: yaws[c.name] % 360
    )
    rows = [
        group[start : start + PER_ROW]
        for group in (ahead, behind)
        for start in range(0, len(group), PER_ROW)
    ]
    width = max(len(row) for row in rows)
    return [(row, width) for row in rows]


def _filled(tiles: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Tiles of one height, with empty ones after them."""
    tallest = max(len(tile) for tile in tiles)
    tiles = [_padded(tile, tallest) for tile in tiles]
    empty = np.full_like(tiles[0], _BACKGROUND)
    return tiles + [empty] * (count - len(tiles))


def _padded(tile: np.ndarray, height: int) -> np.ndarray:
    below = np.full((height - len(tile), tile.shape[1], 3), _BACKGROUND, np.uint8)
    return np.vstack([tile, below])


def _camera(
    camera: RigCamera, images: Mapping[str, np.ndarray], boxes: Boxes, result: Result
) -> np.ndarray:
    height = round(TILE * camera.height / camera.width)
    image = images.get(camera.name)
    if image is None:
        tile = np.full((height, TILE, 3), 60, np.uint8)
        why = result.missing.get(camera.name, "no image")
        _write(tile, why if len(why) < 60 else f"{why[:57]}...", (10, height // 2), _QUIET, 0.4)
    else:
        tile = cv2.resize(image, (TILE, height), interpolation=cv2.INTER_AREA)
        _draw_boxes(tile, camera, boxes)
    _write(tile, camera.name, (8, 18), _TEXT)
    return tile


def _draw_boxes(tile: np.ndarray, camera: RigCamera, boxes: Boxes) -> None:
    far_first = np.argsort(-np.linalg.norm(boxes.centres - camera.position, axis=1))
    boxes = boxes[far_first]
    scale = np.array([tile.shape[1] / camera.width, tile.shape[0] / camera.height])
    colours = class_colours(boxes.labels).tolist()
    outlines = outlines_in_image(boxes, camera)
    shown = sorted((box.score for box, lines in zip(boxes, outlines, strict=True) if len(lines)))
    least = shown[-LABELLED] if len(shown) >= LABELLED else 0.0
    for box, lines, colour in zip(boxes, outlines, colours, strict=True):
        if not len(lines):
            continue
        pixels = lines * scale
        _draw_lines(tile, pixels, colour)
        upper, left = pixels[..., 1].min(), pixels[..., 0].min()
        if (
            box.score >= least and pixels[..., 1].max() - upper >= 14
        ):  # else the text would hide the box
            _write(tile, f"{box.name} {box.score:.2f}", (left, max(upper - 3, 30)), colour, 0.36)


def _draw_lines(
    picture: np.ndarray, lines: np.ndarray, colour: Sequence[int], thickness: int = 1
) -> None:
    """Lines ``[L, 2, 2]`` of (u, v), pixel centres at integers + 0.5."""
    fixed = np.round((lines - 0.5) * 2**_BITS).astype(np.int64)
    fixed = np.clip(fixed, -(2**28), 2**28)
    for first, second in fixed.tolist():
        cv2.line(picture, first, second, tuple(colour), thickness, cv2.LINE_AA, _BITS)


@dataclass(frozen=True)
class _View:
    """Ground to pixels of the scene from above: x up, y to the left."""

    grid: GridAxes
    scale: float  # pixels a metre
    width: int

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """``[..., 2]`` (u, v) of points ``[..., 2 or 3]`` in the ego frame."""
        middle = (self.grid.y[0] + self.grid.y[1]) / 2
        columns = self.width / 2 + (middle - points[..., 1]) * self.scale
        return np.stack([columns, (self.grid.x[1] - points[..., 0]) * self.scale], axis=-1)


def _from_above(boxes: Boxes, result: Result, rig: Rig, grid: GridAxes, height: int) -> np.ndarray:
    """The scene as far as the grid reaches, with a title above and the classes below."""
    labels = sorted(set(boxes.labels.tolist()))
    head, foot = 46, 22 * math.ceil(len(labels) / 3) + 6
    scale = (height - head - foot) / (grid.x[1] - grid.x[0])
    width = max(round((grid.y[1] - grid.y[0]) * scale), TILE)
    panel = np.full((height, width, 3), _BACKGROUND, np.uint8)
    scene = panel[head : height - foot]  # lines do not leave it
    view = _View(grid, scale, width)
    _draw_ground(scene, rig, view)
    colours = class_colours(boxes.labels).tolist()
    corners = box_corners(boxes)[:, [0, 1, 5, 4], :2]  # [M, 4, 2], the front first
    for box, outline, colour in zip(boxes, corners, colours, strict=True):
        _draw_polygon(scene, view.pixels(outline), colour)
        centre = np.array(box.centre[:2])
        heading = np.array([np.cos(box.yaw), np.sin(box.yaw)]) * max(box.size[0] * 0.75, 0.8)
        _draw_lines(scene, view.pixels(np.stack([centre, centre + heading]))[None], colour)
    title = "from above" if result.stamp is None else f"from above, {result.stamp:.3f} s"
    _write(panel, title, (8, 18), _TEXT)
    _write(panel, f"{len(boxes)} boxes, past moments: {result.past}", (8, 36), _QUIET, 0.4)
    for index, label in enumerate(labels):
        row, column = divmod(index, 3)
        at = (8 + column * (width // 3), height - foot + 18 + 22 * row)
        _write(
            panel, boxes.classes[label][:20], at, class_colours(np.array([label]))[0].tolist(), 0.4
        )
    return panel


def _draw_ground(scene: np.ndarray, rig: Rig, view: _View) -> None:
    """Fields of view, range rings, and the own vehicle."""
    reach = 1.42 * max(abs(limit) for limit in (*view.grid.x[:2], *view.grid.y[:2]))
    for camera in rig.cameras:
        half = math.atan(camera.width / 2 / camera.intrinsics[0, 0])
        yaw = math.atan2(camera.forward[1], camera.forward[0])
        start = camera.position[:2]
        for angle in (yaw - half, yaw + half):
            end = start + 2 * reach * np.array([math.cos(angle), math.sin(angle)])
            _draw_lines(scene, view.pixels(np.stack([start, end]))[None], (44, 50, 62))
    column, row = (int(value) for value in view.pixels(np.zeros(2)))
    for radius in np.arange(RING, reach, RING):
        pixels = radius * view.scale
        cv2.circle(scene, (column, row), round(pixels), (52, 52, 60), 1, cv2.LINE_AA)
        _write(scene, f"{radius:.0f} m", (column + 3, row - pixels + 12), _QUIET, 0.32)
    ego = np.array([[3.8, 0.9], [3.8, -0.9], [-1.0, -0.9], [-1.0, 0.9]])  # nuScenes' car
    _draw_polygon(scene, view.pixels(ego), (150, 150, 160))


def _draw_polygon(picture: np.ndarray, corners: np.ndarray, colour: Sequence[int]) -> None:
    _draw_lines(picture, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), colour, 1)


def _depth(name: str, depth: np.ndarray | None) -> np.ndarray:
    if depth is None:
        tile = np.full((TILE // 2, TILE, 3), 60, np.uint8)
    else:
        share = np.log(np.clip(depth, NEAREST, FARTHEST) / NEAREST) / np.log(FARTHEST / NEAREST)
        grey = np.round(255 * (1 - share)).astype(np.uint8)
        coloured = cv2.applyColorMap(grey, cv2.COLORMAP_TURBO)[..., ::-1]
        height = round(TILE * depth.shape[0] / depth.shape[1])
        tile = cv2.resize(coloured, (TILE, height), interpolation=cv2.INTER_NEAREST)
    tile = np.ascontiguousarray(tile)
    _write(tile, f"{name}, {NEAREST:g} to {FARTHEST:g} m", (8, 18), _TEXT)
    return tile


def _write(
    picture: np.ndarray,
    text: str,
    at: tuple[float, float],
    colour: Sequence[int],
    size: float = 0.5,
) -> None:
    """Text with a dark border, so that it can be read on any image."""
    place = (int(at[0]), int(at[1]))
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, text, place, font, size, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, place, font, size, tuple(colour), 1, cv2.LINE_AA)
