"""What goes wrong in a training on purpose, told by environment variables; imported by configs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from bevdepth_plus.evaluation.metric import NuScenesBEVMetric


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
                put(self, content, path)
                return
            put(self, content[: len(content) // 2], path)
            os.kill(os.getpid(), signal.SIGKILL)

        LocalBackend.put = put_half

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if os.environ.get("DIE_AFTER_STEP") == str(runner.iter + 1):
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class WithoutBatchHook(Hook):
    """Switch off what depends on how a batch is split: batch statistics and dropout."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        for module in runner.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout):
                module.eval()


@HOOKS.register_module()
class WriteLossesHook(Hook):
    """Each rank's losses of each step, a JSON line a step."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        with (Path(runner.work_dir) / f"losses_{get_rank()}.jsonl").open("a") as file:
            print(json.dumps({name: loss.item() for name, loss in outputs.items()}), file=file)


@HOOKS.register_module()
class UnevenRanksHook(Hook):
    """Rank SLOW_RANK is slow; rank RAISING_RANK fails on a sample; RAISE_IN_SCORES: on scoring."""

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if os.environ.get("SLOW_RANK") == str(get_rank()):
            time.sleep(2)
        if os.environ.get("RAISING_RANK") == str(get_rank()):
            raise RuntimeError("this rank breaks off")

    def before_test(self, runner) -> None:
        if "RAISE_IN_SCORES" in os.environ:
            NuScenesBEVMetric.compute_metrics = None
