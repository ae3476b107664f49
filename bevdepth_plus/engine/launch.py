"""From a tool's command line to a runner."""

from __future__ import annotations

import gc
import logging
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from bevdepth_plus.compat import allow_mmengine_checkpoints, init_cpu_process_group
from bevdepth_plus.engine.cfg_options import load_with_options
from bevdepth_plus.engine.moved_options import refuse_moved
from bevdepth_plus.engine.preflight import check, complete
from bevdepth_plus.errors import DataError, TrainingError
from bevdepth_plus.weights import not_a_checkpoint


def prepare_determinism() -> None:
    """Set what ``torch.use_deterministic_algorithms`` needs on a GPU, before CUDA starts.

    A value of ``CUBLAS_WORKSPACE_CONFIG`` that is there already is kept.
    """
    # Without it PyTorch refuses the first matrix product in that mode. cuBLAS reads it once.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The mode would also write NaN into every new tensor: a search for bugs, paid at every step.
    torch.utils.deterministic.fill_uninitialized_memory = False


def load_config(
    path: str,
    work_dir: str | None,
    cfg_options: dict | None,
    launcher: str = "none",
    split: str | None = None,
) -> Config:
    """A config as the tools read it: file, then ``--cfg-options``, then the work dir.

    What follows from other parts of the config is filled in (``preflight.complete``), and what
    contradicts itself is refused.

    Args:
        path: config file.
        work_dir: of the run; default: the config's, else ``work_dirs/CONFIG``.
        cfg_options: settings to override.
        launcher: the tool's ``--launcher``.
        split: the split that the tool scores, ``val`` or ``test``; None: any.

    Raises:
        DataError: the file does not exist or is not a config, an option has no effect, or parts of
            the config contradict each other.
    """
    if not Path(path).is_file():
        raise DataError(f"config {path} does not exist")
    options = cfg_options or {}
    try:
        cfg = load_with_options(path, options)
    except (SyntaxError, OSError, KeyError, NameError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"config {path} cannot be read: {type(error).__name__}: {reason}") from None
    refuse_moved(cfg.get("model", {}))
    _require_read_here(options, split)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    set_default_determinism(cfg)
    complete(cfg)
    for note in check(cfg):
        print_log(note, logger="current", level=logging.WARNING)
    init_cpu_process_group(cfg, launcher)
    return cfg


def set_default_determinism(cfg: Config) -> None:
    """Ask for deterministic algorithms on a CPU, unless the config's ``randomness`` decides.

    On a CPU two trainings then end with the same bits. On a GPU they would not: mmcv's deformable
    convolution adds its gradients atomically whatever the mode, which would only cost time.
    """
    if "randomness" in cfg:
        cfg.randomness.setdefault("deterministic", not torch.cuda.is_available())


def _require_read_here(options: dict, split: str | None) -> None:
    """Refuse options of the split that this tool does not score, unless both are given."""
    if split is None:
        return
    other = {"val": "test", "test": "val"}[split]
    for key in options:
        part, dot, rest = key.partition(".")
        if part not in (f"{other}_dataloader", f"{other}_evaluator"):
            continue
        read = f"{split}{part.removeprefix(other)}{dot}{rest}"
        if read not in options:
            raise DataError(
                f"--cfg-options {key} changes nothing here: {Path(sys.argv[0]).name} reads {read}"
            )


def load_weights_from(cfg: Config, checkpoint: str) -> None:
    """Have the runner start from a checkpoint of exactly this model.

    Raises:
        DataError: the file does not exist or is not a whole checkpoint.
    """
    if not Path(checkpoint).is_file():
        raise DataError(f"checkpoint {checkpoint} does not exist")
    if not zipfile.is_zipfile(checkpoint):
        raise DataError(not_a_checkpoint(checkpoint))
    cfg.load_from = checkpoint
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="MatchingCheckpointHook")]


def resume_from_last(cfg: Config) -> None:
    """Have the runner go on from the last whole checkpoint in its work dir, if there is one.

    A run killed while it saved leaves a checkpoint, or mmengine's note of the last one, cut off.
    """
    work_dir = Path(cfg.work_dir)
    note = work_dir / "last_checkpoint"
    noted = [Path(note.read_text().strip())] if note.is_file() else []
    found = [*work_dir.glob("iter_*.pth"), *work_dir.glob("epoch_*.pth")]
    newest_first = sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    whole = [str(path) for path in (*noted, *newest_first) if zipfile.is_zipfile(path)]
    if whole:
        load_weights_from(cfg, whole[0])
        cfg.resume = True


def leave_process_group() -> None:
    """End the threads of ``torch.distributed``, if there are any.

    One that wants the interpreter while that shuts down aborts the process after its work is done.
    """
    if torch.distributed.is_initialized():
        # A runner is full of reference cycles and holds the group through its wrapped model.
        gc.collect()
        torch.distributed.destroy_process_group()


def run_tool(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; errors a user can mend end in one line and exit status 2."""
    prepare_determinism()
    allow_mmengine_checkpoints()
    try:
        main()
        leave_process_group()
    except (DataError, TrainingError) as error:
        # A loader's worker process puts its whole traceback before the message.
        message = str(error).strip().splitlines()[-1].split("Error: ", 1)[-1]
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
        sys.exit(2)
