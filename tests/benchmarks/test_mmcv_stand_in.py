"""The stand-in for mmcv's compiled ops computes what mmcv computes."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops.deform_conv import DeformConv2dFunction, ext_module

pytest.importorskip("torchvision", reason="the stand-in is torchvision's deformable convolution")

from gpu_host import mmcv_ext

NAMES = (
    "deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters",
)  # fmt: skip


def case(stride: int, dilation: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = (9 + 2 - 2 * dilation - 1) // stride + 1
    shapes = [(2, 8, 9, 9), (2, 2 * 2 * 9, side, side), (6, 8, 3, 3)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def convolved(arrays, stride: int, dilation: int) -> list[torch.Tensor]:
    """Output and gradients of input, offset and weight."""
    image, offset, weight = arrays
    out = DeformConv2dFunction.apply(image, offset, weight, stride, 1, dilation, 1, 2)
    return [out.detach(), *torch.autograd.grad(out.sin().sum(), arrays)]


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_outputs_and_gradients_are_those_of_mmcv(stride, dilation, monkeypatch):
    arrays = case(stride, dilation)
    expected = convolved(arrays, stride, dilation)
    for name in NAMES:
        monkeypatch.setattr(ext_module, name, getattr(mmcv_ext, name))
    for got, of_mmcv in zip(convolved(arrays, stride, dilation), expected, strict=True):
        torch.testing.assert_close(got, of_mmcv, rtol=1e-4, atol=1e-4)


def test_the_weights_gradient_alone_is_that_of_mmcv(monkeypatch):
    image, offset, weight = case(1, 1)
    arrays = image.detach(), offset.detach(), weight

    def gradient():
        out = DeformConv2dFunction.apply(*arrays, 1, 1, 1, 1, 2)
        return torch.autograd.grad(out.sin().sum(), weight)[0]

    expected = gradient()
    for name in NAMES:
        monkeypatch.setattr(ext_module, name, getattr(mmcv_ext, name))
    torch.testing.assert_close(gradient(), expected, rtol=1e-4, atol=1e-4)


def test_an_op_that_is_not_there_says_its_name_when_it_is_called():
    with pytest.raises(NotImplementedError, match="mmcv's op nms3d_forward is not built"):
        mmcv_ext.nms3d_forward(1, 2)
