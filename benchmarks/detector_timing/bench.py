"""The detector to be timed: built once, brought back to the same weights for every measurement."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from bevdepth_plus.engine.launch import load_config

from .parts import PartTimes, parts_timed

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Precision:
    """What a measurement computes in.

    Attributes:
        dtype: of mixed precision; None: float32 throughout.
        tf32: whether float32 products use TF32.
        channels_last: layout of the weights, and so of the feature maps.
        cudnn_benchmark: cuDNN tries its algorithms at the first step of a shape.
    """

    dtype: torch.dtype | None = None
    tf32: bool = True
    channels_last: bool = False
    cudnn_benchmark: bool = True


PRECISIONS = {
    "fp32": Precision(tf32=False),
    "tf32": Precision(),
    "fp16": Precision(torch.float16),
    "bf16": Precision(torch.bfloat16),
}


class Bench:
    """A config's detector, batches of its data, and how a step of it is timed.

    Args:
        config: a config file of the detector.
        data_root: a data set with info files.
        device: "cuda" or "cpu".
        options: further settings of the config, as ``--cfg-options``.
        repeats: timed steps of training; warm-up steps come before. Predictions: twice as many.
        warm_up: steps before.
    """

    def __init__(
        self,
        config: Path,
        data_root: Path,
        device: str,
        options: dict | None = None,
        repeats: int = 7,
        warm_up: int = 4,
    ) -> None:
        self.config, self.data_root, self.device = config, data_root, device
        self.options = options or {}
        self.repeats, self.warm_up = repeats, warm_up
        self._batches: dict[tuple[str, int], dict] = {}

    @cached_property
    def cfg(self) -> Config:
        register_all_modules()
        root = str(self.data_root)
        options = {f"{split}_dataloader.dataset.data_root": root for split in SPLITS}
        options["model.image_encoder.backbone.init_cfg"] = None  # no download
        return load_config(str(self.config), "work_dirs/gpu_model", {**options, **self.options})

    @cached_property
    def model(self) -> nn.Module:
        """The detector with its first random weights, on the device."""
        MMLogger.get_current_instance().setLevel("WARNING")  # it would tell of every weight
        torch.manual_seed(0)
        model = MODELS.build(self.cfg.model)
        model.init_weights()
        return model.to(self.device)

    @cached_property
    def first_weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def batch(self, split: str, size: int) -> dict:
        """The first samples of a split, as the loader would hand them over; always the same."""
        if (split, size) not in self._batches:
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002, the transforms draw from it
            torch.manual_seed(0)
            data = DATASETS.build(self.cfg[f"{split}_dataloader"].dataset)
            samples = [data[index % len(data)] for index in range(size)]
            self._batches[split, size] = pseudo_collate(samples)
        return self._batches[split, size]

    @contextmanager
    def set_to(self, precision: Precision) -> Iterator[nn.Module]:
        """The model with its first weights, in this precision and layout."""
        first, model = self.first_weights, self.model
        layout = torch.channels_last if precision.channels_last else torch.contiguous_format
        model.to(device=self.device, memory_format=layout)
        model.load_state_dict(first)
        torch.backends.cuda.matmul.allow_tf32 = precision.tf32
        torch.backends.cudnn.allow_tf32 = precision.tf32
        torch.backends.cudnn.benchmark = precision.cudnn_benchmark
        if self.device == "cuda":
            torch.cuda.empty_cache()
        try:
            yield model
        finally:
            model.to(memory_format=torch.contiguous_format)
            model.zero_grad(set_to_none=True)

    def optimizer(self, precision: Precision) -> OptimWrapper:
        """The config's, as ``tools/train.py --amp`` changes it."""
        cfg = self.cfg.optim_wrapper.copy()
        if precision.dtype is not None and self.device == "cuda":
            cfg.update(type="AmpOptimWrapper", loss_scale="dynamic")
            cfg["dtype"] = str(precision.dtype).removeprefix("torch.")
        else:
            cfg["type"] = "OptimWrapper" if precision.dtype is None else "AutocastOptimWrapper"
        return build_optim_wrapper(self.model, cfg)

    @contextmanager
    def training(self, precision: Precision, size: int) -> Iterator[tuple[Callable, OptimWrapper]]:
        """A function that makes one training step; it returns the losses."""
        batch = self.batch("train", size)
        with self.set_to(precision) as model:
            model.train()
            optimizer = self.optimizer(precision)
            yield lambda: model.train_step(batch, optimizer), optimizer

    @contextmanager
    def prediction(self, precision: Precision, size: int) -> Iterator[Callable]:
        """A function that predicts one batch, which lies on the device; it returns the samples."""
        batch = self.batch("val", size)
        with self.set_to(precision) as model, torch.no_grad():
            model.eval()
            ready = model.data_preprocessor(batch, False)
            mixed = dict(
                dtype=precision.dtype or torch.bfloat16, enabled=precision.dtype is not None
            )

            def predict() -> list:
                with torch.autocast(self.device, **mixed):
                    return model(**ready, mode="predict")

            yield predict

    def time_training(self, precision: Precision, size: int) -> dict[str, Any]:
        with self.training(precision, size) as (step, optimizer):
            result = self.timed(step, size, self.repeats, optimizer)
            losses = {key: value.item() for key, value in step().items()}
            scaler = getattr(optimizer, "loss_scaler", None)
            scale = {} if scaler is None else {"loss_scale": scaler.get_scale()}
        return result | {"losses_after": losses} | scale

    def time_prediction(self, precision: Precision, size: int) -> dict[str, Any]:
        with self.prediction(precision, size) as predict:
            result = self.timed(predict, size, 2 * self.repeats)
            boxes = sum(len(sample.pred_instances_3d.scores_3d) for sample in predict())
            times = PartTimes(self.device)
            preprocess = times.timed("data_preprocessor", self.model.data_preprocessor)
            for _ in range(self.repeats):
                preprocess(self.batch("val", size), False)
                self.wait()
        return result | {"boxes": boxes, "before_predict": times.medians()}

    def timed(
        self, step: Callable, size: int, repeats: int, optimizer: OptimWrapper | None = None
    ) -> dict[str, Any]:
        """Median over steps, each waited for; the parts are timed in steps of their own."""
        for _ in range(self.warm_up):
            step()
        self.wait()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        milliseconds = self._repeat(step, repeats)
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else None
        times = PartTimes(self.device)
        with parts_timed(times, self.model, optimizer):
            with_parts = self._repeat(step, max(repeats // 2, 1))
        median = statistics.median(milliseconds)
        return {
            "batch": size,
            "median_ms": round(median, 3),
            "min_ms": round(min(milliseconds), 3),
            "max_ms": round(max(milliseconds), 3),
            "steps": repeats,
            "samples_per_second": round(1e3 * size / median, 3),
            "peak_memory_gib": None if peak is None else round(peak, 3),
            "median_ms_with_parts": round(statistics.median(with_parts), 3),
            "parts": times.medians(),
        }

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _repeat(self, step: Callable, repeats: int) -> list[float]:
        milliseconds = []
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            step()
            self.wait()
            milliseconds.append(1e3 * (time.perf_counter() - started))
        return milliseconds
