"""Which frames are seen together, and their pixels and depth at the network's size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from bevdepth_plus.datasets.sequences.frames import (
    DepthPicture,
    Frame,
    FrameSequence,
    LidarSweep,
)
from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.datasets.transforms.dense_depth import read_steps, warp_nearest
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.pinhole import in_image, transform_pixels
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.z_buffer import nearest_depth_map
from bevdepth_plus.rigs.crop_rule import CropRule
from bevdepth_plus.rigs.distortion import Undistortion
from bevdepth_plus.rigs.image_crop import augment_image
from bevdepth_plus.rigs.images import read_image
from bevdepth_plus.rigs.poses import invert_pose
from bevdepth_plus.rigs.rig import Distortion, RigCamera

# Metres. A room's or street's median depth is far inside; a wrong unit (1000, or 1/1000) far
# outside.
MEDIAN_DEPTH = (0.05, 200.0)
MIN_LIDAR_DEPTH = 1.0  # metres; nearer points lie on the own vehicle, as in LidarDepthMaps
# Where a principal point may lie, as shares of the image; as in `datasets/calibration.py`.
_MIDDLE = (0.25, 0.75)
# Fewer different values than this prove nothing about their bits.
_ENOUGH_VALUES = 50


def windows(
    sequence: FrameSequence, num_views: int, gap: int, source_depth: bool = False
) -> Iterator[tuple[Frame, ...]]:
    """Each frame with depth, and its sources: anchor first, in the order of the sequence.

    The sources are the nearest frames at 1, 2, ... gaps before and after, earlier first where two
    are equally near: on both sides within a sequence, on one at its ends. None lies more than
    ``num_views - 1`` gaps away; an anchor with too few such frames is left out.

    Args:
        sequence: of one camera.
        num_views: 1 + V.
        gap: from one view to the next, frames.
        source_depth: the sources have depth, too.
    """
    by_index = {
        frame.index: frame
        for frame in sequence.frames
        if not source_depth or frame.depth is not None
    }
    reach = range(1, num_views)
    offsets = [sign * gap * steps for steps in reach for sign in (-1, 1)]
    for anchor in sequence.frames:
        if anchor.depth is None:
            continue
        there = [by_index.get(anchor.index + offset) for offset in offsets]
        sources = [frame for frame in there if frame is not None][: num_views - 1]
        if len(sources) == num_views - 1:
            yield (anchor, *sources)


def load_image(frame: Frame, rule: CropRule) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """One view at the network's size.

    Returns:
        uint8 BGR ``[H, W, 3]``; pixels as loaded -> its pixels, ``[3, 3]`` float64; and the raw
        height and width.

    Raises:
        DataError: the image cannot be read, or the intrinsics are of another size.
    """
    image = read_image(frame.image, frame.token, rgb=False)
    height, width = image.shape[:2]
    _require_middle(frame.intrinsics, (height, width), f"image {frame.image}")
    image = _undistorted(frame, image)
    params = rule.params(width, height, frame.intrinsics)
    final_size = (rule.final_size[1], rule.final_size[0])
    resized, matrix = augment_image(image, params, final_size)
    return resized, matrix, (height, width)


def load_depth(
    frame: Frame,
    image_aug: np.ndarray,  # [3, 3], raw pixels of the image -> pixels of the network
    raw_size: tuple[int, int],  # height, width of the raw image
    size: tuple[int, int],  # height, width of the result
) -> np.ndarray:
    """A frame's depth in the network's pixels.

    Returns:
        float32 ``[H, W]``, metres along the optical axis, 0 = unknown.

    Raises:
        DataError: a file cannot be read, the picture has another size than it must have, or the
            median depth tells that the unit is wrong.
    """
    if isinstance(frame.depth, LidarSweep):
        return _project(frame, frame.depth, image_aug, raw_size, size)
    if frame.depth is None:
        raise DataError(f"frame {frame.token} has no depth; it can be a source, not an anchor")
    metres = _undistorted(frame, read_depth_picture(frame.depth, raw_size), nearest=True)
    # From pixels of the depth picture through directions of view to those of the image.
    image_T_depth = frame.intrinsics @ np.linalg.inv(frame.depth.intrinsics)
    return warp_nearest(metres, image_aug @ image_T_depth, size)


def read_depth_picture(
    picture: DepthPicture,
    image_size: tuple[int, int],  # height, width
) -> np.ndarray:
    """The whole picture, float32 ``[h, w]`` in metres, 0 = unknown.

    Raises:
        DataError: as :func:`load_depth`.
    """
    steps = read_steps(picture.path)
    if picture.like_image and steps.shape != image_size:
        raise DataError(
            f"depth picture {picture.path} is {steps.shape}, its image {image_size} pixels high "
            "and wide; both must have one size"
        )
    _require_middle(picture.intrinsics, steps.shape, f"depth picture {picture.path}")
    steps = _plain(steps, picture)
    metres = steps.astype(np.float32) * np.float32(picture.unit)
    _require_unit(metres, picture)
    return metres


def relative_pose(anchor: Frame, source: Frame) -> np.ndarray:
    """``anchor_T_source``: points of one camera -> the other, ``[4, 4]`` float64, metres."""
    return invert_pose(anchor.world_T_cam) @ source.world_T_cam


def _undistorted(frame: Frame, pixels: np.ndarray, nearest: bool = False) -> np.ndarray:
    """Pixels of the frame's image, or of a depth picture of it, as a pinhole camera has them."""
    if frame.distortion is None:
        return pixels
    matrix = tuple(map(tuple, frame.intrinsics.tolist()))
    return _undistortion(matrix, frame.distortion, pixels.shape[:2])(pixels, nearest)


