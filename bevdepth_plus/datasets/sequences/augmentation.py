"""Augmentation of the samples of :class:`SequenceDataset`; geometry is moved along."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor


@TRANSFORMS.register_module()
class MirrorViews(BaseTransform):
    """Mirror left and right: pixels, intrinsics, depth and poses, as a mirrored world would look.

    Args:
        prob: of a mirrored sample.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, sample: dict) -> dict:
        return mirrored(sample) if np.random.rand() < self.prob else sample


@TRANSFORMS.register_module()
class JitterColours(BaseTransform):
    """Change brightness and contrast: a little of a view's own, most of it common to all views.

    Args:
        brightness: largest change of all views, share of 255.
        contrast: largest change of all views, share of the deviation from the mean.
        own: part of both that each view draws for itself: exposure changes over time.
    """

    def __init__(self, brightness: float = 0.15, contrast: float = 0.2, own: float = 0.25) -> None:
        if not 0 <= own <= 1 or brightness < 0 or not 0 <= contrast < 1:
            raise ValueError(
                "brightness >= 0, 0 <= contrast < 1 and 0 <= own <= 1 are needed, got "
                f"{brightness}, {contrast} and {own}"
            )
        self.largest = np.array([255 * brightness, contrast])
        self.own = own

    def transform(self, sample: dict) -> dict:
        images = sample["images"]
        common, single = np.random.uniform(-1, 1, 2), np.random.uniform(-1, 1, (len(images), 2))
        change = self.largest * ((1 - self.own) * common + self.own * single)  # [1 + V, 2]
        shift, gain = torch.from_numpy(change).float().T.reshape(2, -1, 1, 1, 1)
        mean = images.float().mean((1, 2, 3), keepdim=True)
        jittered = (images - mean) * (1 + gain) + mean + shift
        return {**sample, "images": jittered.round().clamp(0, 255).to(torch.uint8)}


def mirrored(sample: dict) -> dict:
    """A sample of :class:`SequenceDataset` seen in a mirror; mirrored twice it is itself."""
    width = sample["images"].shape[-1]
    # A point (x, y, z) of a camera becomes (-x, y, z); its pixel u becomes width - u.
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    pixels = torch.tensor([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    result = {
        **sample,
        "images": _flipped(sample["images"]),
        "intrinsics": pixels @ sample["intrinsics"] @ flip[:3, :3],
        "anchor_T_source": flip @ sample["anchor_T_source"] @ flip,
    }
    for name in ("depth", "source_depths", "interest_points"):
        if name in sample:
            result[name] = _flipped(sample[name])
    return result


def _flipped(maps: Tensor) -> Tensor:
    return maps.flip(-1).contiguous()
