"""Official BEVDepth weights and configs -> ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.models.bev.frustum import Frustum
from bevdepth_plus.weights import load_exactly, read_plain_checkpoint

_DEPTH_NET = "depth.depth_net"
# (pattern of the public code's name, our name); the first that matches the whole name applies.
_RENAMES = (
    (r"backbone\.depth_net\.reduce_conv\.(.*)", rf"{_DEPTH_NET}.reduce.\1"),
    (r"backbone\.depth_net\.bn\.(.*)", rf"{_DEPTH_NET}.camera_norm.\1"),
    (r"backbone\.depth_net\.(context|depth)_mlp\.(.*)", rf"{_DEPTH_NET}.\1_mlp.\2"),
    (r"backbone\.depth_net\.(context|depth)_se\.(.*)", rf"{_DEPTH_NET}.\1_gate.\2"),
    (r"backbone\.depth_net\.context_conv\.(.*)", rf"{_DEPTH_NET}.context_out.\1"),
    (r"backbone\.depth_net\.depth_conv\.([012])\.(.*)", rf"{_DEPTH_NET}.depth_blocks.\1.\2"),
    (
        r"backbone\.depth_net\.depth_conv\.3\.global_avg_pool\.(.*)",
        rf"{_DEPTH_NET}.depth_blocks.3.pool.\1",
    ),
    (
        r"backbone\.depth_net\.depth_conv\.3\.conv1\.(.*)",
        rf"{_DEPTH_NET}.depth_blocks.3.merge.0.\1",
    ),
    (
        r"backbone\.depth_net\.depth_conv\.3\.bn1\.(.*)",
        rf"{_DEPTH_NET}.depth_blocks.3.merge.1.\1",
    ),
    (r"backbone\.depth_net\.depth_conv\.4\.(.*)", rf"{_DEPTH_NET}.depth_blocks.4.conv.\1"),
    (r"backbone\.depth_net\.depth_conv\.5\.(.*)", rf"{_DEPTH_NET}.depth_out.\1"),
    (r"backbone\.img_(backbone|neck)\.(.*)", r"image_encoder.\1.\2"),
    (
        r"backbone\.depth_aggregation_net\.reduce_conv\.(.*)",
        r"view_transform.refinement.reduce.\1",
    ),
    (r"backbone\.depth_aggregation_net\.conv\.(.*)", r"view_transform.refinement.residual.\1"),
    (r"backbone\.depth_aggregation_net\.out_conv\.0\.(.*)", r"view_transform.refinement.out.\1"),
    (r"head\.trunk\.(.*)", r"temporal.encoder.backbone.\1"),
    (r"head\.neck\.(.*)", r"temporal.encoder.neck.\1"),
    (r"head\.(shared_conv|task_heads)\.(.*)", r"heads.boxes.\1.\2"),
)
_ASPP_BRANCH = re.compile(
    r"backbone\.depth_net\.depth_conv\.3\.aspp([1-4])\.(atrous_conv|bn)\.(.*)"
)
# Geometry the public code keeps in its state; here it follows from the config, and must agree.
_GEOMETRY = (
    "backbone.voxel_size",
    "backbone.voxel_coord",
    "backbone.voxel_num",
    "backbone.frustum",
)
_REMEDY = "take the backbone_conf and head_conf it was trained with"


def read_official(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file of the public code, also of Lightning.

    Raises:
        DataError: there is no such file, it is damaged, or it holds something other than weights.
    """
    content = read_plain_checkpoint(path, "ask its author for a file with the state_dict alone")
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise DataError(f"{path} holds no state dict of a model")
    return dict(weights)


def convert_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the public code's parameters to ours.

    Lightning's prefix ``model.``, which averaged weights (EMA) carry too, is taken off.

    Raises:
        ValueError: a name is not known.
    """
    bare = _without_prefix(official)
    return {_our_name(name): bare[name] for name in bare if name not in _GEOMETRY}


def load_official(model: nn.Module, official: Mapping[str, Tensor]) -> None:
    """Fill a :class:`BEVDepth` from official weights: every name used, every parameter filled.

    Raises:
        ValueError: names are left over or missing, a shape or the geometry is another one.
    """
    bare = _without_prefix(official)
    for name, expected in _geometry(model.view_transform.frustum).items():
        found = bare.get(name)
        if found is not None and not _same(found, expected):
            raise ValueError(f"{name} of the weights is not the model's; {_REMEDY}")
    load_exactly(model, convert_state_dict(official), "the model", _REMEDY)


def _without_prefix(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): tensor for name, tensor in official.items()}


def _geometry(frustum: Frustum) -> dict[str, Tensor]:
    """What the public code keeps in its state, of our :class:`Frustum`."""
    depths, rows, columns = torch.meshgrid(
        frustum.depths.cpu(), frustum.v.cpu(), frustum.u.cpu(), indexing="ij"
    )
    cell, lower = torch.tensor(frustum.grid.cell), torch.tensor(frustum.grid.lower)
    points = torch.stack([columns, rows, depths, torch.ones_like(depths)], dim=-1)
    values = (cell, lower + cell / 2, torch.tensor(frustum.grid.size), points)
    return dict(zip(_GEOMETRY, values, strict=True))


def _same(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), atol=1e-3
    )


def _our_name(name: str) -> str:
    branch = _ASPP_BRANCH.fullmatch(name)
    if branch:
        index, part = int(branch[1]) - 1, {"atrous_conv": 0, "bn": 1}[branch[2]]
        return f"{_DEPTH_NET}.depth_blocks.3.branches.{index}.{part}.{branch[3]}"
    for pattern, ours in _RENAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    raise ValueError(f"official weight {name!r} is not known; is this a BEVDepth checkpoint?")
