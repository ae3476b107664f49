"""CenterPoint's output maps: mirrored back, and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TaskMaps = dict[str, Tensor]  # heatmap, reg, height, dim, rot, vel: [B, C, Y, X] each


def undo_mirror(maps: TaskMaps, x: bool, y: bool) -> TaskMaps:
    """Convert one task's maps of a mirrored BEV frame to the unmirrored one."""
    rows_and_columns = [axis for axis, flipped in ((-1, x), (-2, y)) if flipped]
    maps = {name: values.flip(rows_and_columns) for name, values in maps.items()}
    flipped = maps["reg"].new_tensor([x, y]).view(2, 1, 1)
    sign = 1 - 2 * flipped  # of (x, y)
    mirrored = {
        "reg": flipped + sign * maps["reg"],  # of the centre in its cell, 0 to 1
        "rot": sign.flip(0) * maps["rot"],  # (sin, cos): along y, along x
    }
    if "vel" in maps:
        mirrored["vel"] = sign * maps["vel"]
    return {**maps, **mirrored}


def mean_maps(variants: Sequence[TaskMaps]) -> TaskMaps:
    """The mean of several outputs of one task; of heatmaps the mean of the scores, as logits."""
    means = {
        name: torch.stack([maps[name].float() for maps in variants]).mean(dim=0)
        for name in variants[0]
        if name != "heatmap"
    }
    scores = torch.stack([maps["heatmap"].float().sigmoid() for maps in variants]).mean(dim=0)
    return {**means, "heatmap": scores.logit(eps=1e-7)}  # as logits, which the decoder expects
