"""What is said once before the first step: does this data reach this model?"""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevdepth_plus.datasets.crop_coverage import coverage_table, crop_coverage
from bevdepth_plus.errors import DataError

# Parts of the detector that learn from depth maps, where it has them.
DEPTH_LEARNERS = ("depth_loss", "metric_depth_head")


@HOOKS.register_module()
class StartReportHook(Hook):
    """Logs what the crop leaves of each camera, and refuses a depth loss without depth maps.

    Args:
        num_samples: Samples that are looked at; 0 leaves the table out.

    Raises:
        DataError: The model has a depth loss, and the data no depth maps.
    """

    def __init__(self, num_samples: int = 16) -> None:
        self.num_samples = num_samples

    def before_train(self, runner: Runner) -> None:
        if self.num_samples and runner.rank == 0:
            rows = crop_coverage(runner.train_dataloader.dataset, self.num_samples)
            if rows:
                table = "\n" + coverage_table(rows, self.num_samples)
                print_log(table, logger="current", level=logging.INFO)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        if data_batch is not None and "depth" not in data_batch["inputs"]:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            learners = [part for part in DEPTH_LEARNERS if getattr(model, part, None) is not None]
            if learners:
                raise DataError(
                    f"the model has {' and '.join(learners)}, which learn from depth maps, and the "
                    "data has none; put LoadLidarPoints and LidarDepthMaps (or LoadDenseDepth) "
                    "behind ImageAugmentation in the training pipeline, or set "
                    f"{' and '.join(f'model.{part}=None' for part in learners)}"
                )
