"""Hooks of the training loop."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevdepth_plus.errors import TrainingError


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop when a loss is NaN or infinite, and name the step, the loss and the samples.

    Raises:
        TrainingError: a loss of this step is not finite.
    """

    priority = "VERY_HIGH"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        broken = [name for name, loss in outputs.items() if not torch.isfinite(loss).all()]
        if broken:
            tokens = [sample.token for sample in data_batch["data_samples"]]
            raise TrainingError(
                f"step {runner.iter}: {', '.join(broken)} is not finite on samples {tokens}; "
                "lower the learning rate or look at these samples"
            )
