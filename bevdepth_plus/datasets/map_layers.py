"""Which map masks belong to a sample: pictures of the road from above, one a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nuscenes import NuScenes

# nuScenes has one mask a location, of this category: the drivable area.
_LAYER_OF_CATEGORY = {"semantic_prior": "drivable_area"}
RESOLUTION = 0.1  # metres a pixel, as the devkit reads nuScenes' masks


def map_layer_files(nusc: NuScenes, log_token: str) -> dict[str, str]:
    """Layer -> mask file relative to the data set's root, of the place a log was taken at.

    Other categories of the table ``map`` are layers of their own name (``lane_marks`` of the
    synthetic scenes).
    """
    return {
        _LAYER_OF_CATEGORY.get(record["category"], record["category"]): record["filename"]
        for record in nusc.map
        if log_token in record["log_tokens"]
    }
