"""Hooks of the training loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from bevdepth_plus.compat import is_resuming
from bevdepth_plus.engine.draws import leave_out, seed_step
from bevdepth_plus.errors import DataError, TrainingError


def tokens_of(data_batch: Mapping) -> list[str]:
    """Names of a batch's samples.

    A detector's batch holds ``data_samples``, one of depth from motion or of pointmaps ``token``.
    """
    if "data_samples" in data_batch:
        return [sample.token for sample in data_batch["data_samples"]]
    return list(data_batch["token"])


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
        # One read for all losses: each one makes the host wait for a GPU.
        finite = torch.stack([loss.isfinite().all() for loss in outputs.values()]).tolist()
        broken = [name for name, fine in zip(outputs, finite, strict=True) if not fine]
        if broken:
            raise TrainingError(
                f"step {runner.iter}: {', '.join(broken)} is not finite on samples "
                f"{tokens_of(data_batch)}; "
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

    Parts of the checkpoint that the model does not have, such as a depth prior that only taught,
    are left out; a line names them.

    Raises:
        DataError: a parameter of the model is missing in the checkpoint or has another shape.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    own = model.state_dict()
    wrong = [
        name
        for name, tensor in own.items()
        if name not in weights or weights[name].shape != tensor.shape
    ]
    if wrong:
        raise DataError(
            f"the checkpoint is of another model: {len(wrong)} of its tensors are missing or "
            f"have another shape, first {wrong[0]}; use the config it was trained with"
        )
    # The model's buffers that are not saved are in neither.
    unused = sorted({name.rsplit(".", 2)[0] for name in weights if name not in own})
    if unused:
        first = ", ".join(unused[:3]) + (" and so on" if len(unused) > 3 else "")
        print_log(
            f"parts of the checkpoint that this config's model does not have are left out: {first}",
            logger="current",
            level=logging.WARNING,
        )


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make a resumed run draw what the other would have drawn, and go on in the middle of an epoch.

    Each step's draws (dropout, sampled pixels) get a seed of their own, see ``draws``. With
    ``SurvivingRunner`` the samples already seen are left out instead of drawn again: those of this
    epoch, or all of an ``InfiniteSampler``.
    """

    _KEY = "samples_seen"

    def __init__(self) -> None:
        self._seen = 0  # by all ranks, in this epoch

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if is_resuming(runner):
            self._seen = checkpoint.get(self._KEY, 0)
            leave_out(runner.train_loop, self._seen, checkpoint["meta"]["iter"])

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        seed_step(runner.seed, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        self._seen += len(tokens_of(data_batch)) * get_world_size()

    def after_train_epoch(self, runner: Runner) -> None:
        self._seen = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[self._KEY] = self._seen
