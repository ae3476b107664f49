"""Official BEVDepth weights and configs -> ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

# (pattern of the public code's name, our name); the first that matches the whole name applies.
_RENAMES = (
    (r"backbone\.depth_net\.reduce_conv\.(.*)", r"depth_net.reduce.\1"),
    (r"backbone\.depth_net\.bn\.(.*)", r"depth_net.camera_norm.\1"),
    (r"backbone\.depth_net\.(context|depth)_mlp\.(.*)", r"depth_net.\1_mlp.\2"),
    (r"backbone\.depth_net\.(context|depth)_se\.(.*)", r"depth_net.\1_gate.\2"),
    (r"backbone\.depth_net\.context_conv\.(.*)", r"depth_net.context_out.\1"),
    (r"backbone\.depth_net\.depth_conv\.([012])\.(.*)", r"depth_net.depth_blocks.\1.\2"),
    (
        r"backbone\.depth_net\.depth_conv\.3\.global_avg_pool\.(.*)",
        r"depth_net.depth_blocks.3.pool.\1",
    ),
    (r"backbone\.depth_net\.depth_conv\.3\.conv1\.(.*)", r"depth_net.depth_blocks.3.merge.0.\1"),
    (r"backbone\.depth_net\.depth_conv\.3\.bn1\.(.*)", r"depth_net.depth_blocks.3.merge.1.\1"),
    (r"backbone\.depth_net\.depth_conv\.4\.(.*)", r"depth_net.depth_blocks.4.conv.\1"),
    (r"backbone\.depth_net\.depth_conv\.5\.(.*)", r"depth_net.depth_out.\1"),
    (r"backbone\.(img_backbone|img_neck)\.(.*)", r"\1.\2"),
    (r"head\.trunk\.(.*)", r"bev_encoder.backbone.\1"),
    (r"head\.neck\.(.*)", r"bev_encoder.neck.\1"),
    (r"head\.(shared_conv|task_heads)\.(.*)", r"bbox_head.\1.\2"),
)
_ASPP_BRANCH = re.compile(
    r"backbone\.depth_net\.depth_conv\.3\.aspp([1-4])\.(atrous_conv|bn)\.(.*)"
)
# Geometry the public code keeps in its state; here it follows from the config.
_GEOMETRY = {
    "backbone.voxel_size",
    "backbone.voxel_coord",
    "backbone.voxel_num",
    "backbone.frustum",
}


def convert_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the public code's parameters to ours.

    A Lightning checkpoint's ``model.`` prefix is taken off.

    Raises:
        ValueError: a name is not known.
    """
    names = {name: name.removeprefix("model.") for name in official}
    return {
        _our_name(bare): official[name] for name, bare in names.items() if bare not in _GEOMETRY
    }


def load_official(model: nn.Module, official: Mapping[str, Tensor]) -> None:
    """Fill ``model`` from official weights: every name used, every parameter filled.

    Raises:
        ValueError: names are left over or missing.
    """
    missing, unexpected = model.load_state_dict(convert_state_dict(official), strict=False)
    if missing or unexpected:
        raise ValueError(
            f"the weights do not fit the model: {len(missing)} parameters stay unfilled "
            f"{missing[:3]}, {len(unexpected)} weights have no place {unexpected[:3]}; "
            "build the model from the checkpoint's own backbone_conf and head_conf"
        )


def _our_name(name: str) -> str:
    branch = _ASPP_BRANCH.fullmatch(name)
    if branch:
        index, part = int(branch[1]) - 1, {"atrous_conv": 0, "bn": 1}[branch[2]]
        return f"depth_net.depth_blocks.3.branches.{index}.{part}.{branch[3]}"
    for pattern, ours in _RENAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    raise ValueError(f"official weight {name!r} is not known; is this a BEVDepth checkpoint?")
