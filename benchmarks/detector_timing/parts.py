"""Where the time of a step goes: its parts are timed on the GPU and on the host, by their calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

# name -> (path below the detector, method). A part may lie inside another: depth_net in depth.
MODEL_PARTS = {
    "data_preprocessor": ("data_preprocessor", "forward"),
    "camera_inputs": ("", "_inputs"),
    "image_encoder": ("image_encoder", "forward"),
    "image_encoder.backbone": ("image_encoder.backbone", "forward"),
    "image_encoder.neck": ("image_encoder.neck", "forward"),
    "depth": ("depth", "forward"),
    "depth.depth_net": ("depth.depth_net", "forward"),
    "view_transform": ("view_transform", "forward"),
    "bev_encoder": ("temporal", "forward"),
    "head": ("heads.boxes", "outputs"),
    "box_targets_and_losses": ("heads.boxes", "losses"),
    "depth_loss": ("depth", "loss"),
    "box_decoding": ("heads.boxes", "add_predictions"),
    "depth_predictions": ("depth", "add_predictions"),
}
OPTIMIZER_PARTS = ("backward", "step", "zero_grad")


class PartTimes:
    """Milliseconds of each call: ``device_ms`` between two events in the stream, ``host_ms`` until
    the call returned. Where both are alike, the GPU waited for Python.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"
        self.calls: dict[str, list[tuple[Any, Any, float]]] = {}

    def timed(self, name: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            begin, started = self._mark(), time.perf_counter()
            answer = function(*args, **kwargs)
            host = time.perf_counter() - started
            self.calls.setdefault(name, []).append((begin, self._mark(), host))
            return answer

        return call

    def medians(self) -> dict[str, dict[str, float]]:
        """Call it after the device was waited for."""
        return {
            name: {
                "device_ms": round(statistics.median(self._between(a, b) for a, b, _ in calls), 3),
                "host_ms": round(1e3 * statistics.median(host for *_, host in calls), 3),
            }
            for name, calls in self.calls.items()
        }

    def _mark(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end) if self.on_gpu else 1e3 * (end - begin)


@contextmanager
def replaced(owner: object, method: str, function: Callable) -> Iterator[None]:
    """A method of one object (not of its class) exchanged for a while."""
    earlier = vars(owner).get(method)
    setattr(owner, method, function)
    try:
        yield
    finally:
        if earlier is None:
            delattr(owner, method)
        else:
            setattr(owner, method, earlier)


@contextmanager
def parts_timed(times: PartTimes, model: nn.Module, optimizer: object = None) -> Iterator[None]:
    """The parts that this model has (and the optimizer wrapper's) write their times."""
    with ExitStack() as stack:
        for name, (path, method) in MODEL_PARTS.items():
            owner = model.get_submodule(path)
            stack.enter_context(replaced(owner, method, times.timed(name, getattr(owner, method))))
        for method in OPTIMIZER_PARTS if optimizer is not None else ():
            part = times.timed(f"optimizer.{method}", getattr(optimizer, method))
            stack.enter_context(replaced(optimizer, method, part))
        yield
