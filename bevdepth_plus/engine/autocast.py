"""Mixed precision that also works on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run forward passes under bfloat16 autocast, without loss scaling (bfloat16 needs none).

    mmengine's AmpOptimWrapper refuses to start on a CPU. A CPU without bfloat16 instructions stays
    in float32, which is faster there.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        enabled = device != "cpu" or cpu_has_bfloat16()
        with super().optim_context(model), torch.autocast(device, torch.bfloat16, enabled=enabled):
            yield


def cpu_has_bfloat16() -> bool:
    """Whether convolutions run natively in bfloat16 on this CPU."""
    if not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001, no public name for it
