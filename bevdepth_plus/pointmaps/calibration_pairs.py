"""Matches that tell about extrinsics: which image pairs, and what a network finds in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import compose_pixels
from bevdepth_plus.pointmaps.drives import Drive, Shot, overlapping_cameras
from bevdepth_plus.pointmaps.extrinsic_problem import ImagePair
from bevdepth_plus.pointmaps.images import LoadedImage, load_image
from bevdepth_plus.pointmaps.matching import Descriptors, match_images, refine_subpixel
from bevdepth_plus.pointmaps.two_view import TwoViewModel

_KEPT_IMAGES = 64  # in memory


@dataclass(frozen=True)
class PairSettings:
    """Which pairs, and how they are matched.

    Attributes:
        num: pairs over time of each camera; half as many of each two neighbours.
        baselines: of a pair over time, metres: less shows no depth, more shows other things.
        long_side: of the network's images, pixels.
        subsample: a match is looked for from every so many rows and columns.
    """

    num: int = 40
    baselines: tuple[float, float] = (0.5, 8.0)
    long_side: int = 512
    subsample: int = 8


@dataclass(frozen=True)
class ShotPair:
    """Two images of a rig, by the numbers of their cameras."""

    cameras: tuple[int, int]
    shots: tuple[Shot, Shot]


def one_calibration(drives: Sequence[Drive]) -> list[Drive]:
    """The drives whose extrinsics are those of the first: errors of two vehicles must not mix."""

    def mounts(drive: Drive) -> np.ndarray:
        return np.stack([shot.ego_T_cam for shot in drive.shots[: len(drive.cameras)]])

    first = mounts(drives[0])
    return [drive for drive in drives if np.allclose(mounts(drive), first, rtol=0, atol=1e-6)]


def choose_pairs(drives: Sequence[Drive], settings: PairSettings) -> list[ShotPair]:
    """Each camera with itself at the next key frame, and neighbours at one moment.

    Over time, half of the pairs are those that turn most, which alone show roll and position; the
    others are spread evenly over all drives.

    Raises:
        DataError: no two images are usable.
    """
    cameras = range(len(drives[0].cameras))
    pairs = []
    for camera in cameras:
        candidates = [
            ShotPair((camera, camera), shots)
            for drive in drives
            for shots in _steps(drive, camera, settings.baselines)
        ]
        turning = sorted(candidates, key=_turn, reverse=True)[: settings.num // 2]
        rest = [pair for pair in candidates if pair not in turning]
        pairs += turning + _spread(rest, settings.num - len(turning))
    for a, b in overlapping_cameras(drives[0], _sizes(drives[0])):
        moments = [
            ShotPair((a, b), (drive.shots[at + a], drive.shots[at + b]))
            for drive in drives
            for at in range(0, len(drive.shots), len(drive.cameras))
            if drive.shots[at + a].path and drive.shots[at + b].path
        ]
        pairs += _spread(moments, max(1, settings.num // 2))
    if not pairs:
        raise DataError(
            "no two images to match: the vehicle stands in all drives, or images are missing"
        )
    return pairs


@torch.no_grad()
def match_pairs(
    model: TwoViewModel,
    pairs: Iterable[ShotPair],
    settings: PairSettings,
) -> list[ImagePair]:
    """What the network matches in each pair, in network pixels.

    Raises:
        DataError: the network has no descriptors, or an image is missing or damaged.
    """
    if not model.config.descriptor_dim:
        raise DataError(
            "these weights have no descriptors, so no matches (DUSt3R); take a network with "
            "descriptors (MASt3R)"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    @lru_cache(maxsize=_KEPT_IMAGES)
    def load(path: Path) -> LoadedImage:
        return load_image(path, settings.long_side, upright=False)

    found = []
    for pair in pairs:
        a, b = (load(shot.path) for shot in pair.shots)
        maps = model.symmetric(a.pixels[None].to(device), b.pixels[None].to(device))
        a_in_a, b_in_a, b_in_b, a_in_b = (
            Descriptors(one.descriptors[0], one.descriptor_confidence[0]) for one in maps
        )
        matches = match_images([(a_in_a, b_in_a), (a_in_b, b_in_b)], settings.subsample)
        pixels_a, pixels_b = refine_subpixel(matches, a_in_a, b_in_a)
        first, second = pair.shots
        found.append(
            ImagePair(
                *pair.cameras,
                np.linalg.inv(first.global_T_cam) @ second.global_T_cam,
                _network_intrinsics(a, first),
                _network_intrinsics(b, second),
                pixels_a.double().cpu().numpy(),
                pixels_b.double().cpu().numpy(),
                matches.confidence.double().cpu().numpy(),
            )
        )
    return found


def _steps(drive: Drive, camera: int, baselines: tuple[float, float]) -> list[tuple[Shot, Shot]]:
    """A camera's images of successive key frames, where the vehicle moves as far as is wanted."""
    shots = drive.shots[camera :: len(drive.cameras)]
    return [
        (before, after)
        for before, after in pairwise(shots)
        if before.path and after.path and baselines[0] <= _way(before, after) <= baselines[1]
    ]


def _way(before: Shot, after: Shot) -> float:
    return float(np.linalg.norm(after.global_T_cam[:3, 3] - before.global_T_cam[:3, 3]))


def _turn(pair: ShotPair) -> float:
    """The angle between both images, as a number that grows with it."""
    before, after = pair.shots
    return -float((before.global_T_cam[:3, :3] * after.global_T_cam[:3, :3]).sum())


def _spread(pairs: list[ShotPair], num: int) -> list[ShotPair]:
    """At most ``num``, evenly over the list."""
    count = min(num, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


def _sizes(drive: Drive) -> list[tuple[int, int] | None]:
    """Height and width of each camera's images; None for a camera without any."""
    sizes: list[tuple[int, int] | None] = []
    for camera in range(len(drive.cameras)):
        paths = [s.path for s in drive.shots[camera :: len(drive.cameras)] if s.path]
        sizes.append(load_image(paths[0], upright=False).original_size if paths else None)
    return sizes


def _network_intrinsics(image: LoadedImage, shot: Shot) -> np.ndarray:
    own = torch.from_numpy(shot.intrinsics)
    return compose_pixels(image.image_aug.double(), own).numpy()
