"""Operators, kernel launches and host waits of one step, and its longest kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

READ_BACK = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")


def profiled(step: Callable[[], Any], device: str, longest: int = 15) -> dict[str, Any]:
    """Counts of one step (call it warm) and the kernels that take most of its time.

    Launches and waits are counted by the runtime's or the driver's calls. Among the waits are the
    one or two ``cudaDeviceSynchronize`` of the profile itself.
    """
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        torch.cuda.synchronize()
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        step()
        if device == "cuda":
            torch.cuda.synchronize()
    entries = profiler.key_averages()
    on_device = [entry for entry in entries if entry.device_type != DeviceType.CPU]
    on_host = {entry.key: entry.count for entry in entries if entry.device_type == DeviceType.CPU}
    counts = {
        "operators": sum(count for key, count in on_host.items() if "::" in key),
        "kernel_launches": sum(count for key, count in on_host.items() if is_launch(key)),
        "read_back": {key: on_host[key] for key in READ_BACK if key in on_host},
    }
    if device != "cuda":
        return counts
    # An annotated range, as the optimizer's, is shown on the device too, around its kernels.
    kernels = [
        entry
        for entry in on_device
        if entry.self_device_time_total > 0 and not entry.key.startswith("Optimizer.")
    ]
    kernels.sort(key=lambda entry: entry.self_device_time_total, reverse=True)
    busy = sum(entry.self_device_time_total for entry in kernels)
    return counts | {
        "waits": {key: count for key, count in on_host.items() if key.endswith("Synchronize")},
        "copies": {k.key: k.count for k in kernels if k.key.startswith(("Memcpy", "Memset"))},
        "device_busy_ms": round(busy / 1e3, 3),
        "longest_kernels": [
            {
                "name": entry.key[:160],
                "ms": round(entry.self_device_time_total / 1e3, 3),
                "share": round(entry.self_device_time_total / busy, 4),
                "calls": entry.count,
            }
            for entry in kernels[:longest]
        ],
    }


def is_launch(key: str) -> bool:
    return key.startswith("cu") and ("LaunchKernel" in key or "GraphLaunch" in key)
