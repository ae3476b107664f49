"""From a tool's command line to a runner."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from bevdepth_plus.compat import allow_mmengine_checkpoints, init_cpu_process_group
from bevdepth_plus.errors import DataError, TrainingError


def load_config(
    path: str, work_dir: str | None, cfg_options: dict | None, launcher: str = "none"
) -> Config:
    """A config as mmdet3d's tools read it: file, then ``--cfg-options``, then the work dir.

    Raises:
        DataError: the file does not exist or is not a config.
    """
    if not Path(path).is_file():
        raise DataError(f"config {path} does not exist")
    cfg = Config.fromfile(path)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    init_cpu_process_group(cfg, launcher)
    return cfg


def run_tool(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; errors a user can mend end in one line and exit status 2."""
    allow_mmengine_checkpoints()
    try:
        main()
    except (DataError, TrainingError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
