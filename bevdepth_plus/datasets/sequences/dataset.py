"""The data set of depth from motion and of pointmaps: an anchor, its depth, and posed views."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.datasets.sequences.frames import Frame, FrameSequence
from bevdepth_plus.datasets.sequences.layouts import read_source
from bevdepth_plus.datasets.sequences.views import (
    load_depth,
    load_image,
    relative_pose,
    windows,
)
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.crop_rule import CropRule


@DATASETS.register_module()
class SequenceDataset(BaseDataset):
    """Anchors with their sources, for :class:`~bevdepth_plus.triangulation.network.Views`.

    The order is that of the sources, sequences and frames, always the same. At start the first
    anchor of each sequence is loaded, so that a wrong unit or size is named before training, and
    one line of the log counts what was left out.

    A sample is a flat dict, which ``default_collate`` stacks:

    - ``images`` uint8 ``[1 + V, 3, H, W]``, BGR, the anchor first;
    - ``intrinsics`` float32 ``[1 + V, 3, 3]``, of these images, pixel centres at integers + 0.5;
    - ``depth`` float32 ``[H, W]``, of the anchor, metres along the optical axis, 0 = unknown;
    - ``source_depths`` float32 ``[V, H, W]``, as ``depth``, with ``source_depth`` alone;
    - ``anchor_T_source`` float32 ``[V, 4, 4]``, points of the sources' cameras -> the anchor's,
      metres;
    - ``token`` of the anchor and ``source_tokens``, V of them; ``sample_idx``.

    Args:
        sources: dicts of ``layout``, ``root`` and the layout's own options, see ``read_source``.
        final_dim: height and width of the network's images, pixels. Images are resized so that
            they just cover it, and cropped by :class:`CropRule`: left and right alike, the rest at
            the top.
        num_views: 1 + V, 2 or more.
        gap: from one view to the next, frames of the sequence.
        source_depth: the sources have depth, too. Frames without depth are then left out.
        bottom_cut: share of the resized image that is cut off at the bottom.
        anchor_step: take each n-th anchor of a sequence: neighbours are nearly alike.
        pipeline: further transforms of a sample.
        indices, serialize_data, test_mode, lazy_init: see ``BaseDataset``.

    Raises:
        DataError: a source cannot be used, or no sequence is long enough or has depth.
        ValueError: an argument is out of its range.
    """

    METAINFO: Mapping[str, Any] = {"dataset": "sequences"}

    def __init__(
        self,
        sources: Sequence[Mapping],
        final_dim: tuple[int, int],
        num_views: int = 3,
        gap: int = 1,
        source_depth: bool = False,
        bottom_cut: float = 0.0,
        anchor_step: int = 1,
        pipeline: Sequence[dict | Callable] | Mapping[str, dict | None] = (),
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        if num_views < 2:
            raise ValueError(
                f"num_views must be 2 or more, got {num_views}: one view has no motion"
            )
        if gap < 1 or anchor_step < 1:
            raise ValueError(f"gap and anchor_step must be 1 or more, got {gap} and {anchor_step}")
        if len(final_dim) != 2 or min(final_dim) < 1:
            raise ValueError(f"final_dim must be (height, width) in pixels, got {final_dim}")
        self.sources = [dict(source) for source in sources]
        self.num_views, self.gap, self.anchor_step = num_views, gap, anchor_step
        self.source_depth = source_depth
        self.rule = CropRule(tuple(final_dim), bottom_cut, keep_horizon=False)
        super().__init__(
            indices=indices,
            serialize_data=serialize_data,
            # Built here: mmengine's Compose finds mmdet3d's transforms only within a default scope.
            pipeline=[
                TRANSFORMS.build(t) if isinstance(t, Mapping) else t for t in steps(pipeline)
            ],
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict]:
        """A record for each anchor: its ``token`` and ``views``, its frame and its sources."""
        records = []
        for source in self.sources:
            sequences = read_source(source)
            found = [list(self._windows(sequence))[:: self.anchor_step] for sequence in sequences]
            where = f"{source['layout']} {source['root']}"
            notes = _notes(sequences, [len(each) for each in found])
            if not any(found):
                raise DataError(self._nothing(where, sequences, notes))
            print_log(
                f"{where}: {sum(map(len, found))} anchors with {self.num_views - 1} sources at gap "
                f"{self.gap}, in {sum(map(bool, found))} of {len(sequences)} sequences"
                + "".join(f"; {note}" for note in notes),
                logger="current",
                level=logging.WARNING if notes else logging.INFO,
            )
            for each in found:
                if each:
                    self._load_with_depth(each[0][0])
                records += [{"token": views[0].token, "views": list(views)} for views in each]
        if not records:
            raise DataError("sources is empty; name a layout and a root")
        return records

    def prepare_data(self, idx: int) -> Any:
        """Loads one sample, then runs the pipeline."""
        record = self.get_data_info(idx)
        anchor, *others = record["views"]
        image, matrix, depth = self._load_with_depth(anchor)
        load = self._load_with_depth if self.source_depth else self._load_without_depth
        loaded = [load(frame) for frame in others]
        matrices = [matrix, *(matrix for _, matrix, _ in loaded)]
        pixels = np.stack([image, *(image for image, _, _ in loaded)])  # [1 + V, H, W, 3]
        sample = {
            "images": torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))),
            "intrinsics": _float32(
                [m @ f.intrinsics for m, f in zip(matrices, record["views"], strict=True)]
            ),
            "depth": torch.from_numpy(depth),
            "anchor_T_source": _float32([relative_pose(anchor, source) for source in others]),
            "token": anchor.token,
            "source_tokens": [source.token for source in others],
            "sample_idx": record["sample_idx"],
        }
        if self.source_depth:
            depths = np.stack([source_depth for _, _, source_depth in loaded])
            sample["source_depths"] = torch.from_numpy(depths)
        return self.pipeline(sample)

    def _windows(self, sequence: FrameSequence) -> Iterator[tuple[Frame, ...]]:
        return windows(sequence, self.num_views, self.gap, self.source_depth)

    def _load_with_depth(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, the matrix of its augmentation, and depth."""
        image, matrix, raw_size = load_image(frame, self.rule)
        return image, matrix, load_depth(frame, matrix, raw_size, self.rule.final_size)

    def _load_without_depth(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, None]:
        image, matrix, _ = load_image(frame, self.rule)
        return image, matrix, None

    def _nothing(self, where: str, sequences: Sequence[FrameSequence], notes: Sequence[str]) -> str:
        longest = max((len(sequence.frames) for sequence in sequences), default=0)
        views = "views with depth" if self.source_depth else "views"
        has_depth = any(frame.depth for sequence in sequences for frame in sequence.frames)
        said = "".join(f"; {note}" for note in notes)
        if longest and not has_depth:
            return f"{where}: no frame has depth, which an anchor needs; complete it{said}"
        return (
            f"{where}: no sequence has {self.num_views} {views} {self.gap} frames apart, the "
            f"longest has {longest} frames with poses; lower num_views or gap, or complete it{said}"
        )


def _notes(sequences: Sequence[FrameSequence], anchors: Sequence[int]) -> list[str]:
    """What was left out, a part of a sentence each."""
    lost = [token for sequence in sequences for token in sequence.lost]
    frames = [frame for sequence in sequences for frame in sequence.frames]
    bare = [frame.token for frame in frames if frame.depth is None]
    missing = [(s.name, s.missing) for s in sequences if s.missing]
    without = [s.name for s, count in zip(sequences, anchors, strict=True) if not count]
    notes = []
    if lost:
        notes.append(f"{len(lost)} of {len(frames) + len(lost)} poses are lost, first {lost[0]}")
    if missing:
        count = sum(number for _, number in missing)
        notes.append(f"{count} frames are missing, first in {missing[0][0]}")
    if bare:
        notes.append(f"{len(bare)} of {len(frames)} frames have no depth, first {bare[0]}")
    if without and any(anchors):
        notes.append(f"{len(without)} sequences have no anchor, first {without[0]}")
    return notes


def _float32(matrices: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(matrices).astype(np.float32))
