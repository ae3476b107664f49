"""What goes wrong in a training on purpose, told by environment variables; imported by configs."""

from __future__ import annotations

import os
import signal

from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DieHook(Hook):
    """SIGKILL after step DIE_AFTER_STEP, or with half of the file DIE_WRITING written."""

    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        name = os.environ.get("DIE_WRITING")
        if name is None:
            return
        put = LocalBackend.put

        def put_half(self, content: bytes, path: str) -> None:
            if not path.endswith(name):
                return put(self, content, path)
            put(self, content[: len(content) // 2], path)
            os.kill(os.getpid(), signal.SIGKILL)

        LocalBackend.put = put_half

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if os.environ.get("DIE_AFTER_STEP") == str(runner.iter + 1):
            os.kill(os.getpid(), signal.SIGKILL)
