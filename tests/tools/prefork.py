"""Starts tools in processes of their own that share one import of the plugin (it takes seconds).

A request is one JSON line: a timeout and the processes' argv, env, stdout and stderr (two paths).
Each runs ``argv[0]`` as ``python argv...`` would. The answer is a line with their exit statuses:
negative for a signal, "timeout" for one that had to be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import sys
import time

import mmengine.config.config
import mmengine.runner
import numpy as np
from mmdet3d.models.layers import circle_nms

import bevdepth_plus.plugin  # noqa: F401


def main() -> None:
    circle_nms(np.zeros((1, 3), np.float32), 1.0, post_max_size=1)  # compiled once for all
    # mmengine formats the config with each checkpoint, which takes longer than these trainings.
    mmengine.config.config.FormatCode = lambda text, **_: (text, True)
    for line in sys.stdin:
        request = json.loads(line)
        pids = []
        for process in request["processes"]:
            pids.append(os.fork())
            if not pids[-1]:
                become(**process)
                return
        print(json.dumps(wait(pids, time.monotonic() + request["timeout"])), flush=True)


def become(argv: list[str], env: dict[str, str], stdout: str, stderr: str) -> None:
    os.setsid()
    for stream, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    os.environ.update(env)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def wait(pids: list[int], deadline: float) -> list[int | str]:
    statuses: dict[int, int | str] = {}
    while len(statuses) < len(pids):
        for pid in pids:
            if pid in statuses:
                continue
            late = time.monotonic() > deadline
            if late:
                end_group(pid)
            done, status = os.waitpid(pid, 0 if late else os.WNOHANG)
            if done:
                end_group(pid)
                statuses[pid] = "timeout" if late else os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    return [statuses[pid] for pid in pids]


def end_group(pid: int) -> None:
    """A killed training's loader processes stay if their pipe is full: end them as well."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
