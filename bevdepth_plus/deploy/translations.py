"""Operators that ``torch.onnx`` does not know, written in ONNX's standard operators.

mmcv's deformable convolution is an extension that ``torch.export`` cannot look into. While a model
is traced, an operator of its own stands for it, and is translated to ONNX's ``DeformConv``; or it
is spelled out with ``GridSample`` and a convolution, for runtimes that have no ``DeformConv``
(OpenVINO). The inverse of a 3x3 matrix becomes its adjugate over its determinant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from mmcv.ops import deform_conv as mmcv_deform_conv
from mmcv.ops import deform_conv2d as mmcv_deform_conv2d
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.utils import _pair

from bevdepth_plus.deploy.packages import require_package

DEFORMABLE = {"DeformConv": 19, "GridSample": 20}  # form -> the opset it needs


@torch.library.custom_op("bevdepth_plus::deform_conv2d", mutates_args=())
def _deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_groups: int,
) -> Tensor:
    return mmcv_deform_conv2d(
        x, offset, weight, stride, padding, dilation, groups, offset_groups, False, 32
    )


@_deform_conv2d.register_fake
def _(x, offset, weight, stride, padding, dilation, groups, offset_groups) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[-2:])


@contextmanager
def traceable_deformable_convolution(form: str) -> Iterator[None]:
    """Inside, mmcv's deformable convolution can be traced.

    Args:
        form: ``"DeformConv"`` or ``"GridSample"``.
    """
    stand_in = _as_operator if form == "DeformConv" else deform_conv2d_by_grid_sample
    with mock.patch.object(mmcv_deform_conv, "deform_conv2d", stand_in):
        yield


def custom_translations() -> dict[Callable, Callable]:
    """For ``custom_translation_table`` of ``torch.onnx.export``."""
    return {
        torch.ops.bevdepth_plus.deform_conv2d.default: _onnx_deform_conv,
        torch.ops.aten.linalg_inv_ex.default: _onnx_inverse_3x3,
    }


def deform_conv2d_by_grid_sample(
    x: Tensor,  # [N, C, H, W]
    offset: Tensor,  # [N, G * KH * KW * 2, H', W'], (y, x) for each point of the kernel
    weight: Tensor,  # [C', C / groups, KH, KW]
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    offset_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,
) -> Tensor:
    """mmcv's ``deform_conv2d`` in standard operators: sample each point, then a 1x1 convolution."""
    rows, columns = x.shape[-2:]
    kernel = weight.shape[-2:]
    points = kernel[0] * kernel[1]
    offsets = offset.unflatten(1, (offset_groups, points, 2))  # [N, G, K, 2, H', W']
    y, x_ = offsets.flatten(0, 1).unbind(2)  # [N * G, K, H', W']
    start = [
        _first_points(size, k, s, p, d, offset)
        for size, k, s, p, d in zip(
            offset.shape[-2:],
            kernel,
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            strict=True,
        )
    ]  # [KH, H'], [KW, W']
    y = y + start[0][:, None, :, None].expand(-1, kernel[1], -1, 1).flatten(0, 1)
    x_ = x_ + start[1][None, :, None].expand(kernel[0], -1, 1, -1).flatten(0, 1)
    # From pixels (the first one at 0) to GridSample's -1 to 1 from edge to edge.
    at = torch.stack([(2 * x_ + 1) / columns - 1, (2 * y + 1) / rows - 1], dim=-1)
    maps = x.unflatten(1, (offset_groups, -1)).flatten(0, 1)  # [N * G, C / G, H, W]
    sampled = functional.grid_sample(
        maps, at.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )  # [N * G, C / G, K * H', W']
    sampled = sampled.unflatten(2, (points, -1)).unflatten(0, (-1, offset_groups))
    # [N, C * K, H', W'], the order of the weight
    sampled = sampled.flatten(1, 2).flatten(1, 2)
    return functional.conv2d(sampled, weight.flatten(1)[..., None, None], groups=groups)


def _first_points(
    size: int, kernel: int, stride: int, padding: int, dilation: int, like: Tensor
) -> Tensor:
    """Where each point of the kernel lies without an offset, ``[K, size]``, pixels."""
    outputs = torch.arange(size, device=like.device, dtype=like.dtype) * stride - padding
    return outputs + torch.arange(kernel, device=like.device, dtype=like.dtype)[:, None] * dilation


def _as_operator(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    offset_groups: int,
    bias: bool,
    im2col_step: int,
) -> Tensor:
    pairs = [list(_pair(value)) for value in (stride, padding, dilation)]
    return torch.ops.bevdepth_plus.deform_conv2d(x, offset, weight, *pairs, groups, offset_groups)


def _standard_operators() -> Any:
    return require_package("onnxscript", "export").opset19


def _onnx_deform_conv(
    x: Any,
    offset: Any,
    weight: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_groups: int,
) -> Any:
    op = _standard_operators()
    return op.DeformConv(
        x,
        weight,
        offset,  # (y, x) for each point, as mmcv's
        dilations=dilation,
        group=groups,
        kernel_shape=weight.shape[-2:],
        offset_group=offset_groups,
        pads=[*padding, *padding],
        strides=stride,
    )


def _onnx_inverse_3x3(matrix: Any, check_errors: bool = False) -> Any:
    op = _standard_operators()
    shape = list(matrix.shape)
    if shape[-2:] != [3, 3]:
        raise NotImplementedError(f"only the inverse of 3x3 matrices is translated, got {shape}")
    one_two_zero, two_zero_one = (op.Constant(value_ints=i) for i in ([1, 2, 0], [2, 0, 1]))

    def cross(a: Any, b: Any) -> Any:  # [..., 1, 3]
        return op.Sub(
            op.Mul(op.Gather(a, one_two_zero, axis=-1), op.Gather(b, two_zero_one, axis=-1)),
            op.Mul(op.Gather(a, two_zero_one, axis=-1), op.Gather(b, one_two_zero, axis=-1)),
        )

    first, second, third = op.Split(matrix, axis=-2, num_outputs=3)
    columns = [cross(second, third), cross(third, first), cross(first, second)]
    last = op.Constant(value_ints=[-1])
    determinant = op.ReduceSum(op.Mul(first, columns[0]), last, keepdims=1)
    transposed = op.Div(op.Concat(*columns, axis=-2), determinant)
    rank = len(shape)
    inverse = op.Transpose(transposed, perm=[*range(rank - 2), rank - 1, rank - 2])
    return inverse, op.Constant(value_int=0)
