"""Hooks of the training loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from bevdepth_plus.errors import DataError, TrainingError


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


@HOOKS.register_module()
class MatchingCheckpointHook(Hook):
    """Refuse a checkpoint of another model, which mmengine would load in silence."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_weights_fit(model, checkpoint)


def check_weights_fit(model: nn.Module, checkpoint: Mapping) -> None:
    """Hold a checkpoint against a model.

    Raises:
        DataError: a parameter of the model is missing in the checkpoint or has another shape.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    wrong = [
        name
        for name, tensor in model.state_dict().items()
        if name not in weights or weights[name].shape != tensor.shape
    ]
    if wrong:
        raise DataError(
            f"the checkpoint is of another model: {len(wrong)} of its tensors are missing or "
            f"have another shape, first {wrong[0]}; use the config it was trained with"
        )


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep torch's random state in checkpoints, so that a resumed run draws what the other drew.

    mmengine restores weights, optimizer and schedule, and skips the data already seen; dropout
    would still draw other numbers.
    """

    _KEY = "torch_random_state"

    def __init__(self) -> None:
        self._to_restore: dict | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint[self._KEY] = dict(cpu=torch.get_rng_state(), cuda=cuda)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self._to_restore = checkpoint.get(self._KEY)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        if self._to_restore is None:
            return
        torch.set_rng_state(self._to_restore["cpu"].cpu())
        if self._to_restore["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._to_restore["cuda"]])
        self._to_restore = None
