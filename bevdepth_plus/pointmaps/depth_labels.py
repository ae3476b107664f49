"""Depth labels from images alone: pointmaps of neighbouring images, metres from known poses.

Each image is paired with the same camera's images before and after it, and with cameras beside it
where that is wanted. Poses and intrinsics are known and exact, so each pair gives metres by itself
(:mod:`metric_depth`) and no alignment of all images is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.geometry.cameras import compose_pixels
from bevdepth_plus.pointmaps.depth_pictures import LabelFolder, at_image_size
from bevdepth_plus.pointmaps.drives import Drive, overlapping_cameras
from bevdepth_plus.pointmaps.images import LoadedImage, load_image
from bevdepth_plus.pointmaps.metric_depth import PairDepth, ScaleRules, pair_depth
from bevdepth_plus.pointmaps.pair_cache import content_key
from bevdepth_plus.pointmaps.pair_graphs import rig_pairs
from bevdepth_plus.pointmaps.two_view import TwoViewModel


@dataclass(frozen=True)
class LabelSettings:
    """How labels are made.

    Attributes:
        rules: when a pair says something.
        long_side: of the network's images, pixels.
        window: how many key frames before and after are paired.
        neighbours: pair cameras that overlap at one moment, too.
        max_disagreement: of a pair from the mean of an image's pairs, relative; pixels above it are
            unknown: what they show moved, or the network is wrong.
        masks: folder with ``CAMERA/NAME.png`` for each image, of its size; 0 is left out.
    """

    rules: ScaleRules = field(default_factory=ScaleRules)
    long_side: int = 512
    window: int = 1
    neighbours: bool = False
    max_disagreement: float = 0.1
    masks: Path | None = None

    def to_dict(self, model: TwoViewModel) -> dict[str, object]:
        """All that decides the labels, for :class:`LabelFolder`."""
        said = {**asdict(self), **asdict(self.rules), "masks": self.masks and str(self.masks)}
        del said["rules"]
        return {**said, "network": content_key(*model.state_dict().values())}


@dataclass(frozen=True)
class Tally:
    """What became of the images.

    Attributes:
        written: labels written now; ``known`` sums the share of their pixels that have depth.
        kept: labels that were there already.
        standing: written without depth, for no neighbour was far enough away.
        doubtful: written without depth, for no pair agreed on a scale or no pixel was confident.
    """

    written: int = 0
    kept: int = 0
    known: float = 0.0
    standing: int = 0
    doubtful: int = 0

    def __str__(self) -> str:
        share = f"{self.known / self.written:.1%}" if self.written else "-"
        return (
            f"{self.written} labels written, {self.kept} kept; depth in {share} of the pixels "
            f"written; {self.standing} stood still or had no neighbour, {self.doubtful} without "
            "a scale or confidence (all unknown)"
        )


@torch.no_grad()
def make_depth_labels(
    model: TwoViewModel,
    drives: Sequence[Drive],
    folder: LabelFolder,
    settings: LabelSettings,
    on_image: Callable[[], None] = lambda: None,
) -> Tally:
    """Write a depth and a confidence picture for each image that has none yet.

    Args:
        on_image: called after each image, also one that is kept.

    Raises:
        DataError: an image or a mask is missing, damaged or of a wrong size.
    """
    tally = Tally()
    for drive in drives:
        tally = _label_drive(model, drive, folder, settings, tally, on_image)
    return tally


def _label_drive(
    model: TwoViewModel,
    drive: Drive,
    folder: LabelFolder,
    settings: LabelSettings,
    tally: Tally,
    on_image: Callable[[], None],
) -> Tally:
    images = [i for i, shot in enumerate(drive.shots) if shot.path is not None]
    todo = {i for i in images if not folder.has(drive.shots[i].path)}
    tally = replace(tally, kept=tally.kept + len(images) - len(todo))
    for _ in range(len(images) - len(todo)):
        on_image()
    if not todo:
        return tally
    pairs = _DrivePairs(model, drive, todo, settings)
    for i in sorted(todo):
        partners = pairs.partners(i)
        depth, confidence = pairs.depth(i, partners)
        known = (depth > 0).double().mean().item()
        folder.write(drive.shots[i].path, depth, confidence)
        tally = replace(
            tally,
            written=tally.written + 1,
            known=tally.known + known,
            standing=tally.standing + (not partners),
            doubtful=tally.doubtful + (bool(partners) and known == 0),
        )
        on_image()
    return tally


class _DrivePairs:
    """The pairs of a drive; each is run once and serves both of its images."""

    def __init__(
        self, model: TwoViewModel, drive: Drive, todo: set[int], settings: LabelSettings
    ) -> None:
        self.model, self.drive, self.todo, self.settings = model, drive, todo, settings
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        cameras = len(drive.cameras)
        # Images that one anchor after the other needs.
        self.load = lru_cache(maxsize=2 * cameras * (settings.window + 1))(self._load)
        neighbours = []
        if settings.neighbours:
            neighbours = overlapping_cameras(drive, self._sizes())
        self.linked: dict[int, list[int]] = defaultdict(list)
        for a, b in rig_pairs(drive.num_moments, cameras, neighbours, settings.window):
            self.linked[a].append(b)
            self.linked[b].append(a)
        self.waiting: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def _sizes(self) -> list[tuple[int, int] | None]:
        """Height and width of each camera's images; None for a camera without any."""
        number = len(self.drive.cameras)
        sizes: list[tuple[int, int] | None] = [None] * number
        for i, shot in enumerate(self.drive.shots):
            if sizes[i % number] is None and shot.path is not None:
                sizes[i % number] = self.load(i).original_size
        return sizes

    def partners(self, i: int) -> list[int]:
        """Images to pair with i: there, and far enough away where that gives the scale."""
        rules = self.settings.rules
        least = rules.min_baseline if rules.scale == "motion" else 0.0
        return [
            j
            for j in self.linked[i]
            if self.drive.shots[j].path is not None
            and np.linalg.norm(self._relative(i, j)[:3, 3]) >= least
        ]

    def depth(self, i: int, partners: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Depth and confidence of image i at its own size, 0 where unknown."""
        image = self.load(i)
        if not partners:
            nothing = torch.zeros(image.original_size)
            return nothing, nothing
        said = [self._said(i, j) for j in partners]
        depth, confidence = agreed_depth(
            torch.stack([depth for depth, _ in said]),
            torch.stack([confidence for _, confidence in said]),
            self.settings.max_disagreement,
        )
        return at_image_size(depth, confidence, image.image_aug, image.original_size)

    def _said(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Depth and confidence of i by its pair with j, on the CPU."""
        if (i, j) in self.waiting:
            return self.waiting.pop((i, j))
        a, b = self.load(i), self.load(j)
        maps = self.model.symmetric(
            a.pixels[None].to(self.device), b.pixels[None].to(self.device)
        )  # i in i, j in i, j in j, i in j
        if j in self.todo and j > i:
            self.waiting[j, i] = self._metric(j, i, maps[2], maps[3])
        return self._metric(i, j, maps[0], maps[1])

    def _metric(self, i: int, j: int, first, second) -> tuple[Tensor, Tensor]:
        a, b = self.load(i), self.load(j)
        found: PairDepth = pair_depth(
            first,
            second,
            (self._intrinsics(i), self._intrinsics(j)),
            torch.from_numpy(self._relative(i, j)).float()[None].to(self.device),
            (a.mask[None].to(self.device), b.mask[None].to(self.device)),
            self.settings.rules,
        )
        return found.depth[0].cpu(), found.confidence[0].cpu()

    def _relative(self, i: int, j: int) -> np.ndarray:
        """Points of camera j in camera i, metres; in float64, for global poses are large."""
        shots = self.drive.shots
        return np.linalg.inv(shots[i].global_T_cam) @ shots[j].global_T_cam

    def _intrinsics(self, i: int) -> Tensor:
        own = torch.from_numpy(self.drive.shots[i].intrinsics).float()
        return compose_pixels(self.load(i).image_aug, own)[None].to(self.device)

    def _load(self, i: int) -> LoadedImage:
        path, masks = self.drive.shots[i].path, self.settings.masks
        assert path is not None  # only images that exist are asked for
        mask = None if masks is None else masks / path.parent.name / f"{path.stem}.png"
        return load_image(path, self.settings.long_side, mask, upright=False, empty_mask_ok=True)


def agreed_depth(
    depth: Tensor,  # [K, H, W], of K pairs, 0 = unknown
    confidence: Tensor,  # [K, H, W]
    max_disagreement: float,
) -> tuple[Tensor, Tensor]:
    """The geometric mean by confidence, and the mean confidence; 0 where pairs disagree."""
    known = depth > 0
    weights = torch.where(known, confidence, 0.0)
    total = weights.sum(0).clamp(min=1e-9)
    log = torch.where(known, depth, 1.0).log()
    mean = (weights * log).sum(0) / total  # [H, W]
    apart = torch.where(known, (log - mean).abs(), 0.0).amax(0)
    agree = known.any(0) & (apart <= np.log1p(max_disagreement))
    average = weights.sum(0) / known.sum(0).clamp(min=1)
    return torch.where(agree, mean.exp(), 0.0), torch.where(agree, average, 0.0)
