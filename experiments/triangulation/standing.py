"""A vehicle that stands: every source shows what the anchor shows, from the same position."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class StandStill(BaseTransform):
    """Makes a sample of :class:`SequenceDataset` one of a standing vehicle in a world at rest.

    Args:
        prob: of a sample that stands.
        noise: of each source's pixels, standard deviation of 255 levels: no two images are equal.
    """

    def __init__(self, prob: float = 1.0, noise: float = 3.0) -> None:
        self.prob = prob
        self.noise = noise

    def transform(self, sample: dict) -> dict:
        if np.random.rand() >= self.prob:
            return sample
        images = sample["images"][:1].expand_as(sample["images"]).float()
        noise = np.random.normal(scale=self.noise, size=images[1:].shape)
        sources = (images[1:] + torch.from_numpy(noise).float()).round().clamp(0, 255)
        poses = torch.eye(4).expand_as(sample["anchor_T_source"])
        if "source_depths" in sample:
            depths = sample["depth"].expand_as(sample["source_depths"]).clone()
            sample = {**sample, "source_depths": depths}
        return {
            **sample,
            "images": torch.cat([sample["images"][:1], sources.to(torch.uint8)]),
            "intrinsics": sample["intrinsics"][:1].expand_as(sample["intrinsics"]).clone(),
            "anchor_T_source": poses.clone(),
        }