@lru_cache(maxsize=8)  # one of each camera: its maps take longer than their use
def _undistortion(
    matrix: tuple[tuple[float, ...], ...], distortion: Distortion, size: tuple[int, int]
) -> Undistortion:
    height, width = size
    return Undistortion(
        RigCamera("camera", width, height, np.array(matrix), np.eye(4), distortion=distortion)
    )


def _project(
    frame: Frame,
    sweep: LidarSweep,
    image_aug: np.ndarray,
    raw_size: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    points = torch.from_numpy(
        read_points(sweep.path, sweep.num_features, drop_not_finite=True)[:, :3].astype(np.float64)
    )
    in_world = transform_points(torch.from_numpy(sweep.world_T_lidar), points)
    pose = torch.from_numpy(frame.world_T_cam)
    raw_pixels, depth = project_from_ego(in_world, pose, torch.from_numpy(frame.intrinsics))
    shown = (depth >= MIN_LIDAR_DEPTH) & in_image(raw_pixels, raw_size)
    pixels = transform_pixels(torch.from_numpy(image_aug), raw_pixels[shown])
    return nearest_depth_map(pixels, depth[shown], size).numpy()


def _require_middle(intrinsics: np.ndarray, size: tuple[int, ...], what: str) -> None:
    height, width = size[:2]
    shares = intrinsics[:2, 2] / (width, height)
    if not ((shares > _MIDDLE[0]) & (shares < _MIDDLE[1])).all():
        cx, cy = intrinsics[:2, 2]
        raise DataError(
            f"{what} has {width} x {height} pixels, but its intrinsics have the principal point at "
            f"({cx:.0f}, {cy:.0f}), far from the middle: they are of another size; resize both or "
            "neither"
        )


def _plain(steps: np.ndarray, picture: DepthPicture) -> np.ndarray:
    """The values with their bits in place; refuses a picture that is not as was said.

    Turned left by three, depth below 8192 steps has three zeros at its end, which plain values have
    by chance alone.
    """
    ends = steps[steps > 0] & 7
    where = f"depth picture {picture.path}"
    if picture.rotated:
        if ends.size and (ends > 0).mean() > 0.5:
            raise DataError(f"{where} has plain values; set the source's depth_rotated=False")
        return (steps >> 3) | (steps << 13)
    if not ends.any() and len(np.unique(steps)) > _ENOUGH_VALUES:
        raise DataError(
            f"{where} holds multiples of 8 alone: its bits are turned left by three, as SUN3D's; "
            "set the source's depth_rotated=True, or write plain values"
        )
    return steps


def _require_unit(metres: np.ndarray, picture: DepthPicture) -> None:
    sampled = metres[::4, ::4]
    known = sampled[sampled > 0]
    if not known.size:
        return
    median = float(np.median(known))
    if MEDIAN_DEPTH[0] <= median <= MEDIAN_DEPTH[1]:
        return
    reason = "are millimetres taken for metres?" if median > 1 else "is the unit too small?"
    raise DataError(
        f"depth picture {picture.path}: half of it is beyond {median:.4g} m with depth_unit="
        f"{picture.unit:g} (metres a step), expected {MEDIAN_DEPTH[0]:g} to {MEDIAN_DEPTH[1]:g}: "
        f"{reason} Millimetres have depth_unit=0.001"
    )
