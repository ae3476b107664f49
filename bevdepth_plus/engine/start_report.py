"""What is said once before the first step: how much of the data reaches the network."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevdepth_plus.datasets.crop_coverage import coverage_table, crop_coverage


@HOOKS.register_module()
class StartReportHook(Hook):
    """Logs how many box centres and LiDAR points the crop leaves of each camera's images.

    Args:
        num_samples: Samples that are looked at, evenly spread.
    """

    def __init__(self, num_samples: int = 16) -> None:
        self.num_samples = num_samples

    def before_train(self, runner: Runner) -> None:
        if runner.rank == 0:
            rows = crop_coverage(runner.train_dataloader.dataset, self.num_samples)
            if rows:
                table = coverage_table(rows, self.num_samples)
                print_log(f"\n{table}", logger="current", level=logging.INFO)
