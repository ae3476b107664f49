"""Stands in for ``mmcv._ext``, mmcv's compiled ops, on a host that cannot compile them in time.

Deformable convolution is torchvision's, the same function; every other op raises where it is
called. Copied to ``mmcv/_ext.py``, so it imports nothing of this project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

# mmcv asks for the gradients in two calls, torchvision's kernel computes them in one. The weight's
# waits here, with the output gradient that it belongs to, so that the time is that of one call.
_waiting: list[tuple[Tensor, Tensor]] = []


def get_compiler_version() -> str:
    return "none: torchvision stands in for mmcv's ops"


def get_compiling_cuda_version() -> str:
    return "none"


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **sizes: int,
) -> None:
    stride, padding, dilation = _geometry(sizes)
    output.copy_(
        deform_conv2d(input, offset, weight, stride=stride, padding=padding, dilation=dilation)
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    gradients = _gradients(input, offset, grad_output, weight, sizes)
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])
    _waiting[:] = [(grad_output, gradients[1])]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float = 1.0,
    **sizes: int,
) -> None:
    found = [gradient for output, gradient in _waiting if output is grad_output]
    _waiting.clear()
    if not found:  # the input needed no gradient; the weight's does not depend on the weight
        weight = torch.zeros_like(grad_weight)
        found = [_gradients(input, offset, grad_output, weight, sizes)[1]]
    grad_weight.add_(found[0], alpha=scale)


def _geometry(sizes: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Stride, padding and dilation, ``(height, width)`` each."""
    return tuple((sizes[f"{name}H"], sizes[f"{name}W"]) for name in ("d", "pad", "dilation"))


def _gradients(
    input: Tensor, offset: Tensor, grad_output: Tensor, weight: Tensor, sizes: dict[str, int]
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset (and of mask and bias, which are not used)."""
    # torchvision wants a mask and a bias; without them they are empty.
    geometry = [length for pair in _geometry(sizes) for length in pair]
    return torch.ops.torchvision._deform_conv2d_backward(  # noqa: SLF001, it has no public name
        grad_output,
        input,
        weight,
        offset,
        input.new_zeros(input.shape[0], 1),
        input.new_zeros(weight.shape[0]),
        *geometry,
        sizes["group"],
        sizes["deformable_group"],
        False,  # no mask
    )


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"mmcv's op {name} is not built on this host")

    return missing
