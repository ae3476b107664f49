"""Work-arounds for old dependencies: each with its reason and when it can go.

Nothing happens at import. The tools call these functions before they build an mmengine Runner.
"""

from __future__ import annotations

import datetime
from typing import Any

import torch
import torch.distributed as torch_dist


def allow_mmengine_checkpoints() -> None:
    """Lets `torch.load(weights_only=True)` read the training state mmengine saves with weights.

    Why: since torch 2.6 `torch.load` refuses classes it does not know; mmengine 0.10.7 stores its
    message hub (`HistoryBuffer` objects full of numpy arrays and scalars) in every checkpoint, so
    `resume` and even loading weights for a test fail. The check stays on; exactly what such a file
    contains is allowed. `builtins.getattr`, which the file uses to name the buffer's statistics,
    would open the door to any code: it is replaced by a look-up of those four names.

    Can go when: mmengine registers these classes itself, or stops pickling them.
    """
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_history_buffer_statistic, "builtins.getattr"),
            np.ndarray,
            np.dtype,
            np.core.multiarray._reconstruct,
            np.core.multiarray.scalar,
            # what `np.dtype` builds: the loader checks the type of every object it sets a state on
            type(np.dtype(np.float64)),
            type(np.dtype(np.float32)),
            type(np.dtype(np.int64)),
            type(np.dtype(np.int32)),
        ]
    )


def _history_buffer_statistic(owner: Any, name: str) -> Any:
    """`getattr(HistoryBuffer, name)` for the statistics a buffer registers, and nothing else."""
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise ValueError(
            f"the checkpoint asks for {owner!r}.{name}, which no mmengine checkpoint needs: "
            "do not trust the file"
        )
    return getattr(owner, name)


def init_cpu_process_group(cfg: Any, launcher: str) -> None:
    """Starts the processes of `torchrun` on gloo where there is no CUDA device.

    Why: mmengine 0.10.7 calls `torch.cuda.set_device` and hands `device_ids` to
    DistributedDataParallel whatever the device, so two processes on a CPU machine die at once. It
    leaves a process group that exists already as it is, and a wrapper config that names
    `device_ids` too: both are given here.

    Can go when: mmengine's `init_dist` and `Runner.wrap_model` ask for the device first.

    Args:
        cfg: the mmengine `Config` of the run; `model_wrapper_cfg` is set where it is absent.
        launcher: the tool's `--launcher`; anything but "pytorch" is left to mmengine.
    """
    if launcher != "pytorch" or torch.cuda.is_available():
        return
    dist_cfg = cfg.get("env_cfg", {}).get("dist_cfg", {})
    timeout = datetime.timedelta(seconds=dist_cfg.get("timeout", 1800))
    torch_dist.init_process_group(backend="gloo", timeout=timeout)
    if cfg.get("model_wrapper_cfg") is None:
        cfg.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel",
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
