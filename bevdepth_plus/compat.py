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
    contains is allowed. `builtins.getattr`, by which the file names the buffer's statistics and the
    one-cycle schedule's formula, would open the door to any code: it is replaced by a look-up of
    those names.

    Can go when: mmengine registers these classes itself, or stops pickling them.
    """
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
    from numpy._core.multiarray import _reconstruct, scalar

    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            OneCycleParamScheduler,
            (_mmengine_method, "builtins.getattr"),
            np.ndarray,
            np.dtype,
            # under the names that numpy 1 and numpy 2 pickle them by
            *(
                (_reconstruct, f"numpy.{core}.multiarray._reconstruct")
                for core in ("core", "_core")
            ),
            *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
            # what `np.dtype` builds: the loader checks the type of every object it sets a state on
            type(np.dtype(np.float64)),
            type(np.dtype(np.float32)),
            type(np.dtype(np.int64)),
            type(np.dtype(np.int32)),
        ]
    )


def _mmengine_method(owner: Any, name: str) -> Any:
    """`getattr` for the methods a checkpoint names, and nothing else."""
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    named = {
        HistoryBuffer: ("min", "max", "current", "mean"),
        OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
    }
    if name not in named.get(owner, ()):
        raise ValueError(
            f"the checkpoint asks for {owner!r}.{name}, which no mmengine checkpoint needs: "
            "do not trust the file"
        )
    return getattr(owner, name)


def is_resuming(runner: Any) -> bool:
    """Whether this mmengine `Runner` goes on with an earlier training.

    Why: a hook must tell a resumed checkpoint from one that only gives its weights, and mmengine
    0.10.7 keeps that in a private attribute.

    Can go when: the runner has a public name for it.
    """
    return runner._resume  # noqa: SLF001


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
