"""Channel numbers that parts pass on, so that a config states each one once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet3d.registry import MODELS
from torch import nn


def build_neck(neck: dict, backbone: nn.Module, before: Sequence[int] = ()) -> nn.Module:
    """Build a neck; where its config has no ``in_channels`` they are taken from the backbone.

    Args:
        neck: its config.
        backbone: its levels are the neck's inputs.
        before: channels of further inputs, before the backbone's levels.

    Raises:
        ValueError: the channels are needed and the backbone does not name them.
    """
    if "in_channels" in neck:
        return MODELS.build(neck)
    return MODELS.build(neck, default_args=dict(in_channels=[*before, *_level_channels(backbone)]))


def neck_channels(neck: Any) -> int:
    """Channels of a neck's first output: SECONDFPN concatenates its levels, others do not."""
    channels = neck.out_channels
    return channels if isinstance(channels, int) else sum(channels)


def _level_channels(backbone: Any) -> list[int]:
    """Channels of each output level of mmdet's ResNets."""
    try:
        first = backbone.base_channels * backbone.block.expansion
        return [first * 2**level for level in backbone.out_indices]
    except AttributeError:
        raise ValueError(
            f"{type(backbone).__name__} does not tell the channels of its levels: give the neck's "
            "in_channels in the config"
        ) from None
