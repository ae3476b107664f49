"""All branches of CenterPoint's separate heads at once, for predictions.

The official head has 36 branches of two small convolutions, all on the same map. A GPU waits for
their launches. Here the first convolutions of all branches are one, and the last ones of equally
many channels are one product of matrices each. Weights and their names stay those of mmdet3d's
``SeparateHead``; they are put together anew at each call, so they cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmdet3d.models.dense_heads.centerpoint_head import SeparateHead
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_MOST_VALUES = 2**26  # of the hidden map at a time, 256 MiB in float32


class Branch(NamedTuple):
    """Convolution, normalisation, ReLU, convolution."""

    task: int
    name: str
    first: nn.Conv2d
    norm: _BatchNorm
    last: nn.Conv2d


def joinable_branches(task_heads: Sequence[nn.Module]) -> list[Branch]:
    """The branches of all tasks, those of few channels first.

    Empty if they cannot run together: another kind of head, other layers, or a normalisation that
    takes its statistics from the batch.
    """
    branches = []
    for task, head in enumerate(task_heads):
        if type(head) is not SeparateHead:
            return []
        for name in head.heads:
            branch = _branch(task, name, getattr(head, name))
            if branch is None:
                return []
            branches.append(branch)
    kinds = {(b.first.in_channels, b.first.out_channels, b.first.kernel_size) for b in branches}
    kinds |= {(b.first.in_channels, b.last.in_channels, b.last.kernel_size) for b in branches}
    return sorted(branches, key=lambda b: b.last.out_channels) if len(kinds) == 1 else []


def run_together(
    branches: Sequence[Branch],  # of joinable_branches
    shared: Tensor,  # [B, C, Y, X]
) -> list[dict[str, Tensor]]:
    """Maps ``[B, out channels, Y, X]`` of each task, by the branch's name.

    As many samples are taken at a time as memory allows, which follows from the shapes.
    """
    first = _first_convolution(branches)
    by_channels: dict[int, list[Branch]] = {}
    for branch in branches:
        by_channels.setdefault(branch.last.out_channels, []).append(branch)
    lasts = [_last_convolutions(group) for group in by_channels.values()]
    num_hidden = len(first[0]) * shared.shape[-2] * shared.shape[-1]  # of one sample
    parts = [
        _convolve(samples, first, lasts)
        for samples in shared.split(max(1, _MOST_VALUES // num_hidden))
    ]
    outputs: list[dict[str, Tensor]] = [{} for _ in range(1 + max(b.task for b in branches))]
    for group, *maps in zip(by_channels.values(), *parts, strict=True):
        joined = torch.cat(maps)  # [B, branches of this group, out channels, Y, X]
        for i, branch in enumerate(group):
            outputs[branch.task][branch.name] = joined[:, i]
    return outputs


def _convolve(
    shared: Tensor,  # [B, C, Y, X]
    first: tuple[Tensor, Tensor],
    lasts: Sequence[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """Maps ``[B, branches, out channels, Y, X]`` for each number of channels."""
    weight, bias = first
    size = shared.shape[-2:]
    hidden = functional.conv2d(shared, weight, bias, padding=weight.shape[-1] // 2).relu_()
    hidden = hidden.flatten(2).unflatten(1, (-1, lasts[0][0].shape[-1]))  # [B, branches, H, Y * X]
    maps = []
    of_groups = hidden.split([len(weights) for weights, _ in lasts], dim=1)
    for (weights, biases), group in zip(lasts, of_groups, strict=True):
        # What each cell adds to the cells around it, then the sum of it at each cell.
        taps = weights @ group  # [B, branches, out channels * k * k, Y * X]
        kernel = round((weights.shape[1] / biases.shape[1]) ** 0.5)
        summed = functional.fold(taps.flatten(0, 1), size, kernel, padding=kernel // 2)
        maps.append(summed.unflatten(0, taps.shape[:2]) + biases)
    return maps


def _first_convolution(branches: Sequence[Branch]) -> tuple[Tensor, Tensor]:
    """Weight ``[branches * H, C, k, k]`` and bias of one convolution, normalisation included."""
    weight = torch.cat([branch.first.weight for branch in branches])
    gain, shift, mean, variance = (
        torch.cat([getattr(branch.norm, name) for branch in branches])
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain * (variance + branches[0].norm.eps).rsqrt()
    return weight * scale[:, None, None, None], shift - mean * scale


def _last_convolutions(group: Sequence[Branch]) -> tuple[Tensor, Tensor]:
    """Matrices ``[branches, out channels * k * k, H]`` and biases ``[branches, out, 1, 1]``."""
    weights = torch.stack([branch.last.weight for branch in group])  # [branches, out, H, k, k]
    # From the cell that gives to the cell that gets, which is the mirrored kernel.
    matrices = weights.flip(-1, -2).permute(0, 1, 3, 4, 2).flatten(1, 3)
    biases = torch.stack([branch.last.bias for branch in group if branch.last.bias is not None])
    return matrices, biases[..., None, None]


def _branch(task: int, name: str, layers: nn.Module) -> Branch | None:
    if not isinstance(layers, nn.Sequential) or len(layers) != 2:
        return None
    block, last = layers
    if not isinstance(block, ConvModule) or block.order != ("conv", "norm", "act"):
        return None
    first, norm = block.conv, block.norm if block.with_norm else None
    if not isinstance(norm, _BatchNorm) or norm.training or norm.running_mean is None:
        return None
    if type(first) is not nn.Conv2d or type(last) is not nn.Conv2d:
        return None
    if not norm.affine or not block.with_activation or type(block.activate) is not nn.ReLU:
        return None
    if first.bias is not None or last.bias is None:
        return None
    if not (_keeps_size(first) and _keeps_size(last)):
        return None
    return Branch(task, name, first, norm, last)


def _keeps_size(layer: nn.Conv2d) -> bool:
    """A square kernel, padded with zeros to the size of the map."""
    kernel = layer.kernel_size
    return (
        kernel[0] == kernel[1]
        and kernel[0] % 2 == 1
        and layer.padding == (kernel[0] // 2,) * 2
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
