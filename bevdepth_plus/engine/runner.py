"""A runner whose training can be killed at any time and goes on as if it had not been."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner

from bevdepth_plus.engine.draws import with_seeded_draws


@RUNNERS.register_module()
class SurvivingRunner(Runner):
    """mmengine's runner with seeded draws (see ``draws``) and ``SafeCheckpointHook``.

    Configs stay as they are. Resumed weights are bit-identical to those of a run that was not
    stopped if ``RandomStateHook`` is among the hooks and ``randomness.seed`` is set.
    """

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        if isinstance(self._train_dataloader, Mapping):
            self._train_dataloader = with_seeded_draws(self._train_dataloader, self.seed)
        return super().build_train_loop(loop)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        hooks = {"checkpoint": dict(type="CheckpointHook"), **(hooks or {})}
        checkpoint = hooks["checkpoint"]
        if isinstance(checkpoint, Mapping) and checkpoint["type"] == "CheckpointHook":
            hooks["checkpoint"] = {**checkpoint, "type": SafeCheckpointHook}
        super().register_default_hooks(hooks)


class SafeCheckpointHook(CheckpointHook):
    """Deletes the oldest checkpoint after the new one is written.

    mmengine deletes before: with ``max_keep_ckpts=1`` a run killed while it saves would leave
    nothing to go on from.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if self.max_keep_ckpts > 0:
            self.max_keep_ckpts += 1  # room for the new one
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids, self.max_keep_ckpts)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        if self.max_keep_ckpts > 0 and len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            name = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            oldest = self.file_backend.join_path(self.out_dir, name)
            if is_main_process() and self.file_backend.isfile(oldest):
                self.file_backend.remove(oldest)
