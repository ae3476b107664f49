from __future__ import annotations

import torch

from bevdepth_plus.models.temporal_fusion import ConcatFusion


def test_concatenation_keeps_the_newest_map_first():
    maps = [torch.full((1, 2, 3, 4), float(age)) for age in range(3)]
    assert ConcatFusion()(maps)[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
